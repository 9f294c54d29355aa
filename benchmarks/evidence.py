"""Measure every claim of the paper's ablation on evidence that is found once; the chapter is *What each part is worth*.

    python benchmarks/evidence.py OUT --train SPLIT... --test ORH ORH-S ORH-O

Each stage writes files into OUT and skips those that are there, so the same command continues an interrupted run. The
stages are those of ``dhpe_lib.experiments``: evidence of all images, novel views, the trainings of f_E3D, refinement,
segmentation, hand landmarks. Writes book/results/evidence.json.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import write_result
from safetensors.torch import load_file, save_file

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View, jittered_view, no_jitter
from dhpe_lib.evaluation.evaluate import protocol_errors
from dhpe_lib.evaluation.mask_metrics import mask_counts
from dhpe_lib.experiments.cached_evidence import (
    TESTED_MASK,
    CachedEvidence,
    first_rows,
    read_evidence,
    tested_evidence,
    training_evidence,
    write_evidence,
)
from dhpe_lib.experiments.evidence_landmarks import landmark_errors
from dhpe_lib.experiments.evidence_refinement import ITERATIONS, MODES, estimate_of, moved_px, refined_errors
from dhpe_lib.experiments.evidence_results import (
    NAMES,
    Run,
    course,
    errors,
    gain,
    mask_gain,
    mask_row,
    pck_of,
    pose_off,
    run_from,
    scores,
    under_tau,
)
from dhpe_lib.experiments.evidence_training import (
    BATCH,
    FEW,
    FORMS,
    STEPS,
    TESTED,
    Batches,
    Iterations,
    compare,
    fit,
    new_regressor,
    predict,
    seen_by,
    spread,
    weakly_labelled,
)
from dhpe_lib.experiments.novel_view_evidence import novel_view_evidence
from dhpe_lib.experiments.segmentation import fit_unet, unet_counts
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.batches import ViewOptions, draw_turns, rows_of, training_view

SEED, SEEDS = 0, 3
SEGMENTED = 32
"""Images in a batch of the U-Net."""
REFINED = ("orh_test", "orh-o_test")
"""Tests that are refined."""
REFINED_IMAGES, MOVED_IMAGES = 512, 128
MASKED = ("orh_test", "orh-s_test")
"""Tests whose masks are known and compared."""
STAGES = ("train", "refine", "masks", "landmarks", "write")


class Workplace:
    """The splits and the files of a measurement.

    Args:
        out: Folder of the files.
        train, test: Prepared splits.
        pictures, tests: Number of training images over all splits, and of images of each test split.
    """

    def __init__(self, out: Path, train: Sequence[Path], test: Sequence[Path], pictures: int, tests: int) -> None:
        self.out, self.network = out, load_shipped()
        self.train, self.tests = [Prepared(path) for path in train], [Prepared(path) for path in test]
        self.rows = first_rows(self.train, pictures)
        self.test_rows = {test.name: test.evenly_spaced(tests) for test in self.tests}

    def kept(self, name: str, find: Callable[[], CachedEvidence]) -> CachedEvidence:
        """Read evidence, or find it and write it."""
        path = self.out / f"{name}.safetensors"
        if not path.is_file():
            write_evidence(path, find())
            print(f"wrote {path.name}", flush=True)
        return read_evidence(path)

    @cached_property
    def tested(self) -> dict[str, CachedEvidence]:
        """Evidence of the tests by name."""
        return {
            test.name: self.kept(
                test.name, lambda test=test: tested_evidence(self.network, test, self.test_rows[test.name])
            )
            for test in self.tests
        }

    @cached_property
    def crops(self) -> dict[str, Crops]:
        """Crops of the tests by name."""
        return {test.name: test[self.test_rows[test.name]] for test in self.tests}

    @cached_property
    def trained(self) -> CachedEvidence:
        """Evidence of the training images."""
        parts = []
        for k, (split, rows) in enumerate(zip(self.train, self.rows, strict=True)):
            if len(rows):
                find = lambda k=k, split=split, rows=rows: training_evidence(self.network, split, rows, k)  # noqa: E731
                parts.append(self.kept(f"train_{k}", find))
        return join_rows(parts)

    @property
    def all_rows(self) -> np.ndarray:
        """Numbers of the training images in the concatenated splits."""
        starts = np.cumsum([0, *map(len, self.train)])[:-1]
        return np.concatenate([start + rows for start, rows in zip(starts, self.rows, strict=True)])

    def novel_views(self, seeds: str) -> CachedEvidence:
        """Evidence of novel views of a few training images."""

        def find() -> CachedEvidence:
            chosen = self.all_rows[spread(len(self.all_rows), FEW).numpy()]
            return novel_view_evidence(self.network, rows_of(self.train, chosen), seeds, SEED)

        return self.kept(f"novel_{seeds}", find)


def train(place: Workplace, name: str, seed: int) -> None:
    """Train a variant, and write its predictions on the tests, its curve and its weights."""
    path = place.out / "runs" / f"{name}_seed{seed}.npz"
    if path.is_file():
        return
    form, begun = FORMS[name], time.process_time()
    novel = seen_by(form, place.novel_views(form.novel_views)) if form.novel_views else None
    batches = Batches(weakly_labelled(seen_by(form, place.trained)), novel, seed, form.few)
    tests = {test: seen_by(form, evidence) for test, evidence in place.tested.items()}
    first = next(iter(tests))
    hand, some = place.network.hand, take_rows(tests[first], torch.arange(TESTED))
    training = fit(form, batches, hand, some, place.crops[first][:TESTED])
    values = {"curve": np.array(json.dumps(training.curve)), "under_tau": training.under_tau}
    for test, evidence in tests.items():
        found = predict(training.regressor, evidence, place.crops[test], hand)
        values |= {f"{test}.{field}": array for field, array in vars(found).items()}
    path.parent.mkdir(exist_ok=True)
    with atomic_writes(path.parent, [path.name, f"{path.stem}.safetensors"]) as (draft, weights):
        np.savez(draft, **values)
        save_file(training.regressor.state_dict(), weights)
    spent = time.process_time() - begun
    print(f"{path.stem}: {training.curve[-1]}, {spent:.0f} s of processor time", flush=True)


def arrays(path: Path, find: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read arrays, or find them and write them."""
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        begun, found = time.process_time(), find()
        with atomic_writes(path.parent, [path.name]) as (draft,):
            np.savez(draft, **found)
        print(f"wrote {path.name}, {time.process_time() - begun:.0f} s of processor time", flush=True)
    return dict(np.load(path))


