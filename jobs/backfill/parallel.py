"""Run several tasks at once, each of them in a thread."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait


def run_in_threads(
    tasks: Iterator[Callable[[], None]], most: int, stopping: threading.Event
) -> None:
    """Run tasks, `most` of them at once; the first that fails sets `stopping`, and is raised."""
    if most == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(most) as pool:
        try:
            _submit(pool, tasks, most)
        except BaseException:
            stopping.set()
            raise


def _submit(pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], None]], most: int) -> None:
    running: set[Future[None]] = set()
    for task in tasks:
        running.add(pool.submit(task))
        if len(running) == most:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
    for future in running:
        future.result()
