"""The logs of a training: a text log, curves as JSON lines, TensorBoard, and images of predictions.

``curves.jsonl`` has one JSON object in each line. The lines of a test hold the two curves of Fig. 5f: the test error
and the share of instances under tau. When a run is resumed, records of steps after its checkpoint are removed, so that
each step is logged once.
"""

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from msgspec import Struct
from numpy import ndarray
from PIL import Image
from rich.console import Console
from rich.text import Text
from torch import Tensor

from dhpe_lib.common.files import append_line, atomic_write, clear_drafts, explain_full_disk
from dhpe_lib.common.json_files import JsonError, Number, Whole, convert, parse_json
from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.evaluate import pixels
from dhpe_lib.figures.contact_sheet import Tile, contact_sheet
from dhpe_lib.figures.palette import MESH_SEE_THROUGH
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.rendering.renderer import render
from dhpe_lib.training.novel_views import VIEWS_PER_SEED, NovelViewRenderer
from dhpe_lib.training.self_augmentation import SelfAugmentation

CURVES, LOG, BOARD, PICTURES = "curves.jsonl", "log.txt", "tensorboard", "pictures"
SHOWN, FAMILIES = 8, 6
"""Number of test images on a prediction sheet, and of seeds on a sheet of novel views."""
OPACITY = 0.55
"""Opacity of a mesh over an image."""
UNKNOWN = np.full((21, 2), np.nan)


class CurvesFileError(ValueError):
    """A file of curves cannot be read; the message names file, line and remedy."""


class Record(Struct):
    """Fields that every line of ``curves.jsonl`` has; numbers by name come with them."""

    step: Whole
    kind: str


class RunLog:
    """Writer of the logs of a run.

    Args:
        run: Folder of the run.
        step: Number of steps done; records of later steps are removed.
        console: Console to which log lines are printed too.
    """

    def __init__(self, run: Path, step: int, console: Console) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.console = run, console
        (run / PICTURES).mkdir(exist_ok=True)
        clear_drafts(run / PICTURES)
        truncate_after(run, step)
        if (run / LOG).is_file():
            self.line(f"resumed after step {step}")
        with explain_full_disk(run / BOARD):
            self.board = SummaryWriter(str(run / BOARD), purge_step=step + 1)
        self.hook = threading.excepthook
        threading.excepthook = self.leave_to_next_call

    def line(self, text: str) -> None:
        """Write a line to the text log, with the time, and to the console, without it."""
        append_line(self.run / LOG, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")
        self.console.print(Text(text), soft_wrap=True)

    def training(self, step: int, records: Sequence[Mapping[str, Tensor]]) -> None:
        """Log the mean losses of this process over the steps since the last line."""
        values = {name: float(sum(record[name] for record in records)) / len(records) for name in records[0]}
        self.record(step, "train", values)
        self.line(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def test(self, step: int, name: str, scores: Mapping[str, float]) -> None:
        """Log the scores on a test set."""
        self.record(step, f"test_{name}", scores)
        self.line(f"step {step}, {name}: " + ", ".join(f"{score} {value:.4g}" for score, value in scores.items()))

    def record(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Add the numbers of a step to the curves and to TensorBoard.

        Args:
            step: Number of steps done.
            kind: `train`, or `test_` and the name of a test set.
            values: Numbers by name.
        """
        append_line(self.run / CURVES, json.dumps({"step": step, "kind": kind} | dict(values)))
        with explain_full_disk(self.run / BOARD):
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, image: UInt8[ndarray, "height width 3"]) -> None:
        """Save an image of a step."""
        with atomic_write(self.run / PICTURES / f"{name}_{step:07}.png") as draft:
            Image.fromarray(image).save(draft)
        with explain_full_disk(self.run / BOARD):
            self.board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Write buffered records to disk."""
        threading.excepthook = self.hook
        with explain_full_disk(self.run / BOARD):
            self.board.close()

    def leave_to_next_call(self, arguments: threading.ExceptHookArgs) -> None:
        """Do not print an OSError of TensorBoard's thread: the next call of its writer raises it again."""
        if not isinstance(arguments.exc_value, OSError):
            self.hook(arguments)


def truncate_after(run: Path, step: int) -> None:
    """Remove lines and images of later steps, and truncated lines."""
    for path in (run / CURVES, run / LOG):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            with atomic_write(path) as draft:
                draft.write_text("".join(line for line in lines if step_number(line) <= step), encoding="utf-8")
    for picture in (run / PICTURES).iterdir():
        found = re.search(r"_(\d+)\.png$", picture.name)
        if found and int(found[1]) > step:
            picture.unlink()


def step_number(line: str) -> float:
    """Step number of a log line; infinity for a truncated line."""
    found = re.search(r"\bstep\W+(\d+).*\n", line)
    return float(found[1] if found else "inf")


def read_curves(path: Path, kind: str) -> dict[str, ndarray]:
    """Read the records of one kind as columns.

    Args:
        path: Path of ``curves.jsonl``.
        kind: Kind of the records; see :meth:`RunLog.record`.

    Returns:
        "step" and each number by name; NaN where a record lacks the number. A last line that a kill has cut is ignored.

    Raises:
        FileNotFoundError: The file does not exist.
        CurvesFileError: A line is not a record of numbers.
    """
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                records.append(parse_record(line))
            except JsonError as error:
                raise CurvesFileError(f"{path}: line {number}: {error}; train the network again") from error
    rows = [numbers for record, numbers in records if record.kind == kind]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], float) for name in names}


def parse_record(line: bytes) -> tuple[Record, dict[str, Number]]:
    """Parse a line of ``curves.jsonl``: an object with step, kind and other numbers.

    Returns:
        Step and kind, and all numbers by name, the step included.

    Raises:
        JsonError: It is something else.
    """
    fields = parse_json(line, dict[str, Any])
    record = convert(fields, Record)
    del fields["kind"]
    return record, convert(fields, dict[str, Number])


