"""A folder that cannot be written is no obstacle: kernels then lie in a temporary one, and some commands need none."""

import os
import subprocess
import sys

from project import ROOT

CACHE = """
import warp as wp
from dhpe_lib.rendering.rasterizer.kernels import common
print(wp.config.kernel_cache_dir)
"""
EXPORT = """
import sys
from dhpe_lib.cli.__main__ import app
try:
    app(["hand", "export", sys.argv[1]])
finally:
    assert "warp" not in sys.modules
"""


def run(text: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name != "WARP_CACHE_PATH"}
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.run(command, env=kept | environment, cwd=ROOT, capture_output=True, text=True, check=True)


def test_kernels_are_compiled_where_home_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")  # no folder can be made below a file, not even by root
    home = str(tmp_path / "file" / "home")
    done = run(CACHE, HOME=home, XDG_CACHE_HOME=home, LOCALAPPDATA=home, TMPDIR=str(tmp_path))
    assert done.stdout.strip().startswith(str(tmp_path / "dhpe-warp-"))
    assert done.stderr.count("\n") == 1
    assert "WARP_CACHE_PATH" in done.stderr
    assert not list(tmp_path.glob("dhpe-warp-*"))


def test_a_cache_that_can_be_written_is_kept(tmp_path):
    done = run(CACHE, WARP_CACHE_PATH=str(tmp_path))
    assert done.stdout.strip().startswith(str(tmp_path))
    assert not done.stderr


def test_exporting_a_hand_needs_no_kernels(tmp_path):
    run(EXPORT, str(tmp_path / "hand.obj"))
    assert (tmp_path / "hand.obj").is_file()
