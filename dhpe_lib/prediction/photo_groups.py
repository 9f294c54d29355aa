"""Process a group of photos: networks, fit and files. A photo that fails does not stop the others."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy import ndarray

from dhpe_lib.common.devices import find_device
from dhpe_lib.common.heap import return_freed_memory
from dhpe_lib.data.camera import Camera
from dhpe_lib.data.photos import PhotoError, read_mask, read_photo
from dhpe_lib.hand.io import HandFileError
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import Palms, detect_palms
from dhpe_lib.prediction.find_hands import FoundHand, find_hand_in_box, find_hands, letterboxed
from dhpe_lib.prediction.from_photo import fit_found_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate, NoHandError, PredictionError
from dhpe_lib.prediction.hand_search import LEAST_PALM, HandNetworks, load_hand_networks
from dhpe_lib.prediction.keypoints import HandKeypoints, KeypointsError, detect_hands, keypoints_of
from dhpe_lib.prediction.outputs import write_all_hands, write_estimate
from dhpe_lib.prediction.request import HandResult, JointsSource, Photo, Request, Result

if TYPE_CHECKING:
    from dhpe_lib.network.estimator import Estimator

Hands = Sequence[FoundHand] | Sequence[HandKeypoints]
EXPECTED = (PhotoError, KeypointsError, PredictionError, NoHandError, HandFileError, OSError)


@dataclass(frozen=True)
class Tools:
    """The loaded models of a run.

    Attributes:
        model: Model of a right hand.
        networks: Palm detector and hand landmark network, or None if the evidence does not need them.
        estimator: This project's f_DHPE, or None if the evidence does not need it.
    """

    model: HandModel
    networks: HandNetworks | None
    estimator: "Estimator | None"


def load_tools(request: Request) -> Tools:
    """Load the models that a request needs.

    Raises:
        FileNotFoundError: A file is missing.
        HandFileError: The file is no hand model, or it lacks the standard deviations of the poses.
        CheckpointError: The weights are no checkpoint.
        ValueError: The device does not exist.
    """
    device = find_device(request.device)
    model = load_right_hand(request.model).to(device)
    networks = None if request.evidence == "keypoints" else load_hand_networks(device)
    estimator = None
    if request.evidence == "estimator":
        from dhpe_lib.network.trained import load_shipped  # this import takes two seconds

        estimator = load_shipped(request.weights).to(device)
    return Tools(model, networks, estimator)


def load_right_hand(path: Path | None) -> HandModel:
    """Load the right-hand model for the fit.

    Args:
        path: File in MANO's layout; a left hand is mirrored. By default the open hand.

    Returns:
        The model.

    Raises:
        FileNotFoundError: The file does not exist.
        HandFileError: The file is no hand model, or it lacks the standard deviations of the poses.
    """
    model = HandModel.open_hand() if path is None else HandModel.load(path, "right")
    if "hands_coeffs" not in model.hand:
        raise HandFileError(f"{path}: lacks hands_coeffs, the standard deviations of the poses; give MANO's own file")
    return model


def read_group(group: Sequence[Photo]) -> list[UInt8[ndarray, "_ _ 3"] | Exception]:
    """Read the photos of a group; a photo that cannot be read is replaced by its error."""
    images: list[ndarray | Exception] = []
    for photo in group:
        try:
            images.append(read_photo(photo.path))
        except Exception as error:
            images.append(error)
    return images


def run_group(
    tools: Tools, group: Sequence[Photo], images: Sequence[ndarray | Exception], request: Request
) -> list[Result]:
    """Process a group of photos: one pass of the palm detector, one fit of all hands, then the files of each photo.

    Args:
        tools: Models of the run.
        group: Photos of the group.
        images: Pixels of each photo, or its error, from :func:`read_group`.
        request: Options of the run.

    Returns:
        One result for each photo.
    """
    start = time.perf_counter()
    estimates: list[list[HandEstimate] | Exception] = list(estimate_group(tools, group, images, request))
    share = (time.perf_counter() - start) / len(group)
    return_freed_memory()  # that of the networks; pictures need much, too
    triples = zip(group, images, estimates, strict=True)
    return [result_of(photo, image, hands, request, share) for photo, image, hands in triples]


def result_of(
    photo: Photo, image: ndarray | Exception, hands: list[HandEstimate] | Exception, request: Request, seconds: float
) -> Result:
    """Write the files of a photo's hands; `seconds` is the time that was needed to find them."""
    start = time.perf_counter()
    try:
        if isinstance(hands, Exception):
            raise hands
        assert isinstance(image, ndarray)
        written = write_hands(hands, image, photo, request)
        return replace(written, seconds=seconds + time.perf_counter() - start)
    except EXPECTED as error:
        problem = str(error).removeprefix(f"{photo.path}: ")
        return Result(photo, problem=problem, no_hand=isinstance(error, NoHandError))
    except Exception as error:  # a bug of this program must not stop the other photos
        return Result(photo, problem=f"{type(error).__name__}: {error}")


