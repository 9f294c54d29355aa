"""`dhpe predict` for clips: what it writes, and what it says of each kind of bad input."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction import video
from dhpe_lib.prediction.demo import demo_scene


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    return tmp_path


@pytest.fixture
def no_av(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


def dhpe(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def fails(*arguments: str) -> str:
    """Message of a command that cannot start."""
    result = dhpe(*arguments)
    assert result.exit_code == 2, result.output
    assert not Path("dhpe_out").exists()
    return " ".join(result.stderr.replace("│", " ").split())


def grey_frames(folder: str, count: int = 2, size: tuple[int, int] = (80, 60)) -> str:
    Path(folder).mkdir(exist_ok=True)
    for k in range(count):
        Image.new("RGB", size, (128, 128, 128)).save(Path(folder, f"{k}.png"))
    return folder


def test_a_folder_of_frames_needs_no_pyav_without_the_overlay(here, no_av):
    picture = Image.fromarray(demo_scene(HandModel.open_hand()).image).reduce(4)
    Path("wave").mkdir()
    for k in range(3):
        Image.fromarray(np.roll(np.asarray(picture), 3 * k, 1)).save(f"wave/frame_{k + 9}.png")
    options = ("--video", "--fps", "15", "--write", "json", "--write", "glb", "--focal", "400", "--device", "cpu")
    result = dhpe("predict", "wave", *options)
    assert result.exit_code == 0, result.output
    assert "right hand in 3 of 3 frames" in result.output
    assert "frames/s" in result.output
    assert "assumed" not in result.output
    assert sorted(path.name for path in Path("dhpe_out").iterdir()) == ["wave_hands.glb", "wave_hands.json"]
    found = json.loads(Path("dhpe_out/wave_hands.json").read_text())
    assert found["camera"]["focal_px"] == 400
    assert found["hands"][0]["times_s"] == pytest.approx([0, 1 / 15, 2 / 15], abs=1e-3)


def test_pyav_missing(here, no_av):
    Path("c.mp4").write_bytes(b"")
    assert 'c.mp4: videos need PyAV; install it by: pip install "dhpe[video]"' in fails("predict", "c.mp4")
    assert 'pip install "dhpe[video]"' in fails("predict", "--video", grey_frames("f"))


def test_wrong_files(here):
    pytest.importorskip("av", reason='PyAV is not installed: pip install "dhpe[video]"')
    assert "none.mp4: no such file" in fails("predict", "none.mp4")
    Path("broken.mp4").write_bytes(b"no video")
    assert "broken.mp4: cannot be read as a video" in fails("predict", "broken.mp4")
    Path("empty").mkdir()
    assert "empty: has no frame" in fails("predict", "--video", "empty")


def test_options_for_photos_are_refused_for_clips(here):
    folder = grey_frames("f")
    assert "a clip is processed as a whole; leave out --resume" in fails("predict", "--video", folder, "--resume")
    assert "leave out --box" in fails("predict", "--video", folder, "--box", "1,2,3,4")
    assert "leave out --evidence" in fails("predict", "--video", folder, "--evidence", "estimator")
    assert "png is not written for a clip; choose from mp4, json, glb" in fails(
        "predict", "--video", folder, "--write", "png"
    )
    assert "mp4 is not written for a photo" in fails("predict", folder, "--write", "mp4")
    assert "c.mp4 is a clip, f/0.png is none" in fails("predict", "c.mp4", "f/0.png")
    assert "give one of them" in fails("predict", "--video", folder, "--focal", "3", "--fov", "3")


def test_a_clip_without_a_hand_and_frames_of_two_sizes(here):
    only_json = ("--write", "json", "--device", "cpu")
    mixed = grey_frames("mixed")
    Image.new("RGB", (50, 60)).save("mixed/9.png")
    result = dhpe("predict", "--video", grey_frames("grey"), mixed, *only_json)
    assert result.exit_code == 1
    assert "grey: no hand is found" in result.output
    assert "mixed: 9.png: has 50 x 60 pixels, the first frame, 0.png, 80 x 60" in result.output
    assert list(Path("dhpe_out").iterdir()) == []


def test_ctrl_c_writes_nothing(here, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "follow_clip", stop)
    result = dhpe("predict", "--video", grey_frames("f"), "--write", "json", "--device", "cpu")
    assert result.exit_code == 130
    assert "Nothing was written for f" in result.output
    assert list(Path("dhpe_out").iterdir()) == []
