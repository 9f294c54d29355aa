"""Test the network while it trains."""

from collections.abc import Mapping, Sequence

import torch

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.evaluation.evaluate import predict_batch, quick_scores
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


def load_test_sets(config: TrainingConfig, device: torch.device) -> dict[str, Crops]:
    """Load the test crops by name: images evenly spaced in prepared splits, or rendered hands without a split."""
    if not config.test:
        hands, n = SyntheticHands(device), min(config.test_count, RENDERED_FOR_TESTS)
        style = Style(jitter=False, new_people=True)
        pool = hands.backgrounds(n, seed_of(config.seed, "test backgrounds"), style)
        return {"rendered": hands.batch(n, seed_of(config.seed, "test hands"), pool, style).crops()}
    return {name: cache[cache.evenly_spaced(config.test_count)] for name, cache in open_tests(config.test).items()}


def run_tests(
    network: Estimator, sets: Mapping[str, Crops], config: TrainingConfig, device: torch.device, log: RunLog, step: int
) -> float:
    """Test the network on each set, log the curves of Fig. 5f, and save prediction sheets.

    Returns:
        End-point error (protocol A) averaged over the sets, mm; the error of j2D(0), pixels, if only the evidence
        learns.
    """
    errors, error = [], "j2d_first_px" if config.learns == "evidence" else "epe_a_mm"
    for name, crops in sets.items():
        batches = [crops[start : start + TEST_BATCH] for start in range(0, len(crops), TEST_BATCH)]
        scores = quick_scores(join_rows([predict_batch(network, batch, device) for batch in batches]), config.tau)
        log.test(step, name, scores)
        shown = network_view(network, crops[:SHOWN].to(device))
        log.picture(step, name, prediction_sheet(network, shown, f"{name}, step {step}"))
        errors.append(scores[error])
    return sum(errors) / len(errors)
