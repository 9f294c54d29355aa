"""The command `dhpe doctor`: what is installed, and what is wrong with it."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.text import Text

from dhpe_lib import __version__
from dhpe_lib.common.console import say

OPTIONAL = {
    "mediapipe": ("mediapipe", "--evidence mediapipe", "pip install 'dhpe[mediapipe]', Python 3.12 or older"),
    "av": ("av", "clips", "pip install 'dhpe[video]'"),
    "smplx": ("smplx", "comparisons with smplx", "pip install 'dhpe[smplx]'"),
    "pytorch3d": ("pytorch3d", 'backend="pytorch3d"', "see CONTRIBUTING.md"),
    "jupyter_book": ("jupyter-book", "the book", "pip install 'dhpe[book]'"),
}
"""Import name -> package, what it is for, how to install it."""
NEWEST_PYTHON = (3, 14)


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report.

    Attributes:
        name: Part of the installation.
        state: Description of what was found.
        remedy: Instruction that solves a problem; empty if there is none.
        needed: Whether the program needs this part.
    """

    name: str
    state: str
    remedy: str = ""
    needed: bool = True


def doctor() -> None:
    """Report Python, torch, Warp, GPU, caches and optional packages, and what is wrong with them.

    The exit code is 1 if a part that the program needs has a problem.
    """
    failed = False
    for finding in findings():
        problem = bool(finding.remedy) and finding.needed
        failed |= problem
        mark = Text("✗ ", "red") if problem else Text("- ") if finding.remedy else Text("✓ ", "green")
        say(mark, f"{finding.name}: {finding.state}", f"; {finding.remedy}" if finding.remedy else "")
    if failed:
        raise typer.Exit(1)


def findings() -> Iterator[Diagnosis]:
    """Examine the installation; a part that cannot be imported is a finding and no error."""
    yield Diagnosis("dhpe", f"{__version__} in {Path(__file__).parents[2]}")
    yield python_finding(sys.version_info[:3])
    yield Diagnosis("machine", f"{platform.platform()}, {os.cpu_count()} cores")
    yield from torch_findings()
    yield from warp_findings()
    yield asset_finding()
    yield hub_finding()
    yield from photo_findings()
    for module, (package, use, install) in OPTIONAL.items():
        yield optional_finding(module, package, use, install)


def python_finding(version: tuple[int, ...]) -> Diagnosis:
    """Compare the version of Python with the tested ones."""
    text = f"{'.'.join(map(str, version))}, {sys.executable}"
    if version[:2] > NEWEST_PYTHON:
        return Diagnosis("Python", text, "newer than the supported versions, 3.11 to 3.14", needed=False)
    return Diagnosis("Python", text)


def torch_findings() -> Iterator[Diagnosis]:
    """Examine torch and its GPUs."""
    try:
        import torch
    except Exception as error:  # a broken installation can raise almost any error
        yield Diagnosis("torch", f"cannot be imported ({error})", "pip install --force-reinstall torch")
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    yield Diagnosis("torch", f"{torch.__version__}, {built}, {torch.get_num_threads()} threads")
    driver = nvidia_driver()
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(number).total_memory / 1e9
            name = f"{torch.cuda.get_device_name(number)}, {memory:.0f} GB, driver {driver or 'unknown'}"
            yield Diagnosis(f"GPU cuda:{number}", name)
    elif driver is None:
        yield Diagnosis("GPU", "none; everything runs on the CPU")
    elif torch.version.cuda is None:
        remedy = "install torch for CUDA from pytorch.org"
        yield Diagnosis("GPU", f"driver {driver}, but torch is built without CUDA", remedy, needed=False)
    else:
        remedy = "update the driver, or check CUDA_VISIBLE_DEVICES"
        yield Diagnosis("GPU", f"driver {driver}, but torch cannot use a GPU", remedy, needed=False)


def torch_has_gpu() -> bool:
    """Return whether torch is installed and can use a GPU."""
    try:
        import torch
    except Exception:  # torch_findings reports it
        return False
    return torch.cuda.is_available()


def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver, or None if `nvidia-smi` does not report one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def warp_findings() -> Iterator[Diagnosis]:
    """Examine Warp and its cache of compiled kernels."""
    try:
        import warp

        from dhpe_lib.common.warp_runtime import is_writable, missing_gpu, start_warp

        start_warp()
    except Exception as error:  # a broken installation can raise almost any error
        yield Diagnosis("Warp", f"cannot be imported ({error})", "pip install --force-reinstall warp-lang")
        return
    yield Diagnosis("Warp", f"{warp.__version__}, {'CUDA' if warp.is_cuda_available() else 'CPU only'}")
    if torch_has_gpu() and (reason := missing_gpu()) is not None:
        yield Diagnosis(
            "GPU for Warp", reason, "update the driver or warp-lang; until then the CPU is used", needed=False
        )
    cache = Path(os.environ.get("WARP_CACHE_PATH") or warp.config.kernel_cache_dir or "")
    if cache.name.startswith("dhpe-warp-") or not is_writable(cache):
        remedy = "set WARP_CACHE_PATH to a folder that can be written"
        yield Diagnosis("kernel cache", "cannot be written; kernels are compiled in each run", remedy, needed=False)
    else:
        yield Diagnosis("kernel cache", str(cache))


def asset_finding() -> Diagnosis:
    """Check that the hand and the networks that come with the project are there and can be read."""
    from dhpe_lib.hand.io import read_hand
    from dhpe_lib.hand.model import OPEN_HAND
    from dhpe_lib.network.pretrained import read_state

    folder = Path(__file__).parents[1] / "network" / "weights"
    weights = sorted(folder.glob("*.safetensors"))
    try:
        read_hand(OPEN_HAND)
        for path in weights:
            read_state(path)
    except (OSError, ValueError) as error:
        return Diagnosis("hand and networks", str(error), "install dhpe again")
    if not weights:
        return Diagnosis("hand and networks", f"{folder}: holds no weights", "install dhpe again")
    return Diagnosis("hand and networks", f"the open hand, {', '.join(path.stem for path in weights)}")


def hub_finding() -> Diagnosis:
    """Examine the folder of downloaded ImageNet weights, which only new trainings use."""
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = list(folder.glob("*.pth")) if folder.is_dir() else []
    near = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not os.access(near, os.W_OK):
        remedy = "set TORCH_HOME to a folder that can be written, before a training"
        return Diagnosis("cache of downloads", f"{folder} cannot be written", remedy, needed=False)
    return Diagnosis("cache of downloads", f"{folder}, {len(files)} file{'s' * (len(files) != 1)}")


def photo_findings() -> Iterator[Diagnosis]:
    """Report whether Pillow reads the photos of phones; the remedy is that of ``dhpe predict``."""
    from dhpe_lib.data.photos import PLUGINS, known_formats

    for name, command in PLUGINS.items():
        known = name in known_formats()
        yield Diagnosis(f"{name} photos", "read" if known else "not read", "" if known else command, needed=False)


def optional_finding(module: str, package: str, use: str, install: str) -> Diagnosis:
    """Report whether an optional package is installed; it is not imported."""
    if importlib.util.find_spec(module) is None:
        return Diagnosis(package, f"not installed (for {use})", install, needed=False)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return Diagnosis(package, f"{version} (for {use})")
