"""Files from outside: random changes of every format that the library reads, and 100 hostile pickles.

    python benchmarks/fuzz.py [--inputs 10000] [--seed 0] [--only FORMAT ...]

Each input is a small valid file with up to four random changes; JSON is also changed value by value. It is read in a
child process with a limit on its memory and on its seconds. What counts:

- `result`: the file was read. `clean`: an error of the library's own that names the file.
- `unclean`: any other error. `hang`: more than 10 seconds. `crash`: the process died. `memory`: the process grew by
  more than 512 MB, or ran out of memory. Wanted: 0 of each.

The row `hostile pickles` has 100 pickles that are made to run code, to crash, to stall or to fill the memory
(`tests/helpers/hostile_pickles.py`). Each is read in a child of its own with 1 GB of address space and 4 seconds;
`executed` counts those that made a file. Wanted: 0.

Writes `book/results/fuzz.json`; the exit code is 1 if anything that should be 0 is not. `--only` reads a few formats
without the pickles, and prints the result.
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from reporting import ROOT, write_result

sys.path.append(str(ROOT / "tests" / "helpers"))

SECONDS, GROWTH = 10, 2**29
PICKLE_SECONDS, PICKLE_MEMORY = 4, 2**30
BAD = ("unclean", "hang", "crash", "memory", "executed")
READ_PICKLE = """
import sys
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
try:
    load_pickle(sys.argv[1])
except PickleFileError as error:
    sys.exit(0 if sys.argv[1] in str(error) else 3)
"""


def memory() -> tuple[int, int]:
    """Return the address space and the largest resident memory of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE"), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_cases(folder: Path, names: list[str], seed: int, first: int, count: int) -> None:
    """Read the inputs from `first` to `count` and print the outcome of each; runs in a child process."""
    from fuzz_readers import FORMATS, changed, outcome

    files = {}
    for name in names:
        (folder / name).mkdir()
        path = FORMATS[name].write(folder / name)
        files[name] = path, path.read_bytes()
        assert outcome(name, path)[0] == "result", name
    resource.setrlimit(resource.RLIMIT_AS, (memory()[0] + 2 * GROWTH, resource.RLIM_INFINITY))
    for case in range(first, count):
        name = names[case % len(names)]
        path, whole = files[name]
        path.write_bytes(changed(whole, random.Random(f"{seed} {case}")))
        before = memory()[1]
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        kind, error = outcome(name, path)
        faulthandler.cancel_dump_traceback_later()
        if "MemoryError" in error or memory()[1] > before + GROWTH:
            kind = "memory"
        print(case, kind, name, " ".join(error.split())[:300], sep="\t", flush=True)


def fuzz(names: list[str], seed: int, count: int) -> dict[str, Counter[str]]:
    """Read all inputs, and start a new child after each input that ends one."""
    counts = {name: Counter(dict.fromkeys(("result", "clean", *BAD[:4]), 0)) for name in names}
    case = 0
    while case < count:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                __file__,
                "--child",
                folder,
                str(case),
                "--inputs",
                str(count),
                "--seed",
                str(seed),
                "--only",
                *names,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            number, kind, name = line.split("\t")[:3]
            counts[name][kind] += 1
            case = int(number) + 1
            if kind in BAD:
                print(line, flush=True)
        if case < count:
            kind = "hang" if "Timeout (" in done.stderr else "crash"
            counts[names[case % len(names)]][kind] += 1
            print(case, kind, names[case % len(names)], done.returncode, done.stderr[-500:], flush=True)
            case += 1
    return counts


def read_hostile() -> dict[str, int]:
    """Read each hostile pickle in a child of its own."""
    from hostile_pickles import hundred

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (PICKLE_MEMORY, PICKLE_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (PICKLE_SECONDS, PICKLE_SECONDS))

    counts = Counter(dict.fromkeys(("result or clean", *BAD), 0))
    with tempfile.TemporaryDirectory() as folder:
        marker, path = Path(folder) / "marker", Path(folder) / "hostile.pkl"
        for name, raw in hundred(marker).items():
            path.write_bytes(raw)
            done = subprocess.run(
                [sys.executable, "-c", READ_PICKLE, path],
                capture_output=True,
                text=True,
                preexec_fn=limit,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                check=False,
            )
            kind = "result or clean" if done.returncode == 0 else "unclean"
            if done.returncode < 0:
                kind = "hang" if -done.returncode in (9, 24) else "crash"
            if "MemoryError" in done.stderr:
                kind = "memory"
            if marker.exists():
                kind = "executed"
                marker.unlink()
            counts[kind] += 1
            if kind in BAD:
                print(name, kind, done.returncode, done.stderr[-500:], flush=True)
    return {"inputs": sum(counts.values())} | counts


def main() -> int:
    from fuzz_readers import FORMATS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FORMATS, metavar="FORMAT", help="formats to read")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "FIRST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.only or list(FORMATS)
    if arguments.child:
        folder, first = arguments.child
        read_cases(Path(folder), names, arguments.seed, int(first), arguments.inputs)
        return 0
    load = os.getloadavg()[0]
    counts = fuzz(names, arguments.seed, arguments.inputs)
    whole: Counter[str] = sum(counts.values(), Counter())
    rows = {"all formats": {kind: whole[kind] for kind in ("result", "clean", *BAD[:4])}} | counts
    rows = {name: {"inputs": sum(row.values())} | row for name, row in rows.items()}
    if arguments.only:
        print(json.dumps(rows, indent=1))
    else:
        rows["hostile pickles"] = read_hostile()
        write_result("fuzz", rows, arguments.seed, load)
    return int(any(row.get(kind, 0) for row in rows.values() for kind in BAD))


if __name__ == "__main__":
    sys.exit(main())
