"""From a dataset's own files to the prepared cache, in parallel.

Workers take parts of the split, read, crop and write them; the parent counts. They end with the parent, however it
ends, and Ctrl-C lets them finish the part at hand.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from dhpe_lib.common.console import progress_bar
from dhpe_lib.common.records import join_rows
from dhpe_lib.common.workers import WorkerDiedError, run_in_workers
from dhpe_lib.data.cache.layout import ROWS_PER_PART, Contents, PreparedError
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.cache.writer import PreparedWriter, write_part
from dhpe_lib.data.cropping import NoCropError, crop_sample
from dhpe_lib.data.crops import MARGIN
from dhpe_lib.data.sample import Reader

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


def run_parts(job: Job, reader: Reader, parts: Sequence[range], workers: int) -> Iterator[tuple[range, dict[str, str]]]:
    """Each part when it is done, in any order, and what could not be read in it."""
    if workers <= 1 or len(parts) <= 1:
        yield from ((part, prepare_part(job, reader, part)) for part in parts)
        return
    try:
        yield from run_in_workers(work, parts, workers, start_worker, (job,))
    except WorkerDiedError as error:
        raise PreparedError(f"{job.out}: {error}") from error


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
    """Open the dataset once in each worker."""
    global _at_work
    torch.set_num_threads(1)
    _at_work = job, job.reader(job.source, job.split)


def work(part: range) -> dict[str, str]:
    """One part in a worker."""
    return prepare_part(*_at_work, part)
