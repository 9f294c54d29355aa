"""Photos one after the other: evidence, fit, files, with progress and a summary; one that fails stops no other."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, UInt8
from numpy import ndarray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dhpe_lib.estimator import Estimator
from dhpe_lib.hand_files import HandFileError, Side
from dhpe_lib.hand_model import HandModel
from dhpe_lib.keypoints import HandKeypoints, KeypointsError, detect_hands, keypoints_of
from dhpe_lib.network_prediction import Box, predict_hand
from dhpe_lib.outputs import SUFFIXES, write_estimate
from dhpe_lib.photos import PhotoError, read_mask, read_photo
from dhpe_lib.prediction import HandEstimate, PredictionError, estimate_hand
from dhpe_lib.terminal import link

ASSUMED_NOTE = (
    "Which hand it is was assumed: joints alone fit a right hand and, mirrored in depth, a left one; the network takes "
    "the one that its heat maps are higher for. Where the mesh shows the palm and the photo the back of the hand, run "
    "again with --hand left (or right)."
)
JointsSource = tuple[Path, list[dict[str, Any]]] | Literal["mediapipe"]
EXPECTED = (PhotoError, KeypointsError, PredictionError, HandFileError, OSError)


@dataclass(frozen=True)
class Request:
    """What is asked of every photo.

    Attributes:
        keypoints: Who knows the joints: a JSON with its entries, or MediaPipe; None where a network looks for itself.
        mask: Foreground of the photo, a file.
        side: Which hand, where the caller says.
        folder: Where the files go.
        network: A trained one; keypoints then say no more than where hands are. Without one the mesh is fitted to them.
        box: Where the hand is, for a network without keypoints.
    """

    keypoints: JointsSource | None
    mask: Path | None
    side: Side | None
    folder: Path
    network: Estimator | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Result:
    """What became of one photo: its hands with their files, or a reason why there are none."""

    photo: Path
    hands: tuple[tuple[HandEstimate, tuple[Path, ...]], ...] = ()
    seconds: float = 0.0
    problem: str = ""


def find_device(name: str | None) -> torch.device:
    """The device of a name as torch has them; by default CUDA where there is a GPU.

    Raises:
        ValueError: There is no such device.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # an AssertionError where torch was built without CUDA
        raise ValueError(f"{name}: no such device here; use cpu, or cuda where there is a GPU") from error


def load_right_hand(path: Path | None) -> HandModel:
    """The model to fit: a file in MANO's layout (a left hand is mirrored), by default the open hand.

    Raises:
        FileNotFoundError: There is no such file.
        HandFileError: It is no hand, or lacks what the fit needs beyond a hand.
    """
    model = HandModel.open_hand() if path is None else HandModel.load(path, "right")
    if "hands_coeffs" not in model.hand:
        raise HandFileError(f"{path}: lacks hands_coeffs, which say how poses are spread; give MANO's own file")
    return model


def run_photos(model: HandModel, photos: Sequence[Path], request: Request, console: Console) -> list[Result]:
    """Fit every hand in every photo and write the files, saying so line by line.

    Args:
        model: A right hand.
        photos: Files.
        request: The rest.
        console: Where the lines go.

    Returns:
        One result for each photo, in their order.
    """
    labels = request.keypoints[0] if isinstance(request.keypoints, tuple) else None
    inputs = {path.absolute() for path in (*photos, request.mask, labels) if path is not None}
    taken: set[str] = set()
    results = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with one_thread(), progress:
        task = progress.add_task("", total=len(photos))
        for photo in photos:
            progress.update(task, description=photo.name)
            results.append(run_photo(model, photo, request, inputs, taken))
            report(results[-1], console)
            progress.advance(task)
    return results


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: with two a fit is no faster here, and on a busy machine twice as slow."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_photo(model: HandModel, path: Path, request: Request, inputs: set[Path], taken: set[str]) -> Result:
    """One photo; every hand is fitted before the first file is written."""
    start = time.perf_counter()
    try:
        photo = read_photo(path)
        estimates = estimate_hands(model, path, photo, request)
        written = []
        for estimate in estimates:
            stem = free_stem(path.stem, request.folder, inputs, taken)
            written.append((estimate, tuple(write_estimate(estimate, photo, path.name, request.folder, stem))))
    except EXPECTED as error:
        return Result(path, problem=str(error))
    except Exception as error:  # a defect of ours must not take the other photos with it
        return Result(path, problem=f"{type(error).__name__}: {error}")
    return Result(path, tuple(written), time.perf_counter() - start)


