"""All exported names exist, and importing a folder loads only the modules that it needs."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
from project import ROOT

FOLDERS = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "dhpe_lib").rglob("__init__.py")
    if "lazy_exports" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_exported_name_is_there(folder):
    face = importlib.import_module(folder)
    assert dir(face) == face.__all__
    for name in face.__all__:
        value = getattr(face, name)
        assert not isinstance(value, ModuleType), f"{name} names a module of the folder as well"
    with pytest.raises(AttributeError, match=f"module '{folder}' has no attribute 'no_such_name'"):
        face.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import dhpe_lib.evaluation", "plotly"),
        ("from dhpe_lib.evaluation import pck", "plotly"),
        ("from dhpe_lib.network import Estimator", "dhpe_lib.training"),
        ("from dhpe_lib.hand import HandModel", "warp"),
        ("from dhpe_lib.data import CropFrame", "h5py"),
        ("from dhpe_lib.prediction.request import CLIP_FILES", "dhpe_lib.prediction.tracking"),
        ("from dhpe_lib.prediction.request import CLIP_FILES", "scipy.optimize"),
        ("import dhpe_lib.prediction.tracking", "scipy.optimize"),
        ("import dhpe_lib.cli.__main__", "torch"),
        ("import dhpe_lib.cli.__main__", "numpy"),
    ],
)
def test_imports_stay_cheap(statement, absent):
    command = f"{statement}\nimport sys\nprint({absent!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
