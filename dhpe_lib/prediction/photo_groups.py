"""A group of photos through the networks, the fit and the writing of files. One failure stops no other photo."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy import ndarray

from dhpe_lib.common.devices import find_device
from dhpe_lib.data.camera import Camera
from dhpe_lib.data.photos import PhotoError, read_mask, read_photo
from dhpe_lib.hand.io import HandFileError
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import Palms, detect_palms
from dhpe_lib.prediction.find_hands import FoundHand, NoHandError, find_hand_in_box, find_hands, letterboxed
from dhpe_lib.prediction.from_keypoints import estimate_hand
from dhpe_lib.prediction.from_photo import Box, fit_found_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError
from dhpe_lib.prediction.hand_search import LEAST_PALM, HandNetworks, load_hand_networks
from dhpe_lib.prediction.keypoints import HandKeypoints, KeypointsError, detect_hands, keypoints_of
from dhpe_lib.prediction.outputs import write_estimate
from dhpe_lib.prediction.request import HandResult, JointsSource, Photo, Request, Result

if TYPE_CHECKING:
    from dhpe_lib.network.estimator import Estimator

EXPECTED = (PhotoError, KeypointsError, PredictionError, NoHandError, HandFileError, OSError)


@dataclass(frozen=True)
class Tools:
    """Models in memory.

    Attributes:
        model: Model of a right hand.
        networks: Palm detector and hand landmark network, or None if the evidence does not need them.
        estimator: Our own f_DHPE, or None.
    """

    model: HandModel
    networks: HandNetworks | None
    estimator: "Estimator | None"


def load_tools(request: Request) -> Tools:
    """Load the models that a request needs.

    Raises:
        FileNotFoundError: A file is missing.
        HandFileError: The hand model is none, or it lacks what the fit needs.
        CheckpointError: The weights are no checkpoint.
        ValueError: There is no such device.
    """
    device = find_device(request.device)
    model = load_right_hand(request.model).to(device)
    networks = load_hand_networks(device) if request.evidence == "landmarks" else None
    estimator = None
    if request.evidence == "estimator":
        from dhpe_lib.network.trained import load_shipped  # takes two seconds to import

        estimator = load_shipped(request.weights).to(device)
    return Tools(model, networks, estimator)


def load_right_hand(path: Path | None) -> HandModel:
    """Load the hand model for the fit: a file in MANO's layout (a left hand is mirrored), by default the open hand.

    Raises:
        FileNotFoundError: There is no such file.
        HandFileError: The file is no hand model, or lacks the spread of the poses.
    """
    model = HandModel.open_hand() if path is None else HandModel.load(path, "right")
    if "hands_coeffs" not in model.hand:
        raise HandFileError(f"{path}: lacks hands_coeffs, the standard deviations of the poses; give MANO's own file")
    return model


def read_group(group: Sequence[Photo]) -> list[UInt8[ndarray, "_ _ 3"] | Exception]:
    """Read photos; a photo that cannot be read gives its error."""
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
    """Process a group of photos: one pass of the palm detector, one fit of all hands, then the files of each photo."""
    start = time.perf_counter()
    found: list[list[HandEstimate] | Exception] = list(estimate_group(tools, group, images, request))
    share = (time.perf_counter() - start) / len(group)
    results = []
    for photo, image, hands in zip(group, images, found, strict=True):
        begun = time.perf_counter()
        try:
            if isinstance(hands, Exception):
                raise hands
            assert isinstance(image, ndarray)
            written = write_hands(hands, image, photo, request)
            results.append(Result(photo, written, share + time.perf_counter() - begun))
        except EXPECTED as error:
            results.append(Result(photo, problem=str(error).removeprefix(f"{photo.path}: ")))
        except Exception as error:  # a defect of ours must not stop the other photos
            results.append(Result(photo, problem=f"{type(error).__name__}: {error}"))
    return results


def estimate_group(
    tools: Tools, group: Sequence[Photo], images: Sequence[ndarray | Exception], request: Request
) -> Iterator[list[HandEstimate] | Exception]:
    """Estimate the hands of each photo of a group; a photo that fails gives its error."""
    if request.evidence != "landmarks":
        for photo, image in zip(group, images, strict=True):
            yield attempt(estimate_hands, tools, photo, image, request)
        return
    palms = palms_of(tools, images) if request.box is None and request.keypoints is None else [None] * len(group)
    found = [
        attempt(find_in_photo, tools, photo, image, request, seen)
        for photo, image, seen in zip(group, images, palms, strict=True)
    ]
    known = request.side is not None
    if request.mask is None:
        hands = [hand for one in found if not isinstance(one, Exception) for hand in one]
        fitted = attempt(fit_found_hands, tools.model, hands, known)
        if not isinstance(fitted, Exception):
            rest = iter(fitted)
            for one in found:
                yield one if isinstance(one, Exception) else [next(rest) for _ in one]
            return
    for photo, image, one in zip(group, images, found, strict=True):  # one by one, to know which photo fails
        yield one if isinstance(one, Exception) else attempt(fit_in_photo, tools, photo, image, request, one)


def attempt(function: Any, *arguments: Any) -> Any:
    """The function's value, or the exception that it raises; an exception among the arguments is given back."""
    for argument in arguments:
        if isinstance(argument, Exception):
            return argument
    try:
        return function(*arguments)
    except Exception as error:
        return error


