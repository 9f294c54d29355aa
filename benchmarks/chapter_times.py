"""Measure how long the cells of each chapter run: one chapter at a time, on one CPU core, with one thread.

    python benchmarks/chapter_times.py  # about six minutes

Each chapter runs as its notebook with solutions, outside the repository, from the start of the kernel to the last cell.
Run it once before: Warp then has its compiled kernels. The result is written to book/results/chapter_times.json.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parent.parent / "book" / "_ext"))
from dhpe_notebooks import Page, notebook, read_pages
from reporting import write_result


def seconds(page: Page, pages: dict[str, Page]) -> float:
    """Return the seconds from the start of the kernel to the end of the last cell."""
    made = notebook(page, pages, repository="", solutions=True)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(made, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
        start = time.perf_counter()
        client.execute()
        return time.perf_counter() - start


def main() -> None:
    pages = read_pages()
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # the kernels inherit both
    os.environ["OMP_NUM_THREADS"] = "1"
    load_before = os.getloadavg()[0]
    chapters = [page for page in pages.values() if page.number]
    found = {page.name: {"seconds": round(seconds(page, pages), 1)} for page in chapters}
    write_result("chapter_times", found, seed=0, load_before=load_before)


if __name__ == "__main__":
    main()