def prediction_sheet(network: Estimator, view: View, title: str) -> UInt8[ndarray, "height width 3"]:
    """Draw ground truth and prediction for each image, two images in a row.

    Args:
        network: f_DHPE, on the device of the view.
        view: Images with their targets.
        title: Title of the sheet.

    Returns:
        A sheet with three tiles for each image: ground-truth joints and mask; the last j2D; the mesh and its mask.
    """
    estimate, targets = network.predict(view.images), view.targets
    assert estimate.mask is not None
    size = view.images.shape[-1]
    truth = np.where(to_numpy(targets.known_2d)[..., None], in_pixels(targets.joints_2d, size), np.nan)
    found, errors = in_pixels(estimate.joints_2d, size), pixels(estimate.joints_2d, view)
    mesh_errors = to_numpy(joint_error_px(estimate.joints, targets))
    true_masks, masks = to_numpy(targets.mask > 0.5), to_numpy(estimate.mask > 0.5)
    meshes = with_meshes(network.hand, estimate.mesh.vertices, view.images)
    seen, drawn = map(as_bytes, (view.images, view.images.lerp(meshes, OPACITY)))
    tiles = []
    for row, image in enumerate(seen):
        true_mask, name = true_masks[row] if targets.has_mask[row] else None, f"hand {row + 1}"
        tiles.append(Tile(image, truth[row], true_mask, (f"{name}: truth", "")))
        if network.pose_machine is None:
            tiles.append(Tile(image, UNKNOWN, None, (f"{name}: no j2D", "")))
        else:
            tiles.append(Tile(image, found[row], None, (f"{name}: last j2D", f"{errors[row]:.1f} px off")))
        tiles.append(Tile(drawn[row], UNKNOWN, masks[row], (f"{name}: mesh, mask", f"{mesh_errors[row]:.1f} px off")))
    return np.asarray(contact_sheet(tiles, title, columns=6))


def families(
    augmentation: SelfAugmentation, seen: View, h: Float[Tensor, "b 63"], step: int
) -> UInt8[ndarray, "height width 3"]:
    """Draw some seeds of a step with their novel views."""
    rows = torch.arange(min(FAMILIES, len(h)), device=h.device)
    pool, distribution = augmentation.backgrounds.at(step), augmentation.config.augment_rotation
    return family_sheet(
        augmentation.view_renderer, take_rows(seen, rows), h[rows], pool, f"seeds of step {step}", distribution
    )


def family_sheet(
    view_renderer: NovelViewRenderer,
    view: View,
    h: Float[Tensor, "b 63"],
    pool: UInt8[Tensor, "n 3 288 288"],
    title: str,
    distribution: str = "axes",
    labels: bool = False,
) -> UInt8[ndarray, "height width 3"]:
    """Draw each seed in a row: image, mesh, three novel views.

    Args:
        view_renderer: Renderer of the novel views.
        view: Images of the seeds.
        h: The network's estimate for each image.
        pool: Backgrounds.
        title: Title of the sheet.
        distribution: Distribution of the rotations; see :func:`dhpe_lib.training.novel_views.draw_rotations`.
        labels: Whether to draw skeleton and mask over the novel views.

    Returns:
        The sheet.
    """
    with torch.no_grad():
        mesh = view_renderer.model.forward_h(h)
        fitted = with_meshes(view_renderer.model, mesh.vertices, view.images)
    novel_views = view_renderer.render_views(view_renderer.lift_views(h, view, 0, distribution), pool, 0)
    errors = joint_error_px(mesh.joints, view.targets)
    joints, masks = in_pixels(novel_views.targets.joints_2d), to_numpy(novel_views.targets.mask > 0.5)
    seeds, meshes, rendered = map(as_bytes, (view.images, fitted, novel_views.images))
    tiles = []
    for row, (seed, drawn) in enumerate(zip(seeds, meshes, strict=True)):
        tiles.append(Tile(seed, UNKNOWN, None, ("picture", "")))
        tiles.append(Tile(drawn, UNKNOWN, None, ("its mesh", f"{float(errors[row]):.1f} px error")))
        for number in range(VIEWS_PER_SEED * row, VIEWS_PER_SEED * (row + 1)):
            skeleton, mask = (joints[number], masks[number]) if labels else (UNKNOWN, None)
            tiles.append(Tile(rendered[number], skeleton, mask, (f"view {number - VIEWS_PER_SEED * row + 1}", "")))
    return np.asarray(contact_sheet(tiles, title, columns=2 + VIEWS_PER_SEED))


def with_meshes(
    hand: HandModel, vertices: Float[Tensor, "b v 3"], images: Float[Tensor, "b 3 s s"]
) -> Float[Tensor, "b 3 s s"]:
    """Render meshes (crop frame, units of g) over their images in [0, 1]."""
    blue = vertices.new_tensor(MESH_SEE_THROUGH).expand(vertices.shape[1], 3)
    pictures = images.permute(0, 2, 3, 1)
    return render(vertices, hand.faces, blue, pictures, images.shape[-1]).image.permute(0, 3, 1, 2)


def in_pixels(joints_2d: Float[Tensor, "b 21 2"], size: int = SIZE) -> Float[ndarray, "b 21 2"]:
    """Convert joints from the crop frame (units of g) to pixels of a view with this side."""
    return to_numpy(size * (joints_2d + 0.5))


def as_bytes(images: Float[Tensor, "b 3 s s"]) -> UInt8[ndarray, "b s s 3"]:
    """Convert images in [0, 1] to bytes, channels last."""
    return to_numpy((255 * images).round().byte().permute(0, 2, 3, 1))
