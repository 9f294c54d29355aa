"""The command `dhpe`: a hand mesh from a photo, a demonstration, the hand with sliders, training.

What takes time to import is imported by the command that needs it, so that `dhpe --help` is quick.
"""

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dhpe_lib import __version__
from dhpe_lib.data_cli import data_app
from dhpe_lib.terminal import OUT, DeviceOption, checked, prepare_folder, say
from dhpe_lib.train_cli import ablate, evaluate, export, train

if TYPE_CHECKING:
    from dhpe_lib.batch import JointsSource
    from dhpe_lib.hand_model import HandModel
    from dhpe_lib.network_prediction import Box

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
hand_app = typer.Typer(no_args_is_help=True, help="The hand model by itself: look at it, export it.")
app.add_typer(hand_app, name="hand")
app.add_typer(data_app, name="data")
app.command()(train)
app.command()(evaluate)
app.command("export")(export)
app.command()(ablate)


class SideName(StrEnum):
    """Which hand."""

    left = "left"
    right = "right"


class EvidenceName(StrEnum):
    """Where the joints come from."""

    network = "network"
    mediapipe = "mediapipe"
    keypoints = "keypoints"


ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="PATH", help="A hand in MANO's layout (.pkl, .npz), instead of the open hand."),
]
SideOption = Annotated[SideName | None, typer.Option("--side", help="Which hand; by default the model's own.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if need be.")]


