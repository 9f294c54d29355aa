"""How fast the renderer is, how soon it is ready, and how far a mask alone leads a mesh home.

`python benchmarks/renderer.py` times 224 x 224 silhouettes and images of the open hand, beside them the plain-torch
reference, and PyTorch3D where it is installed, and writes `book/results/renderer_speed.json`. `--homing` starts the
hand from 50 wrong places and sizes and writes `book/results/renderer_homing.json`: what the default sigma rests on.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
import warp as wp
from torch import Tensor

from dhpe_lib import renderer
from dhpe_lib.rasterizer import reference

ROOT = Path(__file__).parent.parent
SIZE, SIGMA, SEED = 224, renderer.DEFAULT_SIGMA, 0
FIRST_CALL = """
import time
import torch
from dhpe_lib import renderer
start = time.perf_counter()
vertices = torch.tensor([[[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]]])
renderer.silhouette(vertices, torch.tensor([[0, 1, 2]]), 8)
print(time.perf_counter() - start)
"""


def open_hand(batch: int) -> tuple[Tensor, Tensor]:
    """The open hand seen from its back, 2/3 of the crop wide as in the paper's crops, turned a little in each image."""
    with np.load(ROOT / "dhpe_lib" / "assets" / "open_hand.npz") as arrays:
        rest, faces = torch.tensor(arrays["v_template"]).float(), torch.tensor(arrays["f"].astype(np.int64))
    rest = rest[:, [0, 2, 1]] * rest.new_tensor([1, 1, -1])  # fingers to the left
    rest = rest - (rest.amax(0) + rest.amin(0)) / 2
    rest = rest / (rest.amax(0) - rest.amin(0)).max() / 1.5
    angles = 0.3 * torch.randn(batch, generator=torch.Generator().manual_seed(SEED))
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    c, s = angles.cos(), angles.sin()
    turns = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).view(-1, 3, 3)
    return rest @ turns.transpose(1, 2), faces


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def timed(function: Callable[[Tensor], Tensor], vertices: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds an image, forward alone and forward with backward."""
    leaf = vertices.clone().requires_grad_()
    cotangent = torch.randn(len(vertices), SIZE, SIZE, generator=torch.Generator().manual_seed(SEED)).to(vertices)

    def both() -> None:
        torch.autograd.grad(function(leaf), leaf, cotangent)

    function(vertices)
    forward, total = milliseconds(lambda: function(vertices), repeats), milliseconds(both, repeats)
    return {"forward_ms": round(forward / len(vertices), 3), "forward_backward_ms": round(total / len(vertices), 3)}


def first_calls(device: str) -> dict[str, float]:
    """Seconds to the first silhouette in a new process, with an empty cache and with a filled one."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "WARP_CACHE_PATH": cache, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", FIRST_CALL.replace("tensor([[", f"tensor(device='{device}', data=[[")]
        seconds = [
            float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            for _ in range(2)
        ]
    return {"compile_s": round(seconds[0], 3), "cached_s": round(seconds[1], 3)}


def pytorch3d_silhouette(faces: Tensor, faces_per_pixel: int) -> Callable[[Tensor], Tensor]:
    """The same map by PyTorch3D: its NDC has x to the left and y up, and draws only what lies before the camera."""
    from pytorch3d.renderer import (
        BlendParams,
        FoVOrthographicCameras,
        MeshRasterizer,
        MeshRenderer,
        RasterizationSettings,
        SoftSilhouetteShader,
    )
    from pytorch3d.structures import Meshes

    settings = RasterizationSettings(
        image_size=SIZE, blur_radius=math.log(1 / 1e-4 - 1) * SIGMA, faces_per_pixel=faces_per_pixel
    )
    rasterizer = MeshRasterizer(FoVOrthographicCameras(device=faces.device), settings)
    pictures = MeshRenderer(rasterizer, SoftSilhouetteShader(BlendParams(sigma=SIGMA)))

    def silhouette(vertices: Tensor) -> Tensor:
        in_ndc = vertices * vertices.new_tensor([-2, -2, 1]) + vertices.new_tensor([0, 0, 10])
        return pictures(Meshes(in_ndc, faces.expand(len(vertices), -1, -1)))[..., 3]

    return silhouette


