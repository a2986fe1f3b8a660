"""Three stages of a job, each beside what its parts take at the least in the same run.

    python -m benchmarks.stages [reconcile|pull|predict ...] [--store both|postgresql|sqlite]

reconcile  all of an unchanged history once more: read from the source, compared with our own rows
pull       a new point of each of 100 000 series, and the newest hour once more: 200 000 rows
predict    100 000 series x 48 steps from a panel in memory, beside the forward pass

`cpu s` are the processor seconds of the program itself, without the worker that reads a source or
the server. A PostgreSQL server is started for it. Results go to
benchmarks/results/stages-<date>.md.
"""

import argparse
import gc
import itertools
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from sqlalchemy import Engine

from benchmarks import big_tick, bulk_paths, server
from benchmarks.fleet import HOUR, START, Fleet
from benchmarks.tables import Row, Section, keep, table
from forecaster.data.rolling_panel import RollingPanel, StaleCells
from forecaster.inference import predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.network.network import AttentionLSTM
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.maintenance import migrations
from forecaster.store.observations import observations
from jobs.execution.reports import PullReport
from jobs.stages import pull, pull_progress
from jobs.terminal.cpu_settings import flush_denormals
from tests.postgres import Cluster

HISTORIES = (Fleet(series=2_000, context=1_008), Fleet(series=100_000, context=20))
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="*", help="those to measure; all of them by default")
    parser.add_argument("--store", choices=("both", "postgresql", "sqlite"), default="both")
    parser.add_argument("--quick", action="store_true", help="keeps nothing")
    chosen = parser.parse_args()
    flush_denormals()
    stages = chosen.stage or ["reconcile", "pull", "predict"]
    stores = ("postgresql", "sqlite") if chosen.store == "both" else (chosen.store,)
    sections = []
    for section in _sections(stages, stores):
        print(f"\n## {section.name}\n", *map(table, section.tables), sep="\n\n", flush=True)
        sections.append(section)
    if not chosen.quick:
        command = " ".join(["python -m benchmarks.stages", *sys.argv[1:]])
        keep("stages", "Stages of a job", command, sections)


def _sections(stages: list[str], stores: tuple[str, ...]) -> Iterator[Section]:
    measures = {"reconcile": _reconcile, "pull": _pull}
    for store, stage in itertools.product(stores, stages):
        if stage in measures:
            with tempfile.TemporaryDirectory() as folder, server.of_store(store) as cluster:
                yield measures[stage](cluster, Path(folder))
    if "predict" in stages:
        yield _predict()


def _reconcile(cluster: Cluster | None, folder: Path) -> Section:
    """Read histories again that have not changed."""
    rows = []
    for number, fleet in enumerate(HISTORIES):
        url = _database(cluster, folder / f"history{number}.db", fleet)
        engine = open_engine(url)
        work = partial(pull.run, engine, fleet.dataset, now=fleet.end, all_history=True)
        took = min(_timed(work) for _ in range(2))
        limits = _rows_out(cluster, url, fleet)
        case = f"{fleet.series} series x {fleet.context}"
        rows.append(_row(case, fleet.series * fleet.context, took, limits))
    return Section(
        name=f"Reconciling, {_store(cluster)}",
        about="Rows that are known already. The limit is reading both sides.",
        tables=[rows],
    )


def _pull(cluster: Cluster | None, folder: Path) -> Section:
    """Pull what a tick pulls, tick after tick, and land a new history."""
    fleet = Fleet(series=100_000, context=24)
    url = _database(cluster, folder / "fleet.db", fleet)
    engine, found = open_engine(url), []
    for hour in range(REPEATS + 1):
        now = fleet.end + hour * HOUR + timedelta(seconds=2)
        big_tick.append(url, fleet.rows(fleet.names, fleet.context + hour, 1))
        reports: list[PullReport | None] = []
        found.append(_timed(lambda: reports.append(pull.run(engine, fleet.dataset, now=now))))  # noqa: B023
        with writing(engine) as conn:
            pull_progress.advance(conn, fleet.dataset.name, reports[0])
    last = f"timestamp >= '{fleet.end + REPEATS * HOUR}'"
    limits = _rows_in(cluster, url, last, f"timestamp >= '{fleet.end + (REPEATS - 1) * HOUR}'")
    rows = [_row("a tick: 100000 known, 100000 new", 2 * fleet.series, min(found[1:]), limits)]
    frame = fleet.rows(fleet.names, 0, 20)
    landed = _timed(partial(_land, engine, frame))
    rows += [_row("a new history", frame.height, landed, _rows_in(cluster, url, "true"))]
    return Section(
        name=f"Pulling and landing, {_store(cluster)}",
        about="The worker that reads was started before. The limit is reading the rows and COPY "
        "of the new ones into an empty table.",
        tables=[rows],
    )