def estimate_group(
    tools: Tools, group: Sequence[Photo], images: Sequence[ndarray | Exception], request: Request
) -> Iterator[list[HandEstimate] | Exception]:
    """Estimate the hands of each photo of a group, in order; yield the error of a photo that fails."""
    found = find_in_group(tools, group, images, request)
    for image, hands in zip(images, fit_group(tools, images, request, found), strict=True):
        yield attempt(count_outside, image, hands)


def find_in_group(
    tools: Tools, group: Sequence[Photo], images: Sequence[ndarray | Exception], request: Request
) -> list[Hands | Exception]:
    """Find the hands of each photo of a group, or read their keypoints; a photo that fails gives its error."""
    if request.evidence == "keypoints":
        pairs = zip(group, images, strict=True)
        return [attempt(read_hands, photo.path, image, request.keypoints) for photo, image in pairs]
    search = request.box is None and request.keypoints is None
    palms = detect_group_palms(tools, images) if search else [None] * len(group)
    return [
        attempt(find_and_look, tools, photo, image, request, photo_palms)
        for photo, image, photo_palms in zip(group, images, palms, strict=True)
    ]


def fit_group(
    tools: Tools, images: Sequence[ndarray | Exception], request: Request, found: Sequence[Hands | Exception]
) -> Iterator[list[HandEstimate] | Exception]:
    """Fit the hands of all photos of a group in one batch; yield those of each photo, or its error."""
    if request.mask is None:
        hands = [hand for in_photo in found if not isinstance(in_photo, Exception) for hand in in_photo]
        fitted = attempt(fit, tools, request, hands)
        if not isinstance(fitted, Exception):
            remaining = iter(fitted)
            for in_photo in found:
                yield in_photo if isinstance(in_photo, Exception) else [next(remaining) for _ in in_photo]
            return
    for image, in_photo in zip(images, found, strict=True):  # photo by photo, to know which photo fails
        yield attempt(fit_in_photo, tools, image, request, in_photo)


def count_outside(image: UInt8[ndarray, "height width 3"], hands: Sequence[HandEstimate]) -> list[HandEstimate]:
    """Note of each hand of a photo how many of its joints lie outside."""
    size = image.shape[1], image.shape[0]
    return [replace(hand, outside=hand.keypoints.outside(size)) for hand in hands]


def attempt(function: Any, *arguments: Any) -> Any:
    """Call a function and return its value, or the exception that it raises.

    If an argument is an exception, the function is not called and this exception is returned.
    """
    for argument in arguments:
        if isinstance(argument, Exception):
            return argument
    try:
        return function(*arguments)
    except Exception as error:
        return error


def detect_group_palms(tools: Tools, images: Sequence[ndarray | Exception]) -> list[Palms | None]:
    """Detect the palms in all photos of a group in one pass; a photo that could not be read gives None."""
    assert tools.networks is not None
    squares = {k: letterboxed(image) for k, image in enumerate(images) if isinstance(image, ndarray)}
    palms: list[Palms | None] = [None] * len(images)
    if squares:
        batch = torch.cat(list(squares.values()))
        for k, photo_palms in zip(squares, detect_palms(tools.networks.palms, batch, LEAST_PALM), strict=True):
            palms[k] = photo_palms
    return palms


def find_in_photo(
    tools: Tools, photo: Photo, image: UInt8[ndarray, "height width 3"], request: Request, palms: Palms | None
) -> list[FoundHand]:
    """Find the hands of one photo with the public networks: in the whole photo, in a box, or around external joints."""
    assert tools.networks is not None
    if request.box is None and request.keypoints is None:
        return find_hands(tools.networks, image, request.max_hands, request.side, palms)
    if request.box is not None:
        left, top, width, height = request.box
        boxes = [((left, top, left + width, top + height), request.side)]
    else:
        assert request.keypoints is not None
        hands = read_hands(photo.path, image, request.keypoints)
        boxes = [(box_corners(hand), request.side or hand.side) for hand in hands]
    return [find_hand_in_box(tools.networks, image, box, side) for box, side in boxes]