def load_runs(place: Workplace, name: str) -> list[Run]:
    """Read the runs of a variant; none if a seed is missing."""
    paths = [place.out / "runs" / f"{name}_seed{seed}.npz" for seed in range(SEEDS)]
    if not all(path.is_file() for path in paths):
        return []
    files = [dict(np.load(path)) for path in paths]
    return [run_from(values, json.loads(str(values.pop("curve")))) for values in files]


def estimator_of(place: Workplace, name: str, seed: int) -> Estimator:
    """Return the shipped network with the f_E3D of a run, which sees F(x) and j2D alone."""
    network = copy.copy(place.network)
    network._modules = dict(place.network._modules)
    network.joint_reader = None
    regressor = new_regressor(FORMS[name], FEATURES, seed)
    regressor.load_state_dict(load_file(place.out / "runs" / f"{name}_seed{seed}.safetensors"))
    network.regressor = regressor.eval()
    return network


def refine(place: Workplace, test: str, mode: str, seed: int) -> np.ndarray:
    """Return the errors along the refinement of the full variant: iterations, images, joints."""
    name = f"{test}_{MODES.index(mode)}_seed{seed}"

    def find() -> dict[str, np.ndarray]:
        rows = spread(len(place.tested[test]), REFINED_IMAGES)
        evidence = take_rows(seen_by(FORMS["full"], place.tested[test]), rows)
        network = estimator_of(place, "full", seed)
        return {"errors": refined_errors(network, evidence, place.crops[test][rows], mode)}

    return arrays(place.out / "refined" / f"{name}.npz", find)["errors"]