def _land(engine: Engine, frame: pl.DataFrame) -> None:
    """Ingest a history of another dataset, in transactions as long as those of a pull."""
    for part in frame.iter_slices(pull.ROWS_AT_ONCE):
        with writing(engine) as conn:
            observations.ingest(conn, "landed", part, recorded_at=START)


def _predict() -> Section:
    """Forecast from a panel in memory, without writing."""
    fleet = Fleet(series=100_000, context=336)
    work = prediction_of(fleet)
    took = min(_timed(work) for _ in range(REPEATS))
    limits = {"the forward pass": min(big_tick.forward(fleet) for _ in range(REPEATS))}
    row = _row("100000 series x 48 steps", fleet.series * 48, took, limits)
    return Section(
        name="Predicting",
        about="Context 336, from a panel in memory, nothing written.",
        tables=[[row]],
    )


def prediction_of(fleet: Fleet) -> Callable[[], Prediction]:
    """Return the work of forecasting all series of a fleet from a panel in memory."""
    names, end = dict(enumerate(fleet.names)), fleet.end - HOUR
    ids = np.arange(fleet.series, dtype=np.int32)
    panel = RollingPanel(fleet.spec.grid(), fleet.context, end, ids)
    first = 0
    for rows in fleet.history():
        block = ids[first : first + rows.height // fleet.context]
        cells = rows.with_columns(pl.Series("series_id", np.repeat(block, fleet.context)))
        panel.replace(StaleCells(ids=block, first=panel.start, last=panel.end), cells)
        first += len(block)
    scales = dict.fromkeys(fleet.names, 3.0)
    model = TrainedModel(
        spec=fleet.spec, network=AttentionLSTM(fleet.spec).eval(), series_scale=scales
    )

    def predict() -> Prediction:
        blocks = panel.panels(names, season_length=fleet.spec.season_length, scales=scales)
        return predictor.predict_panels(
            model, blocks, [panel.end], bounds=(None, None), device="cpu"
        )

    return predict


def _database(cluster: Cluster | None, path: Path, fleet: Fleet) -> str:
    """A database with the history of a fleet, in its source and in our own table."""
    url = f"sqlite:///{path}" if cluster is None else cluster.create_database(path.stem)
    engine = open_engine(url)
    migrations.upgrade(engine)
    bulk_paths.create_source(engine)
    for frame in fleet.history():
        big_tick.append(url, frame)
    fleet.settle(engine)
    engine.dispose()
    if cluster is not None:
        server.execute(url, "VACUUM ANALYZE", "CHECKPOINT")
    return url


def _rows_out(cluster: Cluster | None, url: str, fleet: Fleet) -> dict[str, float]:
    """Return how long the database takes to hand over the rows of the source, and ours."""
    query = str(fleet.dataset.query)
    own = "SELECT series_id, timestamp, value FROM observations ORDER BY 1, 2"
    if cluster is not None:
        return {"source out": server.copy_out(url, query), "ours out": server.copy_out(url, own)}
    with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
        return {
            name: server.seconds(lambda text=text: file.execute(text).fetchall(), repeats=1)  # type: ignore[misc]
            for name, text in (("source out", query), ("ours out", own))
        }


def _rows_in(
    cluster: Cluster | None, url: str, ours: str, source: str | None = None
) -> dict[str, float]:
    """Return what reading some rows of the source and COPY of some of ours take at the least."""
    if cluster is None:
        return {}
    rows = f"SELECT * FROM observations WHERE {ours}"
    read = {} if source is None else {
        "source out": server.copy_out(url, f"SELECT * FROM metrics WHERE {source}")
    }  # fmt: skip
    return {**read, "COPY in": server.copy_in(cluster, url, "observations", rows)}


def _store(cluster: Cluster | None) -> str:
    return "sqlite" if cluster is None else "postgresql"


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds, and processor seconds of this process."""
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def _row(case: str, rows: int, took: tuple[float, float], limits: Mapping[str, float]) -> Row:
    seconds, cpu = took
    least = sum(limits.values())
    return {
        "case": case,
        "rows": rows,
        "s": seconds,
        "cpu s": cpu,
        "M rows/s": rows / seconds / 1e6,
        "M rows/cpu s": rows / cpu / 1e6,
        **{f"{name} s": found for name, found in limits.items()},
        "ratio": seconds / least if limits else None,
    }


if __name__ == "__main__":
    main()
