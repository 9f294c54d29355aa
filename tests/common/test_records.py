"""Rows of records are selected, joined and changed field by field, in records inside records too."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import join_rows, map_rows, put_rows, take_rows


@dataclass(frozen=True)
class Inner:
    count: Tensor


@dataclass(frozen=True)
class Outer:
    place: Tensor
    inner: Inner


@dataclass(frozen=True)
class Arrays:
    error: ndarray
    name: ndarray


def record(n: int, start: int = 0) -> Outer:
    rows = torch.arange(start, start + n)
    return Outer(rows[:, None] * torch.tensor([1.0, 10.0]), Inner(rows))


def equal(first: Outer, second: Outer) -> bool:
    return torch.equal(first.place, second.place) and torch.equal(first.inner.count, second.inner.count)


def test_rows_are_taken_as_often_as_they_are_named():
    taken = take_rows(record(4), torch.tensor([3, 0, 3]))
    assert isinstance(taken, Outer)
    assert isinstance(taken.inner, Inner)
    assert taken.inner.count.tolist() == [3, 0, 3]
    assert taken.place.tolist() == [[3, 30], [0, 0], [3, 30]]
    assert len(take_rows(record(4), torch.tensor([], dtype=torch.int64)).place) == 0
    with pytest.raises(IndexError):
        take_rows(record(4), torch.tensor([4]))


def test_put_rows_replaces_the_taken_rows():
    whole, rows = record(4), torch.tensor([3, 0])
    assert equal(put_rows(whole, rows, take_rows(whole, rows)), whole)
    swapped = put_rows(whole, rows, take_rows(whole, rows.flip(0)))
    assert equal(take_rows(swapped, rows), take_rows(whole, rows.flip(0)))
    assert equal(take_rows(swapped, torch.tensor([1, 2])), take_rows(whole, torch.tensor([1, 2])))
    assert not equal(swapped, whole)


def test_joining_undoes_taking():
    whole = record(7)
    parts = [take_rows(whole, rows) for rows in torch.arange(7).split(3)]
    assert equal(join_rows(parts), whole)
    assert equal(join_rows([whole]), whole)
    assert not equal(join_rows(parts[::-1]), whole)


def test_arrays_are_joined_too():
    joined = join_rows([Arrays(np.array([1.5]), np.array(["a"])), Arrays(np.array([2.5, 3.5]), np.array(["b", "c"]))])
    assert isinstance(joined.error, ndarray)
    np.testing.assert_array_equal(joined.error, [1.5, 2.5, 3.5])
    assert joined.name.tolist() == ["a", "b", "c"]


def test_layout_in_memory_and_gradient_stay():
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    joined = join_rows([Inner(images), Inner(images)]).count
    assert joined.is_contiguous(memory_format=torch.channels_last)
    take_rows(Inner(joined), torch.tensor([3])).count.sum().backward()
    assert images.grad is not None
    assert images.grad.sum((1, 2, 3)).tolist() == [0, 60]


def test_a_change_reaches_every_field():
    changed = map_rows(record(2), lambda values: values.double() + 1)
    assert changed.place.dtype == changed.inner.count.dtype == torch.float64
    assert changed.inner.count.tolist() == [1, 2]


def test_nothing_to_join():
    with pytest.raises(ValueError, match="give at least one"):
        join_rows([])
