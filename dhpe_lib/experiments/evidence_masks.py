"""Table 2: the pixel counts of the meshes' masks and of the segmentation networks', with and without distractors.

All masks are counted at 128 pixels, in the upright view that the shipped network sees. Counts have an axis for the
trainings: three for a segmentation network or a variant of f_E3D, one for the shipped network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import nn

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.mask_metrics import mask_counts, mask_scores
from dhpe_lib.evaluation.scores import rounded
from dhpe_lib.experiments.cached_evidence import AT_A_TIME, TESTED_MASK, CachedEvidence, same_view
from dhpe_lib.experiments.claims import pooled_interval
from dhpe_lib.experiments.evidence_files import PAIR, SEED, SEEDS, Workplace
from dhpe_lib.experiments.evidence_refinement import estimate_of
from dhpe_lib.experiments.evidence_results import in_blocks, iou
from dhpe_lib.experiments.evidence_training import Iterations, compare
from dhpe_lib.experiments.segmentation import SEGMENTERS, fit_segmenters, segmenter_counts
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.batches import ViewOptions, draw_turns, rows_of, training_view

BATCH = 16
"""Images in a batch of the segmentation networks."""
MESH, OWN_MESH, TRUE_MESH = "mesh", "mesh of the variant *full*", "mesh of the true hand"
MASKED = {"orh_test": "ORH", "orh-s_test": "ORH-S", PAIR[0]: "no distractors", PAIR[1]: "distractors"}
"""Tests whose masks are known, and their names in the rows."""

Counts = Int[ndarray, "_ n 3"]


def pictures(place: Workplace, test: str) -> tuple[CachedEvidence, Crops]:
    """Evidence and crops of a test with masks."""
    return place.paired[test] if test in PAIR else (place.tested[test], place.crops[test])


def shipped_predictions(network: Estimator, evidence: CachedEvidence, crops: Crops) -> Predictions:
    """Compare the shipped network's hands with the ground truth."""
    steps = estimate_of(network, evidence).steps
    path = Iterations(steps[-1].h, steps[-1].mesh.joints, torch.stack([step.joints_2d for step in steps[1:]], 1))
    return compare(path, evidence, crops, network.hand)


def segmenters(place: Workplace, steps: int, seed: int) -> nn.ModuleDict:
    """Read the segmentation networks of a seed, or train them on the training images; they are in evaluation mode.

    Args:
        place: The files.
        steps: Number of steps.
        seed: Seed of the first weights; all seeds see the same images.
    """
    networks = nn.ModuleDict({name: new_network(kind, seed) for name, kind in SEGMENTERS.items()})

    def find() -> dict[str, ndarray]:
        fit_segmenters(list(networks.values()), lambda step: training_batch(place, step), steps)
        return {name: values.numpy() for name, values in networks.state_dict().items()}

    values = place.kept_arrays(segmenters_file(steps, seed), find)
    networks.load_state_dict({name: torch.from_numpy(values[name]) for name in networks.state_dict()})
    return networks.eval()


def segmenters_file(steps: int, seed: int) -> str:
    """Name of the file of the segmentation networks of a seed."""
    return f"segmenters/{steps}_seed{seed}"


def segmenters_are_there(place: Workplace, steps: int) -> bool:
    """Whether the segmentation networks of all seeds were trained."""
    return all(place.file(segmenters_file(steps, seed)).is_file() for seed in range(SEEDS))


def segmenters_minutes(place: Workplace, steps: int) -> float:
    """Processor time of all trainings."""
    files = (place.file(segmenters_file(steps, seed)) for seed in range(SEEDS))
    return sum(float(np.load(file)["seconds"]) for file in files) / 60


def segmented(place: Workplace, steps: int) -> dict[str, ndarray]:
    """Count the pixels of the segmentation networks on the tests with masks, by "test.network"."""

    def find() -> dict[str, ndarray]:
        trainings = [segmenters(place, steps, seed) for seed in range(SEEDS)]
        return {
            f"{test}.{name}": network_counts([networks[name] for networks in trainings], *pictures(place, test))
            for test in MASKED
            for name in SEGMENTERS
        }

    return place.kept_arrays(f"segmented_{steps}", find)


