"""Whole after any stop: kill -9 and full disks in the middle of four commands, which are then continued.

    sudo python benchmarks/interruptions.py [--kills 50] [--fills 10] [--seed 0] [--only NAME]

The commands are `data make`, `data prepare`, `train` and `predict` over a folder, with a few pictures, a tiny network
and caches with parts of 8 instead of 128 pictures. Each runs once without interruption, which takes T seconds.

- `kill`: the command is killed at a random time between 0 and T, and continued. A kill after the end is not counted.
  `with files` counts the kills after the first file was written.
- `full disk`: the output lies on a disk of 64 MB, which another file fills at evenly spaced times between 0 and T. The
  command ends. Then the file is deleted, and the command is continued. `named`: the error names a file and the space
  that is needed. `finished`: the command needed no more space. `empty files`: files of 0 bytes that it left.

`equal`: all files of the continued run have the bits of the files of the run without interruption, and there are no
others. Of a training, only `log.txt` and TensorBoard's files are left out: they hold times.

The disk is a tmpfs, which only root can mount. The commands run in forks of this process, so that the time to import
the library is not part of T. Writes `book/results/interruptions.json`; the exit code is 1 if anything is not equal.
"""

import argparse
import contextlib
import hashlib
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from reporting import ROOT, write_result

sys.path.append(str(ROOT / "tests" / "helpers"))
import tiny_network
from fake_datasets import points, rhd_mask, rhd_record, write_rhd

from dhpe_lib.cli.__main__ import app
from dhpe_lib.data.cache import preparation, writer
from dhpe_lib.data.cache.preparation import prepare
from dhpe_lib.data.cache.writer import PreparedWriter
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction import batch
from dhpe_lib.prediction.demo import demo_scene

PICTURES, PHOTOS, PART, GROUP = 24, 4, 8, 2
DISK = 2**26
NAMED = re.compile(r"/\S+: (the disk is full, at least |cannot be written .* it takes |)[\d.]+ (bytes|MB)", re.DOTALL)


@dataclass(frozen=True)
class Work:
    """A command.

    Attributes:
        name: Name in the result.
        arguments: Arguments after the output folder.
        continued: Further arguments of the command that continues it.
        begun: File in the output folder from which on the run can be continued; "" if it always can.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    continued: tuple[str, ...] = ()
    begun: str = ""


def works(inputs: Path) -> list[Work]:
    """Write the inputs of the four commands."""
    records = [rhd_record(points(2 * k), points(2 * k + 1)) for k in range(PICTURES)]
    write_rhd(inputs / "rhd", "training", records, [rhd_mask(50, 400 + k) for k in range(PICTURES)])
    data = ["data", "prepare", "rhd", str(inputs / "rhd"), "--split", "training", "--workers", "1", "--out"]
    finish(start([*data, str(inputs / "caches")], inputs / "log"), inputs / "log")
    picture = demo_scene(HandModel.open_hand()).image
    (inputs / "photos").mkdir()
    for k in range(PHOTOS):
        part = picture[:, : picture.shape[1] // 2] if k % 2 else picture[:, picture.shape[1] // 2 :]
        Image.fromarray(part[: len(part) - k]).save(inputs / "photos" / f"{k}.png")
    changes = {
        "start": "random", "batch": 4, "steps": 8, "save_every": 2, "log_every": 1, "test_every": 4, "augment_share": 0,
        "rendered": 0,
    }  # fmt: skip
    settings = [text for name, value in changes.items() for text in ("--set", f"{name}={value}")]
    cache, files = str(inputs / "caches" / "training"), ("--write", "json", "--write", "glb")
    made = ["data", "make", "orh", "--split", "test", "--count", str(PICTURES), "--workers", "1", "--out"]
    training = ["train", "--data", cache, "--test", cache, "--device", "cpu", *settings, "--out"]
    photos = ["predict", str(inputs / "photos"), "--device", "cpu", *files, "--out"]
    return [
        Work("data make", lambda out: [*made, str(out)]),
        Work("data prepare", lambda out: [*data, str(out)]),
        Work("train", lambda out: [*training, str(out)], ("--resume",), "config.json"),
        Work("predict", lambda out: [*photos, str(out)], ("--resume",)),
    ]


def start(arguments: list[str], log: Path, modules: Path | None = None) -> int:
    """Run a command in a fork of this process; return its process id.

    Args:
        arguments: Arguments of `dhpe`.
        log: File of its output.
        modules: File to which the names of all imported modules are written.
    """
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        app(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if modules is not None:
            modules.write_text("\n".join(sys.modules))
        os._exit(code)


def finish(process: int, log: Path) -> None:
    """Wait for a command that must succeed."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code:
        raise RuntimeError(f"exit code {code}: {log.read_text()[-2000:]}")


