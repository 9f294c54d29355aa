"""Measurements that explain a verdict: whether children look like real images, and whether f_Ref can be repeated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from dhpe_lib.network.regressor import JOINTS_2D

FOLDS, RIDGE = 4, 0.1
"""Parts of the cross-validation, and the penalty of the squared weights for each row."""


def told_apart(
    some: Float[ndarray, "n f"], others: Float[ndarray, "m f"], same: int = 1, seed: int = 0
) -> dict[str, float]:
    """Say how well a linear classifier tells two sets of features apart, by cross-validation.

    A ridge regression to +1 and -1 with equal weight of both sets; each feature is in units of its deviation.

    Args:
        some: Features of one set.
        others: Features of the other set.
        same: Number of neighbouring rows of `others` that belong together and stay in one fold.
        seed: Random seed of the folds.

    Returns:
        "accuracy", the mean share of each set that is recognised: 0.5 if nothing tells them apart; and that of a
        classifier with the labels drawn by chance, "accuracy_by_chance".
    """
    generator = np.random.default_rng(seed)
    rows = np.concatenate((some, others)).astype(float)
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    labels = np.repeat([1.0, -1.0], [len(some), len(others)])
    groups = np.concatenate((np.arange(len(some)), len(some) + np.arange(len(others)) // same))
    folds = generator.permutation(groups.max() + 1)[groups] % FOLDS
    drawn = np.where(generator.random(groups.max() + 1)[groups] < 0.5, 1.0, -1.0)
    found = {"accuracy": labels, "accuracy_by_chance": drawn}
    return {name: round(recognised(rows, values, folds), 3) for name, values in found.items()}


def recognised(rows: Float[ndarray, "n f"], labels: Float[ndarray, " n"], folds: Int64[ndarray, " n"]) -> float:
    """Mean over both labels of the share of held-out rows that a ridge regression recognises."""
    right = np.zeros(len(rows), bool)
    weight = np.where(labels > 0, 1 / (labels > 0).sum(), 1 / (labels < 0).sum())
    wide = np.column_stack((rows, np.ones(len(rows))))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        scaled = wide[train] * weight[train, None] * len(rows)
        normal = scaled.T @ wide[train] + RIDGE * len(rows) * np.eye(wide.shape[1])
        solution = np.linalg.solve(normal, scaled.T @ labels[train])
        right[test] = (wide[test] @ solution) * labels[test] > 0
    return float(np.mean([right[labels == sign].mean() for sign in (1, -1)]))


def largest_eigenvalue(weight: Float[Tensor, "42 _"]) -> float:
    """Largest absolute eigenvalue of the part of f_Ref that multiplies j2D; above 1, many calls in a row diverge."""
    return round(float(torch.linalg.eigvals(weight[:, :JOINTS_2D]).abs().max()), 3)


def eigenvalues(runs: Mapping[str, Sequence[Mapping[str, Tensor]]]) -> dict[str, Any]:
    """Largest eigenvalue of each seed of each variant that has f_Ref."""
    return {
        name: [largest_eigenvalue(one["f_ref.weight"]) for one in weights]
        for name, weights in runs.items()
        if all("f_ref.weight" in one for one in weights) and weights
    }
