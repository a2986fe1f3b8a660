"""Write what a service of one version leaves behind, for the versions after it.

`PYTHONPATH=TREE python tests/releases/make.py FOLDER`: TREE is a checkout of that version, whose
code runs; FOLDER gets `databases.tar.xz` with `sqlite.sql` and `postgres.sql`.
"""

import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from forecaster.store.state import models, runs
from tests.jobs.small import DATASET, LAST, World, hour, land, rows
from tests.postgres import Cluster, find_binaries

BIKES = replace(
    DATASET,
    query="SELECT series_id, timestamp, value FROM trips",
    timezone="UTC",
    prediction_length=2,
    model=replace(DATASET.model, heads=1, patch_length=2, context_length=48),
)
"""Pulled from a source of its own."""
POWER = replace(DATASET, name="power")
"""Ingested, and too little of it for a model."""
TICKS = 6


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        sources = [Path(scratch) / "first.db", Path(scratch) / "second.db"]
        texts = {
            "sqlite.sql": _of_sqlite(Path(scratch) / "forecaster.db", sources[0]),
            "postgres.sql": _of_postgres(sources[1]),
        }
        with tarfile.open(folder / "databases.tar.xz", "w:xz", preset=9) as archive:
            for name, text in texts.items():
                (Path(scratch) / name).write_text(text)
                archive.add(Path(scratch) / name, name, filter=_of_nobody)


def _of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _serve(url: str, source: Path) -> None:
    engine = open_engine(url)
    migrations.upgrade(engine)
    _bikes(engine, source)
    _power(engine)
    engine.dispose()


def _bikes(engine: Engine, source: Path) -> None:
    """Three models, of which the first was pruned and the last serves; a run in every state."""
    world = World(engine=engine, dataset=replace(BIKES, source_url=f"sqlite:///{source}"))
    for number in range(LAST, LAST + TICKS + 1):
        measure(source, number)
        if number in (LAST, LAST + 2, LAST + 4):
            world.tick("retrain", hour(number))
        world.tick("forecast", hour(number))
    world.tick("score", hour(LAST + TICKS))
    world.tick("reconcile", hour(LAST + TICKS))
    broken = World(engine=engine, dataset=replace(world.dataset, query="SELECT * FROM nowhere"))
    broken.tick("forecast", hour(LAST + TICKS + 1))
    found = [outcome.result for outcome in [*world.outcomes, *broken.outcomes]]
    assert found == ["succeeded"] * (TICKS + 6) + ["failed"], found
    with writing(engine) as conn:
        models.prune(conn, "bikes", 1, retired_before=hour(LAST + TICKS))
        runs.record_missed(conn, "forecast", "bikes", [hour(LAST - 1)], hour(LAST))
        runs.claim(conn, "forecast", "bikes", hour(LAST + TICKS + 2), hour(LAST + TICKS + 2))


def _power(engine: Engine) -> None:
    land(engine, rows("a", 0, 1), dataset="power")
    outcome = World(engine=engine, dataset=POWER).tick("retrain", hour(1))
    assert outcome.result == "failed", outcome


def measure(source: Path, number: int) -> None:
    """Let the source know of hour `number`, and of all before it when it knows none."""
    first = 0 if number == LAST else number
    frame = pl.concat([rows("a", first, number), rows("b/c", first, number)])
    with sqlite3.connect(source) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS trips (series_id, timestamp, value)")
        told = frame.with_columns(pl.col("timestamp").dt.to_string("iso"))
        conn.executemany("INSERT INTO trips VALUES (?, ?, ?)", told.iter_rows())
    conn.close()


def _of_sqlite(path: Path, source: Path) -> str:
    _serve(f"sqlite:///{path}", source)
    conn = sqlite3.connect(path)
    told = "\n".join(conn.iterdump())
    conn.close()
    # The weights as PostgreSQL writes them, so that they are compressed once.
    return re.sub(r"X'[0-9A-F]+'", lambda found: found[0].lower(), told)


def _of_postgres(source: Path) -> str:
    binaries = find_binaries()
    assert binaries is not None
    cluster = Cluster(binaries)
    try:
        cluster.start()
        url = cluster.create_database("release")
        _serve(url, source)
        command = [str(binaries / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        cluster.remove()
    # Lines of a backslash are for psql alone.
    return "\n".join(line for line in told.splitlines() if not line.startswith(("\\", "--")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
