"""A run over photos: what is asked for, how the photos' files are named, and what comes out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dhpe_lib.hand.io import Side
from dhpe_lib.prediction.from_photo import Box
from dhpe_lib.prediction.outputs import SUFFIXES

Evidence = Literal["landmarks", "estimator", "keypoints"]
JointsSource = tuple[Path, list[dict[str, Any]]] | Literal["mediapipe"]


@dataclass(frozen=True)
class Request:
    """What to do with every photo.

    Attributes:
        folder: Folder for the files.
        evidence: Source of the 21 joints: the hand landmark network, f_J2D of our own estimator, or `keypoints`.
        keypoints: Joints of each photo's hands, from a JSON with its entries or from MediaPipe. With evidence
            "keypoints" the mesh is fitted to them; else they only say where the hands are.
        box: Where the only hand is, pixels.
        mask: File with the foreground of the photo.
        side: Which hand all hands are; by default the evidence decides.
        max_hands: Largest number of hands in a photo.
        focal: Focal length of the camera, pixels.
        fov: Field of view along the photo's larger side, degrees.
        suffixes: Files that are written for each hand, out of ``SUFFIXES``.
        model: File of the hand model; by default the open hand.
        weights: File of the estimator's weights; by default the shipped ones.
        device: Name of the device; by default a GPU if there is one.
    """

    folder: Path
    evidence: Evidence = "landmarks"
    keypoints: JointsSource | None = None
    box: Box | None = None
    mask: Path | None = None
    side: Side | None = None
    max_hands: int | None = None
    focal: float | None = None
    fov: float | None = None
    suffixes: tuple[str, ...] = SUFFIXES
    model: Path | None = None
    weights: Path | None = None
    device: str | None = None


@dataclass(frozen=True)
class Photo:
    """One photo of a run.

    Attributes:
        path: File.
        name: Path relative to the folder that all photos share, for the files that are written.
        stem: Beginning of the names of its hands' files, different for each photo.
    """

    path: Path
    name: str
    stem: str


@dataclass(frozen=True)
class HandResult:
    """One hand that was written.

    Attributes:
        files: Files, in the order of the request's suffixes.
        side: Which hand it is.
        side_assumed: Whether neither the caller nor the networks said which hand it is.
        relative_error: Mean distance of the mesh's joints to the evidence, over the hand's size.
        warnings: Reasons to doubt the hand.
        camera: Source of the focal length.
    """

    files: tuple[Path, ...]
    side: Side
    side_assumed: bool
    relative_error: float
    warnings: tuple[str, ...]
    camera: str


@dataclass(frozen=True)
class Result:
    """Outcome for one photo: its hands, or the reason why there are none."""

    photo: Photo
    hands: tuple[HandResult, ...] = ()
    seconds: float = 0.0
    problem: str = ""


def name_photos(paths: Sequence[Path], request: Request) -> list[Photo]:
    """Choose a name and a stem for each photo; they depend only on the list of photos.

    Args:
        paths: All photos of the run, also those of other shards.
        request: Its folder and its input files.

    Returns:
        The photos. No two photos share a stem, and no file of a hand overwrites an input.
    """
    labels = request.keypoints[0] if isinstance(request.keypoints, tuple) else None
    inputs = [path.absolute() for path in (*paths, request.mask, labels) if path is not None]
    beside = {path.name for path in inputs if path.parent == request.folder.absolute()}
    parents = [path.absolute().parent for path in paths]
    common = Path(os.path.commonpath(parents))
    taken: set[str] = set()
    photos = []
    for path in paths:
        number, stem = 1, path.stem
        while stem in taken or any(name.startswith(f"{stem}_hand") for name in beside):
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem)
        photos.append(Photo(path, path.absolute().relative_to(common).as_posix(), stem))
    return photos
