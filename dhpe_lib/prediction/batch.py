"""Many photos: groups of them go through the networks and the fit, in this process or in several.

A run over several photos keeps an index, one line of JSON for each photo that is done. An interrupted run goes on from
there.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from dhpe_lib.common.devices import one_thread
from dhpe_lib.common.json_files import parse_json
from dhpe_lib.common.workers import run_in_workers
from dhpe_lib.prediction.photo_groups import Tools, load_tools, read_group, run_group
from dhpe_lib.prediction.request import Photo, Request, Result

GROUP = 8
"""Photos that go through the networks and the fit together."""
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
"""Suffixes of photos that are looked for in a folder."""


def photos_in(paths: Sequence[Path]) -> list[Path]:
    """Replace each folder by the photos below it, in the order of their names.

    Args:
        paths: Photos and folders.

    Returns:
        Photos.

    Raises:
        FileNotFoundError: A folder holds no photo.
    """
    photos = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in IMAGES and one.is_file())
            if not inside:
                raise FileNotFoundError(f"{path}: holds no photo ({', '.join(IMAGES)})")
            photos += inside
        else:
            photos.append(path)
    return photos


def shard_of(photos: Sequence[Photo], shard: tuple[int, int]) -> list[Photo]:
    """Take every n-th photo: the i-th of n shards, counted from 1.

    Args:
        photos: All photos of the run.
        shard: i and n.

    Returns:
        The shard's photos. The shards of a run share no photo, and together they are the run.
    """
    number, count = shard
    return list(photos[number - 1 :: count])


def index_file(folder: Path, shard: tuple[int, int] = (1, 1)) -> Path:
    """Path of a run's index; each shard has its own."""
    number, count = shard
    return folder / ("index.jsonl" if count == 1 else f"index-{number}-of-{count}.jsonl")


def read_index(path: Path) -> dict[str, dict[str, Any]]:
    """Read the lines of an index by photo; a line that a kill cut short is left out."""
    if not path.is_file():
        return {}
    records = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = parse_json(line)
            records[str(record["photo"])] = record
        except (ValueError, KeyError, TypeError):
            continue
    return records


def index_line(result: Result) -> str:
    """One line of the index: photo, hands with their files, or the problem."""
    hands = [
        {
            "files": [file.name for file in hand.files],
            "hand": hand.side,
            "error_over_hand_size": round(hand.relative_error, 5),
            "warnings": list(hand.warnings),
        }
        for hand in result.hands
    ]
    record = {"photo": result.photo.name, "hands": hands, "problem": result.problem}
    return json.dumps(record, ensure_ascii=True) + "\n"


def left_to_do(photos: Sequence[Photo], folder: Path, index: Path) -> list[Photo]:
    """Photos that an interrupted run has not finished: no line in the index, a problem, or a missing file.

    Args:
        photos: Photos of the run or the shard.
        folder: Folder of the files.
        index: Path of the index.

    Returns:
        Photos to process, in their order.
    """
    done = read_index(index)

    def finished(photo: Photo) -> bool:
        record = done.get(photo.name)
        if record is None or record.get("problem"):
            return False
        files = [file for hand in record.get("hands", []) for file in hand.get("files", [])]
        return all((folder / str(file)).is_file() for file in files)

    return [photo for photo in photos if not finished(photo)]


def run_photos(
    photos: Sequence[Photo], request: Request, workers: int = 1, tools: Tools | None = None
) -> Iterator[Result]:
    """Find and fit every hand in every photo, and write the files.

    Args:
        photos: From :func:`name_photos`.
        request: What to do.
        workers: Number of processes; 1 computes in this one.
        tools: The models of the request, if they are loaded already.

    Yields:
        One result for each photo, as soon as its files are written; with one worker in the order of the photos.

    Raises:
        WorkerDiedError: A worker process died.
    """
    groups = [photos[start : start + GROUP] for start in range(0, len(photos), GROUP)]
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
    for _, results in run_in_workers(_work, groups, workers, _start, (request,)):
        yield from results


_at_work: tuple[Tools, Request]


def _start(request: Request) -> None:
    global _at_work
    torch.set_num_threads(1)
    _at_work = load_tools(request), request


def _work(group: Sequence[Photo]) -> list[Result]:
    tools, request = _at_work
    return run_group(tools, group, read_group(group), request)
