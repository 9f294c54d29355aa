"""The commands `dhpe predict` and `dhpe demo`."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dhpe_lib.cli.options import OUT, DeviceOption, ModelOption, OutOption, SideName, prepare_folder, usage_error
from dhpe_lib.common.console import link, say

if TYPE_CHECKING:
    from dhpe_lib.prediction.batch import JointsSource, Result
    from dhpe_lib.prediction.from_photo import Box

ASSUMED_NOTE = (
    "Which hand it is was assumed: joints alone fit a right hand and, mirrored in depth, a left one; the network takes "
    "the one that its heat maps are higher for. Where the mesh shows the palm and the photo the back of the hand, run "
    "again with --hand left (or right)."
)


class EvidenceName(StrEnum):
    """Where the joints come from."""

    network = "network"
    mediapipe = "mediapipe"
    keypoints = "keypoints"


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
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.prediction.batch import Request, load_right_hand, run_photos

    with usage_error("--device"):
        place = find_device(device)
    network, corners, joints = None, None, None
    if source is EvidenceName.network:
        from dhpe_lib.network.trained import load_shipped

        if box is not None and "," in box and not Path(box).is_file():
            with usage_error("--box"):
                corners = numbers_of(box, len(photos))
        elif box is not None:
            with usage_error("--box"):
                joints = joints_source(box)
        with usage_error("--weights"):
            network = load_shipped(weights).to(place)
    else:
        with usage_error("--keypoints"):
            joints = joints_source(keypoints or "mediapipe")
    with usage_error("--model"):
        right_hand = load_right_hand(model).to(place)
    with usage_error("--out"):
        prepare_folder(out)
    console = Console(highlight=False)
    request = Request(joints, mask, None if hand is None else hand.value, out, network, corners)
    results = list(report_all(run_photos(right_hand, photos, request), photos, console))
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
    from dhpe_lib.prediction.keypoints import import_mediapipe, read_keypoints

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


def demo(out: OutOption = OUT, device: DeviceOption = None) -> None:
    """Fit a hand in a picture that is rendered here, and compare with the truth."""
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.evaluation.alignment import mesh_errors
    from dhpe_lib.prediction.batch import Request, load_right_hand, run_photos
    from dhpe_lib.prediction.demo import write_demo
    from dhpe_lib.prediction.keypoints import read_keypoints

    with usage_error("--out"):
        prepare_folder(out)
    with usage_error("--device"):
        place = find_device(device)
    scene, picture, joints = write_demo(out)
    say("Rendered a hand, ", picture, ", with its 21 joints, ", joints, "\n")
    request = Request((joints, read_keypoints(joints)), None, None, out)
    (result,) = run_photos(load_right_hand(None).to(place), [picture], request)
    report(result, Console(highlight=False))
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


def report_all(results: "Iterator[Result]", photos: Sequence[Path], console: Console) -> "Iterator[Result]":
    """Report each result when it comes, above a progress bar."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(photos[0].name, total=len(photos))
        for done, result in enumerate(results, 1):
            report(result, console)
            progress.update(task, description=photos[min(done, len(photos) - 1)].name, advance=1)
            yield result


def report(result: "Result", console: Console) -> None:
    """One line for each hand, or one for what went wrong."""
    if result.problem:
        console.print(Text.assemble(("✗ ", "red"), str(result.photo)), soft_wrap=True)
    for estimate, files in result.hands:
        line = Text.assemble(
            ("✓ ", "green"),
            f"{result.photo}  ",
            (f"{estimate.model.side} hand", "bold"),
            f"{'' if estimate.side_known else ' (assumed)'}, 2D residual {100 * estimate.relative_error:.1f} %  ",
            link(files[-1]),
        )
        console.print(line, soft_wrap=True)


def summarise(results: "Sequence[Result]", folder: Path, console: Console) -> None:
    """How many worked, what to know about them, and each failure with its reason."""
    hands = [estimate for result in results for estimate, _ in result.hands]
    failures = [result for result in results if result.problem]
    if hands:
        seconds = sum(result.seconds for result in results) / sum(not result.problem for result in results)
        count = f"{len(hands)} hand{'s' * (len(hands) != 1)}"
        suffixes = next(", ".join(file.suffix for file in files) for result in results for _, files in result.hands)
        console.print(
            Text.assemble(f"\n{count} in ", link(folder), f" ({seconds:.1f} s a photo): {suffixes} each."),
            soft_wrap=True,
        )
    if not all(estimate.side_known for estimate in hands):
        console.print(ASSUMED_NOTE, soft_wrap=True)
    if failures:
        console.print(Text(f"\n{len(failures)} of {len(results)} photos failed:", "red"))
    for result in failures:
        reason = result.problem.removeprefix(f"{result.photo}: ")
        console.print(Text.assemble(("  " + str(result.photo), "bold"), f": {reason}"), soft_wrap=True)
