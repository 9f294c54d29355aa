"""The commands `dhpe predict` and `dhpe demo`."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dhpe_lib.cli.options import (
    OUT,
    DeviceOption,
    ModelOption,
    OutOption,
    clean_exit,
    parse_shard,
    prepare_folder,
    usage_error,
)
from dhpe_lib.cli.predict_options import (
    BoxOption,
    EvidenceName,
    EvidenceOption,
    FocalOption,
    FovOption,
    FpsOption,
    HandOption,
    Keypoints3dOption,
    KeypointsOption,
    MaskOption,
    MaxHandsOption,
    PhotosArgument,
    ResumeOption,
    ShardOption,
    VideoOption,
    WeightsOption,
    WorkersOption,
    WriteOption,
)
from dhpe_lib.cli.predict_report import report, report_all, report_demo, summarise
from dhpe_lib.cli.predict_space import predict_space
from dhpe_lib.cli.predict_video import are_clips, predict_clips, refuse_for_clips, suffixes_for
from dhpe_lib.common.console import Terminal, say
from dhpe_lib.common.files import append_line, refuse_input
from dhpe_lib.common.garbage import kept_imports
from dhpe_lib.common.locks import locked

if TYPE_CHECKING:
    from dhpe_lib.prediction.from_photo import Box
    from dhpe_lib.prediction.request import Evidence, JointsSource, Request


EVIDENCE: "dict[EvidenceName, Evidence]" = {
    EvidenceName.landmarks: "landmarks",
    EvidenceName.estimator: "estimator",
    EvidenceName.mediapipe: "keypoints",
    EvidenceName.keypoints: "keypoints",
}


def predict(
    photos: PhotosArgument = None,
    keypoints: KeypointsOption = None,
    keypoints_3d: Keypoints3dOption = None,
    evidence: EvidenceOption = None,
    box: BoxOption = None,
    max_hands: MaxHandsOption = None,
    hand: HandOption = None,
    focal: FocalOption = None,
    fov: FovOption = None,
    mask: MaskOption = None,
    weights: WeightsOption = None,
    model: ModelOption = None,
    write: WriteOption = None,
    out: OutOption = OUT,
    workers: WorkersOption = 1,
    resume: ResumeOption = False,
    shard: ShardOption = None,
    video: VideoOption = False,
    fps: FpsOption = 30.0,
    device: DeviceOption = None,
) -> None:
    """Find every hand in every photo and fit a mesh to it.

    A palm detector and a hand landmark network find the hands and their joints. Then the hand model is fitted to the
    joints. Each hand gives a mesh (.glb, .obj), its joints, parameters and camera (.json), a picture (.png) and a page
    that shows the mesh in a browser (.html, works offline). NAME_hands.png shows all hands of a photo together if it
    has several. --evidence estimator uses the joints of this project's own network. --keypoints FILE and --evidence
    mediapipe use external joints. --keypoints-3d FILE fits meshes to joints in space, without a photo.

    In a clip (.mp4, .mov, .webm, ..., or with --video a folder of frames) each hand is tracked and smoothed over time.
    The output is a clip with the meshes drawn over the frames (NAME_hands.mp4), the numbers (.json), and an animated
    mesh (.glb).

    For example:

    - `dhpe predict photo.jpg`: every hand of a photo, all files, in the folder dhpe_out
    - `dhpe predict photo.jpg --box 120,80,200,220`: the hand in this box, if the search misses it
    - `dhpe predict photos/ --out results --write json --write png`: every photo of a folder, two files for each hand
    - `dhpe predict clip.mp4`: every hand of a clip

    A run over several photos writes index.jsonl, one line of JSON for each photo: its files, or why it has none. The
    exit code is 1 if a photo cannot be processed, or if no photo has a hand. Some photos without a hand are no error.
    """
    if keypoints_3d is not None:
        unused: dict[str, object] = {
            "PHOTO": photos,
            "--keypoints": keypoints,
            "--evidence": evidence,
            "--box": box,
            "--mask": mask,
        }
        unused |= {"--weights": weights, "--focal": focal, "--fov": fov, "--shard": shard, "--resume": resume}
        predict_space(keypoints_3d, out, hand, model, write, device, unused)
        return
    if not photos:
        raise typer.BadParameter("name a photo, a folder or a clip", param_hint="PHOTO")
    source = evidence or (EvidenceName.landmarks if keypoints is None else EvidenceName.keypoints)
    refuse_together(source, {"--keypoints": keypoints, "--box": box, "--weights": weights, "--model": model})
    with kept_imports():
        from dhpe_lib.prediction.batch import photos_in
        from dhpe_lib.prediction.request import Request

    with usage_error("PHOTO"):
        clips = are_clips(photos, video)
        paths = photos if clips else photos_in(photos)
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
        part = parse_shard(shard)
    hand_box, joints = box_and_joints(source, box, keypoints, len(paths))
    with usage_error("--fov" if focal is None else "--focal"):
        check_focal(focal, fov)
    request = Request(
        folder=out,
        evidence=EVIDENCE[source],
        keypoints=joints,
        box=hand_box,
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
    else:
        predict_photos(paths, request, part, workers, resume)


def predict_photos(paths: list[Path], request: "Request", shard: tuple[int, int], workers: int, resume: bool) -> None:
    """Run the photos of a shard, print each result, and keep the index of a run over several photos."""
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.prediction import batch, photo_groups
    from dhpe_lib.prediction.request import name_photos

    with usage_error("--device"):
        find_device(request.device)
    with usage_error("--model" if request.model is not None else "--weights"):
        tools = photo_groups.load_tools(request)
    with usage_error("--out"):
        prepare_folder(request.folder)
    photos = batch.shard_of(name_photos(paths, request), shard)
    index = batch.index_file(request.folder, shard)
    with usage_error("--out"):
        refuse_input(index, [request.mask, request.keypoints[0] if isinstance(request.keypoints, tuple) else None])
    chosen = batch.left_to_do(photos, request, index) if resume else photos
    if not chosen:
        say("Nothing is left to do in ", request.folder)
        return
    console, results = Terminal(), []
    alone = locked(index.with_name(f".{index.name}.lock")) if len(paths) > 1 else nullcontext()
    try:
        with clean_exit(), alone:
            if len(paths) > 1:
                batch.start_index(index, photos, chosen)
            for result in report_all(batch.run_photos(chosen, request, workers, tools), chosen, console):
                results.append(result)
                if len(paths) > 1:
                    append_line(index, batch.index_line(result))
    except KeyboardInterrupt:
        say("\nStopped. The same command with --resume continues.")
        raise typer.Exit(130) from None
    summarise(results, request, console, index if len(paths) > 1 else None)
    without = sum(result.no_hand for result in results)
    if without == len(photos) or any(result.failed for result in results):
        raise typer.Exit(1)


def refuse_together(source: EvidenceName, options: dict[str, object]) -> None:
    """Refuse options that the evidence does not use, and evidence that lacks an option."""
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
        message = f"{source.value} does not use {option}; drop one of them"
        raise typer.BadParameter(message, param_hint="--evidence")


def box_and_joints(
    source: EvidenceName, box: str | None, keypoints: Path | None, photos: int
) -> "tuple[Box | None, JointsSource | None]":
    """Read --box and --keypoints: the box of the only hand, and external joints.

    Args:
        source: Source of the joints.
        box: Value of --box: a box, "mediapipe" or a JSON.
        keypoints: Value of --keypoints.
        photos: Number of photos.

    Returns:
        The box and the joints; None for what is not given.
    """
    hand_box, joints = None, None
    with usage_error("--box"):
        if box is not None and "," in box and not Path(box).is_file():
            hand_box = parse_box(box, photos)
        elif box is not None:
            joints = joints_source(box)
    if source in (EvidenceName.keypoints, EvidenceName.mediapipe):
        with usage_error("--keypoints"):
            joints = joints_source(keypoints or "mediapipe")
    return hand_box, joints


def joints_source(source: str | Path) -> "JointsSource":
    """Read the joints of a JSON; for "mediapipe" check that MediaPipe is installed."""
    from dhpe_lib.prediction.keypoints import import_mediapipe, read_keypoints

    if source == "mediapipe":
        import_mediapipe()
        return "mediapipe"
    path = Path(source)
    return path, read_keypoints(path)


def parse_box(box: str, photos: int) -> "Box":
    """Parse a box "X,Y,W,H".

    Args:
        box: Left, top, width and height, pixels.
        photos: Number of photos; a box belongs to one photo.

    Returns:
        The four numbers.

    Raises:
        ValueError: The text is no box, the box has no area, or there are several photos.
    """
    try:
        x, y, width, height = map(float, box.split(","))
    except ValueError as error:
        raise ValueError(f"{box}: is no box; write left, top, width and height in pixels as X,Y,W,H") from error
    if photos > 1:
        raise ValueError("a box belongs to one photo; give one photo at a time")
    if not (0 < width < float("inf") and 0 < height < float("inf")):
        raise ValueError(f"{box}: width and height must be positive")
    return x, y, width, height


def check_focal(focal: float | None, fov: float | None) -> None:
    """Refuse an impossible focal length (pixels) or field of view (degrees), and both together.

    The limits do not depend on the size of the photo, so any size will do.
    """
    from dhpe_lib.data.camera import Camera

    Camera.choose(640, 480, focal, fov)


def demo(out: OutOption = OUT, device: DeviceOption = None) -> None:
    """Find two rendered hands in a picture, fit their meshes, and compare with the ground truth."""
    with kept_imports():
        from dhpe_lib.common.devices import find_device
        from dhpe_lib.prediction.demo import write_demo
        from dhpe_lib.prediction.from_photo import predict_hands
        from dhpe_lib.prediction.photo_groups import load_tools, write_hands
        from dhpe_lib.prediction.request import Request, name_photos

    with usage_error("--out"):
        prepare_folder(out)
    with usage_error("--device"):
        find_device(device)
    scene, picture, joints = write_demo(out)
    say("Rendered a right and a left hand, ", picture, ", and wrote their joints, ", joints, ".\n")
    request = Request(out, device=device)
    tools, (photo,) = load_tools(request), name_photos([picture], request)
    assert tools.networks is not None
    estimates = predict_hands(tools.model, tools.networks, scene.image)
    console = Terminal()
    report(write_hands(estimates, scene.image, photo, request), console)
    report_demo(scene, estimates, console)
