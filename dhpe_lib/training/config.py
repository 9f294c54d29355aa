"""Configuration of a training: its defaults, changes from the command line, and its JSON in the run folder."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dhpe_lib.common.files import write_json
from dhpe_lib.common.json_files import Count, JsonError, Whole, convert, read_json
from dhpe_lib.common.schedules import half_cosine
from dhpe_lib.data.views import JitterRange
from dhpe_lib.training.losses import PRIOR

STARTS = ("random", "imagenet", "hand")
"""Values of `start` that are not a file."""
CHOICES = {
    "preset": ("light", "paper"),
    "decay": ("constant", "cosine"),
    "batch_norm": ("batch", "frozen"),
    "precision": ("32-true", "bf16-mixed"),
    "learns": ("everything", "evidence"),
    "augment_rotation": ("axes", "uniform"),
}
ABLATIONS = {
    "without-refiner": "no f_Ref: j2D stays the output of f_J2D",
    "without-2d-losses": "no L_J2D, L_Ref and L_Feat, and no f_J2D and f_Ref",
    "without-shape-loss": "no L_Sh",
    "constant-lambda": "lambda of L_Sh is always 0.01 (Fig. 5f) instead of Eq. 12",
    "without-augmentation": "no novel views (Sec. 3.5): batches hold only data and rendered hands",
}
"""Ablations and what they remove. The paper says that L_Feat and L_J2D are "the 2D losses". Without f_J2D there is no
j2D that f_Ref could mend, so L_Ref and f_Ref go, too; the paper does not say this."""
MAY_CHANGE = ("steps", "log_every", "test_every", "save_every", "test_count")
"""Fields that may change when a run is resumed."""


class ConfigError(ValueError):
    """A configuration is not valid; the message names the field and the allowed values."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a training, except the machine.

    The defaults are those of the preset light; :func:`preset_config` has the paper's.

    Attributes:
        preset: Name of the network, a key of ``estimator.PRESETS``.
        start: Initial weights: "random", "imagenet" (F of the preset paper), "hand" (the trunk of the preset light,
            from the hand landmark network), or a checkpoint.
        frozen: Number of the trunk's modules that keep the weights of the start "hand" or of a checkpoint.
        feature_input: Side of the crop that F sees, pixels, a multiple of 32; 0 for the preset's. The light preset is
            twice as fast with 128 as with its 192.
        learns: "everything", or "evidence": F and f_J2D learn L_J2D alone, before there is an f_E3D. The paper's f_J2D
            too was trained before.
        data: Folders of prepared splits, which are trained on together.
        photos: Folders of prepared splits of photos that have only 2D labels.
        photos_share: Share of each batch that is taken from `photos`, if there are any.
        test: Folders of prepared splits to test on while training; rendered hands if there is none.
        rendered: Share of each batch that is rendered on the fly; without data the whole batch is rendered.
        steps: Steps of the optimiser. A run may be resumed with another number; a cosine decay then ends there.
        batch: Images in a step, over all processes.
        learning_rate: Rate of AdamW for F (the paper's is 1e-3). The light trunk has no batch norm; with 1e-4 its last
            maps die within 200 steps beside a new f_E3D (LOG.md).
        learning_rate_e3d: Rate for f_E3D.
        learning_rate_j2d: Rate for f_J2D, which learns only from L_J2D.
        weight_decay: Weight decay of AdamW; with 0 it is Adam.
        clip: Largest norm of the gradient; 0 for no limit.
        warmup: Steps in which the rates rise from 0. Without warmup Adam's first steps have full length and move meshes
            far out of the image.
        decay: "constant", or "cosine" for a decay to 0 after the warmup. The paper does not say.
        batch_norm: "batch" uses the statistics of the batch over all processes, "frozen" uses the stored statistics.
        precision: Precision of F and f_J2D; mesh, renderer and losses are always in float32.
        channels_last: Whether images and convolutions have the memory format channels last.
        compile: Whether to run torch.compile on F and f_J2D; it takes minutes and pays off on a GPU.
        ablation: Names of ``ABLATIONS``.
        weight_lap: Weight of L_Lap, a mean over the vertices. With 10 poses stay natural, with 1 they twist (LOG.md).
        weight_feat: Weight of L_Feat, a mean over the numbers of F; with 0 F(x (.) m) is not computed.
        weight_sh: Weight of L_Sh, a mean over the pixels.
        weight_j2d: Weight of L_J2D.
        weight_h: Weight of L_h where pose and shape are known; the paper does not have L_h.
        weight_prior: Weight of L_h where they are unknown: it pulls to the mean hand.
        feature_share: Share of each batch whose F(x (.) m) is computed for L_Feat.
        tau: Mean 2D error below which L_Sh counts (Eq. 12), pixels of the crop.
        jitter_shift: Units of g; see :class:`dhpe_lib.data.views.JitterRange` for the four jitter fields.
        jitter_angle: Degrees, from the upright direction if the network turns its crops upright.
        jitter_turned: Share of the crops that have any angle, so that the first look at a crop finds its direction.
        jitter_scale: Natural logarithm of the factor.
        jitter_color: Natural logarithm of the factor.
        backgrounds: NYU depth v2 (the paper's) or a folder of images, for rendered hands and novel views; empty for
            painted backgrounds.
        augment_after: Epochs before the self-augmentation (Sec. 3.5) starts, 20 in the paper; it starts at `steps` / 2
            at the latest. If a run is resumed with another `steps` after the start, the start stays the same. An epoch
            is each row of `data` once; if all images are rendered, it is as many images as ORH has for training.
        augment_share: Share of each batch that is then drawn from the growing set; 0 for none. (In the paper the set
            is unbounded and soon holds mostly novel views.)
        augment_capacity: Novel views that the growing set holds, 2.6 kB each; the oldest are overwritten.
        augment_rotation: "axes" draws each angle uniformly, as in the paper; "uniform" is uniform on SO(3).
        augment_filter: Whether only seeds within tau of their label have novel views; the paper does not filter.
        seed: Random seed of weights, order, jitter and rendered hands.
        log_every: Steps between lines of the log.
        test_every: Steps between tests, which also save prediction sheets.
        test_count: Images of each test split that are tested while training.
        save_every: Steps between checkpoints.
    """

    preset: str = "light"
    start: str = "hand"
    frozen: Whole = 5
    feature_input: Whole = 0
    learns: str = "everything"
    data: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    photos_share: float = 0.3
    test: tuple[str, ...] = ()
    rendered: float = 0.0
    steps: Count = 20_000
    batch: Count = 64
    learning_rate: float = 5e-5
    learning_rate_e3d: float = 3e-4
    learning_rate_j2d: float = 5e-4
    weight_decay: float = 1e-4
    clip: float = 1.0
    warmup: Whole = 100
    decay: str = "cosine"
    batch_norm: str = "batch"
    precision: str = "32-true"
    channels_last: bool = True
    compile: bool = False
    ablation: tuple[str, ...] = ()
    weight_lap: float = 1.0
    weight_feat: float = 0.0
    weight_sh: float = 10.0
    weight_j2d: float = 0.1
    weight_h: float = 1.0
    weight_prior: float = PRIOR
    feature_share: float = 0.25
    tau: float = 15.0
    jitter_shift: float = 0.06
    jitter_angle: float = 25.0
    jitter_turned: float = 0.25
    jitter_scale: float = 0.15
    jitter_color: float = 0.25
    backgrounds: str = ""
    augment_after: float = 20.0
    augment_share: float = 0.5
    augment_capacity: Count = 16_384
    augment_rotation: str = "axes"
    augment_filter: bool = False
    seed: Whole = 0
    log_every: Count = 50
    test_every: Count = 1000
    test_count: Count = 512
    save_every: Count = 500

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            _demand(getattr(self, name) in choices, name, getattr(self, name), " or ".join(choices))
        for name in ("steps", "batch", "log_every", "test_every", "test_count", "save_every", "augment_capacity"):
            _demand(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in (
            *("weight_lap", "weight_feat", "weight_sh", "weight_j2d", "weight_h", "weight_prior"),
            *("warmup", "weight_decay", "clip", "frozen"),
            "augment_after",
            "jitter_shift",
            "jitter_angle",
            "jitter_scale",
            "jitter_color",
        ):
            _demand(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        for name in ("learning_rate", "learning_rate_e3d", "learning_rate_j2d", "tau"):
            _demand(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a positive number")
        for name in ("rendered", "jitter_turned"):
            _demand(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        _demand(self.feature_input % 32 == 0, "feature_input", self.feature_input, "a multiple of 32")
        _demand(0 < self.feature_share <= 1, "feature_share", self.feature_share, "a share above 0, up to 1")
        _demand(0 <= self.photos_share < 1, "photos_share", self.photos_share, "a share from 0 to less than 1")
        _demand(0 <= self.augment_share < 1, "augment_share", self.augment_share, "a share from 0 to less than 1")
        for name in self.ablation:
            _demand(name in ABLATIONS, "ablation", name, ", ".join(ABLATIONS))

    @property
    def jitter_range(self) -> JitterRange:
        """Range of the jitter of crops; the angle is in radians here."""
        return JitterRange(self.jitter_shift, math.radians(self.jitter_angle), self.jitter_scale, self.jitter_color)

    @property
    def augments(self) -> bool:
        """Whether the training uses self-augmentation."""
        return self.augment_share > 0 and self.learns == "everything" and "without-augmentation" not in self.ablation

    def rate(self, step: int) -> float:
        """Factor of both learning rates in a step: linear warmup, then constant or half a cosine."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay == "constant":
            return rise
        return rise * half_cosine(step, self.steps)


PAPER = {
    "preset": "paper",
    "start": "imagenet",
    "learning_rate": 1e-3,
    "learning_rate_e3d": 1e-3,
    "learning_rate_j2d": 1e-3,
    "weight_decay": 0.0,
    "clip": 0.0,
    "warmup": 500,
    "decay": "constant",
    "weight_feat": 1.0,
    "weight_sh": 1.0,
    "weight_j2d": 1.0,
    "weight_h": 0.0,
    "weight_prior": 0.0,
    "feature_share": 1.0,
    "jitter_turned": 0.0,
}
"""Fields that differ for the preset paper: what the paper does not have is off."""


def preset_config(preset: str = "light") -> TrainingConfig:
    """Return the default configuration of a preset.

    Args:
        preset: "light" or "paper".

    Raises:
        ConfigError: The preset does not exist.
    """
    return TrainingConfig(**(PAPER if preset == "paper" else {"preset": preset}))


def _demand(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it may be {allowed}")


def changed(config: TrainingConfig, changes: Sequence[str]) -> TrainingConfig:
    """Apply changes in the form ``name=value``; values of a tuple are separated by commas.

    Args:
        config: The configuration to change.
        changes: Changes, applied in order.

    Returns:
        A new configuration.

    Raises:
        ConfigError: A name or value is not valid.
    """
    kinds = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in kinds:
            raise ConfigError(f"{change}: is not a change; write name=value, where name is one of {', '.join(kinds)}")
        values[name] = _parsed(name, text, kinds[name])
    return replace(config, **values)


def _parsed(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        _demand(text in ("true", "false"), name, text, "true or false")
        return text == "true"
    if kind is tuple:
        return tuple(filter(None, text.split(",")))
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} is {text}; it may be a number like {kind(1)}") from error


def write_config(path: Path, config: TrainingConfig) -> None:
    """Write a configuration as JSON, atomically."""
    write_json(path, asdict(config))


def read_config(path: Path) -> TrainingConfig:
    """Read a configuration from JSON.

    Args:
        path: Path of the JSON file.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: The file does not exist.
        ConfigError: The file is not a configuration of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; there is no run to resume in this folder")
    try:
        return config_from(read_json(path, dict[str, Any]))
    except ValueError as error:
        raise ConfigError(f"{path}: is not a configuration of this version ({error}); begin a new run") from error


def config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """Build a configuration from parsed JSON; lists become tuples.

    Args:
        values: The fields; fields that it lacks have their defaults.

    Returns:
        The configuration.

    Raises:
        JsonError: A field is unknown, has another type, or has a value that is not allowed.
    """
    if unknown := sorted(values.keys() - {field.name for field in fields(TrainingConfig)}):
        raise JsonError(f"the field {unknown[0]} is unknown")
    return convert(values, TrainingConfig)


def with_paths(config: TrainingConfig, change: Callable[[Path], Path]) -> TrainingConfig:
    """Apply a function to each path of a configuration."""

    def new_path(text: str) -> str:
        return str(change(Path(text)))

    return replace(
        config,
        start=config.start if config.start in STARTS else new_path(config.start),
        data=tuple(map(new_path, config.data)),
        photos=tuple(map(new_path, config.photos)),
        test=tuple(map(new_path, config.test)),
        backgrounds=config.backgrounds and new_path(config.backgrounds),
    )


def resolved(config: TrainingConfig) -> TrainingConfig:
    """Make all paths of a configuration absolute."""
    return with_paths(config, Path.resolve)


def refuse_other(path: Path, begun: TrainingConfig, asked: TrainingConfig) -> None:
    """Refuse to resume a run with another configuration.

    Args:
        path: Path of the run's configuration, for the message.
        begun: The run's configuration.
        asked: The new configuration.

    Raises:
        ConfigError: They differ in other fields than ``MAY_CHANGE``.
    """
    old, new = asdict(resolved(begun)), asdict(resolved(asked))
    differences = [f"{name} was {old[name]}, now it is {new[name]}" for name in old if old[name] != new[name]]
    refused = [text for text in differences if text.split(" ")[0] not in MAY_CHANGE]
    if refused:
        raise ConfigError(
            f"{path}: the run has another configuration: {'; '.join(refused)}. Start a new run in another folder"
        )
