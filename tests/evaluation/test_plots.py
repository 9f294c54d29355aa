"""PCK figures show the curve and AUC of each method, and published methods only in the legend."""

import numpy as np
import pytest

from dhpe_lib.evaluation.metrics import THRESHOLDS, auc, pck
from dhpe_lib.evaluation.plots import METHOD_COLORS, areas_figure, pck_figure
from dhpe_lib.evaluation.published import PUBLISHED_AUC

GENERATOR = np.random.default_rng(0)
ERRORS = {"ours": GENERATOR.gamma(3, 6, (30, 21)), "baseline": GENERATOR.gamma(3, 12, (30, 21))}


def test_each_method_has_its_curve_and_its_area_in_the_legend():
    figure = pck_figure(ERRORS)
    thresholds = THRESHOLDS["20-50"]
    assert len(figure.data) == 2
    for trace, (method, errors) in zip(figure.data, ERRORS.items(), strict=True):
        np.testing.assert_allclose(trace.x, thresholds)
        np.testing.assert_allclose(trace.y, pck(errors, thresholds), atol=1e-6)
        assert trace.name == f"{method} (AUC={auc(errors, thresholds):.3f})"
    assert figure.layout.xaxis.range == (20, 50)
    assert figure.data[0].line.color != figure.data[1].line.color


def test_published_methods_are_in_the_legend_without_a_curve():
    figure = pck_figure(ERRORS, published=PUBLISHED_AUC["RHD"])
    entries = figure.data[2:]
    assert entries[0].name == "Baek et al. 2019 (AUC=0.926)"
    assert len(entries) == len(PUBLISHED_AUC["RHD"])
    for entry in entries:
        assert entry.y == (None,)
        assert entry.showlegend is not False


def test_a_band_surrounds_its_curve():
    figure = pck_figure(ERRORS, "0-50", band=True)
    thresholds = THRESHOLDS["0-50"]
    band, curve = figure.data[:2]
    low, high = band.y[: len(thresholds)], band.y[len(thresholds) :][::-1]
    assert (low <= curve.y).all()
    assert (curve.y <= high).all()
    assert 0.01 < (high - low).max() < 0.3
    assert (band.showlegend, band.fill, band.legendgroup) == (False, "toself", curve.legendgroup)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="unknown grid '10-20'; use one of 20-50, 0-50"):
        pck_figure(ERRORS, "10-20")


def test_buttons_choose_one_group_of_areas():
    figure = areas_figure(
        {"RHD": [("ours", 0.8, 0.7, 0.95), ("theirs", 0.7, 0.7, 0.7)], "STB": [("theirs", 1.0, 1.0, 1.0)]}
    )
    assert [trace.visible for trace in figure.data] == [True, False]
    assert figure.data[0].y == ("ours", "theirs")
    assert figure.data[0].marker.color == (METHOD_COLORS[0], METHOD_COLORS[-1])
    np.testing.assert_allclose(figure.data[0].error_x.array, [0.15, 0])
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.1, 0])
    buttons = figure.layout.updatemenus[0].buttons
    assert [(one.label, one.args[0]["visible"]) for one in buttons] == [("RHD", [True, False]), ("STB", [False, True])]
