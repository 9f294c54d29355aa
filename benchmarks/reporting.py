"""Write the results of a benchmark with command, commit, date, seed, hardware and versions."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import warp as wp

from dhpe_lib.evaluation.reports import shorten_path

ROOT = Path(__file__).parent.parent


def processor() -> str:
    """Return the model name of the processor, if the system reports it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def commit() -> str:
    """Return the commit that is measured, marked if the library has uncommitted changes."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    dirty = " with changes" if git("status", "--porcelain", "--", "dhpe_lib") else ""
    return (git("rev-parse", "--verify", "-q", "--short", "HEAD") or "none") + dirty


def timed(work: Callable[[], object], wait: Callable[[], object]) -> float:
    """Measure the seconds of one call of `work`; `wait` waits for the device before and after it."""
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def write_result(name: str, results: dict, seed: int, load_before: float, show: bool = True) -> None:
    """Write `book/results/<name>.json` and print its rows.

    Args:
        name: Name of the file, without suffix.
        results: One dict for each row.
        seed: Random seed of the run.
        load_before: Load average of the machine at the start of the run. A high load makes the times longer.
        show: Whether to print the rows.
    """
    result = {
        "command": " ".join(
            ["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *map(shorten_path, sys.argv[1:])]
        ),
        "commit": commit(),
        "date": date.today().isoformat(),
        "seed": seed,
        "hardware": {
            "cpu": processor(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            "load_before": round(load_before, 1),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "warp": wp.config.version},
        "results": results,
    }
    path = ROOT / "book" / "results" / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    for row, values in results.items() if show else ():
        print(f"{row:45s}", "  ".join(f"{key} {value}" for key, value in values.items()))
    print(f"wrote {path.relative_to(ROOT)}")
