"""`dhpe` from end to end, and its message for each kind of bad input."""

import json
import os
import re
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from project import ROOT, child_environment
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib import __version__
from dhpe_lib.cli.__main__ import app
from dhpe_lib.common.console import link
from dhpe_lib.common.devices import find_device
from dhpe_lib.common.locks import locked
from dhpe_lib.hand.export import export_hand
from dhpe_lib.hand.io import HandFileError, write_hand
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network import trained as shipped
from dhpe_lib.prediction import from_keypoints, photo_groups
from dhpe_lib.prediction.demo import write_demo
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.prediction.outputs import SUFFIXES
from dhpe_lib.prediction.photo_groups import load_right_hand
from dhpe_lib.refinement.fitting import FitOptions

ESTIMATOR = ("--evidence", "estimator", "--device", "cpu")
QUICK = FitOptions(starts=4, iterations=30, finalists=1, final_iterations=30)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder; the terminal is wide and the fits are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    fit = from_keypoints.estimate_hands
    quick = lambda model, hands, side, mask: fit(model, hands, side, mask, QUICK)  # noqa: E731
    monkeypatch.setattr(from_keypoints, "estimate_hands", quick)
    return tmp_path


@pytest.fixture(scope="module")
def joints() -> list[list[float]]:
    """The 2D joints of a flat hand in a photo of 120 x 160 pixels."""
    joints_m = HandModel.open_hand()().joints[0, :, [2, 0]].numpy()
    return (joints_m * 500 + (60, 90)).round(2).tolist()


def photo(path: Path, shade: int = 200) -> str:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((160, 120, 3), shade, np.uint8)).save(path)
    return str(path)


def keypoints(*entries: Any) -> str:
    Path("k.json").write_text(json.dumps(entries))
    return "k.json"


