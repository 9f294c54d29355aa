"""The options of a run over photos, the names of its files, and its results."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dhpe_lib.hand.io import Side
from dhpe_lib.prediction.from_photo import Box
from dhpe_lib.prediction.outputs import SUFFIXES

Evidence = Literal["landmarks", "estimator", "keypoints"]
CLIP_FILES = (".mp4", ".json", ".glb", ".bvh")
"""Suffixes of the files of a clip. All but the BVH files, one for each hand without a gap, are written by default."""
CLIP_DEFAULT = CLIP_FILES[:3]
JointsSource = tuple[Path, list[dict[str, Any]]] | Literal["mediapipe"]


@dataclass(frozen=True)
class Request:
    """Options of a run over photos.

    Attributes:
        folder: Folder for the files.
        evidence: Source of the 21 joints: the hand landmark network, this project's estimator, or `keypoints`.
        keypoints: External joints: path and entries of a JSON, or "mediapipe". With evidence "keypoints" the mesh is
            fitted to these joints; else they only give the boxes of the hands.
        box: Box of the only hand, pixels.
        mask: File with the foreground of the photo.
        side: Handedness of all hands; by default the evidence decides.
        max_hands: Largest number of hands in a photo.
        focal: Focal length of the camera, pixels.
        fov: Field of view along the photo's larger side, degrees.
        suffixes: Suffixes of the files that are written for each hand, a subset of ``SUFFIXES``.
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
        path: Path of the photo.
        name: Path relative to the common folder of all photos, or the whole path if they lie on several drives; the
            written files contain it.
        stem: First part of the file names of its hands; each photo has its own stem.
    """

    path: Path
    name: str
    stem: str


@dataclass(frozen=True)
class HandResult:
    """One written hand.

    Attributes:
        files: Paths, in the order of the request's suffixes.
        side: Handedness.
        side_assumed: Whether neither the caller nor the networks gave the handedness.
        relative_error: Mean 2D distance between the joints of the mesh and the evidence, as a fraction of the hand's
            size.
        warnings: Reasons to doubt the estimate.
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
    """Result for one photo: its hands and the seconds that it took, or the problem.

    Attributes:
        photo: The photo.
        hands: Its hands.
        seconds: Seconds that it took.
        all_hands: Picture of all its hands; None if it has less than two, or if no pictures are wanted.
        problem: Why it has no result; empty if it has one.
        no_hand: Whether the problem is that the photo has no hand; another run would find the same.
    """

    photo: Photo
    hands: tuple[HandResult, ...] = ()
    seconds: float = 0.0
    all_hands: Path | None = None
    problem: str = ""
    no_hand: bool = False

    @property
    def failed(self) -> bool:
        """Whether the photo could not be processed; a photo without a hand did not fail."""
        return bool(self.problem) and not self.no_hand


def names_in(folder: Path, paths: Sequence[Path]) -> set[str]:
    """Return the names of those files that lie in a folder, also if links or ``..`` lead there.

    Args:
        folder: The folder; it may be missing.
        paths: Files; a link has the names of both of its ends.
    """
    ends = [end for path in paths for end in (path.parent.resolve() / path.name, path.resolve())]
    return {end.name for end in ends if end.parent == folder.resolve()}


def name_photos(paths: Sequence[Path], request: Request) -> list[Photo]:
    """Choose a name and a stem for each photo. They do not depend on the shard or on the progress of the run.

    Args:
        paths: Paths of all photos of the run, including the other shards.
        request: Options of the run; its input files and its folder are used.

    Returns:
        The photos. All stems differ, and no file of a hand overwrites an input file.
    """
    labels = request.keypoints[0] if isinstance(request.keypoints, tuple) else None
    inputs = [path for path in (*paths, request.mask, labels) if path is not None]
    in_folder = names_in(request.folder, inputs)
    absolute = [path.absolute() for path in paths]
    try:
        common = os.path.commonpath([path.parent for path in absolute])
    except ValueError:  # the photos lie on several drives
        common = ""
    taken: set[str] = set()
    photos = []
    for path, place in zip(paths, absolute, strict=True):
        number, stem = 1, path.stem
        while stem in taken or any(name.startswith(f"{stem}_hand") for name in in_folder):
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem)
        photos.append(Photo(path, (place.relative_to(common) if common else place).as_posix(), stem))
    return photos