def moved(place: Workplace, test: str) -> dict[str, float]:
    """Return the error of j2D on the way, if f_Ref moves it, for the first seed of the full variant."""
    evidence = seen_by(FORMS["full"], place.tested[test])
    some = take_rows(evidence, spread(len(evidence), MOVED_IMAGES))
    return {str(step): round(px, 2) for step, px in moved_px(estimator_of(place, "full", 0), some).items()}


def landmarks(place: Workplace, test: str) -> dict[str, np.ndarray]:
    """Return the errors of the hand landmark network, and of the shipped network on the same images."""

    def find() -> dict[str, np.ndarray]:
        evidence, crops = place.tested[test], place.crops[test]
        steps = estimate_of(place.network, evidence).steps
        path = Iterations(steps[-1].h, steps[-1].mesh.joints, torch.stack([step.joints_2d for step in steps[1:]], 1))
        shipped = compare(path, evidence, crops, place.network.hand)
        own = {f"shipped_{name}": rows for name, rows in protocol_errors(shipped).items()}
        return landmark_errors(evidence, crops) | own | {"shipped_counts": shipped.counts}

    return arrays(place.out / "landmarks" / f"{test}.npz", find)


def true_mesh_counts(place: Workplace, test: str) -> np.ndarray:
    """Return the pixel counts of the true hands' masks, the best that a mesh can do: it knows no thing before it."""
    crops, hand = place.crops[test], place.network.hand
    known = crops.h.isfinite().all(1)
    with torch.no_grad():
        vertices = hand.forward_h(torch.where(known[:, None], crops.h, 0)).vertices
        drawn = silhouette(vertices, hand.faces, SIZE) > 0.5
    return (mask_counts(drawn.numpy(), crops.without_margin().masks.numpy()) * known.numpy()[:, None])[known.numpy()]


def segment(place: Workplace, steps: int) -> dict[str, np.ndarray]:
    """Train the U-Net on the training images, and return its pixel counts on the tests with masks."""

    def find() -> dict[str, np.ndarray]:
        options = ViewOptions(size=TESTED_MASK, upright=True)

        def batch(step: int) -> View:
            rows = np.random.default_rng((SEED, step)).choice(place.all_rows, SEGMENTED)
            return training_view(rows_of(place.train, rows), draw_turns(SEGMENTED, step, options), options)

        network, counts = fit_unet(batch, steps, SEED), {}
        for test, crops in place.crops.items():
            parts = []
            for start in range(0, len(crops), 64):
                rows = torch.arange(start, min(start + 64, len(crops)))
                angle = place.tested[test].frame.angle[rows] - crops[rows].frame.angle
                view = jittered_view(crops[rows], no_jitter(angle), TESTED_MASK)
                parts.append(unet_counts(network, view.images, view.targets.mask))
            counts[test] = np.concatenate(parts)
        return counts

    return arrays(place.out / f"unet_{steps}.npz", find)


