"""Photos one after the other: evidence, fit, files, with progress and a summary; one that fails stops no other."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, UInt8
from numpy import ndarray

from dhpe_lib.common.devices import one_thread
from dhpe_lib.data.photos import PhotoError, read_mask, read_photo
from dhpe_lib.hand.io import HandFileError, Side
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.prediction.from_keypoints import estimate_hand
from dhpe_lib.prediction.from_photo import Box, predict_hand
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError
from dhpe_lib.prediction.keypoints import HandKeypoints, KeypointsError, detect_hands, keypoints_of
from dhpe_lib.prediction.outputs import SUFFIXES, write_estimate

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


def run_photos(model: HandModel, photos: Sequence[Path], request: Request) -> Iterator[Result]:
    """Fit every hand in every photo and write the files.

    Args:
        model: A right hand.
        photos: Files.
        request: The rest.

    Yields:
        One result for each photo, in their order, as soon as its files are written.
    """
    labels = request.keypoints[0] if isinstance(request.keypoints, tuple) else None
    inputs = {path.absolute() for path in (*photos, request.mask, labels) if path is not None}
    taken: set[str] = set()
    for photo in photos:
        with one_thread():
            result = run_photo(model, photo, request, inputs, taken)
        yield result


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
