"""`dhpe predict` for clips: follow the hands, fit and smooth them, write an overlay clip, a JSON and a GLB."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dhpe_lib.cli.options import prepare_folder, usage_error
from dhpe_lib.cli.predict_report import CAMERA_NOTE, RateColumn
from dhpe_lib.common.console import Terminal, link, plain, say

if TYPE_CHECKING:
    from dhpe_lib.prediction.photo_groups import Tools
    from dhpe_lib.prediction.request import Photo, Request
    from dhpe_lib.prediction.video import ClipHand
    from dhpe_lib.prediction.video_io import Frame

ONE_BY_ONE = "a clip is processed as a whole; leave out "


@dataclass(frozen=True)
class ClipSource:
    """A clip or a folder of frames.

    Attributes:
        path: The file or the folder.
        rate: Frames in a second.
        frames: Number of frames; None where the file does not tell it.
    """

    path: Path
    rate: float
    frames: int | None


def are_clips(paths: Sequence[Path], video: bool) -> bool:
    """Whether the arguments are clips: videos by their suffix, or anything with --video.

    Raises:
        ValueError: Clips and photos are mixed.
    """
    from dhpe_lib.prediction.video_io import is_clip

    clips = [path for path in paths if is_clip(path)]
    if clips and not video and len(clips) < len(paths):
        other = next(path for path in paths if not is_clip(path))
        raise ValueError(f"{clips[0]} is a clip, {other} is none; give clips and photos to separate commands")
    return video or bool(clips)


def refuse_for_clips(options: dict[str, object]) -> None:
    """Refuse options that belong to photos."""
    given = [option for option, value in options.items() if value]
    if given:
        raise typer.BadParameter(ONE_BY_ONE + ", ".join(given), param_hint=given[0])


def suffixes_for(names: Sequence[str] | None, clips: bool) -> tuple[str, ...]:
    """Files to write: those that were asked for, or all that belong to clips or to photos.

    Raises:
        ValueError: A file belongs to the other kind.
    """
    from dhpe_lib.prediction.outputs import SUFFIXES
    from dhpe_lib.prediction.request import CLIP_DEFAULT, CLIP_FILES

    possible, default = (CLIP_FILES, CLIP_DEFAULT) if clips else (SUFFIXES, SUFFIXES)
    chosen = tuple(f".{name}" for name in dict.fromkeys(names or ())) or default
    for suffix in chosen:
        if suffix not in possible:
            kind = "a clip" if clips else "a photo"
            choices = ", ".join(one[1:] for one in possible)
            raise ValueError(f"{suffix[1:]} is not written for {kind}; choose from {choices}")
    return chosen


def predict_clips(paths: Sequence[Path], request: "Request", folder_rate: float) -> None:
    """Process clips one after the other; a clip that fails stops no other one.

    Args:
        paths: Clips and folders of frames.
        request: Options of the prediction.
        folder_rate: Frames in a second of a folder.
    """
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.prediction.photo_groups import load_tools
    from dhpe_lib.prediction.request import name_photos
    from dhpe_lib.prediction.video_io import require_pyav

    with usage_error("PHOTO"):
        sources = [clip_source(path, folder_rate) for path in paths]
        if ".mp4" in request.suffixes:
            require_pyav(paths[0])
    with usage_error("--device"):
        find_device(request.device)
    with usage_error("--model"):
        tools = load_tools(request)
    with usage_error("--out"):
        prepare_folder(request.folder)
    console = Terminal()
    failed = False
    clips = name_photos([path.resolve() for path in paths], request)
    for source, clip in zip(sources, clips, strict=True):
        try:
            predict_clip(source, clip, request, tools, console)
        except KeyboardInterrupt:
            say("\nStopped. Nothing was written for ", source.path)
            raise typer.Exit(130) from None
        except (ValueError, OSError) as error:
            failed = True
            reason = str(error).removeprefix(f"{source.path}: ")
            console.print(Text.assemble(("✗ ", "red"), f"{source.path}: {reason}"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def clip_source(path: Path, folder_rate: float) -> ClipSource:
    """Open a clip or a folder, to find out at once whether it can be read.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It is no clip and no folder of frames, or PyAV is missing.
    """
    from dhpe_lib.prediction.video_io import count_frames, frame_rate

    return ClipSource(path, frame_rate(path, folder_rate), count_frames(path))


def predict_clip(source: ClipSource, clip: "Photo", request: "Request", tools: "Tools", console: Console) -> None:
    """Process one clip and report its hands.

    Raises:
        NoHandError: No frame shows a hand.
        VideoError: The clip is damaged, or its frames differ in size.
        OSError: The folder cannot be written to.
    """
    from dhpe_lib.data.camera import Camera
    from dhpe_lib.prediction.find_hands import no_hand
    from dhpe_lib.prediction.video import fit_clip, follow_clip
    from dhpe_lib.prediction.video_outputs import write_clip_hands

    assert tools.networks is not None
    start = time.perf_counter()
    with shown(source, "finding hands", console) as frames:
        followed = follow_clip(tools.networks, frames, request.side, request.max_hands)
    if not followed.hands:
        raise no_hand(followed.best_presence)
    hands = fit_clip(tools.model, followed, request.side is not None)
    camera = Camera.choose(followed.width, followed.height, request.focal, request.fov, first_file(source.path))
    with shown(source, "drawing hands", console) as frames:
        files = write_clip_hands(
            followed,
            hands,
            frames,
            clip.name,
            request.folder,
            f"{clip.stem}_hands",
            camera,
            source.rate,
            request.suffixes,
        )
    for hand in hands:
        report_hand(hand, source, len(followed.times), console)
    rate = len(followed.times) / (time.perf_counter() - start)
    links = [piece for file in files for piece in ("  ", link(file))]
    console.print(Text.assemble(f"  {rate:.1f} frames/s", *links), soft_wrap=True)
    if camera.source == "assumed":
        console.print(CAMERA_NOTE, soft_wrap=True)


def first_file(path: Path) -> Path | None:
    """The first frame's file, whose EXIF data may tell the focal length; None for a clip."""
    from dhpe_lib.prediction.video_io import frame_files

    return frame_files(path)[0] if path.is_dir() else None


@contextmanager
def shown(source: ClipSource, action: str, console: Console) -> "Iterator[Iterable[Frame]]":
    """The frames of a clip, with a progress bar and a rate while they are read."""
    from dhpe_lib.prediction.video_io import read_frames

    columns = (
        SpinnerColumn(),
        TextColumn(plain(f"{source.path.name}: {action}").replace("{", "{{").replace("}", "}}"), markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        RateColumn("frames"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress.track(read_frames(source.path, source.rate), total=source.frames)


def report_hand(hand: "ClipHand", source: ClipSource, frames: int, console: Console) -> None:
    """Print one line for a hand, and its warnings."""
    error, gaps = 100 * sum(hand.errors) / len(hand.errors), hand.times_out_of_sight
    line = Text.assemble(
        ("! ", "yellow") if hand.warnings else ("✓ ", "green"),
        f"{source.path}  ",
        (f"{hand.model.side} hand", "bold"),
        f" in {len(hand.frames)} of {frames} frames, 2D residual {error:.1f} %",
        f", {gaps} time{'s' * (gaps != 1)} out of sight" if gaps else "",
    )
    console.print(line, soft_wrap=True)
    for warning in hand.warnings:
        console.print(Text(f"  {warning}", "yellow"), soft_wrap=True)