def dhpe(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def words(text: str) -> str:
    """Remove the frame and the line breaks of an error box from the output."""
    return " ".join(text.replace("│", " ").split())


def fails(*arguments: str) -> str:
    """Return the error message of a command that exits with a usage error."""
    result = dhpe(*arguments)
    assert result.exit_code == 2, result.output
    return words(result.stderr)


def test_each_photo_and_hand_gets_its_files_and_a_failure_stops_nothing(here, joints):
    hands = [{"joints_2d": joints, "hand": "left"}, {"joints_2d": joints}]
    few = [[k, k, int(k < 3)] for k in range(21)]
    source = keypoints(
        {"file": "a/1.png", "hands": hands},
        {"file": "b/1.png", "joints_2d": joints, "hand": "right"},
        {"file": "few.png", "joints_2d": few},
    )
    (here / "broken.png").write_text("no image")
    photos = [
        photo(here / "a" / "1.png"),
        "missing.png",
        "broken.png",
        photo(here / "c.png"),
        photo(here / "few.png"),
        photo(here / "b" / "1.png"),
    ]
    result = dhpe("predict", *photos, "--keypoints", source)
    assert result.exit_code == 1
    stems = ("1_hand", "1_hand2", "1_2_hand")
    assert {path.name for path in Path("dhpe_out").iterdir()} == {"index.jsonl", "1_hands.png"} | {
        stem + suffix for stem in stems for suffix in SUFFIXES
    }
    sides = [json.loads(Path("dhpe_out", f"{stem}.json").read_text()) for stem in stems]
    assert [(found["hand"], found["hand_known"]) for found in sides] == [
        ("left", True),
        ("right", False),
        ("right", True),
    ]
    assert "all 2 hands  dhpe_out/1_hands.png" in result.output
    assert "3 hands in dhpe_out" in result.output
    assert "4 of 6 photos failed" in result.output
    assert result.output.count("missing.png: no such file") == 1
    assert "broken.png: not an image" in result.output
    assert "few.png: only 3 of the 21 joints are known" in result.output
    assert "c.png: no entry of k.json names this photo" in result.output
    assert "right hand (assumed)" in result.output
    assert "--hand left" in result.output


def test_side_mask_model_and_folder_of_the_caller_are_used(here, joints):
    model = HandModel.open_hand("left")
    write_hand("left.npz", model.hand)
    mask = np.zeros((160, 120), np.uint8)
    mask[20:140, 30:90] = 255
    Image.fromarray(mask).save("m.png")
    source = keypoints({"file": "p.png", "joints_2d": joints, "hand": "right"})
    options = ("--mask", "m.png", "--hand", "left", "--model", "left.npz", "--out", "x/y", "--device", "cpu")
    result = dhpe("predict", photo(here / "p.png"), "--keypoints", source, "--evidence", "keypoints", *options)
    assert result.exit_code == 0, result.output
    found = json.loads(Path("x/y/p_hand.json").read_text())
    assert (found["hand"], found["evidence"]["mask"]) == ("left", True)
    assert "(assumed)" not in result.output


def test_an_input_is_never_overwritten(here, joints):
    source = keypoints({"file": "p_hand.png", "joints_2d": joints}, {"file": "p.png", "joints_2d": joints})
    first, second = photo(here / "p.png"), photo(here / "p_hand.png")
    before = Path(second).read_bytes()
    assert dhpe("predict", first, second, "--keypoints", source, "--out", ".").exit_code == 0
    assert Path(second).read_bytes() == before
    assert Path("p_2_hand.png").is_file()
    assert Path("p_hand_hand.png").is_file()


def test_an_input_is_known_through_links_and_dots(here, joints):
    source = keypoints({"file": "p_hand.png", "joints_2d": joints}, {"file": "p.png", "joints_2d": joints})
    (here / "photos").mkdir()
    first, second = photo(here / "photos" / "p.png"), photo(here / "photos" / "p_hand.png")
    before = Path(second).read_bytes()
    Path("link").symlink_to("photos")
    for out in ("link", "photos/../photos"):
        assert dhpe("predict", first, second, "--keypoints", source, "--out", out, "--write", "png").exit_code == 0
        assert Path(second).read_bytes() == before
    assert sorted(path.name for path in Path("photos").iterdir()) == [
        "index.jsonl", "p.png", "p_2_hand.png", "p_hand.png", "p_hand_hand.png"
    ]  # fmt: skip
    Path("joints").mkdir()
    Path(source).rename("joints/index.jsonl")
    wrong = fails("predict", first, second, "--keypoints", "joints/index.jsonl", "--out", "joints")
    assert "index.jsonl, which would be overwritten" in wrong


def test_two_runs_with_one_index_are_kept_apart(here, joints):
    source = keypoints({"file": "p.png", "joints_2d": joints}, {"file": "q.png", "joints_2d": joints})
    pair = photo(here / "p.png"), photo(here / "q.png")
    Path("out").mkdir()
    with locked(Path("out/.index.jsonl.lock")):
        busy = dhpe("predict", *pair, "--keypoints", source, "--out", "out")
        assert busy.exit_code == 1
        assert "out: another run writes there (process" in words(busy.stderr)
        assert dhpe("predict", pair[0], "--keypoints", source, "--out", "out").exit_code == 0  # it writes no index


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"joints_2d": [[1, 2, 1]] * 20}, "shape (20, 3)"),
        ({"joints_2d": [[float("nan"), 2, 1]] * 21}, "row 0 of joints_2d is not finite"),
        ({"joints_2d": [[k, k, int(k < 3)] for k in range(21)]}, "only 3 of the 21 joints are known"),
        ({"joints_2d": [[7, 7, 1]] * 21}, "all lie in one place"),
        ({}, "holds no hand"),
    ],
)
def test_joints_that_cannot_be_used(here, fields, message):
    source = keypoints({"file": "p.png", **fields})
    result = dhpe("predict", photo(here / "p.png"), "--keypoints", source)
    assert result.exit_code == 1
    assert message in result.output
    assert "failed" not in result.output  # a count of one photo tells nothing
    assert list(Path("dhpe_out").iterdir()) == []


def test_a_mask_that_cannot_be_used(here, joints):
    Image.new("L", (50, 40), 255).save("m.png")
    name = photo(here / "p.png")
    result = dhpe("predict", name, "--mask", "m.png", "--keypoints", keypoints({"file": "p.png", "joints_2d": joints}))
    assert "m.png: the mask has 50 x 40 pixels, the upright photo 120 x 160" in result.output
    two = keypoints({"file": "p.png", "hands": [{"joints_2d": joints}] * 2})
    result = dhpe("predict", name, "--mask", "m.png", "--keypoints", two)
    assert "which of 2 hands" in result.output
    assert "a mask belongs to one photo" in fails("predict", name, name, "--mask", "m.png", "--keypoints", two)


