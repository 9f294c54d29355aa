"""Start Warp, which compiles and runs the renderer's kernels, and say whether it can use a GPU.

Warp's wheel is built with one version of the CUDA toolkit and needs a driver for it. PyTorch may be built with an older
version, so a driver can be new enough for PyTorch and too old for Warp. This module does not import torch.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import warp as wp


def is_writable(folder: Path) -> bool:
    """Return whether files can be written in a folder, which is created if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def use_temporary_cache() -> None:
    """Let Warp compile in a temporary folder, which processes that are started later share."""
    folder = tempfile.mkdtemp(prefix="dhpe-warp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["WARP_CACHE_PATH"] = folder
    wp.config.kernel_cache_dir = folder
    print(
        "The cache of compiled kernels cannot be written, so they are compiled anew in each run. "
        "Set WARP_CACHE_PATH to a folder that can be written.",
        file=sys.stderr,
    )


def _init_quietly() -> None:
    """Start Warp without its banner, and hide the warning that its C code writes to stderr if there is no GPU."""
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def start_warp() -> None:
    """Start Warp, with a temporary cache if its own cannot be written; a second call does nothing new."""
    try:
        _init_quietly()
    except OSError:
        use_temporary_cache()
        _init_quietly()
    if not is_writable(Path(str(wp.config.kernel_cache_dir))):
        use_temporary_cache()


def missing_gpu() -> str | None:
    """Say why Warp can use no GPU on a machine where PyTorch can.

    Returns:
        The reason and the remedy, or None if Warp can use a GPU.
    """
    start_warp()
    if wp.get_cuda_device_count() > 0:
        return None
    toolkit, driver = wp.get_cuda_toolkit_version(), wp.get_cuda_driver_version()
    if toolkit is None:
        return f"Warp {wp.__version__} is built without CUDA; install the wheel of warp-lang, or compute on the CPU"
    found = "finds no driver" if driver is None else f"the installed one is for CUDA {driver[0]}.{driver[1]}"
    return (
        f"Warp {wp.__version__} needs a driver for CUDA {toolkit[0]}.{toolkit[1]} or newer, and {found}; update the "
        "driver, install a warp-lang for the older CUDA, or compute on the CPU"
    )
