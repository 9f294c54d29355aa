"""Shared by all tests: shapes and types checked at run time, the devices, the tolerances.

The hook must be in place before the first import of a module of `dhpe_lib`, hence here.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parent.parent / "dhpe_lib"
KERNELS = "dhpe_lib.rendering.rasterizer.kernels"  # Warp compiles the source of its functions: they may not be wrapped


def library_modules() -> list[str]:
    """The dotted names of all modules of the library (packages themselves hold no functions)."""
    relative = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(path.parts) for path in relative if path.name != "__init__")


assert not [name for name in library_modules() if name in sys.modules], "the library was imported before the hook"
install_import_hook([name for name in library_modules() if not name.startswith(KERNELS)], "beartype.beartype")

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: more threads only wait for each other
    torch.set_num_threads(1)


def devices() -> list[str]:
    """Every device that this machine has."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each test that asks for it runs once for each device."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def tol() -> dict[torch.dtype, dict[str, float]]:
    """Tolerances for two computations of one thing: `torch.testing.assert_close(a, b, **tol[a.dtype])`."""
    return {
        torch.float64: {"rtol": 1e-9, "atol": 1e-11},
        torch.float32: {"rtol": 1e-4, "atol": 1e-5},
        torch.float16: {"rtol": 1e-2, "atol": 1e-3},
    }


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of random numbers on the CPU."""
    return torch.Generator().manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the tests marked `without_device` took; a busy machine takes longer, so no test fails for it."""
    found = (report for reports in terminalreporter.stats.values() for report in reports)
    timed = (report for report in found if isinstance(report, pytest.TestReport))
    seconds = [report.duration for report in timed if "without_device" in report.keywords]
    if seconds:
        terminalreporter.write_line(f"marked without_device: {sum(seconds):.0f} s; goal on free cores: 180 s at most")
