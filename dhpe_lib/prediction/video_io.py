"""Frames of a clip or of a folder, with their times, and clips written from frames. Nothing here has a gradient.

Clips are read and written by PyAV, which carries its own codecs. It is optional: ``pip install "dhpe[video]"``. Folders
of frames need nothing. Sound is neither read nor written.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from dhpe_lib.data.photos import read_photo

CLIP_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
ONLY_FILES = {"format_whitelist": "mov,matroska,webm,avi,gif", "protocol_whitelist": "file"}
"""Formats of these suffixes, whatever a file is called: a playlist would open other files and addresses."""
MOST_PIXELS = 2**27
"""Most pixels of a frame."""
FOLDER_RATE = 30.0
TICKS = 60_000  # a second; MPEG-4 allows at most 65,535. Frames at 24, 25, 29.97, 30, 50 and 60 hertz fall on ticks.
ENCODERS = ("libx264", "mpeg4")  # the second is there where PyAV was built without the first
QUALITY = {"libx264": {"crf": "18", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


class VideoError(ValueError):
    """A clip that cannot be read or written; the message names the file and the remedy."""


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        image: The upright picture, row = y.
        time: Seconds since the first frame.
        name: Name used in messages and files.
    """

    image: UInt8[ndarray, "height width 3"]
    time: float
    name: str


def is_clip(path: str | Path) -> bool:
    """Whether a path names a video by its suffix.

    Args:
        path: A file or a folder.

    Returns:
        True for a file with the suffix of a video.
    """
    return Path(path).suffix.lower() in CLIP_SUFFIXES and not Path(path).is_dir()


def read_frames(path: str | Path, folder_rate: float = FOLDER_RATE) -> Iterator[Frame]:
    """Read the frames of a clip, or of a folder with one image for each frame, one after the other.

    Frames of a clip are turned upright as its metadata asks (phones write portrait clips as turned landscape ones).
    Their times are those in the clip, also where the rate varies. Files of a folder are sorted by name, with numbers in
    names sorted by value.

    Args:
        path: A clip or a folder.
        folder_rate: Frame rate of a folder.

    Yields:
        Frames with increasing times.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: There is no frame, the clip is damaged, or PyAV is missing.
        PhotoError: A file of the folder cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not folder_rate > 0:
        raise VideoError(f"{folder_rate} frames a second: the rate of a folder must be positive")
    last = None
    for frame in _folder_frames(path, folder_rate) if path.is_dir() else _clip_frames(path):
        yield frame
        last = frame
    if last is None:
        raise _no_frame(path)


def frame_rate(path: str | Path, folder_rate: float = FOLDER_RATE) -> float:
    """Read the mean rate of a clip.

    Args:
        path: A clip or a folder.
        folder_rate: Frame rate of a folder.

    Returns:
        Frames in a second.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It is no clip, or PyAV is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        return folder_rate
    with _opened(path) as stream:
        return _rate(stream)


