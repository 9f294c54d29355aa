"""Choose a device, read its free memory, and set the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    if device.type != "cpu" or not info.is_file():
        return None
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def find_device(name: str | None) -> torch.device:
    """Return the device with this name.

    Args:
        name: A device name of torch, such as "cpu" or "cuda:0". By default CUDA if there is a GPU, else the CPU.

    Raises:
        ValueError: This machine has no such device.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise ValueError(f"{name}: no such device here; use cpu, or cuda if there is a GPU") from error


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
