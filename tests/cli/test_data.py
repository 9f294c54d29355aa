"""`dhpe data`: reports on good and bad copies, contact sheets, and the preparation of a split from files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dot_dataset import Dots, write_dots
from fake_datasets import points, rhd_mask, rhd_record, write_do, write_rhd
from PIL import Image
from typer.testing import CliRunner

import dhpe_lib.data.cache.preparation as preparation
from dhpe_lib.cli.__main__ import app
from dhpe_lib.cli.data_lookup import NAMES, RENDERED
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.checks import Finding
from dhpe_lib.data.readers import DATASETS, Dataset
from dhpe_lib.data.readers.dexter_object import SEQUENCES
from dhpe_lib.synthetic.orh import COUNTS


def check_dots(folder: Path) -> list[Finding]:
    labels, picture = folder / "labels.json", folder / "2.png"
    gone = None if picture.is_file() else "no such file"
    return [
        Finding(labels, None if labels.is_file() else "no such file", None, "write them"),
        Finding(picture, gone, 1200, "paint it again" if gone else ""),
    ]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a registered dataset of dots; the terminal is wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setitem(DATASETS, "dots", Dataset(Dots, ("train", "test"), check_dots, "https://dots.example"))
    write_dots(tmp_path / "dots", 5)
    return tmp_path


def data(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ("data", *arguments))
    assert result.exit_code == code, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_every_name_is_in_the_help(here):
    assert set(NAMES.split(", ")) == set(DATASETS) - {"dots"}
    assert tuple(COUNTS) == RENDERED
    for command in ("check", "show"):
        assert f"{NAMES}, orh, orh-s, orh-o." in data(command, "--help")
    assert f"{NAMES}." in data("prepare", "--help")


def test_a_good_copy(here):
    said = data("check", "dots", "dots")
    assert "✓ labels.json ✓ 2.png 1,200 Nothing is missing" in said
    assert "Next: dhpe data prepare dots dots --out FOLDER" in said


def test_a_bad_copy(here):
    (here / "dots" / "2.png").unlink()
    said = data("check", "dots", "dots", code=1)
    assert "✓ labels.json ✗ 2.png 1,200 no such file 1 of 2 checks failed: paint it again" in said
    assert "https://dots.example" in said
    assert "write them" not in said


def test_a_problem_of_the_whole_folder_names_the_folder(here):
    (here / "small copy" / "labels").mkdir(parents=True)
    (here / "small copy" / "labels" / "B1Random_SK.mat").touch()
    assert "✗ small copy 0 18000 of 18000 images missing" in data("check", "stb", "small copy", code=1)


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_the_wrong_folder_is_named_in_one_line(here, name):
    (here / "other").mkdir()
    (here / "other" / "letter.txt").write_text("Dear all")
    result = CliRunner().invoke(app, ("data", "check", name, "other"))
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith(f"✗ other: holds no labels of {name}, such as ")
    assert line.endswith(". Is it the right folder?")


def test_lines_to_copy_have_quotes_where_the_shell_needs_them(here):
    write_dots(here / "my dots", 5)
    assert "Next: dhpe data prepare dots 'my dots' --out FOLDER" in data("check", "dots", "my dots")
    said = data("prepare", "dots", "my dots", "--out", "my out", "--split", "test", "--workers", "1")
    assert "Show them: dhpe data show dots 'my out/test'" in said


@pytest.mark.parametrize("command", ["check", "show", "prepare"])
def test_names_and_splits_that_do_not_exist(here, command):
    more = ("--out", "x") if command == "prepare" else ()
    said = data(command, "mnist", "dots", *more, code=2)
    assert f"no dataset is called mnist; choose from {NAMES}, dots" in said
    if command != "check":
        assert "there is no split val; choose from train, test" in data(
            command, "dots", "dots", "--split", "val", *more, code=2
        )
    assert not Path("x").exists()


@pytest.mark.parametrize(("command", "name"), [("check", "orh"), ("check", "rhd"), ("show", "orh"), ("prepare", "rhd")])
def test_folders_that_do_not_exist(here, command, name):
    more = ("--out", "x") if command == "prepare" else ()
    assert "Invalid value for DIR: gone: no such folder" in data(command, name, "gone", *more, code=2)
    said = data(command, name, "dots/labels.json", *more, code=2)
    assert "dots/labels.json: is a file; unpack it and name the folder" in said


def test_rendered_hands_are_not_prepared(here):
    said = data("prepare", "orh", "dots", "--out", "x", code=2)
    assert "orh is rendered; to make it, run: dhpe data make orh --out FOLDER" in said


def test_sheet_of_a_dataset(here):
    assert "4 of 5 samples: dhpe_out/dots_train.png" in data("show", "dots", "dots", "--count", "4")
    data("show", "dots", "dots", "--count", "4", "--out", "new/again.png")
    first, again = (np.asarray(Image.open(path)) for path in ("dhpe_out/dots_train.png", "new/again.png"))
    np.testing.assert_array_equal(first, again)
    data("show", "dots", "dots", "--count", "4", "--seed", "1", "--out", "other.png")
    assert not np.array_equal(first, np.asarray(Image.open("other.png")))
    assert "5 of 5 samples: dhpe_out/dots_test.png" in data("show", "dots", "dots", "--split", "test")
    assert "unknown file extension: .doc" in data("show", "dots", "dots", "--out", "sheet.doc", code=2)


def test_a_sheet_overwrites_no_picture_of_the_dataset(here):
    before = Path("dots/3.png").read_bytes()
    Path("link").symlink_to("dots")
    for out in ("dots/3.png", "link/3.png", "link/../dots/3.png"):
        assert "3.png: is a file in the dataset's folder" in data("show", "dots", "dots", "--out", out, code=2)
    assert Path("dots/3.png").read_bytes() == before


def test_damaged_pictures_are_left_out_of_a_sheet_and_named(here):
    whole = data("show", "dots", "dots", "--out", "whole.png")
    assert "5 of 5 samples: whole.png" in whole
    cut = here / "dots" / "3.png"
    cut.write_bytes(cut.read_bytes()[:200])
    (here / "dots" / "1.png").unlink()
    said = data("show", "dots", "dots", "--out", "rest.png", code=1)
    assert "3 of 5 samples: rest.png ✗ train/1: dots/1.png: no such file ✗ train/3: dots/3.png: cannot be read" in said
    assert said.count("✗") == 2
    assert Path("rest.png").is_file()


def test_damaged_pictures_are_named(here):
    for index in range(5):
        (here / "dots" / f"{index}.png").write_bytes(b"")
    said = data("show", "dots", "dots", code=1)
    assert "✗ train/0: dots/0.png: not an image" in said
    assert said.count("✗") == 5
    assert not Path("dhpe_out").exists()
    said = data("prepare", "dots", "dots", "--out", "out", "--split", "test", "--workers", "1", code=1)
    assert "5 samples of the test split cannot be read: test/0: dots/0.png: not an image" in said
    assert "its preparation was not finished" in data("show", "dots", "out/test", code=1)
    (here / "dots" / "labels.json").unlink()
    assert "labels.json" in data("show", "dots", "dots", code=1)


def test_from_files_to_a_prepared_split(here):
    labels = json.loads(Path("dots/labels.json").read_text())
    labels[3]["joints"][2:] = [None] * 19
    labels[4]["joints"][1:] = [None] * 20
    Path("dots/labels.json").write_text(json.dumps(labels))
    Path("dots/1.png").write_bytes(b"")
    said = data("prepare", "dots", "dots", "--out", "out", "--workers", "1", "--skip-bad")
    assert "3 samples in out/train; 2 left out, meta.json says why" in said
    assert "Show them: dhpe data show dots out/test" in said
    cache = Prepared("out/train")
    assert cache.ids == ["train/0", "train/2", "train/3"]
    assert "3 of 3 samples: dhpe_out/dots_train.png" in data("show", "dots", "out/train")
    said = data("check", "dots", "out/train")
    assert f"from dots 3 samples, 2 left out, SHA-256 {cache.meta['sha256']} Every byte" in said
    assert "out/train holds dots, not rhd" in data("check", "rhd", "out/train", code=2)
    assert "out/train holds the split train" in data("show", "dots", "out/train", "--split", "test", code=2)
    said = data("check", "dots", "out")
    assert said.count("Every byte") == 2
    assert said.index("✓ dots train") < said.index("✓ dots test")
    assert "3 of 3 samples: dhpe_out/dots_train.png" in data("show", "dots", "out")
    assert "3 of 3 samples: dhpe_out/dots_test.png" in data("show", "dots", "out", "--split", "test")
    assert "there is no split val; choose from train, test" in data("show", "dots", "out", "--split", "val", code=2)
    shutil.rmtree("out/test")
    said = data("check", "dots", "out", code=1)
    assert said.count("Every byte") == 1
    again = "out/test: no such folder. To make it, run: dhpe data prepare dots DIR --split test --out out"
    assert f"✗ {again}" in said
    assert again in data("show", "dots", "out", "--split", "test", code=1)
    with Path("out/train/side.npy").open("r+b") as file:
        file.seek(-5, 2)  # a byte of the last sample in use
        file.write(b"\0")
    assert "rows 0 to 4 have changed. Delete the folder and run" in data("check", "dots", "out/train", code=1)


def test_all_folders_are_checked_before_the_first_split(here):
    Path("out/test").mkdir(parents=True)
    Path("out/test/notes.txt").touch()
    for command in (("prepare", "dots", "dots"), ("make", "orh", "--count", "1")):
        assert "out/test: holds other files; name a new or an empty" in data(*command, "--out", "out", code=2)
    assert not Path("out/train").exists()


def test_rhd_and_dexter_object_in_their_real_layouts(here):
    """The real readers run in worker processes. Dexter+Object labels only the fingertips."""
    records = [rhd_record(points(seed), points(seed + 9)) for seed in range(3)]
    write_rhd(here / "r", "evaluation", records, [rhd_mask(60_000, 1), rhd_mask(1, 60_000), rhd_mask(5, 60_000)])
    said = data("check", "rhd", "r", code=1)
    assert "✗ RHD_published_v2/training/anno_training.pickle no such file" in said
    assert "✗ RHD_published_v2/evaluation/anno_evaluation.pickle 3 " in said
    assert "✓ RHD_published_v2/evaluation/mask 3 " in said
    data("prepare", "rhd", "r", "--out", "out", "--split", "evaluation", "--workers", "2")
    crops = Prepared("out/evaluation")[:]
    assert crops.left.tolist() == [True, False, False]
    assert crops.masks.flatten(1).sum(1).min() > 0
    assert "3 of 3 samples" in data("show", "rhd", "r", "--split", "evaluation")

    tips = np.array([[-20.0, -20, 500], [-10, 0, 500], [0, 0, 500], [10, 0, 500], [20, 10, 500]])
    unknown = np.full((5, 3), 32001.0)
    for sequence in SEQUENCES:
        write_do(here / "d", sequence, [tips, unknown], [np.zeros((5, 3))] * 2)
    data("prepare", "dexter+object", "d", "--out", "tips", "--workers", "1")
    cache = Prepared("tips/evaluation")
    assert (len(cache), len(cache.meta["left_out"])) == (6, 6)
    assert cache[:].known.sum(1).tolist() == 6 * [5]
    np.testing.assert_allclose(cache[:].side * cache[:].z_root, 1.5 * 160 * (587.45209 + 600.67456) / 2, rtol=1e-4)
    data("show", "dexter+object", "d", "--out", "d.png")


def test_a_copy_that_changed_is_noticed(here):
    data("prepare", "dots", "dots", "--out", "out", "--split", "train", "--workers", "1")
    assert "5 samples in out/train" in data("prepare", "dots", "dots", "--out", "out", "--split", "train")
    Path("dots/new.png").touch()
    said = data("prepare", "dots", "dots", "--out", "out", "--split", "train", code=1)
    assert "the cache is stale: source.fingerprint" in said


def test_ctrl_c(here, monkeypatch):
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    command = ("prepare", "dots", "dots", "--out", "out", "--split", "train", "--workers", "1")
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "crop_sample", stop)
        assert "the same command continues" in data(*command, code=130)
    assert "5 samples in out/train" in data(*command, "--split", "test")
    assert len(Prepared("out/test")) == 5