def find_and_look(
    tools: Tools, photo: Photo, image: UInt8[ndarray, "height width 3"], request: Request, palms: Palms | None
) -> list[FoundHand]:
    """Find the hands of one photo; with the evidence of the estimator, replace their joints by the estimator's."""
    hands = find_in_photo(tools, photo, image, request, palms)
    if tools.estimator is None:
        return hands
    from dhpe_lib.prediction.from_estimator import look_with_estimator

    return look_with_estimator(tools.estimator, image, hands)


def box_corners(hand: HandKeypoints) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the known joints' tight box, pixels; at least one pixel wide and high.

    Raises:
        PredictionError: The known joints all lie in one place.
    """
    joints = hand.joints[hand.known]
    if len(joints) < 2 or not np.ptp(joints, axis=0).any():
        raise PredictionError("the known joints all lie in one place; give at least two distinct joints")
    (left, top), (right, bottom) = joints.min(0).tolist(), joints.max(0).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def fit_in_photo(
    tools: Tools, image: UInt8[ndarray, "height width 3"], request: Request, hands: Hands
) -> list[HandEstimate]:
    """Fit the hands of one photo, with the mask if there is one."""
    mask = None if request.mask is None else read_hand_mask(request.mask, image, len(hands))
    return fit(tools, request, hands, mask)


def fit(
    tools: Tools, request: Request, hands: Any, mask: Bool[ndarray, "height width"] | None = None
) -> list[HandEstimate]:
    """Fit a mesh to each hand, in one batch: to given keypoints, or to the joints of the networks."""
    if request.evidence != "keypoints":
        return fit_found_hands(tools.model, hands, request.side is not None, mask)
    from dhpe_lib.prediction.from_keypoints import estimate_hands  # imports the renderer, which takes a second

    return estimate_hands(tools.model, hands, request.side, mask)


def read_hands(path: Path, image: UInt8[ndarray, "height width 3"], keypoints: JointsSource) -> list[HandKeypoints]:
    """Return the keypoints of a photo's hands from the JSON or from MediaPipe.

    Raises:
        NoHandError: MediaPipe finds no hand.
        KeypointsError: The JSON names no hand of this photo, or its entry is wrong.
    """
    if keypoints != "mediapipe":
        source, entries = keypoints
        return keypoints_of(path, (image.shape[1], image.shape[0]), entries, source)
    hands = detect_hands(image)
    if not hands:
        raise NoHandError(f"{path}: MediaPipe finds no hand in it; give its joints in a JSON, or its --box X,Y,W,H")
    return hands


def read_hand_mask(path: Path, image: UInt8[ndarray, "height width 3"], hands: int) -> Bool[ndarray, "height width"]:
    """Read the mask of a photo with one hand.

    Raises:
        PhotoError: The photo has several hands, or the mask cannot be used.
    """
    if hands > 1:
        raise PhotoError(f"{path}: a mask does not tell which of {hands} hands a pixel shows; leave it out")
    return read_mask(path, (image.shape[1], image.shape[0]))


def write_hands(
    hands: Sequence[HandEstimate], image: UInt8[ndarray, "height width 3"], photo: Photo, request: Request
) -> Result:
    """Write the files of each hand of a photo, and one picture of all of them if there are several."""
    camera = Camera.choose(image.shape[1], image.shape[0], request.focal, request.fov, photo.path)
    all_hands = request.folder / f"{photo.stem}_hands.png" if len(hands) > 1 and ".png" in request.suffixes else None
    written = []
    for number, hand in enumerate(hands, 1):
        stem = f"{photo.stem}_hand" + (str(number) if number > 1 else "")
        files = write_estimate(hand, image, photo.name, request.folder, stem, camera, request.suffixes, all_hands)
        facts = hand.model.side, hand.side_assumed, hand.relative_error
        written.append(HandResult(tuple(files), *facts, tuple(hand.warnings), camera.source))
    if all_hands is not None:
        write_all_hands(hands, image, all_hands)
    return Result(photo, tuple(written), all_hands=all_hands)
