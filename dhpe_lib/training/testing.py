"""Test the network while it trains. Several processes share the test images, and the first one writes the scores.

The batches of a test are the same for any number of processes, and so are the scores, bit for bit.
"""

from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.evaluation.evaluate import Predictions, predict_batch
from dhpe_lib.evaluation.scores import quick_scores
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.upright import network_view
from dhpe_lib.synthetic.engine import Style, SyntheticHands
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.config import ConfigError, TrainingConfig
from dhpe_lib.training.log import SHOWN, RunLog, prediction_sheet

RENDERED_FOR_TESTS = 256
"""Largest number of rendered test images."""
TEST_BATCH = 64


def open_tests(folders: Sequence[str]) -> dict[str, Prepared]:
    """Open prepared test splits; results use their names.

    Raises:
        ConfigError: Two splits have the same name.
        PreparedError: A split is missing or damaged.
    """
    caches: dict[str, Prepared] = {}
    for cache in map(Prepared, folders):
        if cache.name in caches:
            raise ConfigError(
                f"test names {caches[cache.name].directory} and {cache.directory}, but both have the name "
                f"{cache.name}, so their results would be mixed up. Name only one of them"
            )
        caches[cache.name] = cache
    return caches


def load_test_sets(config: TrainingConfig, fabric: Fabric) -> dict[str, list[Crops]]:
    """Load the test batches of this process by the name of their set.

    A set has images evenly spaced in a prepared split, or rendered hands without a split. Batch k of a set belongs to
    process k modulo their number.
    """
    mine = slice(fabric.global_rank, None, fabric.world_size)
    if not config.test:
        hands, n = SyntheticHands(fabric.device), min(config.test_count, RENDERED_FOR_TESTS)
        style = Style(jitter=False, new_people=True)
        pool = hands.backgrounds(n, seed_of(config.seed, "test backgrounds"), style)
        crops = hands.batch(n, seed_of(config.seed, "test hands"), pool, style).crops()
        return {"rendered": [crops[rows] for rows in torch.arange(n).split(TEST_BATCH)[mine]]}
    caches = open_tests(config.test)
    rows = {name: torch.from_numpy(cache.evenly_spaced(config.test_count)) for name, cache in caches.items()}
    return {name: [cache[part] for part in rows[name].split(TEST_BATCH)[mine]] for name, cache in caches.items()}


def predict_tests(
    network: Estimator, sets: Mapping[str, Sequence[Crops]], fabric: Fabric
) -> dict[str, Predictions] | None:
    """Run the network on the test batches of all processes; all of them must call this.

    Args:
        network: f_DHPE, on the device of the process, with equal weights in all of them.
        sets: From :func:`load_test_sets`.
        fabric: The launched Fabric.

    Returns:
        Predictions for each whole set in the first process, None in the others.
    """
    found = {name: [predict_batch(network, batch, fabric.device) for batch in sets[name]] for name in sets}
    parts = [found]
    if fabric.world_size > 1:
        parts = [{}] * fabric.world_size
        torch.distributed.gather_object(found, parts if fabric.is_global_zero else None)
    if not fabric.is_global_zero:
        return None
    return {name: join_rows(in_order([part[name] for part in parts])) for name in sets}


def in_order(shares: Sequence[Sequence[Predictions]]) -> list[Predictions]:
    """Put the batches of all processes, one share for each, back into the order of the set."""
    turns = range(max(map(len, shares)))
    return [share[turn] for turn in turns for share in shares if turn < len(share)]


def log_tests(
    network: Estimator,
    sets: Mapping[str, Sequence[Crops]],
    found: Mapping[str, Predictions],
    config: TrainingConfig,
    log: RunLog,
    step: int,
) -> float:
    """Score the predictions on each set, log the curves of Fig. 5f, and save prediction sheets.

    Args:
        network: f_DHPE, which predicts the sheets.
        sets: From :func:`load_test_sets`; a sheet shows the first images of a set.
        found: From :func:`predict_tests`.
        config: Its tau and `learns` are used.
        log: The log of the run.
        step: Number of steps done.

    Returns:
        End-point error (protocol A) averaged over the sets, mm; the error of j2D(0), pixels, if only the evidence
        learns.
    """
    errors, error = [], "j2d_first_px" if config.learns == "evidence" else "epe_a_mm"
    for name, batches in sets.items():
        scores = quick_scores(found[name], config.tau)
        log.test(step, name, scores)
        shown = network_view(network, batches[0][:SHOWN].to(network.hand.v_template.device))
        log.picture(step, name, prediction_sheet(network, shown, f"{name}, step {step}"))
        errors.append(scores[error])
    return sum(errors) / len(errors)