def test_a_defect_of_ours_is_named_and_stops_nothing(here, joints, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(from_keypoints, "estimate_hands", fail)
    result = dhpe("predict", photo(here / "p.png"), "--keypoints", keypoints({"file": "p.png", "joints_2d": joints}))
    assert result.exit_code == 1
    assert "p.png: ZeroDivisionError: ours" in result.output


def test_usage_errors_come_before_the_first_photo(here, joints, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    (here / "empty").mkdir()
    name, source = photo(here / "p.png"), keypoints({"file": "p.png", "joints_2d": joints})
    with_keypoints = ("predict", name, "--keypoints", source)
    monkeypatch.setattr(shipped, "SHIPPED", here / "light.safetensors")
    assert "light.safetensors: no such file" in fails("predict", name, "--evidence", "estimator")
    assert "none: no such checkpoint" in fails("predict", name, "--evidence", "estimator", "--weights", "none")
    assert "landmarks does not use --weights" in fails("predict", name, "--weights", "none")
    assert "the focal length is -5" in fails("predict", name, "--focal", "-5")
    assert "the field of view is 180" in fails("predict", name, "--fov", "180")
    assert "give one of them" in fails("predict", name, "--focal", "500", "--fov", "60")
    assert "4/3: is no shard; write I/N" in fails("predict", name, "--shard", "4/3")
    assert "holds no photo" in fails("predict", str(here / "empty"))
    assert "pip install -e '.[mediapipe]'" in fails("predict", name, "--evidence", "mediapipe")
    assert "5,5: is no box" in fails("predict", name, "--box", "5,5")
    assert "must be positive" in fails("predict", name, "--box", "5,5,0,3")
    assert "none.json: no such file" in fails("predict", name, "--box", "none.json")
    assert "MediaPipe cannot be imported" in fails("predict", name, "--box", "mediapipe")
    assert "a box belongs to one photo" in fails("predict", name, name, "--box", "5,5,9,9")
    assert "keypoints does not use --box" in fails(*with_keypoints, "--box", "5,5,9,9")
    assert "estimator does not use --model" in fails("predict", name, "--evidence", "estimator", "--model", name)
    assert "name it with --keypoints" in fails("predict", name, "--evidence", "keypoints")
    assert "drop one" in fails(*with_keypoints, "--evidence", "mediapipe")
    assert "none.json: no such file" in fails("predict", name, "--keypoints", "none.json")
    Path("bad.json").write_text("[")
    assert "bad.json: is not JSON" in fails("predict", name, "--keypoints", "bad.json")
    assert "none.npz: no such hand file" in fails(*with_keypoints, "--model", "none.npz")
    assert "p.png: hand models are .pkl or .npz" in fails(*with_keypoints, "--model", name)
    assert "warp9: no such device" in fails(*with_keypoints, "--device", "warp9")
    assert "k.json: is a file; name a folder" in fails(*with_keypoints, "--out", source)
    assert "name a photo, a folder or a clip" in fails("predict")
    assert not Path("dhpe_out").exists()


def test_the_estimator_as_evidence(here):
    """The public networks find the hands of the demo picture; the joints are those of the estimator."""
    scene, *_ = write_demo(here)
    result = dhpe("predict", "demo.png", photo(here / "grey.png"), *ESTIMATOR)
    assert result.exit_code == 0, result.output
    assert "1 of 2 photos without a hand (-); the reasons are in dhpe_out/index.jsonl" in result.output
    assert "failed" not in result.output
    assert "- grey.png: no hand is found" in result.output.replace(f"{here}/", "")
    truth = {hand.side: hand.joints_2d for hand in scene.hands}
    for name in ("demo_hand", "demo_hand2"):
        found = json.loads(Path("dhpe_out", f"{name}.json").read_text())
        assert found["evidence"]["source"] == "the network (hand)"
        wanted = truth[found["hand"]]
        off = np.linalg.norm(np.subtract(found["evidence"]["joints_px"], wanted), axis=1).mean()
        assert off < 0.1 * np.ptp(wanted, axis=0).max()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_permission(here, joints):
    Path("closed").mkdir(mode=0o500)
    source = keypoints({"file": "p.png", "joints_2d": joints})
    assert "closed" in fails("predict", photo(here / "p.png"), "--keypoints", source, "--out", "closed")


@pytest.fixture
def one_hand(monkeypatch, joints) -> None:
    """MediaPipe, pretended: it finds a hand in bright photos only."""
    monkeypatch.setitem(sys.modules, "mediapipe", type(sys)("mediapipe"))
    sys.modules["mediapipe"].solutions = None
    hand = HandKeypoints(np.array(joints), np.ones(21), "right", "MediaPipe")
    monkeypatch.setattr(photo_groups, "detect_hands", lambda image: [hand] if image.max() > 100 else [])


def test_a_run_in_which_no_photo_has_a_hand_ends_with_1(here, one_hand):
    dark = [photo(here / name, shade=20) for name in ("p.png", "q.png")]
    for photos in (dark[:1], dark):
        result = dhpe("predict", *photos, "--evidence", "mediapipe")
        assert result.exit_code == 1
        assert "p.png: MediaPipe finds no hand in it" in result.output
        assert ("photos without a hand" in result.output) == (len(photos) > 1)


def test_photos_without_a_hand_are_no_error_but_broken_ones_are(here, one_hand):
    photos = [photo(here / "in" / "hand.png"), photo(here / "in" / "none.png", shade=20)]
    run = ("predict", "in", "--evidence", "mediapipe", "--write", "json")
    result = dhpe(*run)
    assert result.exit_code == 0, result.output
    assert "1 of 2 photos without a hand" in result.output
    lines = [json.loads(line) for line in Path("dhpe_out/index.jsonl").read_text().splitlines()]
    assert [(line["photo"], line["no_hand"], len(line["hands"])) for line in lines] == [
        ("hand.png", False, 1),
        ("none.png", True, 0),
    ]
    Path(photos[1]).write_text("no image")
    result = dhpe(*run)
    assert result.exit_code == 1
    assert "1 of 2 photos failed (✗); the reasons are in dhpe_out/index.jsonl" in result.output
    assert "without a hand" not in result.output


def test_a_model_without_poses_cannot_be_fitted(tmp_path):
    hand = {name: value for name, value in HandModel.open_hand().hand.items() if name != "hands_coeffs"}
    write_hand(tmp_path / "m.npz", hand)
    with pytest.raises(HandFileError, match=r"m\.npz: lacks hands_coeffs"):
        load_right_hand(tmp_path / "m.npz")


def test_the_default_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device(None).type == "cpu"


def test_the_demonstration(here):
    result = dhpe("demo")
    assert result.exit_code == 0, result.output
    names = {f"demo_{hand}{suffix}" for hand in ("hand", "hand2") for suffix in SUFFIXES}
    names |= {"demo.png", "demo.json", "demo_hands.png"}
    assert {path.name for path in Path("dhpe_out").iterdir()} == names
    assert "dhpe_out/demo_hand.html" in result.output
    found = [json.loads(Path("dhpe_out", f"demo_{hand}.json").read_text()) for hand in ("hand", "hand2")]
    assert sorted(one["hand"] for one in found) == ["left", "right"]
    assert all(one["presence"] > 0.9 and one["verdict"] == "good" for one in found)
    errors = re.findall(r"(\w+) hand: joints .*\(([\d.]+) %.* mesh ([\d.]+) mm off, ([\d.]+) mm after", result.output)
    assert [side for side, *_ in errors] == ["right", "left"]
    for _, joints, mesh, aligned in errors:
        assert 0 < float(joints) < 5
        assert 0 < float(aligned) < 9
        assert float(mesh) < 25
    options = ("--keypoints", "dhpe_out/demo.json", "--out", "again", "--write", "json")
    again = dhpe("predict", "dhpe_out/demo.png", *options)
    assert again.exit_code == 0, again.output
    by_side = {one["hand"]: one for one in found}
    for hand in ("hand", "hand2"):
        given = json.loads(Path("again", f"demo_{hand}.json").read_text())
        shift = np.subtract(given["joints"]["px"], by_side[given["hand"]]["joints"]["px"])
        assert np.abs(shift).mean() < 25


def test_the_page_with_sliders(here, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    result = dhpe("hand", "show")
    assert result.exit_code == 0, result.output
    assert opened == [(here / "dhpe_out" / "hand.html").as_uri()]
    assert "The right hand" in Path("dhpe_out/hand.html").read_text()
    assert dhpe("hand", "show", "--side", "left", "--no-browser", "--out", "l.html").exit_code == 0
    assert "The left hand" in Path("l.html").read_text()
    assert len(opened) == 1
    assert "none.pkl: no such hand file" in fails("hand", "show", "--model", "none.pkl", "--no-browser")


def test_export(here):
    result = dhpe("hand", "export", "h.obj", "--side", "left", "--shape", "-1,0.5")
    assert result.exit_code == 0, result.output
    export_hand(Path("same/h.obj"), HandModel.open_hand("left"), shape=[-1.0, 0.5, *[0.0] * 8])
    assert Path("h.obj").read_bytes() == Path("same/h.obj").read_bytes()
    assert all(name in result.output for name in ("h.obj", "h.mtl", "h_texture.jpg"))
    assert dhpe("hand", "export", "h.glb", "--rigged").exit_code == 0
    assert b'"skins"' in Path("h.glb").read_bytes()
    assert ".pkl, .npz, .obj, .ply, .glb, not as .stl" in fails("hand", "export", "h.stl")
    assert "45 numbers, here are 1" in fails("hand", "export", "h.ply", "--pose", "1")


def test_a_model_is_not_overwritten(here):
    assert dhpe("hand", "export", "h.npz").exit_code == 0
    before = Path("h.npz").read_bytes()
    Path("link").symlink_to(".")
    for command in (("export", "link/h.npz"), ("export", "../h.npz"), ("show", "--no-browser", "--out", "link/h.npz")):
        Path("deep").mkdir(exist_ok=True)
        name = command[-1].replace("..", "deep/..")
        said = fails("hand", *command[:-1], name, "--model", "h.npz")
        assert "is the input h.npz, which would be overwritten" in said
    assert Path("h.npz").read_bytes() == before


def test_help_is_quick_and_names_the_commands():
    start = time.perf_counter()
    command = [sys.executable, "-c", "from dhpe_lib.cli.__main__ import main; main()", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert time.perf_counter() - start < 5  # 0.4 s on an idle machine
    assert all(word in done.stdout for word in ("predict", "demo", "hand"))
    loaded = "import sys, dhpe_lib.cli.__main__; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"]
    assert __version__ in dhpe("--version").output


def test_what_was_imported_is_left_to_no_garbage_collection():
    program = "import gc; from dhpe_lib.common.garbage import kept_imports\n"
    program += "with kept_imports():\n    import torch; print(gc.isenabled())\n"
    program += "print(gc.isenabled(), gc.get_freeze_count() > 10 * len(gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_a_prediction_imports_no_slow_package_that_it_does_not_need(here):
    write_demo(here)
    program = "import sys; from dhpe_lib.cli.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
    program += "print('loaded:', *sys.modules)"
    command = [sys.executable, "-c", program, "predict", "demo.png"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split("loaded:")[1].split())
    assert "warp" in loaded
    assert not loaded & {
        "dhpe_lib.rendering.rasterizer.silhouettes",
        "torch._dynamo",
        "torchvision",
        "scipy",
        "trimesh",
        "plotly",
    }


def test_paths_are_shown_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(link(tmp_path / "a" / "b.html")) == os.path.join("a", "b.html")
    assert str(link(Path("/elsewhere/b.html"))) == "/elsewhere/b.html"
    terminal = Console(force_terminal=True, width=80, legacy_windows=False, color_system="truecolor")
    with terminal.capture() as captured:
        terminal.print(link(Path("a b.html")))
    assert (tmp_path / "a b.html").as_uri() in captured.get()
