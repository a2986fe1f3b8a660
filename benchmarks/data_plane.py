"""The data plane beside what the databases can do at the most, and a tick of 100 000 series.

    python -m benchmarks.data_plane [--series 100000] [--store both|postgresql|sqlite] [--quick]
    python -m benchmarks.data_plane --tick    # the tick alone, without bulk paths and growth

A PostgreSQL server is started for it; every limit is measured in the same run, on the same rows.
Results go to benchmarks/results/data_plane-<date>.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import bulk_paths, server
from benchmarks.big_tick import stages
from benchmarks.fleet import Fleet
from benchmarks.tables import Row, Section, keep, table
from forecaster.store.connection.engine import open_engine
from forecaster.store.maintenance import migrations
from tests.postgres import Cluster

CONTEXT = 336
BAR = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--store", choices=("both", "postgresql", "sqlite"), default="both")
    parser.add_argument("--quick", action="store_true", help="a tenth of the series, keeps nothing")
    parser.add_argument("--tick", action="store_true", help="the tick alone")
    chosen = parser.parse_args()
    series = chosen.series // 10 if chosen.quick else chosen.series
    stores = ("postgresql", "sqlite") if chosen.store == "both" else (chosen.store,)
    command = " ".join(["python -m benchmarks.data_plane", *sys.argv[1:]])
    sections = []
    for store in stores:
        for section in (_tick if chosen.tick else _of_store)(store, series):
            print(f"\n## {section.name}\n", *map(table, section.tables), sep="\n\n", flush=True)
            sections.append(section)
            if not chosen.quick:
                keep("data_plane", "The data plane", command, sections)


def _of_store(store: str, series: int) -> Iterator[Section]:
    with tempfile.TemporaryDirectory() as name, server.of_store(store) as cluster:
        folder = Path(name)
        measure = partial(bulk_paths.postgres, cluster) if cluster else bulk_paths.sqlite
        paths = measure(folder)
        yield Section(
            name=f"Bulk paths, {store}",
            about="The best of three runs. `share` is the limit's time over ours.",
            tables=[paths],
        )
        yield _big(cluster, folder, Fleet(series=series, context=CONTEXT))
        yield _growth(cluster, folder, series)


def _tick(store: str, series: int) -> Iterator[Section]:
    with tempfile.TemporaryDirectory() as name, server.of_store(store) as cluster:
        yield _big(cluster, Path(name), Fleet(series=series, context=CONTEXT))


def _big(cluster: Cluster | None, folder: Path, fleet: Fleet) -> Section:
    store = "sqlite" if cluster is None else "postgresql"
    with _database(cluster, folder, fleet) as url:
        found = _run(url, fleet)
        tables: list[Sequence[Row]] = [found["ticks"], [_memory(found)]]
        if cluster is not None:
            tables.append(_against_limits(cluster, url, fleet, found))
    return Section(
        name=f"A tick of {fleet.series} series, {store}",
        about=f"Hourly, context {fleet.context}, 48 steps ahead, one new point each; the pull "
        "reads the newest hour that it has seen once more.",
        tables=tables,
    )


def _memory(found: dict[str, Any]) -> Row:
    return {name: found[name] for name in ("rss MB", "worker rss MB")}


def _against_limits(cluster: Cluster, url: str, fleet: Fleet, found: dict[str, Any]) -> list[Row]:
    """Set the tick in service beside the sum of what its parts take at the least."""
    query = f"{fleet.dataset.query} WHERE timestamp >= '{found['cutoff']}'"
    limits = {
        "reading the new rows": server.copy_out(url, query),
        "the forward pass": found["forward pass s"],
    }
    for name in ("forecasts", "attention"):
        rows = f"SELECT * FROM {name} WHERE cutoff = '{found['cutoff']}'"
        limits[f"COPY of {name}"] = server.copy_in(cluster, url, name, rows)
    total, took = sum(limits.values()), found["ticks"][-1]["s"]
    parts: list[Row] = [{"limit": name, "s": seconds} for name, seconds in limits.items()]
    return [
        *parts,
        {"limit": "sum", "s": total},
        {"limit": "the tick", "s": took, "ratio": took / total, "goal": 1.4},
    ]


def _growth(cluster: Cluster | None, folder: Path, series: int) -> Section:
    """Let one size grow at a time: series, context, new rows."""
    base = Fleet(series=series // 10, context=CONTEXT)
    cases = [
        *((f"series {series // part}", Fleet(series=series // part, context=CONTEXT), 1)
          for part in (40, 20, 10, 5)),
        *((f"context {context}", Fleet(series=base.series, context=context), 1)
          for context in (168, 504)),
        *((f"new points {points}", base, points) for points in (2, 4)),
    ]  # fmt: skip
    rows = []
    for name, fleet, points in cases:
        with _database(cluster, folder, fleet) as url:
            rows.append({"case": name, **_run(url, fleet, points)["ticks"][-1]})
    return Section(
        name=f"What a tick in service costs, {'sqlite' if cluster is None else 'postgresql'}",
        about=f"{base.series} series, context {CONTEXT} and one new point, but for what is named.",
        tables=[rows, [_bar(row) for row in rows]],
    )


def _bar(row: dict[str, Any]) -> Row:
    """Plot seconds without the forward pass: it is the same on every store."""
    seconds = {name: row[name] for name in stages([row]) if name != "case"}
    return {"case": row["case"], "s": row["s"], **{
        name: "█" * max(1, round(found / row["s"] * BAR)) for name, found in seconds.items()
    }}  # fmt: skip


@contextmanager
def _database(cluster: Cluster | None, folder: Path, fleet: Fleet) -> Iterator[str]:
    """A database with the history of a fleet and a source without new rows."""
    path = folder / "fleet.db"
    url = f"sqlite:///{path}" if cluster is None else cluster.create_database("fleet")
    engine = open_engine(url)
    migrations.upgrade(engine)
    bulk_paths.create_source(engine)
    fleet.settle(engine)
    engine.dispose()
    if cluster is not None:
        server.execute(url, "VACUUM ANALYZE", "CHECKPOINT")
    try:
        yield url
    finally:
        if cluster is None:
            for part in folder.glob("fleet.db*"):
                part.unlink()
        else:
            cluster.drop_database(url)


def _run(url: str, fleet: Fleet, points: int = 1) -> dict[str, Any]:
    sizes = {"series": fleet.series, "context": fleet.context, "points": points}
    options = [f"--{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, "-m", "benchmarks.big_tick", url, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
