"""Do several tasks at once, each of them in a thread."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait


def side_by_side(tasks: Iterator[Callable[[], None]], most: int, stopping: threading.Event) -> None:
    """Do tasks, `most` of them at once; the first that fails ends all, each after its chunk."""
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
    under_way: set[Future[None]] = set()
    for task in tasks:
        under_way.add(pool.submit(task))
        if len(under_way) == most:
            ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            _raise_from(ended)
    _raise_from(under_way)


def _raise_from(ended: Iterable[Future[None]]) -> None:
    for each in ended:
        each.result()
