"""Functions on records: dataclasses of tensors or arrays with one row for each image, and of other records."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int64
from numpy import ndarray
from torch import Tensor

Record = TypeVar("Record")


def map_rows(record: Record, change: Callable[[Any], Any]) -> Record:
    """Apply a function to each tensor or array of a record.

    Args:
        record: Dataclass of tensors, arrays and other records.
        change: Function from a tensor or array to a new one.

    Returns:
        A record of the same class.
    """
    return _combine_fields([record], lambda values: change(values[0]))


def take_rows(record: Record, rows: Int64[Tensor, " n"]) -> Record:
    """Select rows of a batch.

    Args:
        record: Dataclass of tensors and other records.
        rows: Row numbers, on the tensors' device. A row may appear more than once.

    Returns:
        A record of the same class.
    """
    return map_rows(record, lambda values: values.index_select(0, rows))


def put_rows(record: Record, rows: Int64[Tensor, " n"], new: Record) -> Record:
    """Replace rows of a batch of tensors.

    Args:
        record: Dataclass of tensors and other records.
        rows: Row numbers, each at most once, on the tensors' device.
        new: Record with the n new rows.

    Returns:
        A new record of the same class.
    """
    return _combine_fields([record, new], lambda values: values[0].index_copy(0, rows, values[1]))


def join_rows(records: Sequence[Record]) -> Record:
    """Concatenate the rows of several records.

    Args:
        records: At least one record; all have the same class.

    Returns:
        A record of that class.

    Raises:
        ValueError: The sequence is empty.
    """
    if not records:
        raise ValueError("no records to join; give at least one")
    return _combine_fields(records, _concatenate)


def _concatenate(values: list[Any]) -> Any:
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else torch.cat(values)


def _combine_fields(records: Sequence[Record], combine: Callable[[list[Any]], Any]) -> Record:
    """Make a record whose every field is `combine` of that field's values in the given records."""
    combined = {}
    for field in fields(records[0]):  # type: ignore[arg-type]
        values = [getattr(record, field.name) for record in records]
        combined[field.name] = _combine_fields(values, combine) if is_dataclass(values[0]) else combine(values)
    return type(records[0])(**combined)


def count_true(*masks: Bool[Tensor, " b"]) -> list[int]:
    """Count the rows at which each of several masks is true; the host waits once for a GPU."""
    counts: list[int] = torch.stack([mask.count_nonzero() for mask in masks]).tolist()
    return counts


def true_rows(mask: Bool[Tensor, " b"], count: int) -> Int64[Tensor, " n"]:
    """Return the numbers of the rows at which a mask is true; the host does not wait for a GPU.

    Args:
        mask: One boolean for each row.
        count: Number of true rows, from :func:`count_true`.
    """
    if mask.device.type == "cpu":
        return mask.nonzero()[:, 0]  # faster there
    return torch.repeat_interleave(mask.long(), output_size=count)


def to_numpy(values: Any) -> ndarray:
    """Convert a tensor on any device, or anything array-like, to a numpy array; the gradient is dropped."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
