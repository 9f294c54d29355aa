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
    """A worker process ended before it finished its work."""


def run_in_workers(
    work: Callable[[Part], Result],
    parts: Sequence[Part],
    workers: int,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[Part, Result]]:
    """Call a function for each part in worker processes.

    Workers ignore Ctrl-C; the parent handles it. They end when the parent ends, even if it is killed.

    Args:
        work: Function of one part. Other processes must be able to import it.
        parts: The parts; each is the argument of one call.
        workers: Number of processes.
        start: Function that each worker calls once before its first part.
        arguments: Arguments of `start`.

    Yields:
        Each part with its result as soon as it is finished, in any order.

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
            "a worker died, perhaps for lack of memory; run the same command with fewer --workers: finished work is "
            "kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def process_context() -> BaseContext:
    """Return the multiprocessing context: workers are forked from a server process without threads.

    The server process has imported torch. Forking a process with threads could leave locks that stay closed forever.
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
    """Wait until the parent ends, then end this worker, which is not told otherwise that its parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
