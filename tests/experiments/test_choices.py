"""The list of choices says what the code does today."""

import importlib

import torch

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.experiments.choices import CHOICES, choices_list
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.network.estimator import PRESETS
from dhpe_lib.network.regressor import Regressor
from dhpe_lib.refinement.test_time import REFINEMENTS
from dhpe_lib.training.batches import plan_batches
from dhpe_lib.training.config import ABLATIONS, PAPER, TrainingConfig, preset_config
from dhpe_lib.training.losses import LossOptions
from dhpe_lib.training.novel_views import SHAPE_RANGE
from dhpe_lib.training.setup import launch_fabric


def here(question: str) -> tuple[str, str]:
    """What is done here and what else could be meant, of the choice whose question begins so."""
    (one,) = [one for one in CHOICES if one.question.startswith(question)]
    return one.here, one.other


def test_every_place_exists():
    for one in CHOICES:
        module, name = one.where.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name), one.where


def test_the_list_has_an_entry_for_each_choice():
    shown = choices_list().html
    assert shown.count("<dt>") == shown.count("</dd>") == len(CHOICES)
    assert shown.count("<code>") == len(CHOICES)
    assert "<i>f</i><sub>Ref</sub>" in shown


def test_zero_start_is_a_hand():
    h = split_h(neutral_h(HandModel.open_hand()))
    assert not h.quaternion.any()
    assert not h.scale.any()
    assert "1 + c_s" in here("an all-zero h(0)")[0]


def test_norms_are_means_and_the_weights_for_sums_are_right():
    paper = preset_config("paper")
    assert (paper.weight_feat, paper.weight_sh) == (1, 1)
    assert f"weight_sh={SIZE * SIZE}" in here("norms")[1]
    assert "weight_feat=2048" in here("norms")[1]


def test_tau_and_the_shape_range_are_those_of_the_list():
    assert (LossOptions().tau, LossOptions().literal_tau, SHAPE_RANGE) == (15, False, 3)
    assert "-3 to 3" in here("three standard deviations")[0]


def test_the_variant_without_2d_losses_lacks_three_terms():
    for term in ("L_J2D", "L_Ref", "L_Feat"):
        assert term in ABLATIONS["without-2d-losses"]
        assert term in here("losses that the variant")[0]


def test_refinement_is_recursive_and_has_fifty_steps():
    assert (REFINEMENTS["refinement"].evidence, REFINEMENTS["refinement"].iterations) == ("recursive", 50)
    assert REFINEMENTS["evidence-fixed"].evidence == "fixed"
    assert "50 steps" in here("j2D in Eq. 13")[0]


def test_augmentation_starts_at_half_of_the_steps_at_the_latest():
    config = TrainingConfig(steps=10, batch=4, data=("x",))
    plan = plan_batches(config, launch_fabric(config, "cpu"), 1000)
    assert (config.augment_after, config.augment_share) == (20, 0.5)
    assert plan.novel_views_from == 6
    assert "half of the steps" in here("start of the augmentation")[0]


def test_paper_preset_does_not_fix_what_the_paper_leaves_open():
    assert not {"steps", "batch"} & PAPER.keys()
    assert PAPER["decay"] == "constant"
    assert PRESETS["paper"].sub_pixel


def test_f_ref_sees_the_new_hand():
    torch.manual_seed(0)
    hand, regressor = HandModel.open_hand(), Regressor(feature_size=4, iterations=1)
    seen = []
    regressor.refine_joints = lambda joints_2d, feature, h, joints: seen.append(h) or joints_2d
    steps = regressor(torch.randn(2, 4), torch.randn(2, 21, 2), hand)
    assert torch.equal(seen[0], steps[1].h)
    assert not torch.equal(steps[1].h, steps[0].h)
