"""Measure the speed, the memory and the start-up time of the renderer.

`python benchmarks/renderer.py` times silhouettes and textured images of the open hand (778 vertices, 1,538 faces). It
writes `book/results/renderer_speed.json`; with `--device cuda` it runs on a GPU and writes `renderer_speed_cuda.json`.
With `--peers` it times one soft silhouette instead, also with the plain-torch reference and with PyTorch3D if it is
installed, and writes `renderer_peers.json`. Goal on one H200: 80,000 silhouettes/s (kato, 224 pixels, batch 64). Not
measured yet.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from reporting import ROOT, write_result

from dhpe_lib.hand.model import HandModel
from dhpe_lib.rendering import projection, pytorch3d_backend, renderer
from dhpe_lib.rendering.rasterizer import reference
from dhpe_lib.rendering.uv_layout import hand_texture

SIZE, SEED = 224, 0
METHODS = ("coverage", "soft", "kato")
IN_A_NEW_PROCESS = """
import resource, sys, time
sys.path.insert(0, {benchmarks!r})
import torch
from renderer import calls, open_hand
vertices, faces = open_hand({batch}, {device!r})
call = calls(faces)[{name!r}]
start = time.perf_counter()
call(vertices)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def open_hand(batch: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Make a batch of open hands seen from the back, 2/3 of the crop wide as in the paper, with small rotations."""
    with np.load(ROOT / "dhpe_lib" / "hand" / "assets" / "open_hand.npz") as arrays:
        rest, faces = torch.tensor(arrays["v_template"]).float(), torch.tensor(arrays["f"].astype(np.int64))
    rest = rest[:, [0, 2, 1]] * rest.new_tensor([1, 1, -1])  # fingers to the left
    rest = rest - (rest.amax(0) + rest.amin(0)) / 2
    rest = rest / (rest.amax(0) - rest.amin(0)).max() / 1.5
    angles = 0.3 * torch.randn(batch, generator=torch.Generator().manual_seed(SEED))
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    c, s = angles.cos(), angles.sin()
    turns = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).view(-1, 3, 3)
    return (rest @ turns.transpose(1, 2)).to(device), faces.to(device)


def calls(faces: Tensor, size: int = SIZE) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the measured functions, each from vertices to an image."""
    texture = hand_texture(HandModel.open_hand().to(faces.device))
    colors = torch.full((778, 3), 0.7, device=faces.device)
    silhouettes = {
        f"silhouette, {method}": lambda v, m=method: renderer.silhouette(v, faces, size, m) for method in METHODS
    }
    return silhouettes | {
        "picture, vertex colours": lambda v: renderer.render(v, faces, colors, image_size=size).image,
        "picture, texture": lambda v: renderer.render(v, faces, texture, image_size=size).image,
    }


Clock = Callable[[], float]


def milliseconds(call: Callable[[], object], repeats: int, clock: Clock) -> float:
    """Measure the median time of a call in milliseconds."""
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1e3 * (clock() - start))
    return statistics.median(times)


