"""The stages of ``evidence.py``: each reads its files if they are there, or measures and writes them."""

import copy
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors.torch import load_file, save_file
from torch import Tensor

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crops import Crops
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.experiments.evidence_collapse import collapse_rows, masked_features
from dhpe_lib.experiments.evidence_comparisons import (
    PARTS,
)
from dhpe_lib.experiments.evidence_feature import (
    FeatureForm,
    feature_facts,
    feature_row,
    refined_courses,
    side_facts,
    side_row,
)
from dhpe_lib.experiments.evidence_files import SEEDS, Workplace
from dhpe_lib.experiments.evidence_forms import FEW, FORMS, Form, seen_by
from dhpe_lib.experiments.evidence_landmarks import image_errors, landmark_errors, rigid_errors
from dhpe_lib.experiments.evidence_masks import (
    shipped_predictions,
)
from dhpe_lib.experiments.evidence_photos import (
    PHOTOS,
    photo_errors,
    photo_gains,
    refined_photo_errors,
    refined_photo_gains,
)
from dhpe_lib.experiments.evidence_reasons import told_apart
from dhpe_lib.experiments.evidence_refinement import MODES, estimate_of, fitted_errors, moved_px, refined_errors
from dhpe_lib.experiments.evidence_results import errors_of
from dhpe_lib.experiments.evidence_training import TESTED, Batches, error_px, fit, new_regressor, predict, spread
from dhpe_lib.experiments.evidence_trunks import TRUNK_RUNS, TRUNKS, evidence_in_view, new_trunk, train_trunk
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.network.regressor import Regressor

MOVED_IMAGES, FEATURE_IMAGES, FITTED_IMAGES, LONG_IMAGES = 128, 64, 64, 512
REFINED = ("orh_test", "orh-o_test")
"""Tests of Figs. 5d and 5e, whose refinement has all forms. On the others *full* is refined."""
LONG = (50, 100)
"""Numbers of iterations of the paper's refinement, and of one that is twice as long."""


def train(place: Workplace, name: str, seed: int) -> None:
    """Train a variant, and write its predictions on the tests, its curve and its weights."""
    form, run = FORMS[name], f"runs/{name}_seed{seed}"

    def start() -> dict[str, Tensor] | None:
        if form.start is None:
            return None
        train(place, form.start, seed)
        return place.seed_weights(form.start, seed)

    def find() -> dict[str, ndarray]:
        novel = seen_by(form, place.novel_views(form)) if form.novel_views else None
        batches = Batches(place.trained_for(form), novel, seed, form.few, form.half_batch)
        return trained_run(place, name, form, batches, place.tested, start())

    place.kept_arrays(run, find)


def trained_run(
    place: Workplace,
    name: str,
    form: Form,
    batches: Batches,
    tested: Mapping[str, CachedEvidence],
    start: Mapping[str, Tensor] | None = None,
) -> dict[str, ndarray]:
    """Train f_E3D and write its weights; return its predictions on the tests and its curve."""
    tests = {test: seen_by(form, evidence) for test, evidence in tested.items()}
    first = next(iter(tests))
    hand, some = place.network.hand, take_rows(tests[first], torch.arange(TESTED))
    training = fit(form, batches, hand, some, place.crops[first][:TESTED], start)
    values = {"curve": np.array(json.dumps(training.curve)), "under_tau": training.under_tau}
    for test, evidence in tests.items():
        found = predict(form, training.regressor, evidence, place.crops[test], hand)
        values |= {f"{test}.{field}": array for field, array in vars(found).items()}
    save_file(training.regressor.state_dict(), place.weights_file(name, batches.seed))
    print(f"{name}, seed {batches.seed}: {training.curve[-1]}", flush=True)
    return values


def train_on_trunk(place: Workplace, trunk: str, seed: int) -> None:
    """Train F with a choice of losses, and the variants of f_E3D on it, if one of them is missing."""
    runs = {name: form for name, (own, form) in TRUNK_RUNS.items() if own == trunk}
    if all(place.file(f"runs/{name}_seed{seed}").is_file() for name in runs):
        return
    network = trunk_network(place, trunk, seed)
    trained = join_rows([find() for _, find in place.found_training(network)])
    tested = {test: evidence_in_view(network, place.crops[test], one.frame) for test, one in place.tested.items()}
    for name, form in runs.items():
        batches = Batches(seen_by(form, trained), None, seed)
        place.kept_arrays(f"runs/{name}_seed{seed}", partial(trained_run, place, name, form, batches, tested))


def trunk_network(place: Workplace, trunk: str, seed: int) -> Estimator:
    """Return f_DHPE with a trained trunk; its weights are kept."""
    path = place.out / "trunks" / f"{trunk}_seed{seed}.safetensors"
    path.parent.mkdir(exist_ok=True)
    if not path.is_file():
        network = train_trunk(TRUNKS[trunk], place.train, place.network.hand, seed, print)
        with atomic_writes(path.parent, [path.name]) as (draft,):
            save_file(network.state_dict(), draft)
    network = new_trunk(TRUNKS[trunk], place.network.hand, seed)
    network.load_state_dict(load_file(path))
    return network.eval()


