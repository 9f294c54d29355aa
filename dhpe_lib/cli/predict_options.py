"""The options of `dhpe predict`."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dhpe_lib.cli.options import SideName


class EvidenceName(StrEnum):
    """Source of the joints."""

    landmarks = "landmarks"
    estimator = "estimator"
    mediapipe = "mediapipe"
    keypoints = "keypoints"


class FileName(StrEnum):
    """Files that are written for each hand of a photo, or for a clip."""

    glb = "glb"
    obj = "obj"
    json = "json"
    png = "png"
    html = "html"
    mp4 = "mp4"
    bvh = "bvh"


evidence_option = partial(typer.Option, rich_help_panel="Hands and their joints")
camera_option = partial(typer.Option, rich_help_panel="Camera")
many_option = partial(typer.Option, rich_help_panel="Many photos")
clip_option = partial(typer.Option, rich_help_panel="Clips")
"""Options of each panel of the help."""

PhotosArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PHOTO", help="Photos of any format, folders of photos, or clips.", show_default=False),
]
KeypointsOption = Annotated[
    Path | None,
    evidence_option("--keypoints", metavar="FILE", help="JSON with the 21 joints of each hand."),
]
Keypoints3dOption = Annotated[
    Path | None,
    evidence_option(
        "--keypoints-3d",
        metavar="FILE",
        help="JSON with the 21 joints of each hand in space; no photo.",
    ),
]
EvidenceOption = Annotated[
    EvidenceName | None,
    evidence_option(
        "--evidence",
        help="Source of the joints; by default FILE if given, else the landmark network.",
    ),
]
BoxOption = Annotated[
    str | None,
    evidence_option(
        "--box",
        metavar="X,Y,W,H|mediapipe|FILE",
        help="Left, top, width and height of the hand in pixels, or joints that give them: MediaPipe or a JSON.",
    ),
]
MaxHandsOption = Annotated[
    int | None,
    evidence_option(
        "--max-hands",
        min=1,
        help="Largest number of hands in a photo.",
        show_default="all",
    ),
]
HandOption = Annotated[
    SideName | None,
    evidence_option("--hand", help="Handedness, if the networks do not know it or are wrong."),
]
FocalOption = Annotated[
    float | None,
    camera_option(
        "--focal",
        metavar="PX",
        help="Focal length of the camera in pixels of the photo.",
    ),
]
FovOption = Annotated[
    float | None,
    camera_option(
        "--fov",
        metavar="DEG",
        help="Field of view along the photo's larger side in degrees.",
    ),
]
MaskOption = Annotated[
    Path | None,
    evidence_option(
        "--mask",
        metavar="FILE",
        help="Image of the photo's size, bright on the hand.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    evidence_option(
        "--weights",
        metavar="FILE",
        help="Weights for --evidence estimator, or the folder of a run.",
    ),
]
WriteOption = Annotated[
    list[FileName] | None,
    typer.Option(
        "--write",
        help="File to write; may be repeated. Photos: glb, obj, json, png, html; clips: mp4, json, glb, bvh.",
    ),
]
WorkersOption = Annotated[int, many_option("--workers", min=1, help="Number of processes for many photos.")]
ResumeOption = Annotated[
    bool,
    many_option("--resume", help="Skip photos whose files are all written."),
]
ShardOption = Annotated[
    str | None,
    many_option(
        "--shard",
        metavar="I/N",
        help="Process the I-th of N parts of the photos, for several machines.",
    ),
]
VideoOption = Annotated[
    bool,
    clip_option("--video", help="Each folder holds the frames of a clip, not photos."),
]
FpsOption = Annotated[
    float,
    clip_option(
        "--fps",
        min=0.1,
        metavar="RATE",
        help="Frame rate of a folder of frames. Below 4, hands are not followed but found anew in each frame.",
    ),
]