def timed(
    function: Callable[[Tensor], Tensor], vertices: Tensor, repeats: int, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Measure milliseconds per image of the forward pass, and of forward and backward together."""
    leaf = vertices.clone().requires_grad_()
    with torch.no_grad():
        shape = function(vertices).shape
    cotangent = torch.randn(shape, generator=torch.Generator().manual_seed(SEED)).to(vertices)

    def forward() -> None:
        with torch.no_grad():
            function(vertices)

    def both() -> None:
        torch.autograd.grad(function(leaf), leaf, cotangent)

    both()
    first, total = milliseconds(forward, repeats, clock), milliseconds(both, repeats, clock)
    return {"forward_ms": round(first / len(vertices), 3), "forward_backward_ms": round(total / len(vertices), 3)}


def in_a_new_process(name: str, batch: int, device: str, cache: str) -> tuple[float, float]:
    """Measure a first call in a new process: seconds of the call, and the peak memory of the process in MiB."""
    code = IN_A_NEW_PROCESS.format(benchmarks=str(ROOT / "benchmarks"), batch=batch, device=device, name=name)
    environment = {**os.environ, "WARP_CACHE_PATH": cache, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    seconds, size = out.stdout.split()[-2:]
    return float(seconds), float(size)


def first_calls(device: str) -> dict[str, dict[str, float]]:
    """Measure first calls with an empty and a filled cache, and memory per image.

    The memory per image is the growth of the process from 8 to 72 images, divided by 64.
    """
    rows = {}
    for name in calls(torch.zeros(0, 3, dtype=torch.int64)):
        with tempfile.TemporaryDirectory() as cache:
            compiled, _ = in_a_new_process(name, 1, device, cache)
            cached, small = in_a_new_process(name, 8, device, cache)
            rows[f"first call: {name}"] = {"compile_s": round(compiled, 2), "cached_s": round(cached, 3)}
            if device == "cpu":
                _, large = in_a_new_process(name, 72, device, cache)
                rows[f"first call: {name}"]["mib_an_image"] = round((large - small) / 64, 2)
    return rows


def peers(device: str) -> dict[str, dict[str, float]]:
    """Time the soft silhouette of one image with our kernel, the plain-torch reference and PyTorch3D.

    On the CPU this is processor time, which other processes change little.
    """
    vertices, faces = open_hand(1, device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    sigma = renderer.DEFAULT_SIGMA * (SIZE / 2) ** 2
    ours = calls(faces)["silhouette, soft"]
    slow: dict[str, Callable[[Tensor], Tensor]] = {
        "reference": lambda v: reference.soft(projection.to_screen(v, SIZE), faces, SIZE, SIZE, sigma)
    }
    checked = faces.int()[None]

    def pytorch3d(v: Tensor, count: int) -> Tensor:
        return pytorch3d_backend.soft_silhouette(projection.to_screen(v, SIZE), checked, SIZE, SIZE, sigma, count)

    if importlib.util.find_spec("pytorch3d"):
        for count in (10, 50):
            slow[f"PyTorch3D, {count} faces per pixel"] = partial(pytorch3d, count=count)
    rows = {"kernel, batch 1": timed(ours, vertices, 11, clock)}
    for name, function in slow.items():
        with torch.no_grad():
            difference = (function(vertices) - ours(vertices)).abs().mean()
        row = timed(function, vertices, 1, clock)
        rows[f"{name}, batch 1"] = row | {"mean_difference": float(f"{difference:.2g}")}
    return rows


def speed(device: str, batches: list[int], sizes: list[int]) -> dict[str, dict[str, float]]:
    """Measure the table of methods, batches and image sizes."""
    rows: dict[str, dict[str, float]] = {}
    vertices, faces = open_hand(batches[len(batches) // 2], device)
    typical = len(vertices)
    for name, call in calls(faces).items():
        rows[f"{name}, batch {typical}"] = timed(call, vertices, 11)
    for batch in batches:
        vertices, faces = open_hand(batch, device)
        for method in METHODS:
            row = timed(calls(faces)[f"silhouette, {method}"], vertices, 5)
            rows[f"silhouette, {method}, batch {batch}, size {SIZE}"] = row
    vertices, faces = open_hand(typical, device)
    for size in sizes:
        for name in (*(f"silhouette, {method}" for method in METHODS), "picture, vertex colours"):
            row = timed(calls(faces, size)[name], vertices, 5)
            row["ns_a_pixel"] = round(1e6 * row["forward_backward_ms"] / size**2, 1)
            rows[f"{name}, batch {typical}, size {size}"] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="a torch device (default: %(default)s)")
    parser.add_argument("--warm", action="store_true", help="leave out the first calls, which need new processes")
    parser.add_argument("--peers", action="store_true", help="compare one soft silhouette with other implementations")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    on_cpu = arguments.device == "cpu"
    suffix = "" if on_cpu else "_cuda"
    if arguments.peers:
        write_result(f"renderer_peers{suffix}", peers(arguments.device), SEED, load)
        return
    batches = [1, 4, 8, 64, 256] if on_cpu else [1, 16, 64, 256]
    rows = {} if arguments.warm else first_calls(arguments.device)
    rows |= speed(arguments.device, batches, [64, 128, 256, 512, 1024])
    write_result(f"renderer_speed{suffix}", rows, SEED, load)


if __name__ == "__main__":
    main()
