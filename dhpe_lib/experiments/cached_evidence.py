"""The evidence of a network, found once: F and f_J2D stay as they are, and every variant of f_E3D learns from it.

A step of f_E3D on evidence from a file costs a tenth of a step of the whole network, so many variants and seeds fit
into some hours of a CPU. All variants see the same F(x), the same j2D(0) and the same ground truth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from safetensors.torch import load_file, save_file
from torch import Tensor

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import View, jittered_view, no_jitter
from dhpe_lib.network.estimator import Estimator, evaluating
from dhpe_lib.network.upright import network_view
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import ViewOptions, draw_turns, training_view
from dhpe_lib.training.fixed_evidence import TRAINED_MASK, with_small_masks

TESTED_MASK = 128
"""Side of the masks that masks are tested on, pixels."""
AT_A_TIME = 64


@dataclass(frozen=True)
class CachedEvidence:
    """The evidence of crops and their ground truth, one row for each crop.

    Attributes:
        of_crop: F(x), and the descriptions of the joints if the network has them.
        joints_2d: j2D(0), crop frame, units of g.
        targets: Ground truth, with a small mask in half precision.
        frame: Crop frames in the photos.
    """

    of_crop: Float[Tensor, "b _"]
    joints_2d: Float[Tensor, "b 21 2"]
    targets: Targets
    frame: CropFrame

    def __len__(self) -> int:
        return len(self.of_crop)


@torch.no_grad()
def find_evidence(network: Estimator, view: View, mask_size: int) -> CachedEvidence:
    """Find the evidence of views; no gradient.

    Args:
        network: f_DHPE, of which only F, f_J2D and the reader of the joints are used.
        view: Images and their ground truth.
        mask_size: Side of the masks that are kept, pixels.

    Returns:
        One row for each image.
    """
    with evaluating(network):
        evidence = network.find_evidence(view.images)
    targets = with_small_masks(view.targets, mask_size)
    return CachedEvidence(evidence.of_crop, evidence.joints_2d, targets, view.frame)


def training_evidence(network: Estimator, split: Prepared, rows: Int64[ndarray, " n"], seed: int) -> CachedEvidence:
    """Find the evidence of rows of a training split, each in one jittered view.

    Args:
        network: f_DHPE.
        split: The prepared split.
        rows: Indices of its samples.
        seed: Random seed of the jitter.
    """
    options, parts = ViewOptions(size=network.features.input_size, upright=network.config.upright), []
    for number, some in enumerate(parts_of(rows)):
        turns = draw_turns(len(some), seed_of(seed, number), options)
        parts.append(find_evidence(network, training_view(split[some], turns, options), TRAINED_MASK))
    return join_rows(parts)


def tested_evidence(network: Estimator, split: Prepared | Crops, rows: Int64[ndarray, " n"]) -> CachedEvidence:
    """Find the evidence of rows of a test split or of crops, in the view that the network expects."""
    views = (network_view(network, split[some]) for some in parts_of(rows))
    return join_rows([find_evidence(network, view, TESTED_MASK) for view in views])


def parts_of(rows: Int64[ndarray, " n"]) -> Iterator[Int64[ndarray, " m"]]:
    """Split rows into batches."""
    return (rows[start : start + AT_A_TIME] for start in range(0, len(rows), AT_A_TIME))


def same_view(crops: Crops, frame: CropFrame, size: int = SIZE) -> View:
    """Return the view of test crops that a network chose before, without looking for its angle again.

    Args:
        crops: Crops with their margin.
        frame: Frames of the chosen views, which are turned about the crops' centres.
        size: Side of the view, pixels.
    """
    return jittered_view(crops, no_jitter(frame.angle - crops.frame.angle), size)


def write_evidence(path: Path, evidence: CachedEvidence) -> None:
    """Write evidence to a safetensors file, atomically."""
    own = {"of_crop": evidence.of_crop, "joints_2d": evidence.joints_2d}
    targets = {f"targets.{name}": values for name, values in vars(evidence.targets).items()}
    frame = {f"frame.{name}": values for name, values in vars(evidence.frame).items()}
    with atomic_writes(path.parent, [path.name]) as (draft,):
        save_file({name: values.contiguous() for name, values in (own | targets | frame).items()}, draft)


def read_evidence(path: Path) -> CachedEvidence:
    """Read evidence from a file of :func:`write_evidence`."""
    values = load_file(path)

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): values[key] for key in values if key.startswith(f"{name}.")}

    return CachedEvidence(
        values["of_crop"], values["joints_2d"], Targets(**part("targets")), CropFrame(**part("frame"))
    )


def first_rows(splits: Sequence[Prepared], count: int) -> list[Int64[ndarray, " n"]]:
    """Choose rows of several splits: all of the first ones, and evenly spaced ones of the split that is not exhausted.

    Args:
        splits: Prepared splits.
        count: Number of rows of all splits together; all rows if there are fewer.

    Returns:
        The rows of each split.
    """
    chosen = []
    for split in splits:
        chosen.append(split.evenly_spaced(count))
        count -= len(chosen[-1])
    return chosen