def estimate_hands(
    model: HandModel, path: Path, photo: UInt8[ndarray, "height width 3"], request: Request
) -> list[HandEstimate]:
    """The hands of a photo, by the network or by a fit to every hand's joints."""
    hands = [] if request.keypoints is None else find_hands(path, photo, request.keypoints)
    mask = None if request.mask is None else one_mask(request.mask, photo, len(hands))
    if request.network is None:
        return [estimate_hand(model, hand, request.side, mask) for hand in hands]
    places: Sequence[HandKeypoints | Box | None] = hands or [request.box]
    return [predict_hand(request.network, photo, place, request.side, mask) for place in places]


def find_hands(path: Path, photo: UInt8[ndarray, "height width 3"], keypoints: JointsSource) -> list[HandKeypoints]:
    """The hands of a photo, at least one, from the JSON or from MediaPipe."""
    if keypoints != "mediapipe":
        source, entries = keypoints
        return keypoints_of(path, entries, source)
    hands = detect_hands(photo)
    if not hands:
        raise KeypointsError(f"{path}: MediaPipe finds no hand in it; give its joints in a JSON, or its --box X,Y,W,H")
    return hands


def one_mask(path: Path, photo: UInt8[ndarray, "height width 3"], hands: int) -> Bool[ndarray, "height width"]:
    """The mask of a photo with one hand."""
    if hands > 1:
        raise PhotoError(f"{path}: a mask says nothing of which of {hands} hands a pixel shows; leave it out")
    return read_mask(path, (photo.shape[1], photo.shape[0]))


def free_stem(stem: str, folder: Path, inputs: set[Path], taken: set[str]) -> str:
    """A name for a hand's files that no other hand of this run has, and that overwrites no input."""
    number, name = 1, f"{stem}_hand"
    while name in taken or any((folder / f"{name}{suffix}").absolute() in inputs for suffix in SUFFIXES):
        number += 1
        name = f"{stem}_hand{number}"
    taken.add(name)
    return name


# ---------------------------------------------------------------------------------------------- what the terminal says
def report(result: Result, console: Console) -> None:
    """One line for each hand, or one for what went wrong."""
    if result.problem:
        console.print(Text.assemble(("✗ ", "red"), str(result.photo)), soft_wrap=True)
    for estimate, files in result.hands:
        line = Text.assemble(
            ("✓ ", "green"),
            f"{result.photo}  ",
            (f"{estimate.model.side} hand", "bold"),
            f"{'' if estimate.side_known else ' (assumed)'}, 2D residual {100 * estimate.relative_error:.1f} %  ",
            link(files[SUFFIXES.index(".html")]),
        )
        console.print(line, soft_wrap=True)


def summarise(results: Sequence[Result], folder: Path, console: Console) -> None:
    """How many worked, what to know about them, and each failure with its reason."""
    hands = [estimate for result in results for estimate, _ in result.hands]
    failures = [result for result in results if result.problem]
    if hands:
        seconds = sum(result.seconds for result in results) / sum(not result.problem for result in results)
        count = f"{len(hands)} hand{'s' * (len(hands) != 1)}"
        console.print(
            Text.assemble(f"\n{count} in ", link(folder), f" ({seconds:.1f} s a photo): {', '.join(SUFFIXES)} each."),
            soft_wrap=True,
        )
    if not all(estimate.side_known for estimate in hands):
        console.print(ASSUMED_NOTE, soft_wrap=True)
    if failures:
        console.print(Text(f"\n{len(failures)} of {len(results)} photos failed:", "red"))
    for result in failures:
        reason = result.problem.removeprefix(f"{result.photo}: ")
        console.print(Text.assemble(("  " + str(result.photo), "bold"), f": {reason}"), soft_wrap=True)