def run_on(work: Work, out: Path, log: Path) -> None:
    """Continue a command to its end."""
    begun = not work.begun or (out / work.begun).is_file()
    finish(start([*work.arguments(out), *(work.continued if begun else ())], log), log)


def bits(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, hidden ones too; of folders only the name."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name != "log.txt" and not name.startswith("tensorboard"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def compare(work: Work, where: str, found: dict[str, str], expected: dict[str, str]) -> bool:
    """Return whether two outputs are equal; print the differences."""
    differences = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if differences:
        print(f"{work.name}, {where}: other files: {', '.join(differences[:8])}", flush=True)
    return not differences


def kill(work: Work, folder: Path, kills: int, seconds: float, expected: dict[str, str], rng: random.Random) -> Counter:
    """Kill a command at random times and continue it."""
    counts = Counter(dict.fromkeys(("kills", "with files", "equal"), 0))
    while counts["kills"] < kills:
        out, log = folder / "out", folder / "log"
        process = start(work.arguments(out), log)
        moment = rng.uniform(0, seconds)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL:
            counts["kills"] += 1
            counts["with files"] += any(path.is_file() for path in out.rglob("*"))
            run_on(work, out, log)
            counts["equal"] += compare(work, f"kill after {moment:.2f} s", bits(out), expected)
        shutil.rmtree(out, ignore_errors=True)
    return counts


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def fill(path: Path) -> None:
    """Write to a file until its disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")


def fill_up(work: Work, folder: Path, fills: int, seconds: float, expected: dict[str, str]) -> Counter:
    """Fill the disk at evenly spaced times, and continue the command when there is room again."""
    counts = Counter(dict.fromkeys(("fills", "finished", "named", "empty files", "equal"), 0))
    for number in range(fills):
        with small_disk(folder / "disk") as disk:
            out, log, filler = disk / "out", folder / "log", disk / "filler"
            process = start(work.arguments(out), log)
            moment = seconds * (number + 0.5) / fills
            time.sleep(moment)
            fill(filler)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            said = " ".join(log.read_text(errors="replace").split())
            counts["fills"] += 1
            counts["finished"] += code == 0
            counts["named"] += code == 1 and NAMED.search(said) is not None
            if code != 0 and not NAMED.search(said):
                print(f"{work.name}, disk full after {moment:.2f} s, exit code {code}: {said[-1500:]}", flush=True)
            empty = [path for path in out.rglob("*") if path.is_file() and not path.stat().st_size]
            if empty:
                print(f"{work.name}, disk full after {moment:.2f} s: empty: {', '.join(map(str, empty))}", flush=True)
            counts["empty files"] += len(empty)
            filler.unlink()
            run_on(work, out, log)
            counts["equal"] += compare(work, f"disk full after {moment:.2f} s", bits(out), expected)
    return counts


def install() -> None:
    """Make parts, groups and the network small."""
    torch.set_num_threads(1)
    tiny_network.install()
    batch.GROUP = GROUP
    prepare.__defaults__ = (PART,)
    PreparedWriter.__init__.__defaults__ = (PART,)  # type: ignore[misc]
    assert preparation.ROWS_PER_PART == writer.ROWS_PER_PART == 128
    os.environ["COLUMNS"] = "1000"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--fills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="name of one command; then no result is written")
    arguments = parser.parse_args()
    load, rows = os.getloadavg()[0], {}
    install()
    with tempfile.TemporaryDirectory() as folder:
        (inputs := Path(folder) / "inputs").mkdir()
        for work in works(inputs):
            if arguments.only in (None, work.name):
                rows |= measure(work, Path(folder), arguments)
    if arguments.only is None:
        write_result("interruptions", rows, arguments.seed, load)
    return int(any(row["equal"] < row.get("kills", row.get("fills")) for row in rows.values()))


def measure(work: Work, folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure one command."""
    modules = folder / "modules"
    for name in ("first", "second"):
        begin = time.perf_counter()
        finish(start(work.arguments(folder / name), folder / "log", modules), folder / "log")
        seconds = time.perf_counter() - begin
        for module in modules.read_text().split("\n"):  # so that the forks need not import them
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    expected = bits(folder / "first")
    assert compare(work, "twice without interruption", bits(folder / "second"), expected)
    for name in ("first", "second"):
        shutil.rmtree(folder / name)
    kills = kill(work, folder, arguments.kills, seconds, expected, random.Random(f"{arguments.seed} {work.name}"))
    print(work.name, f"{seconds:.2f} s", dict(kills), flush=True)
    fills = fill_up(work, folder, arguments.fills, seconds, expected)
    print(work.name, dict(fills), flush=True)
    return {
        f"{work.name}, kill": {"seconds": round(seconds, 2)} | kills,
        f"{work.name}, full disk": dict(fills),
    }


if __name__ == "__main__":
    sys.exit(main())