def count_frames(path: str | Path) -> int | None:
    """Count the frames of a clip as far as its header tells, or those of a folder.

    Args:
        path: A clip or a folder.

    Returns:
        Number of frames; None for a clip that does not tell it.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: It is no clip, PyAV is missing, or the folder has no frame.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        return len(frame_files(path))
    with _opened(path) as stream:
        return stream.frames or None


def frame_files(folder: Path) -> list[Path]:
    """List the images of a folder of frames, with numbers in names sorted by value.

    Args:
        folder: One image for each frame.

    Returns:
        At least one file.

    Raises:
        VideoError: The folder has no image.
    """
    files = (path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and path.name[0] != ".")
    found = sorted(files, key=_by_number)
    if not found:
        raise _no_frame(folder)
    return found


def require_pyav(path: str | Path) -> None:
    """Make sure that clips can be written.

    Args:
        path: File that the message names.

    Raises:
        VideoError: PyAV is missing.
    """
    _pyav(Path(path))


def _no_frame(path: Path) -> VideoError:
    return VideoError(f"{path}: has no frame; name a clip, or a folder of images ({', '.join(FRAME_SUFFIXES)})")


def _folder_frames(folder: Path, rate: float) -> Iterator[Frame]:
    for index, path in enumerate(frame_files(folder)):
        yield Frame(read_photo(path), index / rate, path.name)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key: frame_9 comes before frame_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _clip_frames(path: Path) -> Iterator[Frame]:
    with _opened(path) as stream:
        first, last = None, -1.0
        for index, frame in enumerate(stream.container.decode(stream)):
            time = index / _rate(stream) if frame.time is None else frame.time
            first = time if first is None else first
            # Damaged clips repeat times; what follows a frame comes at least a millisecond later.
            last = max(time - first, last + 0.001) if index else 0.0
            image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield Frame(np.ascontiguousarray(image), last, f"{path.stem}_{index:06d}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The video stream of a clip."""
    av = _pyav(path)
    try:
        with av.open(str(path), options=ONLY_FILES, metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(f"{path}: has no picture, only sound or data; name a video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: its codec is unknown here; convert it to MP4 with H.264")
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            stream.thread_type = "AUTO"
            yield stream
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be read as a video ({error.strerror}); it is damaged or of an unknown format: copy it "
            "again or convert it to MP4"
        ) from error


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or FOLDER_RATE)


def _pyav(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise VideoError(f'{path}: videos need PyAV; install it by: pip install "dhpe[video]"') from error
    return av


@contextmanager
def clip_writer(path: str | Path, rate: float = FOLDER_RATE) -> Iterator[Callable[[Frame], None]]:
    """Open a clip for writing, one frame at a time: H.264, or MPEG-4 where PyAV has no H.264 encoder.

    Each frame is shown at its own time, so a clip keeps the timing of the one it was made from. These formats hold
    even sizes only: an odd size grows by one pixel, a copy of the last row or column.

    Args:
        path: Output path (.mp4).
        rate: Frames in a second, for the file's header and the duration of the last frame.

    Yields:
        A function that writes the next frame.

    Raises:
        VideoError: The suffix is another one, frames differ in size, their times do not increase, there is no frame, or
            PyAV is missing.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise VideoError(f"{path}: clips are written as .mp4")
    if not rate > 0:
        raise VideoError(f"{path}: {rate} frames a second; the rate must be positive")
    av = _pyav(path)
    with av.open(str(path), "w") as container:
        stream: Any = None
        ticks: list[int] = []

        def write(frame: Frame) -> None:
            nonlocal stream
            padded = _even(frame.image)
            stream = stream or _encoder(av, container, padded.shape, rate)
            ticks.append(round(frame.time * TICKS))
            _require_order(path, frame, padded.shape, (stream.height, stream.width, 3), ticks)
            picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
            picture.pts, picture.time_base, picture.duration = ticks[-1], Fraction(1, TICKS), round(TICKS / rate)
            container.mux(stream.encode(picture))

        yield write
        if stream is None:
            raise VideoError(f"{path}: there is no frame to write")
        container.mux(stream.encode())


def _require_order(path: Path, frame: Frame, shape: tuple, first: tuple, ticks: list[int]) -> None:
    if shape != first:
        raise VideoError(
            f"{path}: {frame.name} has {shape[1]} x {shape[0]} pixels, the first frame {first[1]} x {first[0]}; "
            "all frames of a clip have one size"
        )
    if any(later <= earlier for earlier, later in pairwise(ticks[-2:])):
        raise VideoError(f"{path}: {frame.name} at {frame.time} s is not later than the frame before it")


def _even(image: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "even_h even_w 3"]:
    return np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def _encoder(av: ModuleType, container: Any, shape: tuple, rate: float) -> Any:
    codec = next(name for name in ENCODERS if name in av.codecs_available)
    stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001), options=QUALITY[codec])
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.max_b_frames = 0  # with frames out of order, the file's length leaves out the last ones
    return stream
