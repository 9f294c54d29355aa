"""Process many photos in groups, in this process or in worker processes.

A run over several photos writes an index with one line of JSON for each finished photo. ``--resume`` reads the index to
continue an interrupted run.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from msgspec import Struct

from dhpe_lib.common.devices import one_thread
from dhpe_lib.common.files import atomic_write
from dhpe_lib.common.json_files import JsonError, parse_json
from dhpe_lib.common.workers import run_in_workers
from dhpe_lib.prediction.photo_groups import Tools, load_tools, read_group, run_group
from dhpe_lib.prediction.request import Photo, Request, Result

GROUP = 8
"""Number of photos that the networks and the fit process as one batch."""
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
"""File name suffixes of the photos in a folder."""


class IndexedHand(Struct):
    """Facts about a hand that a resumed run needs."""

    files: list[str]


class IndexLine(Struct):
    """A line of the index; see :func:`index_line`."""

    photo: str
    hands: list[IndexedHand]
    problem: str
    no_hand: bool = False
    all_hands: str | None = None


def photos_in(paths: Sequence[Path]) -> list[Path]:
    """Replace each folder by the photos in it and in its subfolders, sorted by path.

    Args:
        paths: Photos and folders.

    Returns:
        Paths of photos.

    Raises:
        FileNotFoundError: A folder holds no photo.
    """
    photos = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
            if not inside:
                raise FileNotFoundError(f"{path}: holds no photo ({', '.join(IMAGES)})")
            photos += inside
        else:
            photos.append(path)
    return photos


def shard_of(photos: Sequence[Photo], shard: tuple[int, int]) -> list[Photo]:
    """Return the i-th of n shards, counted from 1: every n-th photo.

    Args:
        photos: All photos of the run.
        shard: The numbers i and n.

    Returns:
        Photos of the shard. Each photo of the run belongs to exactly one shard.
    """
    number, count = shard
    return list(photos[number - 1 :: count])


def index_file(folder: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    """Return the path of a run's index; each shard has its own index."""
    number, count = shard
    return folder / ("index.jsonl" if count == 1 else f"index-{number}-of-{count}.jsonl")


def read_index(path: Path) -> dict[str, list[str]]:
    """Read the files of each finished photo in the index; none for a photo without a hand."""
    return {photo: files for photo, files, _ in finished_lines(path)}


def finished_lines(path: Path) -> Iterator[tuple[str, list[str], str]]:
    """Yield photo, files and text of each line of the index that is a record of a finished photo.

    A photo without a hand is finished; a photo with another problem, such as a full disk, is not.
    """
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = parse_json(line, IndexLine)
        except JsonError:
            continue
        if record.no_hand or not record.problem:
            together = [] if record.all_hands is None else [record.all_hands]
            yield record.photo, [file for hand in record.hands for file in hand.files] + together, line


def index_line(result: Result) -> str:
    """Return the line of the index for a result: the photo, its hands with their files, all hands, its problem."""
    hands = [
        {
            "files": [file.name for file in hand.files],
            "hand": hand.side,
            "error_over_hand_size": round(hand.relative_error, 5),
            "warnings": list(hand.warnings),
        }
        for hand in result.hands
    ]
    record = {
        "photo": result.photo.name,
        "hands": hands,
        "all_hands": None if result.all_hands is None else result.all_hands.name,
        "problem": result.problem,
        "no_hand": result.no_hand,
    }
    return json.dumps(record, ensure_ascii=True)


def start_index(index: Path, photos: Sequence[Photo], to_do: Sequence[Photo]) -> None:
    """Write the index of a run that begins or continues: the lines of the finished photos, in the order of the photos.

    Lines of failed photos and truncated lines are dropped.

    Args:
        index: Path of the index.
        photos: Photos of the run or the shard.
        to_do: Photos that are not finished.
    """
    lines = {photo: line for photo, _, line in finished_lines(index)}
    rest = {photo.name for photo in to_do}
    kept = [lines[photo.name] for photo in photos if photo.name not in rest]
    if kept:
        with atomic_write(index) as draft:
            draft.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    else:
        index.unlink(missing_ok=True)


def left_to_do(photos: Sequence[Photo], request: Request, index: Path) -> list[Photo]:
    """Return the photos that an interrupted run has not finished, and the other photos of their groups.

    A photo is finished if the index says that it has no hand, or lists all files of its hands that the request wants,
    and they exist. The photos of a group are computed together, so a group that begins again has the numbers of an
    uninterrupted run, bit for bit.

    Args:
        photos: Photos of the run or the shard.
        request: Options of the run; its folder and its suffixes are used.
        index: Path of the index.

    Returns:
        Photos to process, in the given order.
    """
    finished = {photo for photo, files in read_index(index).items() if are_written(files, request)}
    groups = groups_of(photos)
    return [photo for group in groups if not finished.issuperset(photo.name for photo in group) for photo in group]


def are_written(files: Sequence[str], request: Request) -> bool:
    """Return whether the files that the index lists for a photo exist, and are all that a request wants."""
    exist = all(os.path.isfile(request.folder / file) for file in files)
    return exist and (not files or {Path(file).suffix for file in files} >= set(request.suffixes))


def groups_of(photos: Sequence[Photo]) -> list[Sequence[Photo]]:
    """Return the photos that are computed together."""
    return [photos[start : start + GROUP] for start in range(0, len(photos), GROUP)]


def run_photos(
    photos: Sequence[Photo], request: Request, workers: int = 1, tools: Tools | None = None
) -> Iterator[Result]:
    """Find every hand in every photo, fit a mesh to it and write its files.

    Args:
        photos: From :func:`name_photos`.
        request: Options of the run.
        workers: Number of processes; 1 computes in this process.
        tools: Models of the request, if they are already loaded.

    Yields:
        One result for each photo, as soon as its group is finished; with one worker in the order of the photos.

    Raises:
        WorkerDiedError: A worker process died.
    """
    groups = groups_of(photos)
    if workers <= 1 or len(groups) <= 1:
        tools = load_tools(request) if tools is None else tools
        with ThreadPoolExecutor(1) as ahead:
            read = [ahead.submit(read_group, groups[0])]
            for group, following in zip(groups, [*groups[1:], None], strict=True):
                images = read.pop().result()
                if following is not None:
                    read.append(ahead.submit(read_group, following))
                with one_thread():
                    results = run_group(tools, group, images, request)
                yield from results
        return
    for _, results in run_in_workers(_process_group, groups, workers, _start_worker, (request,)):
        yield from results


_worker_state: tuple[Tools, Request]


def _start_worker(request: Request) -> None:
    global _worker_state
    torch.set_num_threads(1)
    _worker_state = load_tools(request), request


def _process_group(group: Sequence[Photo]) -> list[Result]:
    tools, request = _worker_state
    return run_group(tools, group, read_group(group), request)