def comparisons_of(runs: dict[str, list[Run]], refined: dict, place: Workplace, masks: dict) -> dict[str, Any]:
    """Compute all gains that the claims are judged by, and some more."""
    result: dict[str, Any] = {}

    def add(name: str, without: str, with_it: str, quantity: Callable, unit: str, more: bool = False) -> None:
        if runs[without] and runs[with_it]:
            one = gain(quantity(runs[without]), quantity(runs[with_it]), unit, more)
            if np.isfinite(one["value"]):  # hands of ORH-O have no known pose
                result[name] = one

    parts = {
        "f_Ref": ("without-refiner", "full"),
        "L_Ref": ("without-loss-ref", "full"),
        "2D losses": ("without-2d-losses", "without-refiner"),
        "shape loss": ("without-shape-loss", "shape-loss-of-all"),
        "shape loss of a quarter": ("without-shape-loss", "full"),
        "shape loss with weight 1": ("without-shape-loss", "small-shape-loss"),
        "shape loss with the exact silhouette": ("without-shape-loss", "exact-silhouette"),
        "shape loss as a sum": ("without-shape-loss", "shape-loss-as-sum"),
        "augmentation, few images": ("few", "few-novel-views"),
        "augmentation with true poses, few images": ("few", "few-true-views"),
        "augmentation, all images": ("full", "novel-views"),
        "lambda, sum": ("constant-lambda-as-sum", "shape-loss-as-sum"),
        "lambda, mean": ("constant-lambda", "full"),
        "L_h": ("full", "with-hand-loss"),
        "three iterations of the regressor": ("one-iteration", "full"),
        "five iterations of the regressor": ("full", "five-iterations"),
    }
    for part, (without, with_it) in parts.items():
        for test, name in NAMES.items():
            add(f"{part}, {name}", without, with_it, lambda some, test=test: errors(some, test), "mm")
            add(f"{part}, aligned, {name}", without, with_it, lambda some, test=test: errors(some, test, "C"), "mm")
            add(f"{part}, pose, {name}", without, with_it, lambda some, test=test: pose_off(some, test), "rad")
        add(f"{part}, under tau", without, with_it, under_tau, "share", True)
        add(f"{part}, course", without, with_it, course, "mm")
    for test, modes in refined.items():
        add_refinement(result, NAMES[test], modes)
    for test in masks["U-Net"].keys() & masks["mesh"]:
        result[f"mask, {NAMES[test]}"] = mask_gain(masks["U-Net"][test], masks["mesh"][test])
    for test in [test for test in NAMES if (place.out / "landmarks" / f"{test}.npz").is_file()]:
        found = landmarks(place, test)
        for protocol in "AC":
            with_it, without = (np.nanmean(found[name], 1)[None] for name in (f"shipped_{protocol}", protocol))
            result[f"instead of the hand landmark network, {protocol}, {NAMES[test]}"] = gain(without, with_it, "mm")
    return result


def add_refinement(result: dict[str, Any], name: str, modes: dict[str, np.ndarray]) -> None:
    """Add the gains of the refinement on a test; `modes` holds errors by seed, iteration and image, mm."""
    fixed, kept, moving = (modes[mode] for mode in MODES)
    result[f"refinement, {name}"] = gain(moving[:, 0], moving[:, -1], "mm")
    result[f"refinement, j2D(0) fixed, {name}"] = gain(fixed[:, 0], fixed[:, -1], "mm")
    result[f"refinement, j2D(3) fixed, {name}"] = gain(kept[:, 0], kept[:, -1], "mm")
    result[f"moving against fixed j2D, {name}"] = gain(fixed[:, -1], moving[:, -1], "mm")
    for k, (a, b) in enumerate(pairwise(ITERATIONS)):
        result[f"iterations {a} to {b}, {name}"] = gain(moving[:, k], moving[:, k + 1], "mm")
        result[f"iterations {a} to {b}, j2D(0) fixed, {name}"] = gain(fixed[:, k], fixed[:, k + 1], "mm")
        result[f"iterations {a} to {b}, j2D(3) fixed, {name}"] = gain(kept[:, k], kept[:, k + 1], "mm")


def masks_of(place: Workplace, unet_steps: int) -> dict[str, dict[str, np.ndarray]]:
    """Pixel counts of each kind of masks on the tests; what was not measured is left out."""
    segmented = (place.out / f"unet_{unet_steps}.npz").is_file()
    predicted = [test for test in MASKED if (place.out / "landmarks" / f"{test}.npz").is_file()]
    return {
        "U-Net": {test: segment(place, unet_steps)[test] for test in predicted} if segmented else {},
        "mesh": {test: landmarks(place, test)["shipped_counts"] for test in predicted},
        "mesh of the true hand": {test: true_mesh_counts(place, test) for test in predicted},
    }


