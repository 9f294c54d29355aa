"""The one configuration of a training: its defaults, changes from the command line, its JSON beside the run."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dhpe_lib.common.files import write_json
from dhpe_lib.data.views import JitterRange

STARTS = ("random", "imagenet")
"""Weights to begin with that are no file."""
CHOICES = {
    "preset": ("light", "paper"),
    "decay": ("constant", "cosine"),
    "batch_norm": ("batch", "frozen"),
    "precision": ("32-true", "bf16-mixed"),
    "augment_rotation": ("axes", "uniform"),
}
ABLATIONS = {
    "without-refiner": "no f_Ref: j2D stays that of f_J2D",
    "without-2d-losses": "no L_J2D, no L_Ref and none of what they train, and no L_Feat",
    "without-shape-loss": "no L_Sh",
    "constant-lambda": "L_Sh weighs 0.01 throughout (Fig. 5f) instead of Eq. 12",
    "without-augmentation": "no children (Sec. 3.5): each batch is data and rendered hands alone",
}
"""What each leaves out. Which losses are "the 2D losses" the paper leaves open: here all that are judged in the picture
and not through the mesh, L_Feat too, since the HMR-like earlier work that the paper likens the variant to has none."""
MAY_CHANGE = ("steps", "log_every", "test_every", "save_every", "test_count")
"""What a resumed run may have otherwise than it began."""


class ConfigError(ValueError):
    """A configuration that makes no sense; the message names the field and what it may be."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training but the machine it runs on.

    Attributes:
        preset: The network, a key of ``estimator.PRESETS``.
        start: Weights to begin with: "random", "imagenet" (F only), or a checkpoint.
        data: Folders of prepared splits, trained on together.
        test: Folders of prepared splits to test on while training; rendered hands if there is none.
        rendered: Share of each batch that is rendered on the spot; all of it where there is no data.
        steps: Of the optimiser. A run may be resumed with more or fewer; a cosine then ends there.
        batch: Images at a step, over all processes.
        learning_rate: Adam's, for F and f_E3D (the paper's is 1e-3).
        learning_rate_j2d: Adam's, for f_J2D, which learns from L_J2D alone.
        warmup: Steps in which the rates rise from 0; without them Adam's first steps, as long as all others, throw
            meshes far out of the picture.
        decay: Whether the rates then stay or fall to 0 along a cosine. The paper does not say.
        batch_norm: "batch" uses the statistics of all processes' batch, "frozen" those that are stored.
        precision: Of F and f_J2D; mesh, renderer and losses are always in float32.
        channels_last: Memory format of images and convolutions.
        compile: Whether F and f_J2D go through torch.compile: worth its minutes on a GPU.
        ablation: Names of ``ABLATIONS``.
        weight_lap: Of L_Lap; the paper has none, and its mean over the vertices is our reading. At 10 poses stay near
            those of hands, at 1 they twist (LOG.md).
        tau: Mean 2D error below which L_Sh counts (Eq. 12), pixels of the crop.
        jitter_shift: See :class:`dhpe_lib.data.views.JitterRange`; likewise the next three.
        jitter_angle: Degrees here.
        jitter_scale: Natural logarithm.
        jitter_color: Natural logarithm.
        backgrounds: NYU depth v2 (the paper's) or a folder of images, to put behind rendered hands and children; by
            default they are painted.
        augment_after: Epochs before the self-augmentation (Sec. 3.5) begins, the paper's 20; at the latest it begins in
            the middle of the run, as `steps` has it. A run that is resumed with other `steps` keeps the beginning
            that it had, if that is past. An epoch is each row of `data` once; where all is rendered, as many pictures
            as ORH has for training.
        augment_share: Share of each batch that is then drawn from the growing set; 0 is none. (In the paper the set
            has no bound, and soon holds little but children.)
        augment_capacity: Children that the set holds, 2.6 kB each; the oldest make room.
        augment_rotation: "axes" is the paper's law, each angle uniform; "uniform" is that of SO(3).
        augment_filter: Whether only seeds within tau of their label have children; the paper does not filter.
        seed: Of weights, order, jitter and rendered hands.
        log_every: Steps between lines of the log.
        test_every: Steps between tests, which also draw pictures.
        test_count: Images of each test split that are tested while training.
        save_every: Steps between checkpoints.
    """

    preset: str = "light"
    start: str = "random"
    data: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    rendered: float = 0.0
    steps: int = 20_000
    batch: int = 64
    learning_rate: float = 1e-3
    learning_rate_j2d: float = 1e-3
    warmup: int = 500
    decay: str = "constant"
    batch_norm: str = "batch"
    precision: str = "32-true"
    channels_last: bool = True
    compile: bool = False
    ablation: tuple[str, ...] = ()
    weight_lap: float = 1.0
    tau: float = 15.0
    jitter_shift: float = 0.06
    jitter_angle: float = 30.0
    jitter_scale: float = 0.12
    jitter_color: float = 0.25
    backgrounds: str = ""
    augment_after: float = 20.0
    augment_share: float = 0.5
    augment_capacity: int = 16_384
    augment_rotation: str = "axes"
    augment_filter: bool = False
    seed: int = 0
    log_every: int = 50
    test_every: int = 1000
    test_count: int = 512
    save_every: int = 500

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            _demand(getattr(self, name) in choices, name, getattr(self, name), " or ".join(choices))
        for name in ("steps", "batch", "log_every", "test_every", "test_count", "save_every", "augment_capacity"):
            _demand(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in (
            "weight_lap",
            "warmup",
            "augment_after",
            "jitter_shift",
            "jitter_angle",
            "jitter_scale",
            "jitter_color",
        ):
            _demand(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        for name in ("learning_rate", "learning_rate_j2d", "tau"):
            _demand(0 < getattr(self, name) < math.inf, name, getattr(self, name), "a positive number")
        _demand(0 <= self.rendered <= 1, "rendered", self.rendered, "a share from 0 to 1")
        _demand(0 <= self.augment_share < 1, "augment_share", self.augment_share, "a share from 0 to less than 1")
        for name in self.ablation:
            _demand(name in ABLATIONS, "ablation", name, ", ".join(ABLATIONS))

    @property
    def reach(self) -> JitterRange:
        """How far crops are jittered."""
        return JitterRange(self.jitter_shift, math.radians(self.jitter_angle), self.jitter_scale, self.jitter_color)

    @property
    def augments(self) -> bool:
        """Whether batches will have children."""
        return self.augment_share > 0 and "without-augmentation" not in self.ablation

    def rate(self, step: int) -> float:
        """The factor of both learning rates at a step."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay == "constant":
            return rise
        return rise * (1 + math.cos(math.pi * step / self.steps)) / 2


def _demand(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it may be {allowed}")


def changed(config: TrainingConfig, changes: Sequence[str]) -> TrainingConfig:
    """Apply changes in the form ``name=value``; of a tuple the value lists its members with commas.

    Args:
        config: To begin with.
        changes: In order.

    Returns:
        Another configuration.

    Raises:
        ConfigError: A name or value makes no sense.
    """
    kinds = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in kinds:
            raise ConfigError(f"{change}: is no change; write name=value with a name of {', '.join(kinds)}")
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
    """Save a configuration as JSON, as a whole or not at all."""
    write_json(path, asdict(config))


def read_config(path: Path) -> TrainingConfig:
    """Read a saved configuration.

    Args:
        path: Of the JSON.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It is no configuration of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; there is no run to resume in this folder")
    try:
        return config_from(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is no configuration of this version ({error})") from error


def config_from(values: Mapping[str, Any]) -> TrainingConfig:
    """A configuration from what JSON made of it: lists are tuples."""
    own: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return TrainingConfig(**own)


def with_paths(config: TrainingConfig, change: Callable[[Path], Path]) -> TrainingConfig:
    """Another configuration, with each path changed alike."""

    def one(text: str) -> str:
        return str(change(Path(text)))

    return replace(
        config,
        start=config.start if config.start in STARTS else one(config.start),
        data=tuple(map(one, config.data)),
        test=tuple(map(one, config.test)),
        backgrounds=config.backgrounds and one(config.backgrounds),
    )


def resolved(config: TrainingConfig) -> TrainingConfig:
    """The configuration as it holds from any working directory."""
    return with_paths(config, Path.resolve)


def refuse_other(path: Path, begun: TrainingConfig, asked: TrainingConfig) -> None:
    """Stop where a run is to be resumed otherwise than it began.

    Args:
        path: Of the run's configuration.
        begun: What it says.
        asked: What it is to be now.

    Raises:
        ConfigError: They differ in more than ``MAY_CHANGE`` and the spelling of paths.
    """
    old, new = asdict(resolved(begun)), asdict(resolved(asked))
    differences = [f"{name} was {old[name]}, is {new[name]} now" for name in old if old[name] != new[name]]
    refused = [text for text in differences if text.split(" ")[0] not in MAY_CHANGE]
    if refused:
        raise ConfigError(f"{path}: the run began otherwise: {'; '.join(refused)}. Begin a new run in another folder")
