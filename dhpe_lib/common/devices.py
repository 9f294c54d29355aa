"""Choose a device, read its free memory, and set the number of threads."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    if device.type != "cpu" or not info.is_file():
        return None
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def default_device() -> str:
    """Return "cuda" if PyTorch and the renderer can use a GPU, else "cpu".

    If only PyTorch can use the GPU, a warning on stderr says why. A program that names no device then runs on the CPU.
    """
    if not torch.cuda.is_available():
        return "cpu"
    from dhpe_lib.common.warp_runtime import missing_gpu  # Warp takes a second to import

    reason = missing_gpu()
    if reason is not None:
        print(f"The GPU is not used: {reason}.", file=sys.stderr)
    return "cuda" if reason is None else "cpu"


def find_device(name: str | None) -> torch.device:
    """Return the device with this name.

    Args:
        name: A device name of torch, such as "cpu" or "cuda:0". None for :func:`default_device`.

    Raises:
        ValueError: This machine has no such device.
    """
    name = name or default_device()
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise ValueError(f"{name}: no such device here; use cpu, or cuda if there is a GPU") from error


def to_device(values: Shaped[Tensor, "..."], device: torch.device | str) -> Shaped[Tensor, "..."]:
    """Copy a tensor to a device. From the CPU to a GPU it goes through pinned memory, and the host does not wait.

    Args:
        values: Tensor on any device.
        device: The device.

    Returns:
        The tensor on the device; `values` itself if it is there.
    """
    if values.device.type == "cpu" and torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@lru_cache(maxsize=1024)
def constant(values: Any, dtype: torch.dtype, device: torch.device) -> Shaped[Tensor, "..."]:
    """Make a tensor of numbers once; later calls return it without a copy to the device.

    The first call waits for a GPU, since later ones may come from other streams.

    Args:
        values: A number or nested tuples of numbers.
        dtype: Type of the numbers.
        device: Device of the tensor.

    Returns:
        The tensor. It is shared, so it must not be changed.

    Raises:
        RuntimeError: The first call is made while a CUDA graph is captured. The numbers would be copied in each replay
            only, from memory that is free by then.
    """
    return _stay_on(device, torch.tensor(values, dtype=dtype))


@lru_cache(maxsize=64)
def table(make: Callable[[], Tensor], device: torch.device) -> Shaped[Tensor, "..."]:
    """Compute a table of numbers once on the CPU; the rest is as for :func:`constant`.

    Args:
        make: Function that computes the table.
        device: Device of the table.

    Returns:
        The table. It is shared, so it must not be changed.

    Raises:
        RuntimeError: As for :func:`constant`.
    """
    return _stay_on(device, make())


def _stay_on(device: torch.device, values: Tensor) -> Tensor:
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a constant is not on the GPU yet; call the function once before it is captured")
    made = to_device(values, device)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return made


def constant_like(values: Any, like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return :func:`constant` in the type and on the device of another tensor."""
    return constant(values, like.dtype, like.device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread inside the block.

    The last bits of a result depend on the number of threads. Small fits are no faster with two threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
