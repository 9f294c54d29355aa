"""A copy of a dataset is read where there is one, and the open replacement is rendered where there is none."""

import fake_datasets
import numpy as np
import pytest

from dhpe_lib.data.readers import DATASETS
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, auc, pck
from dhpe_lib.evaluation.paper_sets import PAPER_SETS, area_rows, choose_hands, evenly_spaced, result_curve
from dhpe_lib.evaluation.published import AUC_RANGES, PUBLISHED_AUC
from dhpe_lib.synthetic.orh import COUNTS

BY_NAME = {one.dataset: one for one in PAPER_SETS}


@pytest.fixture
def rhd(tmp_path):
    clouds = [fake_datasets.points(seed) for seed in range(4)]
    records = [fake_datasets.rhd_record(left, right) for left, right in zip(clouds, clouds, strict=True)]
    masks = [fake_datasets.rhd_mask(80, 400) for _ in clouds]
    fake_datasets.write_rhd(tmp_path, "evaluation", records, masks)
    return tmp_path


@pytest.fixture(autouse=True)
def no_copies(monkeypatch):
    for one in PAPER_SETS:
        monkeypatch.delenv(one.variable, raising=False)


def test_sets_name_what_exists():
    assert [one.figure for one in PAPER_SETS] == ["5a", "5b", "5c"]
    for one in PAPER_SETS:
        assert one.split in DATASETS[one.dataset].splits
        assert AUC_RANGES[one.published] == one.grid
        assert "Baek et al. 2019" in PUBLISHED_AUC[one.published]
        assert "test" in COUNTS[one.rendered]
        assert one.copy is None


@pytest.mark.parametrize("dataset", BY_NAME)
def test_without_a_copy_hands_are_rendered(dataset):
    chosen = choose_hands(BY_NAME[dataset], 3)
    assert chosen.name == BY_NAME[dataset].rendered.upper()
    assert len(chosen.crops) == 3
    assert chosen.crops.has_mask.all() != (dataset == "dexter+object")
    again = choose_hands(BY_NAME[dataset], 3)
    assert np.array_equal(chosen.crops.images, again.crops.images)
    assert not np.array_equal(chosen.crops.images[0], chosen.crops.images[1])


def test_a_copy_is_read_from_a_path_or_from_the_variable(rhd, monkeypatch):
    by_path = choose_hands(BY_NAME["rhd"], 2, rhd)
    monkeypatch.setenv("DHPE_RHD", str(rhd))
    by_variable = choose_hands(BY_NAME["rhd"], 2)
    assert by_path.name == by_variable.name == "RHD"
    assert len(by_path.crops) == 2
    assert np.array_equal(by_path.crops.images, by_variable.crops.images)
    assert len(choose_hands(BY_NAME["rhd"], 100).crops) == 4
    monkeypatch.setenv("DHPE_RHD", "")
    assert choose_hands(BY_NAME["rhd"], 1).name == "ORH"


def test_a_wrong_copy_and_a_wrong_count_are_refused(tmp_path):
    with pytest.raises((ValueError, OSError)):
        choose_hands(BY_NAME["rhd"], 2, tmp_path / "nothing")
    with pytest.raises(ValueError, match="ask for one or more"):
        evenly_spaced(10, 0)
    assert evenly_spaced(10, 3) == [0, 4, 9]
    assert evenly_spaced(2, 5) == [0, 1]


@pytest.mark.parametrize("grid", ["20-50", "0-50", "0-100"])
def test_the_curve_of_a_file_is_the_curve_of_its_errors(grid):
    errors = np.random.default_rng(0).uniform(0, 120, (30, 21))
    curve = pck(errors, THRESHOLDS["0-100"]).tolist()
    found = result_curve({"pck": {"grid": "0-100", "value": curve, "low": curve, "high": curve}}, grid)
    assert isinstance(found, Interval)
    np.testing.assert_allclose(found.value, pck(errors, THRESHOLDS[grid]))
    assert np.trapezoid(found.value, THRESHOLDS[grid]) / np.ptp(THRESHOLDS[grid]) == pytest.approx(
        auc(errors, THRESHOLDS[grid])
    )


def test_a_file_without_a_curve_has_none_and_other_thresholds_are_refused():
    assert result_curve({}, "0-50") is None
    curve = [0.0] * len(THRESHOLDS["20-50"])
    with pytest.raises(ValueError, match="do not hold those of 0-100"):
        result_curve({"pck": {"grid": "20-50", "value": curve, "low": curve, "high": curve}}, "0-100")


def test_areas_are_in_one_order():
    rows = area_rows({"ours": {"value": 0.8, "low": 0.7, "high": 0.9}}, {"a": 0.9, "b": 0.1, "best known": 0.99})
    assert rows == [("a", 0.9, 0.9, 0.9), ("ours", 0.8, 0.7, 0.9), ("b", 0.1, 0.1, 0.1)]