def palms_of(tools: Tools, images: Sequence[ndarray | Exception]) -> list[Palms | None]:
    """Palms in the photos that could be read, from one pass of the detector over all of them."""
    assert tools.networks is not None
    squares = {k: letterboxed(image) for k, image in enumerate(images) if isinstance(image, ndarray)}
    palms: list[Palms | None] = [None] * len(images)
    if squares:
        batch = torch.cat(list(squares.values())).to(next(tools.networks.palms.parameters()))
        for k, one in zip(squares, detect_palms(tools.networks.palms, batch, LEAST_PALM), strict=True):
            palms[k] = one
    return palms


def find_in_photo(
    tools: Tools, photo: Photo, image: UInt8[ndarray, "height width 3"], request: Request, palms: Palms | None
) -> list[FoundHand]:
    """Find the hands of one photo by the public networks: everywhere, in a box, or where somebody's joints are."""
    assert tools.networks is not None
    if request.box is None and request.keypoints is None:
        return find_hands(tools.networks, image, request.max_hands, request.side, palms)
    if request.box is not None:
        left, top, width, height = request.box
        boxes = [((left, top, left + width, top + height), request.side)]
    else:
        assert request.keypoints is not None
        hands = read_hands(photo.path, image, request.keypoints)
        boxes = [(box_of(hand), request.side or hand.side) for hand in hands]
    return [find_hand_in_box(tools.networks, image, box, side) for box, side in boxes]


def box_of(hand: HandKeypoints) -> Box:
    """Left, top, right and bottom of the known joints' tight box, pixels; at least one pixel wide and high."""
    joints = hand.joints[hand.known]
    if len(joints) < 2 or not np.ptp(joints, axis=0).any():
        raise PredictionError("the known joints all lie in one place; give at least two distinct joints")
    (left, top), (right, bottom) = joints.min(0).tolist(), joints.max(0).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def fit_in_photo(
    tools: Tools,
    photo: Photo,
    image: UInt8[ndarray, "height width 3"],
    request: Request,
    hands: Sequence[FoundHand],
) -> list[HandEstimate]:
    """Fit the hands of one photo, with its mask if there is one."""
    mask = None if request.mask is None else one_mask(request.mask, image, len(hands))
    return fit_found_hands(tools.model, hands, request.side is not None, mask)


def estimate_hands(
    tools: Tools, photo: Photo, image: UInt8[ndarray, "height width 3"], request: Request
) -> list[HandEstimate]:
    """Estimate the hands of one photo by our own estimator, or by a fit to given joints."""
    hands = [] if request.keypoints is None else read_hands(photo.path, image, request.keypoints)
    mask = None if request.mask is None else one_mask(request.mask, image, len(hands))
    if tools.estimator is None:
        return [estimate_hand(tools.model, hand, request.side, mask) for hand in hands]
    from dhpe_lib.prediction.from_estimator import predict_hand

    places: Sequence[HandKeypoints | Box | None] = hands or [request.box]
    return [predict_hand(tools.estimator, image, place, request.side, mask) for place in places]


def read_hands(path: Path, image: UInt8[ndarray, "height width 3"], keypoints: JointsSource) -> list[HandKeypoints]:
    """Read the hands of a photo, at least one, from the JSON or from MediaPipe."""
    if keypoints != "mediapipe":
        source, entries = keypoints
        return keypoints_of(path, entries, source)
    hands = detect_hands(image)
    if not hands:
        raise KeypointsError(f"{path}: MediaPipe finds no hand in it; give its joints in a JSON, or its --box X,Y,W,H")
    return hands


def one_mask(path: Path, image: UInt8[ndarray, "height width 3"], hands: int) -> Bool[ndarray, "height width"]:
    """Read the mask of a photo with one hand."""
    if hands > 1:
        raise PhotoError(f"{path}: a mask does not say which of {hands} hands a pixel shows; leave it out")
    return read_mask(path, (image.shape[1], image.shape[0]))


def write_hands(
    hands: Sequence[HandEstimate], image: UInt8[ndarray, "height width 3"], photo: Photo, request: Request
) -> tuple[HandResult, ...]:
    """Write the files of a photo's hands."""
    camera = Camera.choose(image.shape[1], image.shape[0], request.focal, request.fov, photo.path)
    written = []
    for number, hand in enumerate(hands, 1):
        stem = f"{photo.stem}_hand" + (str(number) if number > 1 else "")
        files = write_estimate(hand, image, photo.name, request.folder, stem, camera, request.suffixes)
        facts = hand.model.side, hand.side_assumed, hand.relative_error
        written.append(HandResult(tuple(files), *facts, tuple(hand.warnings), camera.source))
    return tuple(written)
