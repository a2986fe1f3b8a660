"""Wall time and memory of what a user waits for: help, the demo, a file replayed, one tested.

    python benchmarks/demo.py

`FORECASTER_DATA` names the folder of the data files (default: ../shared/data beside the
repository); without it files are left out. Results go to
benchmarks/results/demo-<date>.md.
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("FORECASTER_DATA", ROOT.parent / "shared" / "data"))
BIKES = DATA / "bike_sharing.parquet"
BIKE_REPLAY = (
    "demo", "--once", "--database", "bikes.db", "--file", str(BIKES),
    "--timestamp-column", "ts", "--timezone", "America/New_York",
    "--step", "1h", "--horizon", "2d", "--replay", "14d",
)  # fmt: skip
M4 = DATA / "m4_hourly.parquet"
M4_BACKTEST = (
    "backtest", str(M4), "--timestamp-column", "ts", "--timezone", "UTC", "--step", "1h",
    "--horizon", "48h",
)  # fmt: skip
HELPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One command; `megabytes` is the peak of its largest process."""

    what: str
    limit: str
    seconds: float
    processor_seconds: float
    megabytes: float
    said: str


def measure(what: str, limit: str, *words: str, folder: Path) -> Measured:
    """Run `forecaster` with `words` in `folder`."""
    output = folder / "output.txt"
    started = time.perf_counter()
    with output.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = output.read_text()
    if process.returncode:
        raise SystemExit(said)
    return Measured(
        what=what,
        limit=limit,
        seconds=time.perf_counter() - started,
        processor_seconds=usage.ru_utime + usage.ru_stime,
        megabytes=usage.ru_maxrss / 1024,
        said=said,
    )


def everything(folder: Path) -> Iterator[Measured]:
    """Measure all there is to measure on this machine."""
    helps = [measure("forecaster --help", "0.5 s", "--help", folder=folder) for _ in range(HELPS)]
    yield sorted(helps, key=lambda one: one.seconds)[HELPS // 2]
    yield measure("demo --once", "3 min, 2 GB", "demo", "--once", folder=folder)
    yield measure("demo --once, again", "", "demo", "--once", folder=folder)
    if BIKES.exists():
        yield measure("bikes, last 14 days", "4 min, 2 GB", *BIKE_REPLAY, folder=folder)
    if M4.exists():
        yield measure("backtest of M4 Hourly", "3 min", *M4_BACKTEST, folder=folder)


def report(measured: list[Measured]) -> str:
    """Return the table, the machine, and what the replays said."""
    lines = [
        f"# Demo, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{machine()}.",
        "",
        "| what | limit | wall s | processor s | peak MB |",
        "|---|---|---|---|---|",
    ]
    for one in measured:
        numbers = f"{one.seconds:.2f} | {one.processor_seconds:.2f} | {one.megabytes:.0f}"
        lines.append(f"| {one.what} | {one.limit} | {numbers} |")
    lines += ["", "What the replays said (one tick: at most 0.5 s in the demo):", ""]
    for one in measured:
        for line in re.findall(r"^(?:mase  |the 80 %|one tick|result).*$", one.said, re.MULTILINE):
            lines.append(f"- {one.what}: {line}")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Name the machine."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"^model name\s*: (.*)$", information.read_text(), re.MULTILINE)
        model = found[1] if found else model
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, torch {metadata.version('torch').partition('+')[0]}, "
        f"load {load:.1f} at the end"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = report(list(everything(Path(folder))))
    results = ROOT / "benchmarks" / "results" / f"demo-{datetime.now(UTC):%Y-%m-%d}.md"
    results.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