@app.callback(invoke_without_command=True)
def dhpe(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Dense 3D hand meshes from photos. Start with **dhpe demo**."""
    if version:
        Console().print(f"dhpe {__version__}", highlight=False)
        raise typer.Exit


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Images of any kind.", show_default=False)],
    keypoints: Annotated[
        Path | None, typer.Option("--keypoints", metavar="FILE", help="JSON with the 21 joints of each photo's hands.")
    ] = None,
    evidence: Annotated[
        EvidenceName | None,
        typer.Option("--evidence", help="Where the joints come from; by default FILE if given, else the network."),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X,Y,W,H|mediapipe|FILE",
            help="Where the hand is, for the network: pixels, or by MediaPipe's or a JSON's joints.",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="The network's, or a run's folder.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="Image of the photo's size, bright on the hand.")
    ] = None,
    hand: Annotated[
        SideName | None, typer.Option("--hand", help="Which hand it is, if the joints' source does not know or errs.")
    ] = None,
    model: ModelOption = None,
    out: OutOption = OUT,
    device: DeviceOption = None,
) -> None:
    """Find a hand's mesh in every photo.

    The trained network finds one hand in each photo, and a mesh is fitted to what it says; with --box mediapipe
    MediaPipe finds the hands, and the network says the rest. Or say where the joints are (--keypoints FILE, --evidence
    mediapipe): then a mesh is fitted to these, without the network. Each hand gives a mesh (.glb, .obj), its joints and
    parameters (.json), a picture (.png) and a page to turn it in a browser (.html, works offline).
    """
    source = evidence or (EvidenceName.network if keypoints is None else EvidenceName.keypoints)
    refuse_together(source, {"--keypoints": keypoints, "--box": box, "--weights": weights, "--model": model})
    if mask is not None and len(photos) > 1:
        raise typer.BadParameter("a mask belongs to one photo; give one photo at a time", param_hint="--mask")
    from dhpe_lib.batch import Request, find_device, load_right_hand, run_photos, summarise

    place = checked("--device", lambda: find_device(device))
    network, corners, joints = None, None, None
    if source is EvidenceName.network:
        from dhpe_lib.shipped import load_shipped

        if box is not None and "," in box and not Path(box).is_file():
            corners = checked("--box", lambda: numbers_of(box, len(photos)))
        elif box is not None:
            joints = checked("--box", lambda: joints_source(box))
        network = checked("--weights", lambda: load_shipped(weights)).to(place)
    else:
        joints = checked("--keypoints", lambda: joints_source(keypoints or "mediapipe"))
    right_hand = checked("--model", lambda: load_right_hand(model)).to(place)
    checked("--out", lambda: prepare_folder(out))
    console = Console(highlight=False)
    request = Request(joints, mask, None if hand is None else hand.value, out, network, corners)
    results = run_photos(right_hand, photos, request, console)
    summarise(results, out, console)
    if any(result.problem for result in results):
        raise typer.Exit(1)


def refuse_together(source: EvidenceName, options: dict[str, object]) -> None:
    """Options that the evidence would leave unused, or that it lacks."""
    given = {option for option, value in options.items() if value is not None}
    if source is EvidenceName.keypoints and "--keypoints" not in given:
        raise typer.BadParameter("keypoints come from a file; name it with --keypoints", param_hint="--evidence")
    unused = {"--box", "--weights"}
    if source is EvidenceName.network:
        unused = {"--keypoints", "--model"}  # the network was trained with the open hand
    elif source is EvidenceName.mediapipe:
        unused = {"--box", "--weights", "--keypoints"}
    for option in sorted(given & unused):
        message = f"{source.value} would leave {option} unused; drop one of them"
        raise typer.BadParameter(message, param_hint="--evidence")


def joints_source(source: str | Path) -> "JointsSource":
    """MediaPipe by its name, or a JSON, read."""
    from dhpe_lib.keypoints import import_mediapipe, read_keypoints

    if source == "mediapipe":
        import_mediapipe()
        return "mediapipe"
    path = Path(source)
    return path, read_keypoints(path)


def numbers_of(box: str, photos: int) -> "Box":
    """The four numbers of a box."""
    try:
        x, y, width, height = map(float, box.split(","))
    except ValueError as error:
        raise ValueError(f"{box}: is no box; write left, top, width and height in pixels as X,Y,W,H") from error
    if photos > 1:
        raise ValueError("a box belongs to one photo; give one photo at a time")
    if not (0 < width < float("inf") and 0 < height < float("inf")):
        raise ValueError(f"{box}: width and height must be positive")
    return x, y, width, height


@app.command()
def demo(out: OutOption = OUT, device: DeviceOption = None) -> None:
    """Fit a hand in a picture that is rendered here, and compare with the truth."""
    from dhpe_lib.batch import Request, find_device, load_right_hand, run_photos
    from dhpe_lib.demo_picture import mesh_errors, write_demo
    from dhpe_lib.keypoints import read_keypoints

    checked("--out", lambda: prepare_folder(out))
    place = checked("--device", lambda: find_device(device))
    scene, picture, joints = write_demo(out)
    say("Rendered a hand, ", picture, ", with its 21 joints, ", joints, "\n")
    request = Request((joints, read_keypoints(joints)), None, None, out)
    (result,) = run_photos(load_right_hand(None).to(place), [picture], request, Console(highlight=False))
    if result.problem:
        raise RuntimeError(f"the demonstration failed: {result.problem}")
    ((estimate, files),) = result.hands
    plain, aligned = mesh_errors(estimate.metres(estimate.mesh.vertices), scene.vertices)
    say(
        f"Its vertices lie {1000 * plain:.1f} mm from the true ones on average, measured from the wrist, and "
        f"{1000 * aligned:.1f} mm with the mesh turned and scaled onto them: joints in a picture say little of depth.\n"
    )
    say("Open ", files[-1], " in a browser to turn the mesh and move its fingers; ", files[-2], " is the overlay.")
    say("With a photo of yours: dhpe predict PHOTO, or with its joints: --keypoints FILE (dhpe predict --help tells)")


@hand_app.command()
def show(
    model: ModelOption = None,
    side: SideOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page to write.")] = OUT / "hand.html",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Write a page with sliders for the ten shapes and every joint, and open it."""
    from dhpe_lib.outputs import together
    from dhpe_lib.viewer import hand_page

    hand = load_hand(model, side)
    checked("--out", lambda: prepare_folder(out.parent))
    with together(out.parent, [out.name]) as (draft,):
        draft.write_text(hand_page(hand, title=f"The {hand.side} hand"), encoding="utf-8")
    say("The hand with sliders: ", out)
    if browser:
        webbrowser.open(out.absolute().as_uri())


@hand_app.command("export")
def export_hand_file(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="FILE.pkl, .npz (the model), .obj, .ply or .glb (a mesh).")
    ],
    side: SideOption = None,
    pose: Annotated[
        str | None,
        typer.Option("--pose", metavar="NUMBERS|FILE", help="45 angles, or a JSON with them (predict's will do)."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="NUMBERS|FILE", help="Up to 10 shape coefficients, or a JSON.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Write the hand for other programs; the suffix chooses the format.

    .pkl and .npz hold the model in MANO's layout; .obj, .ply and .glb a mesh in metres, posed and shaped. A pose is the
    rotation vectors of MANO's 15 joints relative to the flat hand, in radians; a shape is in standard deviations.
    """
    from dhpe_lib.hand_export import export_hand

    hand = load_hand(model, side)
    checked(None, lambda: export_hand(out, hand, pose, shape))
    say("Written: ", out)


def load_hand(path: Path | None, side: SideName | None) -> "HandModel":
    """The hand of a file, or the open hand."""
    from dhpe_lib.hand_model import OPEN_HAND, HandModel

    return checked("--model", lambda: HandModel.load(path or OPEN_HAND, None if side is None else side.value))


def main() -> None:
    """Run `dhpe`."""
    app()


if __name__ == "__main__":
    main()  # python -m dhpe_lib.cli, as torchrun starts it
