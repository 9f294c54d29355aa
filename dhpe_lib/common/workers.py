"""Pools of worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class WorkerDiedError(ValueError):
    """A worker process ended before its work was done."""


def run_in_workers(
    work: Callable[[Part], Result],
    parts: Sequence[Part],
    workers: int,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Part, Result]]:
    """Call a function for each part, in worker processes.

    Workers ignore Ctrl-C, which is left to the parent, and end when the parent ends, even if it is killed.

    Args:
        work: The function; other processes must be able to import it.
        parts: Its arguments.
        workers: Number of processes.
        start: Called once in each worker before its first part.
        arguments: Arguments of `start`.

    Yields:
        Each part with its result, as soon as it is done, in any order.

    Raises:
        WorkerDiedError: A worker process died.
    """
    pool = ProcessPoolExecutor(min(workers, len(parts)), process_context(), _start_worker, (start, arguments))
    try:
        waiting = {pool.submit(work, part): part for part in parts}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            "a worker died, perhaps for lack of memory; run the same command with fewer --workers: what is finished is "
            "kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def process_context() -> BaseContext:
    """How workers start: forked from a server process that has imported torch and has no threads.

    A fork of a process with threads can leave locks behind that nobody opens.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    return context


def _start_worker(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    """Wait for the parent to end, then end at once: nothing else tells a worker that its parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
