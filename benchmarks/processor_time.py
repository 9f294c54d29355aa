"""Measure processor time; without packages, so that MediaPipe's own environment can import it, too."""

import time
from collections.abc import Callable
from statistics import median


def processor_ms(work: Callable[[], object], rounds: int) -> float:
    """Median milliseconds of the processor for one call, after a first call."""
    work()
    values = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        values.append(1e3 * (time.process_time() - start))
    return median(values)
