"""Report the results of `dhpe predict` on the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dhpe_lib.common.console import link

if TYPE_CHECKING:
    from dhpe_lib.prediction.demo import DemoScene
    from dhpe_lib.prediction.hand_estimate import HandEstimate
    from dhpe_lib.prediction.request import HandResult, Photo, Request, Result

ASSUMED_NOTE = (
    "The handedness was assumed: the joints alone fit a right hand and, mirrored in depth, a left hand. If the mesh "
    "shows the palm and the photo shows the back of the hand, run again with --hand left (or right)."
)
CAMERA_NOTE = (
    "The focal length was assumed, so the distance from the camera is rough. Give it with --focal PX or --fov DEG."
)


class RateColumn(ProgressColumn):
    """Photos or frames per second since the start."""

    def __init__(self, unit: str = "photos"):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before the first one."""
        if not task.completed or not task.elapsed:
            return Text("")
        return Text(f"{task.completed / task.elapsed:.1f} {self.unit}/s")


def report_all(results: "Iterator[Result]", photos: "Sequence[Photo]", console: Console) -> "Iterator[Result]":
    """Print each result as soon as it arrives, above a progress bar with a rate, and yield it."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(photos))
        for result in results:
            report(result, console)
            progress.advance(task)
            yield result


def report(result: "Result", console: Console) -> None:
    """Print one line for each hand and its warnings, or one line with the reason for a failed photo."""
    if result.problem:
        mark = ("- ", "yellow") if result.no_hand else ("✗ ", "red")
        console.print(Text.assemble(mark, f"{result.photo.path}: {result.problem}"), soft_wrap=True)
    for hand in result.hands:
        line = Text.assemble(
            ("! ", "yellow") if hand.warnings else ("✓ ", "green"),
            f"{result.photo.path}  ",
            (f"{hand.side} hand", "bold"),
            f"{' (assumed)' if hand.side_assumed else ''}, 2D residual {100 * hand.relative_error:.1f} %  ",
            link(hand.files[-1]),
        )
        console.print(line, soft_wrap=True)
        for warning in hand.warnings:
            console.print(Text(f"  {warning}", "yellow"), soft_wrap=True)
    if result.all_hands is not None:
        console.print(Text.assemble(f"  all {len(result.hands)} hands  ", link(result.all_hands)), soft_wrap=True)


def summarise(results: "Sequence[Result]", request: "Request", console: Console, index: Path | None = None) -> None:
    """Print the number of hands, of doubtful ones and of photos without a hand or a result, and notes on assumptions.

    Args:
        results: Results of the run.
        request: Its options.
        console: The terminal.
        index: The index of a run over several photos, which names the photos without a hand.
    """
    hands: list[HandResult] = [hand for result in results for hand in result.hands]
    without = sum(result.no_hand for result in results)
    failed = sum(result.failed for result in results)
    if hands:
        seconds = sum(result.seconds for result in results) / sum(not result.problem for result in results)
        count = f"{len(hands)} hand{'s' * (len(hands) != 1)}"
        files = f" ({seconds:.2g} s per photo): {', '.join(request.suffixes)}{' each' * (len(hands) != 1)}."
        console.print(Text.assemble(f"\n{count} in ", link(request.folder), files), soft_wrap=True)
    doubtful = sum(bool(hand.warnings) for hand in hands)
    if doubtful:
        console.print(Text(f"{doubtful} of them {'is' if doubtful == 1 else 'are'} doubtful (!).", "yellow"))
    if any(hand.side_assumed for hand in hands):
        console.print(ASSUMED_NOTE, soft_wrap=True)
    if any(hand.camera == "assumed" for hand in hands):
        console.print(CAMERA_NOTE, soft_wrap=True)
    for number, state, color in ((without, "without a hand (-)", "yellow"), (failed, "failed (✗)", "red")):
        if number and index is not None:
            count = f"\n{number} of {len(results)} photos {state}; the reasons are in "
            console.print(Text.assemble((count, color), link(index)), soft_wrap=True)


def report_demo(scene: "DemoScene", estimates: "Sequence[HandEstimate]", console: Console) -> None:
    """Print the errors of each hand of the demo.

    Raises:
        PredictionError: A hand was missed or has the wrong side.
    """
    from dhpe_lib.prediction.demo import compare_hands

    console.print("\nCompared with the ground truth:")
    for error in compare_hands(scene, estimates):
        console.print(
            f"  {error.side} hand: joints {error.error_px:.1f} pixels off ({100 * error.relative_error:.1f} % of the "
            f"hand's size), mesh {error.mesh_mm:.1f} mm off, {error.aligned_mm:.1f} mm after alignment",
            soft_wrap=True,
        )
