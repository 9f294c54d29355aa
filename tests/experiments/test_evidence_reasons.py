"""Measurements that explain verdicts: features told apart, eigenvalues, L_Feat, the feature term, photos."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.experiments import evidence_feature
from dhpe_lib.experiments.evidence_collapse import MaskedFeatures, collapse
from dhpe_lib.experiments.evidence_feature import (
    FEATURE_FORMS,
    FeatureForm,
    feature_facts,
    feature_gains,
    feature_row,
    refined_courses,
    side_facts,
    side_row,
    twice_as_large,
)
from dhpe_lib.experiments.evidence_photos import hand_of_photo, labelled_photos, photo_gains
from dhpe_lib.experiments.evidence_pictures import (
    hand_pictures,
    loaded,
    mask_pictures,
    mesh_masks,
    stored_hands,
    stored_mask,
    stored_masks,
)
from dhpe_lib.experiments.evidence_reasons import largest_eigenvalue, told_apart
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.synthetic.engine import SyntheticHands


def test_features_are_told_apart_only_if_they_differ():
    generator = np.random.default_rng(0)
    some, others = generator.normal(size=(100, 5)), generator.normal(size=(300, 5))
    assert told_apart(some, others, same=3)["accuracy"] == pytest.approx(0.5, abs=0.1)
    found = told_apart(some, others + np.array([4, 0, 0, 0, 0]), same=3)
    assert found["accuracy"] > 0.95
    assert found["accuracy_by_chance"] == pytest.approx(0.5, abs=0.12)


def test_rows_that_belong_together_stay_in_one_fold():
    """Three equal rows in different folds would let noise be recognised by its copies."""
    noise = np.random.default_rng(0).normal(size=(60, 80))
    copies = np.repeat(np.random.default_rng(1).normal(size=(60, 80)), 3, 0)
    assert told_apart(noise, copies, same=3)["accuracy_by_chance"] < 0.65


def test_largest_eigenvalue_is_that_of_the_part_of_j2d():
    weight = torch.zeros(42, 60)
    weight[:, :42] = torch.diag(torch.linspace(-1.25, 0.5, 42))
    weight[:, 42:] = 9
    assert largest_eigenvalue(weight) == 1.25


def test_the_feature_loss_alone_collapses_the_feature():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(256, 6, generator=generator)
    masked = feature + torch.randn(256, 6, generator=generator)
    features = MaskedFeatures(feature, masked, feature[:, :3].repeat(1, 21))
    alone, without = (collapse(features, *form) for form in (("sum", False), ("none", True)))
    assert alone["deviation"] < 0.5
    assert "joints" not in alone
    assert without["deviation"] > 1
    assert without["joints"] < 0.5


def test_the_feature_term_is_measured_by_its_weight():
    torch.manual_seed(0)
    network = Estimator(replace(PRESETS["light"], joint_features=0)).eval()
    engine = SyntheticHands()
    crops = engine.batch(2, 0, engine.backgrounds(2, seed=0)).crops()
    options = replace(FeatureForm("fixed", 0.01).options, iterations=1)
    assert (options.weights.feature, options.feature_keeps_size) == (0.01, False)
    course = refined_courses(network, crops, options)
    assert course["epe_mm"].shape == (2, 2)
    facts = feature_facts(network, crops)
    assert (facts["joints"] > 0).all()
    for name in ("feature", "feature_exact"):
        assert ((facts[name] > 0) == (facts["near"] > 0)).all()
    assert FeatureForm("fixed", 1.0, exact=True).options.silhouette == "coverage"
    assert feature_row(facts | {"near": np.ones(2)})["images_near"] == 2
    after = {FeatureForm("fixed", 0.0): 4.0, FeatureForm("fixed", 0.01): 4.5, FeatureForm("fixed", 0.01, True): 3.5}
    mm = {form: {"epe_mm": np.array([[5.0, last], [5.0, last]])} for form, last in after.items()}
    assert set(mm) < set(FEATURE_FORMS)
    found = {name: one["value"] for name, one in feature_gains("ORH", mm).items()}
    assert list(found.values()) == [1, 0.5, -0.5, 1.5, 0.5]
    assert "feature term of weight 0.01 of the same size, j2D(3) fixed, ORH" in found


def test_both_sides_of_the_feature_term_are_0_for_a_mask_of_everything(monkeypatch):
    """So neither of them keeps a hand from growing."""
    torch.manual_seed(0)
    network = Estimator(replace(PRESETS["light"], joint_features=0)).eval()
    engine = SyntheticHands()
    crops = engine.batch(2, 0, engine.backgrounds(2, seed=0)).crops()
    facts = side_facts(network, crops)
    sides = {f"{side}{mask}" for side in ("inside", "outside") for mask in ("", "_twice", "_true")}
    assert set(facts) == set(side_row(facts)) == sides
    assert all((values > 0).all() and len(values) == 2 for values in facts.values())
    monkeypatch.setattr(evidence_feature, "silhouette", lambda vertices, faces, side, method: torch.ones(2, side, side))
    facts = side_facts(network, replace(crops, has_mask=torch.zeros(2, dtype=torch.bool)))
    assert set(facts) == sides - {"inside_true", "outside_true"}
    assert all((values == 0).all() for values in facts.values())


def test_twice_as_large_hands_keep_their_centre():
    hand = HandModel.open_hand()
    mesh = hand.forward_h(neutral_h(hand))
    large = twice_as_large(mesh)
    torch.testing.assert_close(large.vertices.mean(1), mesh.vertices.mean(1), atol=1e-5, rtol=0)
    spread = [float((one.joints - one.vertices.mean(1, keepdim=True)).norm()) for one in (mesh, large)]
    assert spread[1] == pytest.approx(2 * spread[0], rel=1e-4)


def test_labelled_photos_show_each_hand_once(tmp_path):
    assert hand_of_photo("freihand/00017620.jpg") == hand_of_photo("freihand/00115300.jpg")
    assert hand_of_photo("rhd/00017620.jpg") != hand_of_photo("rhd/00115300.jpg")
    (tmp_path / "freihand").mkdir()
    generator = np.random.default_rng(0)
    joints = np.column_stack((generator.uniform(20, 40, (21, 2)), np.ones(21)))
    joints[3, 2] = 0
    rows = []
    for name, hand in (("00000005.jpg", None), ("00032565.jpg", None), ("00000006.jpg", "left")):
        Image.fromarray(np.full((64, 60, 3), 90, np.uint8)).save(tmp_path / "freihand" / name)
        rows.append({"file": f"freihand/{name}", "joints_2d": joints.tolist(), "hand": hand})
    (tmp_path / "labels.json").write_text(json.dumps([*rows, {"file": "none.png"}]))
    (tmp_path / "mediapipe.json").write_text(json.dumps([{"file": rows[0]["file"], "hands": [{"hand": "right"}]}]))
    crops = labelled_photos(tmp_path)
    assert crops.left.tolist() == [False, True]
    assert crops.joints_2d.isfinite().all(-1).sum(1).tolist() == [20, 20]
    torch.testing.assert_close(crops.joints_2d[0, 5, 0], -crops.joints_2d[1, 5, 0], atol=1e-5, rtol=0)


def test_gains_on_photos_are_those_of_variants_that_were_measured():
    errors = {"full": np.ones((2, 4)), "without-refiner": 3 * np.ones((2, 4))}
    found = photo_gains(errors, {"f_Ref": ("without-refiner", "full"), "L_h": ("full", "none")}, "photos")
    assert list(found) == ["f_Ref, photos"]
    assert (found["f_Ref, photos"]["value"], found["f_Ref, photos"]["unit"]) == (2, "px")


def test_pictures_survive_the_file():
    hand = HandModel.open_hand()
    h = neutral_h(hand).repeat(2, 1)
    h[:, 59] = 2.0  # c_s, since the template fills a fifth of the crop
    masks = mesh_masks(hand, h)
    assert 0.02 < masks.float().mean() < 0.9
    assert np.array_equal(loaded(stored_mask(masks[0])) > 0.5, masks[0].numpy())
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    stored = json.loads(json.dumps(stored_masks(images, {"true mask": masks, "mesh": ~masks})))
    assert set(stored[0]) == {"image", "true mask", "mesh"}
    assert mask_pictures(stored).html.count("<img") == 4
    hands = json.loads(json.dumps(stored_hands(images, {"full": h})))
    assert hand_pictures(hands, hand).html.count("<img") == 4