def estimator_of(place: Workplace, name: str, seed: int) -> Estimator:
    """Return the shipped network with the f_E3D of a run, which sees F(x) and j2D alone."""
    network = copy.copy(place.network)
    network._modules = dict(place.network._modules)
    network.joint_reader = None
    network.regressor = regressor_of(place, name, seed)
    return network


def regressor_of(place: Workplace, name: str, seed: int) -> Regressor:
    """Return the f_E3D of a run."""
    regressor = new_regressor(FORMS[name], FEATURES, seed)
    regressor.load_state_dict(place.seed_weights(name, seed))
    return regressor.eval()


def refine(place: Workplace, test: str, mode: str, seed: int, name: str = "full") -> ndarray:
    """Return the errors along the refinement of a variant: iterations, images, joints."""

    def find() -> dict[str, ndarray]:
        evidence, network = seen_by(FORMS[name], place.tested[test]), estimator_of(place, name, seed)
        return {"errors": refined_errors(network, evidence, place.crops[test], mode)}

    return place.kept_arrays(refined_file(test, mode, seed, name), find)["errors"]


def refined_file(test: str, mode: str, seed: int, name: str) -> str:
    """Name of the file of a refinement."""
    return f"refined_whole/{name}_{test}_{MODES.index(mode)}_seed{seed}"


def refinement_is_there(place: Workplace, test: str, name: str) -> bool:
    """Whether all refinements of a variant on a test were measured."""
    return all(place.file(refined_file(test, mode, seed, name)).is_file() for mode in MODES for seed in range(SEEDS))


def refined(place: Workplace, test: str, name: str = "full") -> dict[str, ndarray]:
    """Return the errors of each mode on a whole test: seeds, iterations, images, joints."""
    return {mode: np.stack([refine(place, test, mode, seed, name) for seed in range(SEEDS)]) for mode in MODES}


def photos(place: Workplace, name: str) -> dict[str, ndarray]:
    """Return the errors of a variant on each set of photos: seeds, photos."""

    def find() -> dict[str, ndarray]:
        form, found = FORMS[name], {}
        regressors = [regressor_of(place, name, seed) for seed in range(SEEDS)]
        for photo_set, evidence in place.photos.items():
            seen = seen_by(form, evidence)
            found[photo_set] = np.stack([photo_errors(form, one, seen, place.network.hand) for one in regressors])
        return found

    return place.kept_arrays(f"photos/{name}", find)


def refined_photos(place: Workplace) -> dict[str, ndarray]:
    """Errors of *full* on the photos with labels of a network along each refinement: seeds, steps, photos."""

    def find() -> dict[str, ndarray]:
        evidence, networks = seen_by(FORMS["full"], place.photos["pseudo"]), range(SEEDS)
        return {
            mode: np.stack(
                [refined_photo_errors(estimator_of(place, "full", seed), evidence, mode) for seed in networks]
            )
            for mode in MODES
        }

    return place.kept_arrays("photos/refined", find)


def fitted(place: Workplace, test: str) -> ndarray:
    """Return the errors of *full* before and after a fit without a network: seeds, 2, images, joints."""

    def find() -> dict[str, ndarray]:
        rows = spread(len(place.tested[test]), FITTED_IMAGES)
        evidence = take_rows(seen_by(FORMS["full"], place.tested[test]), rows)
        networks = [estimator_of(place, "full", seed) for seed in range(SEEDS)]
        return {"errors": np.stack([fitted_errors(one, evidence, place.crops[test][rows]) for one in networks])}

    return place.kept_arrays(f"fitted/{test}", find)["errors"]


def refined_as_fitted(place: Workplace, test: str) -> ndarray:
    """Return the errors after 50 steps of refinement with j2D(3) on the images of the fit: seeds, images, joints."""
    rows = spread(len(place.tested[test]), FITTED_IMAGES).numpy()
    return np.stack([refine(place, test, MODES[1], seed)[-1][rows] for seed in range(SEEDS)])


def refined_long(place: Workplace, test: str) -> ndarray:
    """Return the errors of *full* after each of ``LONG`` steps towards j2D(3): seeds, 2, images, joints."""

    def find() -> dict[str, ndarray]:
        rows = spread(len(place.tested[test]), LONG_IMAGES)
        evidence, crops = take_rows(seen_by(FORMS["full"], place.tested[test]), rows), place.crops[test][rows]
        networks = [estimator_of(place, "full", seed) for seed in range(SEEDS)]
        return {"errors": np.stack([refined_errors(one, evidence, crops, MODES[1], LONG) for one in networks])}

    return place.kept_arrays(f"refined_long/{test}", find)["errors"]


def collapsed(place: Workplace) -> dict[str, dict[str, float]]:
    """Return what L_Feat does to features of ORH in each of its norms."""

    def find() -> dict[str, ndarray]:
        features = masked_features(place.network, place.tested["orh_test"], place.crops["orh_test"])
        return {"rows": np.array(json.dumps(collapse_rows(features)))}

    return json.loads(str(place.kept_arrays("collapse", find)["rows"]))


