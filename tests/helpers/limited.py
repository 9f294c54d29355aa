"""Run code in a child process with limited memory and time, for files that could kill or stall the interpreter."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from project import ROOT

MEMORY, SECONDS = 2**30, 30
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_limited(code: str, *arguments: str | Path, memory: int = MEMORY, seconds: int = SECONDS) -> str:
    """Run Python code in a child process.

    Args:
        code: The program; ``sys`` is imported, and ``sys.argv[1:]`` holds the arguments.
        arguments: Arguments of the program.
        memory: Most bytes of address space.
        seconds: Most seconds of processor time.

    Returns:
        What the program printed. If the child was killed or raised an error, an AssertionError tells it.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys\n{code}", *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=10 * seconds,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"},
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
