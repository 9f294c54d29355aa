"""Preparation of a dataset: read, crop and write its samples to the prepared cache, in parallel.

Each worker process reads, crops and writes parts of the split; the parent process shows the progress. Workers end when
the parent ends, even if it is killed. After Ctrl-C they finish their current part.
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
from dhpe_lib.data.cache.shards import WHOLE, Shard, parts_of_shard, rows_of_shard
from dhpe_lib.data.cache.writer import PreparedWriter, write_part
from dhpe_lib.data.cropping import NoCropError, crop_sample
from dhpe_lib.data.crops import MARGIN
from dhpe_lib.data.sample import Reader

SHOWN = 20
"""Largest number of damaged samples that a message names."""


@dataclass(frozen=True)
class Job:
    """Description of a preparation.

    Attributes:
        dataset: Name of the dataset.
        split: Name of the split.
        reader: Folder and split -> reader; a class or function that other processes can import.
        source: Folder of the dataset.
        out: Folder of the cache of this split.
        skip_bad: Leave out samples that cannot be read, instead of raising an error.
    """

    dataset: str
    split: str
    reader: Callable[[Path, str], Reader]
    source: Path
    out: Path
    skip_bad: bool = False


def prepare(job: Job, workers: int, console: Console, rows_per_part: int = ROWS_PER_PART) -> Prepared:
    """Crop a split into a cache, or continue an interrupted run.

    Args:
        job: Dataset, split and folders.
        workers: Number of processes; with 1 the work is done in this process.
        console: Console for the progress bar.
        rows_per_part: Number of samples in a part.

    Returns:
        The opened cache. Samples with fewer than two 2D joints are left out; they are listed in its `meta`.

    Raises:
        PreparedError: The split has no labels, the cache is stale, samples cannot be read, or a worker died.
        DiskFullError: The disk is too small.
        LockedError: Another process writes the cache.
        OSError: The folder cannot be written to.
    """
    whole = fill(job, workers, console, rows_per_part, WHOLE)
    assert whole is not None
    return whole


def prepare_shard(job: Job, shard: Shard, workers: int, console: Console, rows_per_part: int = ROWS_PER_PART) -> None:
    """Crop one shard of a split into a folder of its own; :func:`dhpe_lib.data.cache.shards.join_shards` joins them.

    Args:
        job: Dataset, split and folders; `out` is the folder of the shard.
        shard: Number of the shard from 1, and number of shards.
        workers: Number of processes.
        console: Console for the progress bar.
        rows_per_part: Number of samples in a part, equal for all shards.

    Raises:
        PreparedError, DiskFullError, LockedError, OSError: See :func:`prepare`.
    """
    fill(job, workers, console, rows_per_part, shard)


def fill(job: Job, workers: int, console: Console, rows_per_part: int, shard: Shard) -> Prepared | None:
    """Write the missing parts of a shard of a cache, and finish the cache if the shard is all of it."""
    if job.out.absolute().resolve().is_relative_to(job.source.absolute().resolve()):
        raise PreparedError(f"{job.out}: lies in the dataset's own folder; name one outside of {job.source}")
    reader = job.reader(job.source, job.split)
    if reason := getattr(reader, "unlabelled", None):
        raise PreparedError(reason)
    source = {"directory": str(job.source.absolute()), "fingerprint": fingerprint(job.source)}
    contents = Contents(job.dataset, job.split, list(reader.ids), source)
    bad: dict[str, str] = {}
    with PreparedWriter(job.out, contents, rows_per_part) as writer, progress_bar(console) as progress:
        missing = parts_of_shard(writer, shard)
        rows = rows_of_shard(writer, shard)
        task = progress.add_task(f"{job.dataset} {job.split}", total=rows, completed=rows - sum(map(len, missing)))
        for part, problems in run_parts(job, reader, missing, workers):
            bad |= problems
            progress.advance(task, len(part))
        if bad and not job.skip_bad:
            raise PreparedError(bad_samples(job, bad))
        return writer.finish() if shard == WHOLE else None


def run_parts(job: Job, reader: Reader, parts: Sequence[range], workers: int) -> Iterator[tuple[range, dict[str, str]]]:
    """Yield each finished part, in any order, with id and reason of its unreadable samples."""
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
        reader: Reader of the split.
        part: Rows of the part.

    Returns:
        Id and reason of the samples that could not be read. If there are any and `job.skip_bad` is False, the part is
        not written.
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
    """Return the message about samples that could not be read."""
    lines = [f"  {name}: {reason}" for name, reason in list(bad.items())[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more")
    return (
        f"{job.source}: {len(bad)} samples of the {job.split} split cannot be read:\n" + "\n".join(lines) + "\n"
        "Get their files again and run the same command, or leave these samples out with --skip-bad. Everything else "
        "is prepared and will not be read again unless the dataset's files change."
    )


def fingerprint(directory: Path) -> str:
    """Compute a hash of the names, sizes and modification times of all files in a folder."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            status = os.stat(path)
            digest.update(f"{os.path.relpath(path, directory)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


# -------------------------------------------------------------------------------------------------- in the workers only
_worker_state: tuple[Job, Reader]


def start_worker(job: Job) -> None:
    """Open the dataset once in each worker."""
    global _worker_state
    torch.set_num_threads(1)
    _worker_state = job, job.reader(job.source, job.split)


def work(part: range) -> dict[str, str]:
    """Prepare a part in a worker process."""
    return prepare_part(*_worker_state, part)
