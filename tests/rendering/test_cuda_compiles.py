"""Every kernel compiles for CUDA on machines without a GPU, and keeps its variables in registers.

NVRTC is part of Warp's wheel. sm_75 is the oldest GPU that Warp knows, sm_90 is Hopper's.
"""

import importlib.util
import pkgutil
import re
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import warp as wp

from dhpe_lib.rendering.rasterizer import kernels

pytestmark = pytest.mark.without_device
MOST_REGISTERS = 200
"""A thread may have 255; above 128 a multiprocessor holds less than a quarter of its threads."""
MOST_BYTES = 650_000
"""Of a module for one GPU. `antialias` has 500,000, and 860,000 where the loop of `walk` is written out."""


def kernel_modules() -> list[ModuleType]:
    names = (f"{kernels.__name__}.{found.name}" for found in pkgutil.iter_modules(kernels.__path__))
    return [module for module in map(import_module, names) if wp.get_module(module.__name__).kernels]


def resource_reader() -> Path | None:
    """Path of cuobjdump, which comes with triton; PyTorch's build for the CPU has none."""
    found = importlib.util.find_spec("triton")
    if found is None or found.origin is None:
        return None
    tool = Path(found.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return tool if tool.is_file() else None


def overloads(module: ModuleType) -> list[wp.Kernel]:
    return [made for kernel in wp.get_module(module.__name__).kernels.values() for made in kernel.overloads.values()]


@pytest.mark.parametrize("arch", [75, 90])
@pytest.mark.parametrize("module", kernel_modules(), ids=lambda module: module.__name__.rpartition(".")[2])
def test_kernels_compile_without_a_gpu_and_spill_nothing(module, arch, tmp_path):
    made = overloads(module)
    assert len(made) == 2 * len(wp.get_module(module.__name__).kernels)  # float32 and float64
    files = wp.compile_aot_module(module, device=None, arch=arch, module_dir=tmp_path, use_ptx=False)
    (compiled,) = files
    assert 0 < compiled.stat().st_size <= MOST_BYTES
    tool = resource_reader()
    if tool is None:
        pytest.skip("compiled, but its registers are not read: triton is not installed")
    report = subprocess.run(
        [tool, "--dump-resource-usage", compiled], capture_output=True, text=True, check=True
    ).stdout
    used = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", report)
    assert len(used) == len(made)
    for name, registers, stack, local in used:
        assert (stack, local) == ("0", "0"), f"{name} keeps variables in memory"
        assert int(registers) <= MOST_REGISTERS, f"{name} takes {registers} registers"