def write(place: Workplace, unet_steps: int, load: float) -> None:
    """Collect what was measured in book/results/evidence.json."""
    runs = {name: load_runs(place, name) for name in FORMS}
    raw = {
        test: {mode: np.stack([refine(place, test, mode, seed) for seed in range(SEEDS)]) for mode in MODES}
        for test in REFINED
    }
    refined = {test: {mode: np.nanmean(rows, -1) for mode, rows in modes.items()} for test, modes in raw.items()}
    masks = masks_of(place, unet_steps)
    results = {
        "setting": setting(place, unet_steps),
        "comparisons": comparisons_of(runs, refined, place, masks),
        "forms": {
            name: {"tests": {test: scores(group, test) for test in NAMES}, "curves": [run.curve for run in group]}
            for name, group in runs.items()
            if group
        },
        "refinement": {
            test: {
                mode: {str(t): gain(rows[:, 0], rows[:, k], "mm") for k, t in enumerate(ITERATIONS) if t}
                for mode, rows in modes.items()
            }
            for test, modes in refined.items()
        },
        "moved_j2d_px": {test: moved(place, test) for test in REFINED},
        "pck": {test: pck_rows(runs, raw, test) for test in REFINED},
        "masks": {
            NAMES[test]: {who: mask_row(counts[test]) for who, counts in masks.items() if test in counts}
            for test in MASKED
        },
    }
    write_result("evidence", results, SEED, load, show=False)


def pck_rows(runs: dict[str, list[Run]], raw: dict, test: str) -> dict[str, Any]:
    """PCK curves of Figs. 5d and 5e; the seeds of a variant are columns."""
    rows = {"ours": np.concatenate(list(raw[test][MODES[2]][:, -1]), 1)}
    rows["j2D(0) fixed in refinement"] = np.concatenate(list(raw[test][MODES[0]][:, -1]), 1)
    labels = {
        "w/o test refinement": "full",
        "also w/o f_Ref": "without-refiner",
        "also w/o 2D losses (as HMR)": "without-2d-losses",
        "w/o shape loss, w/o refinement": "without-shape-loss",
    }
    for label, name in labels.items():
        if runs[name]:
            rows[label] = np.concatenate([run.errors[test]["A8"] for run in runs[name]], 1)
    return {label: pck_of(errors_mm) for label, errors_mm in rows.items()}


def setting(place: Workplace, unet_steps: int) -> dict[str, Any]:
    """Describe the data and the budget."""

    def facts(split: Prepared, rows: np.ndarray) -> dict[str, Any]:
        source = {"dataset": split.meta["dataset"], "engine": split.meta["source"]["engine"]}
        return source | {"images": len(rows), "sha256": split.meta["sha256"][:16]}

    return {
        "train": [facts(split, rows) for split, rows in zip(place.train, place.rows, strict=True) if len(rows)],
        "test": [facts(split, place.test_rows[split.name]) for split in place.tests],
        "seeds": SEEDS,
        "steps": STEPS,
        "batch": BATCH,
        "images_seen": STEPS * BATCH,
        "few": FEW,
        "refined_images": REFINED_IMAGES,
        "unet": {"steps": unet_steps, "batch": SEGMENTED, "images_seen": unet_steps * SEGMENTED, "seeds": 1},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--pictures", type=int, default=14336, help="training images, over all splits")
    parser.add_argument("--tests", type=int, default=1024, help="images of each test split")
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS), help="variants to train")
    parser.add_argument("--unet-steps", type=int, default=400)
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    place = Workplace(arguments.out, arguments.train, arguments.test, arguments.pictures, arguments.tests)
    if "train" in arguments.stage:
        for name in arguments.form:
            for seed in range(SEEDS):
                train(place, name, seed)
    if "refine" in arguments.stage:
        for test in REFINED:
            for mode in MODES:
                for seed in range(SEEDS):
                    refine(place, test, mode, seed)
    if "masks" in arguments.stage:
        segment(place, arguments.unet_steps)
    if "landmarks" in arguments.stage:
        for test in place.tested:
            landmarks(place, test)
    if "write" in arguments.stage:
        write(place, arguments.unet_steps, load)


if __name__ == "__main__":
    main()
