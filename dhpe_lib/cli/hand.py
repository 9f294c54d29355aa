"""The commands `dhpe hand show`, `dhpe hand export` and `dhpe hand convert`."""

import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dhpe_lib.cli.options import OUT, ModelOption, SideName, SideOption, prepare_folder, usage_error
from dhpe_lib.common.console import say

if TYPE_CHECKING:
    from torch import Tensor

    from dhpe_lib.common.json_files import Numbers
    from dhpe_lib.hand.model import HandModel

COUNTS = {"pose": 45, "shape": 10}
FORMATS = ("axis-angle", "matrix", "6d", "quaternion", "mean", "pca", "smplx", "freihand", "hamer")

hand_app = typer.Typer(no_args_is_help=True, help="Show or export the hand model; convert poses.")


@hand_app.command()
def show(
    model: ModelOption = None,
    side: SideOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="HTML page to write.")] = OUT / "hand.html",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Write a page with sliders for the ten shape coefficients and every joint, and open it."""
    from dhpe_lib.common.files import atomic_write, refuse_input
    from dhpe_lib.figures.viewer import hand_page

    hand = load_hand(model, side)
    with usage_error("--out"):
        refuse_input(out, [model])
        prepare_folder(out.parent)
        with atomic_write(out) as draft:
            draft.write_text(hand_page(hand, title=f"The {hand.side} hand"), encoding="utf-8")
    say("The hand with sliders: ", out)
    if browser:
        webbrowser.open(out.absolute().as_uri())


@hand_app.command("export")
def export_hand_file(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="FILE.pkl or .npz (the model); FILE.obj, .ply or .glb (a mesh).")
    ],
    side: SideOption = None,
    pose: Annotated[
        str | None,
        typer.Option("--pose", metavar="NUMBERS|FILE", help="45 angles, or a JSON with them, as dhpe predict writes."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="NUMBERS|FILE", help="Up to 10 shape coefficients, or a JSON.")
    ] = None,
    rigged: Annotated[
        bool, typer.Option("--rigged", help="Add a skeleton, skin weights and ten blend shapes to a .glb.")
    ] = False,
    model: ModelOption = None,
) -> None:
    """Write the hand for other programs; the suffix chooses the format.

    .pkl and .npz hold the model in MANO's layout. .obj, .ply and .glb hold the posed and shaped mesh in metres. With
    --rigged a .glb can be animated in Blender and three.js. A pose consists of the rotation vectors of MANO's 15 joints
    relative to the flat hand, in radians. A shape is in standard deviations.
    """
    from dhpe_lib.common.files import refuse_input
    from dhpe_lib.hand.export import export_hand

    hand = load_hand(model, side)
    with usage_error("OUT"):
        refuse_input(out, [model, *(Path(text) for text in (pose, shape) if text and os.path.isfile(text))])
    with usage_error(None):
        numbers = read_numbers(pose, "pose", hand.side), read_numbers(shape, "shape", hand.side)
        first, *others = export_hand(out, hand, *numbers, rigged)
    say("Written: ", first, *(piece for path in others for piece in (", ", path)))


@hand_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Poses: .json, .npz, .npy or .pkl.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .json or .npz.", show_default=False)],
    of: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FORMAT",
            help=f"Format of IN: {', '.join(FORMATS)}, frankmocap or dhpe. WiLoR's is hamer.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="Format of OUT: those of IN up to hamer.", show_default=False)
    ],
    side: SideOption = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Convert right hands to left ones, and back.")] = False,
    camera: Annotated[
        str | None,
        typer.Option("--camera", metavar="FX,FY,CX,CY", help="Camera in pixels, for FreiHAND's place of the hand."),
    ] = None,
    model: ModelOption = None,
) -> None:
    """Convert poses between representations, sides, and the conventions of other programs.

    axis-angle, matrix, 6d and quaternion (w first) are relative to the flat hand; mean and pca are relative to the mean
    pose of the hand model, so give --model with your MANO for poses of MANO. 6d is the first two columns of a matrix.
    """
    from dhpe_lib.hand.conversions import mirror_pose
    from dhpe_lib.hand.pose_files import SOURCES, TARGETS, pose_fields, read_pose, write_pose

    for option, name, known in (("--from", of, SOURCES), ("--to", to, TARGETS)):
        if name not in known:
            raise typer.BadParameter(f"{name}: no such format; choose from {', '.join(known)}", param_hint=option)
    with usage_error("--camera"):
        k = None if camera is None else parse_camera(camera)
    hand = load_hand(model, side)
    with usage_error("IN"):
        poses = read_pose(source, cast(Any, of), hand, k)
    if mirror:
        poses, hand = mirror_pose(poses), hand.mirrored()
    with usage_error("--to"):
        fields = pose_fields(poses, cast(Any, to), hand, k)
    with usage_error("OUT"):
        write_pose(out, fields)
    count = len(poses.fingers)
    say(f"{count} {poses.side} hand{'s' * (count != 1)} in ", out)


def parse_camera(text: str) -> "Tensor":
    """Parse a camera "FX,FY,CX,CY" in pixels to its matrix.

    Raises:
        ValueError: The text is no camera.
    """
    import torch

    try:
        fx, fy, cx, cy = map(float, text.split(","))
    except ValueError as error:
        raise ValueError(f"{text}: is no camera; write FX,FY,CX,CY in pixels") from error
    if not (0 < fx < float("inf") and 0 < fy < float("inf")):
        raise ValueError(f"{text}: the focal lengths must be positive")
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def load_hand(path: Path | None, side: SideName | None) -> "HandModel":
    """Load the hand model of a file; without a path load the open hand."""
    from dhpe_lib.hand.model import OPEN_HAND, HandModel

    with usage_error("--model"):
        return HandModel.load(path or OPEN_HAND, None if side is None else side.value)


def read_numbers(text: str | None, field: str, side: str) -> list[float] | None:
    """Read a pose or a shape.

    Args:
        text: Numbers with commas between them, JSON, or the path of a file with either. JSON is a list, or an object
            as `dhpe predict` writes it. A shape with fewer than 10 numbers is filled up with zeros.
        field: "pose" (45 angles, radians) or "shape" (10 coefficients, standard deviations).
        side: Handedness of the model that takes the numbers.

    Returns:
        The numbers; None if `text` is None.

    Raises:
        ValueError: The count of numbers is wrong, a number is not finite, or the pose belongs to the other hand.
    """
    if text is None:
        return None
    import numpy as np

    from dhpe_lib.common.json_files import SMALL, JsonError, Numbers, parse_json

    is_file = os.path.isfile(text)  # Path.is_file raises OSError for a text that is too long for a path
    source = text if is_file else field
    if is_file and os.path.getsize(text) > SMALL:
        raise ValueError(f"{source}: larger than {SMALL} bytes; give a list of numbers")
    content = Path(text).read_bytes().decode("utf-8-sig", "replace") if is_file else text
    start = content.lstrip()[:1]
    try:
        listed = content if start == "[" else f"[{content}]"
        part = _field_of(content, field, side, source) if start == "{" else parse_json(listed, Numbers)
    except JsonError as error:
        raise ValueError(f"{source}: neither a file nor numbers with commas between them ({error})") from error
    try:
        row = np.array(part, np.float32).ravel()
    except ValueError as error:
        raise ValueError(f"{source}: the {field} does not hold numbers in rows of equal length") from error
    count = COUNTS[field]
    if field == "shape" and len(row) < count:
        row = np.pad(row, (0, count - len(row)))
    if len(row) != count:
        raise ValueError(f"{source}: a {field} has {count} numbers, here are {len(row)}")
    if not np.isfinite(row).all():
        raise ValueError(f"{source}: number {np.isfinite(row).argmin() + 1} of the {field} is not finite")
    return row.tolist()


def _field_of(text: str, field: str, side: str, source: str) -> "Numbers":
    """Return a field of the JSON of a prediction."""
    from dhpe_lib.common.json_files import JsonError, parse_json
    from dhpe_lib.hand.pose_files import Prediction

    try:
        found = parse_json(text, Prediction)
        numbers = found.h[field]
    except (JsonError, KeyError) as error:
        raise ValueError(
            f"{source}: holds no {field} ({error}); give a list of numbers, or a file that dhpe predict wrote"
        ) from error
    if field == "pose" and found.hand not in (None, side):
        raise ValueError(f"{source}: holds the pose of a {found.hand} hand; add --side {found.hand}")
    return numbers
