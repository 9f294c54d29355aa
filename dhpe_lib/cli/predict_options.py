"""The options of `dhpe predict`."""

from enum import StrEnum
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


EVIDENCE_PANEL = "Hands and their joints"
CAMERA_PANEL = "Camera"
MANY_PANEL = "Many photos"
CLIP_PANEL = "Clips"
"""Panels of the options in the help."""

PhotosArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PHOTO", help="Photos of any format, folders of photos, or clips.", show_default=False),
]
KeypointsOption = Annotated[
    Path | None,
    typer.Option(
        "--keypoints", rich_help_panel=EVIDENCE_PANEL, metavar="FILE", help="JSON with the 21 joints of each hand."
    ),
]
Keypoints3dOption = Annotated[
    Path | None,
    typer.Option(
        "--keypoints-3d",
        rich_help_panel=EVIDENCE_PANEL,
        metavar="FILE",
        help="JSON with the 21 joints of each hand in space; no photo.",
    ),
]
EvidenceOption = Annotated[
    EvidenceName | None,
    typer.Option(
        "--evidence",
        rich_help_panel=EVIDENCE_PANEL,
        help="Source of the joints; by default FILE if given, else the landmark network.",
    ),
]
BoxOption = Annotated[
    str | None,
    typer.Option(
        "--box",
        rich_help_panel=EVIDENCE_PANEL,
        metavar="X,Y,W,H|mediapipe|FILE",
        help="Left, top, width and height of the hand in pixels, or joints that give them: MediaPipe or a JSON.",
    ),
]
MaxHandsOption = Annotated[
    int | None,
    typer.Option(
        "--max-hands",
        rich_help_panel=EVIDENCE_PANEL,
        min=1,
        help="Largest number of hands in a photo.",
        show_default="all",
    ),
]
HandOption = Annotated[
    SideName | None,
    typer.Option(
        "--hand", rich_help_panel=EVIDENCE_PANEL, help="Handedness, if the networks do not know it or are wrong."
    ),
]
FocalOption = Annotated[
    float | None,
    typer.Option(
        "--focal",
        rich_help_panel=CAMERA_PANEL,
        metavar="PX",
        help="Focal length of the camera in pixels of the photo.",
    ),
]
FovOption = Annotated[
    float | None,
    typer.Option(
        "--fov",
        rich_help_panel=CAMERA_PANEL,
        metavar="DEG",
        help="Field of view along the photo's larger side in degrees.",
    ),
]
MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        rich_help_panel=EVIDENCE_PANEL,
        metavar="FILE",
        help="Image of the photo's size, bright on the hand.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        rich_help_panel=EVIDENCE_PANEL,
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
WorkersOption = Annotated[
    int, typer.Option("--workers", rich_help_panel=MANY_PANEL, min=1, help="Number of processes for many photos.")
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=MANY_PANEL, help="Skip photos whose files are all written."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        rich_help_panel=MANY_PANEL,
        metavar="I/N",
        help="Process the I-th of N parts of the photos, for several machines.",
    ),
]
VideoOption = Annotated[
    bool,
    typer.Option("--video", rich_help_panel=CLIP_PANEL, help="Each folder holds the frames of a clip, not photos."),
]
FpsOption = Annotated[
    float,
    typer.Option(
        "--fps",
        rich_help_panel=CLIP_PANEL,
        min=0.1,
        metavar="RATE",
        help="Frame rate of a folder of frames. Below 4, hands are not followed but found anew in each frame.",
    ),
]
