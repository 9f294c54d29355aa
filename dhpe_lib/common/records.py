"""Records of rows: dataclasses of tensors or arrays with one row for each image, and of other such dataclasses."""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

Record = TypeVar("Record")


def map_rows(record: Record, change: Callable[[Any], Any]) -> Record:
    """The same change to each tensor or array of a record.

    Args:
        record: Of rows; dataclasses inside it are changed as well.
        change: A tensor or array to another.

    Returns:
        A record of the same class.
    """
    return _combined([record], lambda values: change(values[0]))


def take_rows(record: Record, rows: Int64[Tensor, " n"]) -> Record:
    """Some images of a batch, each as often as it is named.

    Args:
        record: Of tensors.
        rows: Which images, on the tensors' device.

    Returns:
        A record of the same class.
    """
    return map_rows(record, lambda values: values.index_select(0, rows))


def join_rows(records: Sequence[Record]) -> Record:
    """Batches as one, one after the other.

    Args:
        records: At least one, of one class.

    Returns:
        A record of that class.

    Raises:
        ValueError: There is no record.
    """
    if not records:
        raise ValueError("no records to join; give at least one")
    return _combined(records, _joined)


def _joined(values: list[Any]) -> Any:
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else torch.cat(values)


def _combined(records: Sequence[Record], combine: Callable[[list[Any]], Any]) -> Record:
    """Field by field, what `combine` makes of the records' values."""
    combined = {}
    for field in fields(records[0]):  # type: ignore[arg-type]
        values = [getattr(record, field.name) for record in records]
        combined[field.name] = _combined(values, combine) if is_dataclass(values[0]) else combine(values)
    return type(records[0])(**combined)


def to_numpy(values: Any) -> ndarray:
    """A tensor of any device, or anything array-like, as numpy."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