def new_network(kind: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network with random weights."""
    torch.manual_seed(seed)
    return kind()


def training_batch(place: Workplace, step: int) -> View:
    """Views of random training images, jittered as for the other trainings."""
    options = ViewOptions(size=TESTED_MASK, upright=True)
    rows = np.random.default_rng((SEED, step)).choice(place.all_rows, BATCH)
    return training_view(rows_of(place.train, rows), draw_turns(BATCH, step, options), options)


def network_counts(networks: Sequence[nn.Module], evidence: CachedEvidence, crops: Crops) -> Counts:
    """Count the pixels of networks in the views that the shipped network sees."""
    parts = []
    for rows in torch.arange(len(crops)).split(AT_A_TIME):
        view = same_view(crops[rows], take_rows(evidence.frame, rows), TESTED_MASK)
        parts.append(np.stack([segmenter_counts(one, view.images, view.targets.mask) for one in networks]))
    return np.concatenate(parts, 1)


def mesh_counts(place: Workplace, test: str) -> Counts:
    """Count the pixels of the shipped network's meshes."""

    def find() -> dict[str, ndarray]:
        return {"counts": shipped_predictions(place.network, *pictures(place, test)).counts[None]}

    return place.kept_arrays(f"mesh_{test}", find)["counts"]


def true_mesh_counts(hand: HandModel, crops: Crops) -> Counts:
    """Count the pixels of the true hands' masks, the best that a mesh can do: it knows no thing before it."""
    parts = []
    for rows in torch.arange(len(crops)).split(AT_A_TIME):
        own = take_rows(crops, rows)
        with torch.no_grad():
            drawn = silhouette(hand.forward_h(own.h).vertices, hand.faces, SIZE) > 0.5
        parts.append(mask_counts(drawn.numpy(), own.without_margin().masks.numpy()))
    return np.concatenate(parts)[None]


def kept_true_mesh_counts(place: Workplace, test: str) -> Counts:
    """Read or count the pixels of the true hands' masks of a test."""

    def find() -> dict[str, ndarray]:
        return {"counts": true_mesh_counts(place.network.hand, pictures(place, test)[1])}

    return place.kept_arrays(f"true_mesh_{test}", find)["counts"]


def all_counts(place: Workplace, steps: int) -> dict[str, dict[str, Counts]]:
    """Collect the pixel counts of each test by method; a method that was not measured is left out."""
    runs, found = place.load_runs("full"), {}
    networks = segmented(place, steps) if segmenters_are_there(place, steps) else {}
    for test in MASKED:
        if not place.file(f"mesh_{test}").is_file():
            continue
        rows = {name: networks[f"{test}.{name}"] for name in SEGMENTERS if f"{test}.{name}" in networks}
        rows[MESH] = mesh_counts(place, test)
        if runs and test not in PAIR:
            rows[OWN_MESH] = np.stack([run.found[test].counts for run in runs])
        rows[TRUE_MESH] = kept_true_mesh_counts(place, test)
        found[test] = rows
    return found


def beside(*methods: Counts) -> Int[ndarray, "trainings n _"]:
    """Put the counts of several methods side by side; a single training stands beside each of many."""
    trainings = max(map(len, methods))
    return np.concatenate([np.broadcast_to(one, (trainings, *one.shape[1:])) for one in methods], 2)


def mask_gain(other: Counts, mesh: Counts) -> dict[str, Any]:
    """Compare the pooled IoU of two kinds of masks on the same images.

    Args:
        other: Pixel counts of the other kind of masks.
        mesh: Those of the mesh.

    Returns:
        A dict for JSON as that of :func:`dhpe_lib.experiments.evidence_results.gain`.
    """
    return iou_row(lambda rows: (iou(rows[:, :3]), iou(rows[:, 3:])), beside(other, mesh))


def distractor_gain(other: Sequence[Counts], mesh: Sequence[Counts]) -> dict[str, Any]:
    """Compare what distractors cost two kinds of masks.

    Args:
        other: Pixel counts of the other kind of masks without and with distractors.
        mesh: Those of the mesh.

    Returns:
        As of :func:`mask_gain`. "without" and "with" are the changes of the IoU of the other masks and of the mesh's;
        the gain is positive if the mesh loses less.
    """

    def changes(rows: ndarray) -> tuple[float, float]:
        calm, disturbed, mesh_calm, mesh_disturbed = (iou(part) for part in np.split(rows, 4, 1))
        return disturbed - calm, mesh_disturbed - mesh_calm

    size = float(np.mean([iou(one) for one in other[0]]))
    return iou_row(changes, beside(*other, *mesh)) | {"of": round(size, 4)}


def iou_row(measures: Callable[[ndarray], tuple[float, float]], rows: ndarray) -> dict[str, Any]:
    """Compare two numbers of the same rows; the gain is the second less the first."""

    def difference(one: ndarray) -> float:
        without, with_it = measures(one)
        return with_it - without

    without, with_it = np.mean([measures(one) for one in rows], 0).tolist()
    return {
        **rounded(pooled_interval(difference, rows), 4),
        "seeds": [round(difference(one), 4) for one in rows],
        "images": rows.shape[1],
        "without": round(without, 4),
        "with": round(with_it, 4),
        "of": round(without, 4),
        "unit": "IoU",
        "places": 3,
    }


def mask_row(counts: Counts) -> dict[str, Any]:
    """Means of the scores of Table 2 over the trainings, with the interval of the IoU over trainings and images."""
    names = asdict(mask_scores(counts[0]))
    scores = np.mean([list(asdict(mask_scores(one)).values()) for one in counts], 0)
    interval = pooled_interval(iou, counts)
    return {name: round(float(value), 4) for name, value in zip(names, scores, strict=True)} | {
        "iou_interval": [round(interval.low, 4), round(interval.high, 4)],
        "images": counts.shape[1],
        "trainings": len(counts),
    }


def joined(test: str, rows: Mapping[str, Counts]) -> dict[str, Counts]:
    """Join the counts of neighbouring frames of a sequence."""
    return {who: in_blocks(test, one, np.sum) for who, one in rows.items()}


def mask_comparisons(counts: Mapping[str, Mapping[str, Counts]]) -> dict[str, dict[str, Any]]:
    """Compute the gains of the mesh's mask over that of each segmentation network, as far as they were measured."""
    counts = {test: joined(test, rows) for test, rows in counts.items()}
    found = {}
    for name in SEGMENTERS:
        for test, rows in counts.items():
            for mesh, of in ((MESH, ""), (OWN_MESH, " of *full*")):
                if name in rows and mesh in rows:
                    found[f"mask{of} against the {name}, {MASKED[test]}"] = mask_gain(rows[name], rows[mesh])
        if all(name in counts.get(test, {}) for test in PAIR):
            other, mesh_pair = ([counts[test][who] for test in PAIR] for who in (name, MESH))
            found[f"distractors against the {name}"] = distractor_gain(other, mesh_pair)
    return found
