"""The estimator is exported as a graph for batches of any size, with the renderer in it."""

import subprocess
import sys

import pytest
from project import child_environment

pytestmark = pytest.mark.without_device
EXPORTED = """
import torch
import tiny_network
from small_nets import random_images
from dhpe_lib.network.estimator import Estimator


class Parts(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        estimate = self.network(images, render=True)
        return estimate.h, estimate.mesh.vertices, estimate.joints_2d, estimate.mask


torch.manual_seed(0)
tiny_network.install()
network = Parts(Estimator(tiny_network.TINY).eval())
one, other = (random_images(n, torch.Generator().manual_seed(n)) for n in (2, 3))
batch = torch.export.Dim("batch", min=2, max=64)
program = torch.export.export(network, (one,), dynamic_shapes=({0: batch},), strict=True)
assert any("dhpe.kato" in part.code for part in program.graph_module.modules() if hasattr(part, "code"))
with torch.no_grad():
    for found, plain in zip(program.module()(other), network(other)):
        torch.testing.assert_close(found, plain)
print("exported")
"""


def test_estimator_is_exported_for_any_batch():
    """In a process of its own: the run-time checks of the tests cannot be exported."""
    command = [sys.executable, "-c", EXPORTED]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "exported", done.stderr[-3000:]
