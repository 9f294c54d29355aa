"""Khronos's glTF validator finds nothing in the plain and the rigged GLB.

It needs node and `npm install gltf-validator`. NODE_PATH names the folder of the package if it lies elsewhere.
"""

import json
import shutil
import subprocess

import pytest
import torch

from dhpe_lib.hand.export import export_hand
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rigged_glb import write_rigged_glb

NODE = shutil.which("node")
VALIDATE = """
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then((report) => console.log(JSON.stringify(report.issues)));
"""


def node(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([NODE, "-e", code, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def _validator() -> None:
    if NODE is None or node('require("gltf-validator")').returncode != 0:
        pytest.skip("node or its package gltf-validator is not installed: npm install gltf-validator")


def complaints(path) -> list[str]:
    done = node(VALIDATE, path)
    assert done.returncode == 0, done.stderr
    return [f"{each['pointer']}: {each['message']}" for each in json.loads(done.stdout)["messages"]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_no_complaints(tmp_path, side):
    model, pose = HandModel.open_hand(side), 0.1 * torch.sin(torch.arange(45.0))
    export_hand(tmp_path / "plain.glb", model, pose.tolist())
    write_rigged_glb(tmp_path / "rigged.glb", model, pose, torch.linspace(-2, 2, 10))
    assert complaints(tmp_path / "plain.glb") == []
    assert complaints(tmp_path / "rigged.glb") == []


def test_a_damaged_file_is_complained_about(tmp_path):
    (path,) = export_hand(tmp_path / "plain.glb", HandModel.open_hand())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"componentType":5126', b'"componentType":5127', 1))
    assert path.read_bytes() != raw
    assert complaints(path)
