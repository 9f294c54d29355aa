"""The commands `dhpe predict` and `dhpe demo`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dhpe_lib.cli.options import OUT, DeviceOption, ModelOption, OutOption, SideName, prepare_folder, usage_error
from dhpe_lib.cli.predict_report import report, report_all, summarise
from dhpe_lib.cli.predict_video import are_clips, predict_clips, refuse_for_clips, suffixes_for
from dhpe_lib.common.console import Terminal, say

if TYPE_CHECKING:
    from dhpe_lib.prediction.from_photo import Box
    from dhpe_lib.prediction.request import Evidence, JointsSource


class EvidenceName(StrEnum):
    """Source of the joints."""

    landmarks = "landmarks"
    estimator = "estimator"
    mediapipe = "mediapipe"
    keypoints = "keypoints"


EVIDENCE: "dict[EvidenceName, Evidence]" = {
    EvidenceName.landmarks: "landmarks",
    EvidenceName.estimator: "estimator",
    EvidenceName.mediapipe: "keypoints",
    EvidenceName.keypoints: "keypoints",
}


class FileName(StrEnum):
    """Files that are written for each hand of a photo, or for a clip."""

    glb = "glb"
    obj = "obj"
    json = "json"
    png = "png"
    html = "html"
    mp4 = "mp4"


def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO...", help="Photos of any format, folders of photos, or clips.", show_default=False
        ),
    ],
    keypoints: Annotated[
        Path | None, typer.Option("--keypoints", metavar="FILE", help="JSON with the 21 joints of each photo's hands.")
    ] = None,
    evidence: Annotated[
        EvidenceName | None,
        typer.Option("--evidence", help="Source of the joints; by default FILE if given, else the landmark network."),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X,Y,W,H|mediapipe|FILE",
            help="Where the hand is: a box in pixels, or around the joints of MediaPipe or of a JSON.",
        ),
    ] = None,
    max_hands: Annotated[
        int | None, typer.Option("--max-hands", min=1, help="Largest number of hands in a photo.", show_default="all")
    ] = None,
    hand: Annotated[
        SideName | None, typer.Option("--hand", help="Which hand it is, if the networks do not know it or are wrong.")
    ] = None,
    focal: Annotated[
        float | None, typer.Option("--focal", metavar="PX", help="Focal length of the camera, pixels of the photo.")
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option("--fov", metavar="DEG", help="Field of view along the photo's larger side, degrees."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="Image of the photo's size, bright on the hand.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Weights of --evidence estimator, or the folder of a run."),
    ] = None,
    model: ModelOption = None,
    write: Annotated[
        list[FileName] | None,
        typer.Option("--write", help="File to write; may be repeated. Photos: all but mp4; clips: mp4, json, glb."),
    ] = None,
    out: OutOption = OUT,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of processes for many photos.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Skip the photos that an interrupted run finished.")] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Process the I-th of N parts of the photos, for several machines."),
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Each folder holds the frames of a clip, not photos.")] = False,
    fps: Annotated[
        float, typer.Option("--fps", min=0.1, metavar="RATE", help="Frames in a second of a folder of frames.")
    ] = 30.0,
    device: DeviceOption = None,
) -> None:
    """Find every hand in every photo and fit a mesh to it.

    A palm detector and a hand landmark network find the hands and their joints, and the hand model is fitted to the
    joints. Each hand gives a mesh (.glb, .obj), its joints, parameters and camera (.json), a picture (.png) and a page
    that shows the mesh in a browser (.html, works offline). --evidence estimator takes the joints of this project's own
    network; --keypoints FILE and --evidence mediapipe take the joints of others.

    In a clip (.mp4, .mov, .webm, ..., or with --video a folder of frames) each hand is followed and smoothed over time.
    A clip gives the meshes drawn over its frames (NAME_hands.mp4), the numbers (.json), and an animated mesh (.glb).
    """
    source = evidence or (EvidenceName.landmarks if keypoints is None else EvidenceName.keypoints)
    refuse_together(source, {"--keypoints": keypoints, "--box": box, "--weights": weights, "--model": model})
    from dhpe_lib.prediction import batch, photo_groups
    from dhpe_lib.prediction.request import Request, name_photos

    with usage_error("PHOTO"):
        clips = are_clips(photos, video)
        paths = photos if clips else batch.photos_in(photos)
    if clips:
        refuse_for_clips(
            {
                "--evidence": source is not EvidenceName.landmarks,
                "--box": box,
                "--mask": mask,
                "--workers": workers > 1,
                "--resume": resume,
                "--shard": shard,
            }
        )
    with usage_error("--write"):
        suffixes = suffixes_for(write, clips)
    if mask is not None and len(paths) > 1:
        raise typer.BadParameter("a mask belongs to one photo; give one photo at a time", param_hint="--mask")
    with usage_error("--shard"):
        part = shard_numbers(shard)
    corners, joints = None, None
    with usage_error("--box"):
        if box is not None and "," in box and not Path(box).is_file():
            corners = numbers_of(box, len(paths))
        elif box is not None:
            joints = joints_source(box)
    if source in (EvidenceName.keypoints, EvidenceName.mediapipe):
        with usage_error("--keypoints"):
            joints = joints_source(keypoints or "mediapipe")
    with usage_error("--focal"):
        check_lens(focal, fov)
    request = Request(
        folder=out,
        evidence=EVIDENCE[source],
        keypoints=joints,
        box=corners,
        mask=mask,
        side=None if hand is None else hand.value,
        max_hands=max_hands,
        focal=focal,
        fov=fov,
        suffixes=suffixes,
        model=model,
        weights=weights,
        device=device,
    )
    if clips:
        predict_clips(paths, request, fps)
        return
    with usage_error("--device"):
        from dhpe_lib.common.devices import find_device

        find_device(device)
    with usage_error("--model" if model is not None else "--weights"):
        tools = photo_groups.load_tools(request)
    with usage_error("--out"):
        prepare_folder(out)
    chosen = batch.shard_of(name_photos(paths, request), part)
    index = batch.index_file(out, part)
    if resume:
        chosen = batch.left_to_do(chosen, out, index)
    elif len(paths) > 1:
        index.unlink(missing_ok=True)
    console = Terminal()
    if not chosen:
        say("Nothing is left to do in ", out)
        return
    results = []
    try:
        for result in report_all(batch.run_photos(chosen, request, workers, tools), chosen, console):
            results.append(result)
            if len(paths) > 1:
                with index.open("a", encoding="utf-8") as lines:
                    lines.write(batch.index_line(result))
    except KeyboardInterrupt:
        say("\nStopped. The same command with --resume continues.")
        raise typer.Exit(130) from None
    summarise(results, request, console)
    if any(result.problem for result in results):
        raise typer.Exit(1)


def refuse_together(source: EvidenceName, options: dict[str, object]) -> None:
    """Refuse options that the evidence would leave unused, and evidence that lacks an option."""
    given = {option for option, value in options.items() if value is not None}
    if source is EvidenceName.keypoints and "--keypoints" not in given:
        raise typer.BadParameter("keypoints come from a file; name it with --keypoints", param_hint="--evidence")
    unused = {
        EvidenceName.landmarks: {"--keypoints", "--weights"},
        EvidenceName.estimator: {"--keypoints", "--model"},  # the estimator was trained with the open hand
        EvidenceName.mediapipe: {"--box", "--weights", "--keypoints"},
        EvidenceName.keypoints: {"--box", "--weights"},
    }[source]
    for option in sorted(given & unused):
        message = f"{source.value} would leave {option} unused; drop one of them"
        raise typer.BadParameter(message, param_hint="--evidence")


def joints_source(source: str | Path) -> "JointsSource":
    """Check that MediaPipe is installed, or read a JSON."""
    from dhpe_lib.prediction.keypoints import import_mediapipe, read_keypoints

    if source == "mediapipe":
        import_mediapipe()
        return "mediapipe"
    path = Path(source)
    return path, read_keypoints(path)


def numbers_of(box: str, photos: int) -> "Box":
    """Read the four numbers of a box."""
    try:
        x, y, width, height = map(float, box.split(","))
    except ValueError as error:
        raise ValueError(f"{box}: is no box; write left, top, width and height in pixels as X,Y,W,H") from error
    if photos > 1:
        raise ValueError("a box belongs to one photo; give one photo at a time")
    if not (0 < width < float("inf") and 0 < height < float("inf")):
        raise ValueError(f"{box}: width and height must be positive")
    return x, y, width, height


def shard_numbers(shard: str | None) -> tuple[int, int]:
    """Read I/N; without it the run is one shard."""
    if shard is None:
        return 1, 1
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"{shard}: is no shard; write I/N with I from 1 to N, such as 2/8")
    return int(number), int(count)


def check_lens(focal: float | None, fov: float | None) -> None:
    """Refuse a focal length or a field of view that no camera has, and both together."""
    from dhpe_lib.data.camera import Camera

    Camera.choose(640, 480, focal, fov)


def demo(out: OutOption = OUT, device: DeviceOption = None) -> None:
    """Find two rendered hands in a picture, fit their meshes, and compare with the ground truth."""
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.prediction.batch import run_photos
    from dhpe_lib.prediction.demo import write_demo
    from dhpe_lib.prediction.keypoints import read_keypoints
    from dhpe_lib.prediction.request import Request, name_photos

    with usage_error("--out"):
        prepare_folder(out)
    with usage_error("--device"):
        find_device(device)
    scene, picture, joints = write_demo(out)
    say("Rendered a hand, ", picture, ", with its 21 joints, ", joints, "\n")
    request = Request(out, "keypoints", (joints, read_keypoints(joints)), device=device)
    (result,) = run_photos(name_photos([picture], request), request)
    report(result, Terminal())
