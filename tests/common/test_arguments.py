"""Wrong arguments raise an error that names the argument, what it is and what it should be."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float, Integer, Shaped
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.arguments import (
    Shape,
    check_alike,
    check_at_least,
    check_fields,
    check_precision,
    checked,
)


@checked({"points": "project them first"})
def sample(
    points: Float[Tensor, "b 2"],
    weights: Float[Tensor, " b"] | None = None,
    rows: Integer[Tensor, "*any 3"] | Integer[ndarray, " n"] | None = None,
    size: int | tuple[int, int] = 8,
    mode: Literal["near", "linear", "cubic"] = "near",
    shape: Shape | None = None,
    either: Shape | Float[Tensor, " b"] | str | None = None,
) -> tuple[int | tuple[int, int], str]:
    """Return what the function was called with."""
    return size, mode


POINTS = torch.zeros(4, 2)


def test_right_arguments_pass():
    assert sample(POINTS, torch.ones(4), mode="cubic") == (8, "cubic")
    assert sample(POINTS, rows=torch.zeros(5, 6, 3, dtype=torch.int32)) == (8, "near")
    assert sample(POINTS, None, np.zeros(3, np.int64)) == (8, "near")
    shape = Shape((Tensor,), "any", (), None)
    assert sample(POINTS, shape=shape, either=shape) == sample(POINTS, either="any text") == (8, "near")


def test_whole_numbers_of_numpy_become_pythons():
    size, _ = sample(POINTS, size=np.int64(3))
    assert (size, type(size)) == (3, int)
    sides, _ = sample(POINTS, None, None, (np.int32(3), 4))
    assert [type(side) for side in sides] == [int, int]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": torch.zeros(4, 3)}, ValueError, r"points has shape \[4, 3\]; give a tensor \[b, 2\]: project them"),
        ({"points": POINTS, "weights": torch.ones(5)}, ValueError, r"weights has shape \[5\]; .* \[b\] with b = 4"),
        (
            {"points": POINTS, "weights": torch.tensor(1.0)},
            ValueError,
            r"weights has shape \[\].*one is weights\[None\]",
        ),
        ({"points": POINTS, "rows": torch.zeros(3, 4, dtype=torch.int64)}, ValueError, r"\[\.\.\., 3\] or \[n\]"),
        ({"points": POINTS, "rows": torch.zeros(3)}, TypeError, "rows is torch.float32; give whole numbers"),
        ({"points": POINTS, "rows": torch.zeros(3, dtype=torch.bool)}, TypeError, "rows is torch.bool"),
        ({"points": POINTS, "mode": "Near"}, ValueError, 'mode = \'Near\'; use "near", "linear" or "cubic"'),
        ({"points": POINTS, "mode": 3}, TypeError, r"mode is 3 \(int\); give \"near\""),
        ({"points": None}, TypeError, r"points is None; give a tensor \[b, 2\]"),
        ({"points": [[0.0, 1.0]]}, TypeError, r"points is \[\[0\.0, 1\.0\]\] \(list\); give a tensor"),
        ({"points": POINTS, "shape": 3}, TypeError, r"shape is 3 \(int\); give a Shape$"),
        ({"points": POINTS, "shape": torch.nn.Identity()}, TypeError, "shape is a Identity; give a Shape"),
        ({"points": POINTS, "either": torch.ones(5)}, ValueError, r"give a tensor \[b\] with b = 4 or a Shape"),
        ({"points": np.zeros((4, 2))}, TypeError, r"points is a numpy array \[4, 2\]; give a tensor"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        sample(**arguments)


@checked({"rows": {(2,): "two", (3, 4): "twelve", (): "any other"}, "points": "project them first"})
def hinted(points: Float[Tensor, "b 2"], rows: Float[Tensor, "b 3 3"]) -> None:
    """Have a remedy for each common shape."""


@pytest.mark.parametrize(
    ("points", "rows", "remedy"),
    [
        ((4, 2), (4, 2), "with b = 4: two"),
        ((4, 2), (2,), "with b = 4: two"),
        ((4, 2), (4, 3, 4), "with b = 4: twelve"),
        ((4, 2), (4, 9), "with b = 4: any other"),
        ((4, 2), (3, 3), r"with b = 4: a batch of one is rows\[None\]"),
        ((4, 2), (1, 3, 3), "with b = 4: repeat its only row"),
        ((4, 2), (5, 3, 3), "with b = 4"),
        ((2,), (4, 3, 3), r": a batch of one is points\[None\]"),
        ((4, 3), (4, 3, 3), ": project them first"),
    ],
)
def test_the_remedy_fits_the_shape(points, rows, remedy):
    with pytest.raises(ValueError, match=rf"\]( |){remedy.lstrip()}$"):
        hinted(torch.zeros(points), torch.zeros(rows))


def test_fields_of_a_record():
    @dataclass(frozen=True)
    class Pair:
        first: Shaped[ndarray, "n 2"]
        second: Shaped[ndarray, "n 2"]

        def __post_init__(self) -> None:
            check_fields(self)

    assert len(Pair(np.zeros((3, 2)), np.ones((3, 2))).first) == 3
    with pytest.raises(ValueError, match=r"second has shape \[2, 2\]; give a numpy array \[n, 2\] with n = 3"):
        Pair(np.zeros((3, 2)), np.ones((2, 2)))


def test_ranges_and_precision():
    check_at_least("n", 0, 0)
    check_precision("h", torch.zeros(1).double())
    for value in (-1, float("nan")):
        with pytest.raises(ValueError, match=r"n = .*; give 0 or more"):
            check_at_least("n", value, 0)
    with pytest.raises(TypeError, match=r"h is torch\.bfloat16; use float32 or float64"):
        check_precision("h", torch.zeros(1).bfloat16())
    with pytest.raises(TypeError, match=r"h is torch\.float64, the model torch\.float32"):
        check_alike(torch.zeros(1), "the model", {"pose": None, "h": torch.zeros(1).double()})


def test_values_are_never_read():
    """A tensor without values passes, so no check can wait for a device."""
    assert sample(torch.empty(4, 2, device="meta"), torch.empty(4, device="meta"))