def photo_results(place: Workplace) -> dict[str, Any]:
    """Compute the gains and scores on the photos: "gains" and "photos"; nothing without photos."""
    names = [name for name in FORMS if place.file(f"photos/{name}").is_file()]
    errors, gains = {name: photos(place, name) for name in names}, {}
    for photo_set in place.photo_crops:
        gains |= photo_gains({name: one[photo_set] for name, one in errors.items()}, PARTS, PHOTOS[photo_set])
    if "pseudo" in place.photo_crops and names:
        gains |= refined_photo_gains(refined_photos(place))
    means = {name: {one: round(float(rows.mean()), 2) for one, rows in errors[name].items() if one in PHOTOS}
             for name in names}  # fmt: skip
    return {"gains": gains, "photos_px": means}


def likeness(place: Workplace) -> dict[str, Any]:
    """Compare the novel views of the estimated hands with the real images that they were made from."""
    real = take_rows(place.trained, spread(len(place.trained), FEW))
    novel = place.novel_views(FORMS["few-novel-views"])
    features = (one.of_crop[:, :FEATURES].numpy() for one in (real, novel))
    px = {name: round(float(error_px(one.joints_2d, one.targets).mean()), 2) for name, one in
          (("real", real), ("novel views", novel))}  # fmt: skip
    return told_apart(*features, same=len(novel) // len(real)) | {"j2d_px": px, "rows": [len(real), len(novel)]}


def moved(place: Workplace, test: str) -> dict[str, float]:
    """Return the error of j2D on the way, if f_Ref moves it, for the first seed of the full variant."""
    evidence = seen_by(FORMS["full"], place.tested[test])
    some = take_rows(evidence, spread(len(evidence), MOVED_IMAGES))
    return {str(step): round(px, 2) for step, px in moved_px(estimator_of(place, "full", 0), some).items()}


def landmarks(place: Workplace, test: str) -> dict[str, ndarray]:
    """Return the errors of the hand landmark network, and of the shipped network on the same images."""

    def find() -> dict[str, ndarray]:
        evidence, crops = place.tested[test], place.crops[test]
        shipped = errors_of(shipped_predictions(place.network, evidence, crops))
        return landmark_errors(evidence, crops) | {f"shipped_{name}": rows for name, rows in shipped.items()}

    return place.kept_arrays(f"landmarks/{test}", find)


def rigid(place: Workplace, test: str) -> dict[str, ndarray]:
    """Return the errors of the hand landmark network and of the shipped network in protocols A and B."""

    def find() -> dict[str, ndarray]:
        evidence, crops = place.tested[test], place.crops[test]
        return rigid_errors(evidence, crops, shipped_predictions(place.network, evidence, crops))

    return place.kept_arrays(f"landmarks/{test}_rigid", find)


def photo_landmarks(place: Workplace) -> dict[str, ndarray]:
    """Return the errors of the hand landmark network and of the shipped network in labelled photos.

    The other photos have labels from the hand landmark network itself, so it has no error there.
    """

    def find() -> dict[str, ndarray]:
        evidence, crops = place.photos["labelled"], place.photo_crops["labelled"]
        assert isinstance(crops, Crops)
        return image_errors(evidence, crops, estimate_of(place.network, evidence).joints)

    return place.kept_arrays("landmarks/photos", find)


def feature_course(place: Workplace, test: str, form: FeatureForm) -> dict[str, ndarray]:
    """Return the course of the shipped network's refinement with a form of the feature term."""
    find = partial(refined_courses, place.network, some_crops(place, test), form.options)
    return place.kept_arrays(feature_file(test, form), find)


def feature_file(test: str, form: FeatureForm) -> str:
    """Name of the file of a refinement with the feature term."""
    own = f"{'_same_size' if form.keeps_size else ''}{'_exact' if form.exact else ''}"
    return f"feature/{test}_{form.evidence}_{form.weight:g}{own}"


def some_crops(place: Workplace, test: str) -> Crops:
    """Return the crops that are refined with the feature term, which takes long."""
    (split,) = (one for one in place.tests if one.name == test)
    return split[split.evenly_spaced(FEATURE_IMAGES)]


def has_feature_row(place: Workplace, test: str) -> bool:
    """Whether gradients and values of the feature term were measured."""
    return all(place.file(f"feature/{test}_{part}").is_file() for part in ("facts", "sides"))


def feature_row_of(place: Workplace, test: str) -> dict[str, float]:
    """Return gradients and values of the feature term, and what images lose inside and outside of several masks."""
    crops = some_crops(place, test)
    facts = place.kept_arrays(f"feature/{test}_facts", partial(feature_facts, place.network, crops))
    sides = place.kept_arrays(f"feature/{test}_sides", partial(side_facts, place.network, crops))
    return feature_row(facts) | side_row(sides)
