"""A soak: replicas that tick every second, random faults, and a look at what is left.

`python -m tests.faults.soak [--seconds 300] [--seed N] [--store postgresql|sqlite] [--burners N]
[--keep]`: exits with 1 when a tick was lost, doubled or half-written, or a process stayed; the logs
are kept then. The same seed brings about the same faults, though not at the same instructions.
"""

import argparse
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.faults.soak.burners import burning
from tests.faults.soak.fleet import Fleet
from tests.faults.soak.mischief import Mischief
from tests.faults.soak.stage import Postgres, Sqlite, Stage
from tests.faults.soak.verdict import Findings, findings, unfinished
from tests.faults.soak.witness import Witness

REPLICAS = {"postgresql": 3, "sqlite": 1}
STORES: dict[str, type[Postgres | Sqlite]] = {"postgresql": Postgres, "sqlite": Sqlite}
FIRST_TICKS_WITHIN = 120.0
LAG, BUSY_LAG = timedelta(seconds=5), timedelta(seconds=60)
"""How late ticks may be when faults begin, also where the machine is overloaded."""
QUIET = 120.0
"""Seconds within which all is caught up after the last fault."""
LIMIT = 360.0
"""Seconds that a soak may take beyond its faults."""
GONE_WITHIN = 10.0
SHOWN = 30
"""Violations that are printed."""


class TooLong(Exception):
    """The soak itself did not end in time."""


def soak(store: str, seconds: int, seed: int, *, burners: int = 0, keep: bool = False) -> bool:
    """Play one soak and print what it found; return whether all is well.

    `burners`: how many processes that never rest have the machine overloaded meanwhile. `keep`:
    also the logs of a soak that found nothing.
    """
    folder = Path(tempfile.mkdtemp(prefix="forecaster-soak-"))
    say(f"soak on {store}: {REPLICAS[store]} replicas, {seconds} s, --seed {seed}, in {folder}")
    started = time.monotonic()
    _end_after(seconds + LIMIT)
    try:
        with burning(burners):
            violations = _play(store, folder, seconds, seed, lag=BUSY_LAG if burners else LAG)
    except TooLong:
        violations = [f"not over after {time.monotonic() - started:.0f} s"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for violation in violations[:SHOWN]:
        say(f"violation: {violation}")
    say(f"{'wall':24} {time.monotonic() - started:.0f} s")
    if violations or keep:
        say(f"logs are kept in {folder}")
    else:
        shutil.rmtree(folder)
    return not violations


def _play(store: str, folder: Path, seconds: int, seed: int, *, lag: timedelta) -> list[str]:
    with (
        STORES[store](folder) as database,
        Stage(database, folder, seconds) as stage,
        Fleet(folder, REPLICAS[store]) as fleet,
    ):
        mischief = Mischief(fleet=fleet, store=database, chance=random.Random(seed))
        with Witness(stage.engine) as witness:
            until = _rage(stage, mischief, seconds, lag)
        orphans = _orphans(fleet)
        found = findings(stage.engine, fleet.done(), until)
        _print(mischief, found, witness, orphans)
    fallen = (f"token fell: {each}" for each in witness.fallen())
    bugs = (f"traceback: {each}" for each in fleet.tracebacks())
    return [*mischief.violations, *found.violations(), *fallen, *orphans, *bugs]


def _rage(stage: Stage, mischief: Mischief, seconds: int, lag: timedelta) -> datetime:
    """Bring about faults, then let all be caught up; return when the last fault was mended."""
    for replica in mischief.fleet.replicas:
        replica.start()
    if not _begins_to_tick(stage, mischief, lag):
        mischief.violations.append(f"no first ticks within {FIRST_TICKS_WITHIN:.0f} s")
        return datetime.now(UTC)
    mischief.rage(seconds)
    mischief.mend()
    until = datetime.now(UTC)
    _let_catch_up(stage, mischief, until)
    mischief.stop()
    return until


def _begins_to_tick(stage: Stage, mischief: Mischief, lag: timedelta) -> bool:
    """Tell whether all ticks are done that are older than `lag`."""
    until = time.monotonic() + FIRST_TICKS_WITHIN
    while time.monotonic() < until and not mischief.violations:
        if unfinished(stage.engine, datetime.now(UTC) - lag) <= 0:
            return True
        mischief.watch()
    return False


def _let_catch_up(stage: Stage, mischief: Mischief, until: datetime) -> None:
    """Wait until every tick up to `until` is done; what is not after a while is lost."""
    patience = time.monotonic() + QUIET
    while unfinished(stage.engine, until) > 0 and time.monotonic() < patience:
        mischief.watch()


def _orphans(fleet: Fleet) -> list[str]:
    """Return the processes that are still there when all replicas have ended."""
    until = time.monotonic() + GONE_WITHIN
    while (left := fleet.family()) and time.monotonic() < until:
        time.sleep(0.2)
    return [f"orphan: {process.pid} {' '.join(process.cmdline())}" for process in left]


def _print(mischief: Mischief, found: Findings, witness: Witness, orphans: list[str]) -> None:
    for kind, count in sorted(mischief.counts.items()):
        say(f"{kind:24} {count}")
    for name, value in _figures(mischief, found, witness, orphans):
        say(f"{name:24} {value}")


def _figures(
    mischief: Mischief, found: Findings, witness: Witness, orphans: list[str]
) -> Iterator[tuple[str, object]]:
    takeovers = witness.takeovers(mischief.blows, mischief.outages)
    yield "ticks", found.ticks
    yield "lost", len(found.lost)
    yield "missed", dict(found.missed) or 0
    yield "doubled", len(found.doubled)
    yield "half-written", len(found.half_written)
    yield "orphans", len(orphans)
    yield "tokens that fell", len(found.tokens_fallen) + len(witness.fallen())
    yield "takeovers", f"{len(takeovers)}, slowest {max(takeovers, default=0):.1f} s"
    yield "SIGTERM to end", f"slowest {max(mischief.stop_seconds, default=0):.1f} s"
    yield "trainings", ", ".join(f"{n} {state}" for state, n in sorted(found.trainings.items()))
    if found.lateness:
        p50, p99 = (_quantile(found.lateness, share) for share in (0.5, 0.99))
        yield "lateness", f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {found.lateness[-1]:.1f} s"


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def _end_after(seconds: float) -> None:
    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TooLong

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def say(line: str) -> None:
    """Print one line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Play on the stores that were asked for; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--store", choices=sorted(STORES), action="append")
    parser.add_argument("--burners", type=int, default=0, help="processes that never rest")
    parser.add_argument("--keep", action="store_true", help="keep the logs in any case")
    given = parser.parse_args()
    stores = given.store or list(STORES)
    results = [
        soak(store, given.seconds, given.seed, burners=given.burners, keep=given.keep)
        for store in stores
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
