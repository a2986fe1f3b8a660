"""Processes that never rest, beside the replicas: a machine that is overloaded."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BURN = "import sys, threading\nthreading.Thread(target=sys.stdin.read, daemon=True).start()\n"
_FOR_EVER = "while threading.active_count() > 1: pass\n"


@contextmanager
def burning(count: int) -> Iterator[list[int]]:
    """Keep `count` processors busy while the block runs; they end with this process too.

    The value is their process ids.
    """
    burners = [
        subprocess.Popen([sys.executable, "-c", _BURN + _FOR_EVER], stdin=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        yield [burner.pid for burner in burners]
    finally:
        for burner in burners:
            burner.kill()
            burner.communicate()
