"""Clips and folders of frames: what is written is read back, upright and at its time."""

import struct
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dhpe_lib.data.photos import PhotoError
from dhpe_lib.prediction import video_io
from dhpe_lib.prediction.video_io import Frame, VideoError, clip_writer, frame_rate, is_clip, read_frames

try:
    import av
except ImportError:
    av = None
needs_av = pytest.mark.skipif(av is None, reason='PyAV is not installed: pip install "dhpe[video]"')

TIMES = (0.0, 1 / 30, 0.1, 0.15, 0.3)


def picture(k: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Soft colours that tell the frame, and a red corner at the top left that tells which way is up."""
    y, x = np.mgrid[:height, :width]
    image = np.stack((0 * x, 120 * y // height, np.full_like(x, 40 * k)), -1).astype(np.uint8)
    image[:16, :16] = (250, 0, 0)
    return image


def frames(**size: int) -> Iterator[Frame]:
    return (Frame(picture(k, **size), time, str(k)) for k, time in enumerate(TIMES))


def write_clip(path: Path, frames: Iterable[Frame], rate: float = 30.0) -> None:
    with clip_writer(path, rate) as write:
        for frame in frames:
            write(frame)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in grey levels; compression costs a few."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


@needs_av
def test_a_clip_comes_back_with_its_times(tmp_path):
    write_clip(tmp_path / "a.mp4", frames())
    found = list(read_frames(tmp_path / "a.mp4"))
    assert [frame.time for frame in found] == pytest.approx(TIMES, abs=1e-4)
    assert [frame.name for frame in found] == [f"a_00000{k}" for k in range(5)]
    assert all(difference(frame.image, picture(k)) < 6 for k, frame in enumerate(found))
    assert all(difference(frame.image, picture(k + 1)) > 10 for k, frame in enumerate(found))


@needs_av
def test_length_and_rate_of_a_clip(tmp_path):
    steady = (Frame(picture(0), k / 25, str(k)) for k in range(10))
    write_clip(tmp_path / "a.mp4", steady, rate=25.0)
    assert frame_rate(tmp_path / "a.mp4") == pytest.approx(25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(0.4, abs=1e-3)  # the last frame is shown, too
        assert container.streams.video[0].codec_context.name in ("h264", "mpeg4")


@needs_av
def test_odd_sizes_grow_by_a_pixel(tmp_path):
    write_clip(tmp_path / "a.mp4", frames(height=47, width=63))
    image = next(read_frames(tmp_path / "a.mp4")).image
    assert image.shape == (48, 64, 3)
    assert difference(image[:47, :63], picture(0, 47, 63)) < 6


@needs_av
@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".webm", "libvpx-vp9", "yuv420p"),
        (".mov", "mpeg4", "yuv420p"),
        (".mkv", "libx264", "yuv420p"),
        (".avi", "mpeg4", "yuv420p"),
        (".gif", "gif", "rgb8"),
    ],
)
def test_other_formats_are_read(tmp_path, suffix, codec, pixels):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for k in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k), format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    assert is_clip(path)
    found = list(read_frames(path))
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=2e-3)
    assert frame_rate(path) == pytest.approx(10, rel=1e-3)
    assert difference(found[2].image, picture(2)) < (30 if suffix == ".gif" else 6)


# The matrix of a track header, (a, b, c, d) in x' = a x + c y, y' = b x + d y with y down (ISO/IEC 14496-12, 8.3.2).
TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@needs_av
@pytest.mark.parametrize("clockwise", TURNS)
def test_phone_clips_are_turned_upright(tmp_path, clockwise):
    path = tmp_path / "phone.mp4"
    upright = picture(1)
    write_clip(path, [Frame(np.ascontiguousarray(np.rot90(upright, clockwise // 90)), 0.0, "turned")])
    data = bytearray(path.read_bytes())
    start = (
        data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # version and flags; times, track, duration; reserved; layer, volume
    assert struct.unpack(">9i", data[start : start + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in TURNS[clockwise])
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert difference(next(read_frames(path)).image, upright) < 6


@needs_av
def test_times_start_at_zero_and_increase(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = 50 + k, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [frame.time for frame in read_frames(path)] == pytest.approx([0, 0.1, 0.2], abs=2e-3)


@needs_av
def test_damaged_clips_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    for content in (b"", b"no video at all", bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(VideoError, match=r"a\.mp4: cannot be read as a video .*copy it again"):
            list(read_frames(path))
    write_clip(path, frames())
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(VideoError, match="cannot be read as a video"):
        list(read_frames(path))


@needs_av
def test_an_unknown_codec_is_named(tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, frames())
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"mp4v", b"zzzz"))
    with pytest.raises(VideoError, match=r"a\.mp4: its codec is unknown here"):
        list(read_frames(path))


@needs_av
def test_sound_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no picture"):
        list(read_frames(path))


@needs_av
def test_bad_frames_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    first = Frame(picture(0), 0.0, "first")
    with pytest.raises(VideoError, match="no frame to write"):
        write_clip(path, [])
    with pytest.raises(VideoError, match="b has 32 x 48 pixels, the first frame 64 x 48"):
        write_clip(path, [first, Frame(picture(0, width=32), 1.0, "b")])
    with pytest.raises(VideoError, match=r"b at 0\.0 s is not later"):
        write_clip(path, [first, Frame(picture(0), 0.0, "b")])
    with pytest.raises(VideoError, match="the rate must be positive"):
        write_clip(path, [first], rate=0.0)
    with pytest.raises(OSError, match="No such file"):
        write_clip(tmp_path / "nowhere" / "a.mp4", [first])


@needs_av
def test_an_error_of_the_caller_passes_through(tmp_path):
    def write_and_fail() -> None:
        with clip_writer(tmp_path / "a.mp4") as write:
            write(Frame(picture(0), 0.0, "first"))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()


def test_folders_are_read_in_the_order_of_their_numbers(tmp_path):
    for name, k in (("f10.png", 2), ("f9.png", 1), ("f009.PNG", 0)):
        Image.fromarray(picture(k)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".f1.png").write_text("hidden")
    found = list(read_frames(tmp_path, folder_rate=10.0))
    assert [frame.name for frame in found][-1] == "f10.png"
    assert sorted(frame.name for frame in found[:2]) == ["f009.PNG", "f9.png"]
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2])
    np.testing.assert_array_equal(found[2].image, picture(2))
    assert frame_rate(tmp_path, 10.0) == 10


def test_folders_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(VideoError, match="has no frame"):
        list(read_frames(tmp_path))
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(PhotoError, match=r"a\.png"):
        list(read_frames(tmp_path))
    with pytest.raises(VideoError, match="rate of a folder must be positive"):
        list(read_frames(tmp_path, folder_rate=0.0))


def test_missing_files_and_other_suffixes(tmp_path):
    for read in (frame_rate, lambda path: list(read_frames(path))):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match=r"written as \.mp4"):
        write_clip(tmp_path / "a.webm", frames())
    assert is_clip("a.MP4")
    assert not is_clip("a.jpg")
    (tmp_path / "odd.mp4").mkdir()
    assert not is_clip(tmp_path / "odd.mp4")  # a folder


def test_without_pyav_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"")
    for use in (lambda: list(read_frames(tmp_path / "a.mp4")), lambda: write_clip(tmp_path / "b.mp4", frames())):
        with pytest.raises(VideoError, match=r'pip install "dhpe\[video\]"'):
            use()


@needs_av
def test_a_playlist_opens_no_other_file(tmp_path):
    write_clip(tmp_path / "secret.mp4", frames())
    playlist = tmp_path / "clip.mp4"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(playlist)) as container:  # FFmpeg alone goes by the content
        assert len(list(container.decode(video=0))) == len(TIMES)
    with pytest.raises(VideoError, match=r"clip\.mp4: cannot be read as a video"):
        next(read_frames(playlist))


@needs_av
def test_frames_have_a_largest_size(tmp_path, monkeypatch):
    write_clip(tmp_path / "a.mp4", frames())
    monkeypatch.setattr(video_io, "MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(VideoError, match=r"a\.mp4: cannot be read as a video"):
        list(read_frames(tmp_path / "a.mp4"))
