"""The logs of a run have each record once after a resume, and the images show ground truth and prediction."""

import errno
import json
import time

import numpy as np
import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dhpe_lib.common.files import DiskFullError
from dhpe_lib.common.records import join_rows, to_numpy
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.views import View, plain_view
from dhpe_lib.figures.contact_sheet import GAP, TITLE, Tile, draw_tile
from dhpe_lib.training.log import CURVES, LOG, PICTURES, UNKNOWN, RunLog, as_bytes, prediction_sheet, read_curves
from dhpe_lib.training.setup import build_network

QUIET = Console(quiet=True)
PICTURE = np.zeros((4, 4, 3), np.uint8)


def write(log: RunLog, *steps: int) -> None:
    for step in steps:
        log.training(step, [{"art": torch.tensor(float(step))}])
        log.picture(step, "dots_all", PICTURE)
    log.close()


def test_records_after_the_checkpoint_are_removed(tmp_path):
    write(RunLog(tmp_path, 0, QUIET), 10, 20, 30)
    for name in (CURVES, LOG):
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 2')  # a line that a kill cut short
    time.sleep(1.1)  # TensorBoard orders its files by the second in their names
    write(RunLog(tmp_path, 20, QUIET), 30, 40)
    train = read_curves(tmp_path / CURVES, "train")
    assert train["step"].tolist() == train["art"].tolist() == [10, 20, 30, 40]
    lines = [line[21:] for line in (tmp_path / LOG).read_text().splitlines()]
    assert lines == [f"step {step}: art {step}" for step in (10, 20)] + ["resumed after step 20"] + [
        f"step {step}: art {step}" for step in (30, 40)
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/art")] == [10, 20, 30, 40]


@pytest.mark.parametrize(("step", "kept"), [(0, []), (15, [10]), (30, [10, 20, 30])])
def test_pictures_of_later_steps_are_removed(tmp_path, step, kept):
    write(RunLog(tmp_path, 0, QUIET), 10, 20, 30)
    RunLog(tmp_path, step, QUIET).close()
    assert [path.name for path in sorted((tmp_path / PICTURES).iterdir())] == [f"dots_all_{k:07}.png" for k in kept]
    assert [json.loads(line)["step"] for line in (tmp_path / CURVES).read_text().splitlines()] == kept


def test_a_full_disk_under_tensorboard_is_named(tmp_path, monkeypatch, capfd):
    """Its thread meets the full disk; the next record raises the error, and no traceback is printed."""
    log = RunLog(tmp_path, 0, QUIET)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def record_until_it_is_noticed() -> None:
        for step in range(1, 100):
            log.record(step, "train", {"art": 1.0})
            time.sleep(0.02)

    monkeypatch.setattr(log.board.file_writer.event_writer._async_writer._worker._record_writer, "write", full)
    with pytest.raises(DiskFullError, match=r"tensorboard: the disk is full, at least .* are needed"):
        record_until_it_is_noticed()
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def view(tmp_path, monkeypatch) -> View:
    tiny_network.install(monkeypatch.setitem)
    reader = Dots(write_dots(tmp_path / "dots", 3), "all")
    return plain_view(join_rows([crop_sample(reader[k]) for k in range(3)]))


def tiles(sheet: np.ndarray) -> list[np.ndarray]:
    """Cut out the tiles of a sheet with six tiles in a row."""
    down, across = np.arange(TITLE, len(sheet) - SIZE + 1, SIZE + 46), np.arange(GAP, 6 * (SIZE + GAP), SIZE + GAP)
    return [sheet[top : top + SIZE, left : left + SIZE] for top in down for left in across]


def test_a_sheet_shows_ground_truth_j2d_and_mesh(view, tmp_path):
    network = build_network(tiny_network.config(tmp_path))
    view.targets.has_mask[1] = False
    view.targets.known_2d[2, 5:] = False
    found, shown = network.predict(view.images), tiles(prediction_sheet(network, view, "three"))
    images = as_bytes(view.images)
    truth, j2d = (to_numpy(SIZE * (joints + 0.5)) for joints in (view.targets.joints_2d, found.joints_2d))
    truth[2, 5:] = np.nan
    masks, inside = to_numpy(view.targets.mask > 0.5), to_numpy(found.mask > 0.5)
    for k, image in enumerate(images):
        mask = None if k == 1 else masks[k]
        np.testing.assert_array_equal(shown[3 * k], draw_tile(Tile(image, truth[k], mask, ("", "")), SIZE))
        np.testing.assert_array_equal(shown[3 * k + 1], draw_tile(Tile(image, j2d[k], None, ("", "")), SIZE))
        changed = (shown[3 * k + 2] != draw_tile(Tile(image, UNKNOWN, None, ("", "")), SIZE)).any(-1)
        assert changed[inside[k]].mean() > 0.95
        assert changed[~inside[k]].mean() < 0.01  # the edge of the mesh is smooth, that of the mask is not


def test_a_sheet_without_j2d_shows_the_plain_image(view, tmp_path):
    network = build_network(tiny_network.config(tmp_path, ablation=("without-2d-losses",)))
    shown = tiles(prediction_sheet(network, view, "three"))
    plain = Tile(as_bytes(view.images)[0], UNKNOWN, None, ("", ""))
    np.testing.assert_array_equal(shown[1], draw_tile(plain, SIZE))
