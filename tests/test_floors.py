"""A folder of the library imports only from folders below it, and no modules import each other in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from project import ROOT

FLOORS = (
    {"common"},
    {"hand"},
    {"rendering", "data"},
    {"network", "synthetic", "figures"},
    {"refinement"},
    {"evaluation"},
    {"prediction"},
    {"training"},
    {"experiments"},
    {"cli"},
)
"""From the ground up; folders on one floor do not import each other."""


def floor_of(module: str) -> int:
    """The floor of a module's folder; the package itself, which holds the version, lies below all."""
    folder = module.split(".")[1] if "." in module else None
    return next((k for k, folders in enumerate(FLOORS) if folder in folders), -1)


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(package: Path) -> dict[str, set[str]]:
    """For each module the modules that it imports, at its head or inside a function."""
    paths = {module_name(path, package): path for path in package.rglob("*.py")}
    return {name: set(imported(path, set(paths))) - {name} for name, path in paths.items()}


def imported(path: Path, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield from (one for one in (name, name.rpartition(".")[0]) if one in modules)


def wrong_imports(package: Path) -> list[str]:
    """List the imports that go up a floor, or across one."""
    found = []
    for module, others in imports_of(package).items():
        for other in others:
            same_folder = module.split(".")[:2] == other.split(".")[:2]
            if not same_folder and floor_of(other) >= floor_of(module):
                found.append(f"{module} imports {other}")
    return sorted(found)


def circle(package: Path) -> list[str]:
    """Modules that import each other; a package's face counts as the package, which imports its modules late."""
    graph = {name: others for name, others in imports_of(package).items() if name != package.name}
    faces = {module_name(path, package) for path in package.rglob("__init__.py")}
    try:
        TopologicalSorter({name: others - faces for name, others in graph.items() if name not in faces}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_folder_has_its_floor():
    folders = {path.parent.name for path in (ROOT / "dhpe_lib").glob("*/__init__.py")}
    assert folders == set().union(*FLOORS)


def test_no_import_goes_up():
    assert wrong_imports(ROOT / "dhpe_lib") == []


def test_no_circle():
    assert circle(ROOT / "dhpe_lib") == []


@pytest.fixture
def house(tmp_path):
    """A small package with an import that goes up, one that goes across, and a circle."""
    texts = {
        "__init__": "",
        "hand/__init__": "",
        "hand/model": "from dhpe_lib.hand.poses import a\nfrom dhpe_lib.data import crops\n",
        "hand/poses": "def a():\n    import dhpe_lib.hand.model\n",
        "data/__init__": "",
        "data/crops": "from dhpe_lib.rendering.renderer import render\n",
        "rendering/__init__": "",
        "rendering/renderer": "import math\n",
    }
    for name, text in texts.items():
        path = tmp_path / "dhpe_lib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "dhpe_lib"


def test_what_is_wrong_is_found_and_named(house):
    assert wrong_imports(house) == [
        "dhpe_lib.data.crops imports dhpe_lib.rendering.renderer",
        "dhpe_lib.hand.model imports dhpe_lib.data",
        "dhpe_lib.hand.model imports dhpe_lib.data.crops",
    ]
    assert {"dhpe_lib.hand.model", "dhpe_lib.hand.poses"} <= set(circle(house))
