"""From a dataset's own files to the prepared cache, in parallel.

Workers take parts of the split, read, crop and write them; the parent counts. They end with the parent, however it
ends, and Ctrl-C lets them finish the part at hand.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dhpe_lib.datasets.cropping import NoCropError, crop_sample
from dhpe_lib.datasets.crops import MARGIN
from dhpe_lib.datasets.layout import ROWS_PER_PART, Contents, PreparedError
from dhpe_lib.datasets.prepared import Prepared
from dhpe_lib.datasets.sample import Reader
from dhpe_lib.datasets.writer import PreparedWriter, write_part
from dhpe_lib.records import join_rows

SHOWN = 20
"""Damaged samples that a message names."""


@dataclass(frozen=True)
class Job:
    """What is to be prepared.

    Attributes:
        dataset: Its name.
        split: Name of the split.
        reader: Folder and split -> reader; a class or a function that other processes can import.
        source: The dataset's folder.
        out: Folder of the cache, for this split alone.
        skip_bad: Leave out samples that cannot be read, instead of stopping.
    """

    dataset: str
    split: str
    reader: Callable[[Path, str], Reader]
    source: Path
    out: Path
    skip_bad: bool = False


def prepare(job: Job, workers: int, console: Console, rows_per_part: int = ROWS_PER_PART) -> Prepared:
    """Crop a split into a cache, or go on where an earlier run was stopped.

    Args:
        job: What, from where, where to.
        workers: Processes; with 1 the work is done in this one.
        console: Where the progress bar goes.
        rows_per_part: Samples that are written at a time.

    Returns:
        The cache, open. Samples with fewer than two places in the picture are left out; its `meta` counts them.

    Raises:
        PreparedError: The cache is stale, the disk too small, samples cannot be read, or a worker died.
        OSError: The folder cannot be written to.
    """
    if job.out.absolute().resolve().is_relative_to(job.source.absolute().resolve()):
        raise PreparedError(f"{job.out}: lies in the dataset's own folder; name one outside of {job.source}")
    reader = job.reader(job.source, job.split)
    source = {"directory": str(job.source.absolute()), "fingerprint": fingerprint(job.source)}
    writer = PreparedWriter(job.out, Contents(job.dataset, job.split, list(reader.ids), source), rows_per_part)
    missing = writer.missing()
    bad: dict[str, str] = {}
    with progress_bar(console) as progress:
        done = len(reader) - sum(map(len, missing))
        task = progress.add_task(f"{job.dataset} {job.split}", total=len(reader), completed=done)
        for part, problems in run_parts(job, reader, missing, workers):
            bad |= problems
            progress.advance(task, len(part))
    if bad and not job.skip_bad:
        raise PreparedError(bad_samples(job, bad))
    return writer.finish()


def progress_bar(console: Console) -> Progress:
    """Done, to do, and how long that will take."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def run_parts(job: Job, reader: Reader, parts: Sequence[range], workers: int) -> Iterator[tuple[range, dict[str, str]]]:
    """Each part when it is done, in any order, and what could not be read in it."""
    if workers <= 1 or len(parts) <= 1:
        yield from ((part, prepare_part(job, reader, part)) for part in parts)
        return
    pool = ProcessPoolExecutor(min(workers, len(parts)), process_context(), start_worker, (job,))
    try:
        waiting = {pool.submit(work, part): part for part in parts}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool as error:
        raise PreparedError(
            f"{job.out}: a worker died, perhaps for lack of memory; run the same command with fewer --workers: "
            "what is finished is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def process_context() -> BaseContext:
    """How workers start: from a process that has torch and no threads yet, which a fork would leave behind."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    return context


def prepare_part(job: Job, reader: Reader, part: range) -> dict[str, str]:
    """Read, crop and write the samples of one part.

    Args:
        job: The job.
        reader: Its reader.
        part: Rows.

    Returns:
        Id and reason of the samples that could not be read. If there are any and they are not to be skipped, the part
        is not written.
    """
    crops, left_out, bad = [], {}, {}
    names = [reader.ids[row] for row in part]
    for row, name in zip(part, names, strict=True):
        try:
            crops.append(crop_sample(reader[row]))
        except NoCropError as error:
            left_out[name] = str(error)
        except (OSError, ValueError) as error:
            bad[name] = str(error)
    if job.skip_bad or not bad:
        write_part(job.out, MARGIN, part, names, join_rows(crops) if crops else None, left_out | bad)
    return bad


def bad_samples(job: Job, bad: Mapping[str, str]) -> str:
    """What to say of samples that could not be read."""
    lines = [f"  {name}: {reason}" for name, reason in list(bad.items())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more")
    return (
        f"{job.source}: {len(bad)} samples of the {job.split} split cannot be read:\n" + "\n".join(lines) + "\n"
        "Get their files again and run the same command, or leave these samples out with --skip-bad. Everything else "
        "is prepared and will not be read again unless the dataset's files change."
    )


def fingerprint(directory: Path) -> str:
    """A hash of the names, sizes and times of all files in a folder; it changes when any of them does."""
    found = hashlib.sha256()
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            status = os.stat(path)
            found.update(f"{os.path.relpath(path, directory)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:16]


# -------------------------------------------------------------------------------------------------- in the workers only
_at_work: tuple[Job, Reader]


def start_worker(job: Job) -> None:
    """Open the dataset once, leave Ctrl-C to the parent, and end when the parent does, even if it is killed."""
    global _at_work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _at_work = job, job.reader(job.source, job.split)


def end_with_parent() -> None:
    """Wait for the parent to end, then end at once: nothing else tells a worker that it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def work(part: range) -> dict[str, str]:
    """One part in a worker."""
    return prepare_part(*_at_work, part)