def speed(device: str) -> dict[str, dict[str, float]]:
    """All rows of the table."""
    rows = {"first call": first_calls(device)}
    for batch in (1, 8):
        vertices, faces = (x.to(device) for x in open_hand(batch))
        colors = torch.full_like(vertices[0], 0.7)
        rows[f"silhouette, batch {batch}"] = timed(
            lambda v, faces=faces: renderer.silhouette(v, faces, SIZE, SIGMA), vertices, 21
        )
        for name, call in {
            "rasterize": lambda v=vertices, f=faces: renderer.rasterize(v, f, SIZE),
            "render": lambda v=vertices, f=faces, c=colors: renderer.render(v, f, c, image_size=SIZE),
        }.items():
            call()
            rows[f"{name}, batch {batch}"] = {"forward_ms": round(milliseconds(call, 11) / batch, 3)}
    vertices, faces = (x.to(device) for x in open_hand(1))
    slow = {"reference, batch 1": lambda v: reference.silhouette(v, faces, SIZE, SIGMA)}
    if importlib.util.find_spec("pytorch3d"):
        for count in (10, 50):
            slow[f"PyTorch3D, {count} faces per pixel, batch 1"] = pytorch3d_silhouette(faces, count)
    ours = rows["silhouette, batch 1"]["forward_backward_ms"]
    for name, function in slow.items():
        difference = (function(vertices) - renderer.silhouette(vertices, faces, SIZE, SIGMA)).abs()
        rows[name] = timed(function, vertices, 1)
        rows[name]["times_ours"] = round(rows[name]["forward_backward_ms"] / ours, 1)
        rows[name]["mean_difference"] = float(f"{difference.mean():.2g}")
    return rows


def wrong_starts() -> tuple[Tensor, list[str]]:
    """Fifty similarity transforms (x, y, angle, log scale) to come home from, with their names."""
    around = [(math.cos(0.4 + k * math.pi / 2), math.sin(0.4 + k * math.pi / 2)) for k in range(4)]
    rows = [(f"shift {d}", d * x, d * y, 0.0, 1.0) for d in (0.05, 0.1, 0.15, 0.2, 0.3) for x, y in around]
    rows += [(f"turn {a}", 0.0, 0.0, s * a, 1.0) for a in (15, 30, 45, 60, 90) for s in (-1, 1)]
    rows += [("scale", 0.0, 0.0, 0.0, q) for q in (0.5, 0.7, 1.4, 2.0)]
    for d, a, q in ((0.05, 15, 1.2), (0.1, 30, 1.3), (0.1, 30, 0.8), (0.15, 45, 0.7)):
        rows += [("all three", d * x, d * y, (-1) ** k * a, q) for k, (x, y) in enumerate(around)]
    return torch.tensor([(x, y, math.radians(a), math.log(q)) for _, x, y, a, q in rows]), [name for name, *_ in rows]


def come_home(first_sigma: float, last_sigma: float, steps: int = 120, size: int = 112) -> dict[str, float]:
    """Adam on the squared difference of masks (Eq. 9); home is a mean vertex error below 4 pixels of 224."""
    (vertices,), faces = open_hand(1)
    target = renderer.render(vertices[None], faces, torch.ones_like(vertices), image_size=size, supersample=4).mask
    parameters = wrong_starts()[0].requires_grad_()

    def moved() -> Tensor:
        x, y, angle, growth = parameters.T[:, :, None]
        c, s = growth.exp() * angle.cos(), growth.exp() * angle.sin()
        px, py, pz = vertices.T
        return torch.stack([c * px - s * py + x, s * px + c * py + y, pz.expand(len(x), -1)], dim=-1)

    optimizer = torch.optim.Adam([parameters], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        sigma = first_sigma * (last_sigma / first_sigma) ** (step / steps)
        (renderer.silhouette(moved(), faces, size, sigma) - target).square().mean((1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    pixels = 224 * (moved() - vertices).detach()[..., :2].norm(dim=-1).mean(-1)
    at_home = pixels[pixels < 4]
    median = round(float(at_home.median()), 2) if len(at_home) else None
    everywhere = round(float(pixels.median()), 2)
    return {"home": len(at_home), "of": len(pixels), "median_px_at_home": median, "median_px": everywhere}


def homing() -> dict[str, dict[str, float]]:
    """Fixed sigmas, and two that shrink while fitting."""
    ranges = [(s, s) for s in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)] + [(3e-4, 1e-5), (1e-3, 1e-5)]
    return {f"sigma {a:g}" if a == b else f"sigma {a:g} to {b:g}": come_home(a, b) for a, b in ranges}


def processor() -> str:
    """The processor's own name where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--homing", action="store_true", help="measure how far a mask leads a mesh home")
    parser.add_argument("--device", default="cpu", help="a torch device (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="on the CPU (default: %(default)s)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load = os.getloadavg()[0]  # other programs' share of the machine shows in the times
    rows = homing() if arguments.homing else speed(arguments.device)
    gpu = torch.cuda.get_device_name() if arguments.device != "cpu" else "none"
    options = f"--device {arguments.device} --threads {arguments.threads}{' --homing' if arguments.homing else ''}"
    result = {
        "command": f"python benchmarks/renderer.py {options}",
        "date": date.today().isoformat(),
        "seed": SEED,
        "hardware": {"cpu": processor(), "cores": os.cpu_count(), "gpu": gpu, "load_before": round(load, 1)},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "warp": wp.config.version},
        "results": rows,
    }
    name = "renderer_homing.json" if arguments.homing else "renderer_speed.json"
    path = ROOT / "book" / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    for row, values in rows.items():
        print(f"{row:45s}", "  ".join(f"{key} {value}" for key, value in values.items()))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
