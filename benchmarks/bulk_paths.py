"""Rows in and out of PostgreSQL and SQLite, beside what the database itself can do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from benchmarks import server
from benchmarks.big_tick import append
from benchmarks.fleet import HOUR, Fleet
from benchmarks.tables import Row
from forecaster.config.settings import RetentionConfig
from forecaster.data.panel import Panel, build
from forecaster.inference import predictor
from forecaster.inference.checkpoint import TrainedModel
from forecaster.inference.prediction import Prediction
from forecaster.ingestion import normalize
from forecaster.network.network import AttentionLSTM
from forecaster.source.query import RowRange
from forecaster.source.read import read_rows
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.forecasts import attention, forecasts
from forecaster.store.maintenance import migrations, partitions
from forecaster.store.state import datasets
from jobs import ingest
from jobs.stages.panel_cache import PanelCache
from jobs.stages.pull import columns_of
from tests.postgres import Cluster

READ = Fleet(series=2000, context=1008)
SAID = Fleet(series=25_000, context=336)
MODEL_ID = 1
METRICS = """CREATE TABLE metrics (series_id text NOT NULL, timestamp {instant} NOT NULL,
value {real}, PRIMARY KEY (series_id, timestamp))"""
TYPES = {
    "postgresql": {"instant": "timestamptz", "real": "float8"},
    "sqlite": {"instant": "text", "real": "real"},
}
"""Of METRICS, by the dialect of an engine."""


def create_source(engine: Engine) -> None:
    """Make the table of METRICS, without rows, with an index for what is new."""
    with writing(engine) as conn:
        conn.exec_driver_sql(METRICS.format(**TYPES[engine.dialect.name]))
        conn.exec_driver_sql("CREATE INDEX metrics_by_time ON metrics (timestamp)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """What we do with many rows, on one store."""

    engine: Engine
    url: str
    file: Path
    said: Prediction

    def read(self) -> int:
        """Source rows as a frame."""
        whole = RowRange(since=READ.end - 2 * READ.context * HOUR, until=READ.end)
        return read_rows(READ.dataset, self.url, whole).height

    def read_to_panel(self) -> Panel:
        """Source rows as a Panel."""
        whole = RowRange(since=READ.end - 2 * READ.context * HOUR, until=READ.end)
        rows = read_rows(READ.dataset, self.url, whole)
        taken = normalize.normalize(rows, columns_of(READ.dataset), timezone=None)
        return build(taken.observations, READ.spec.grid(), season_length=24)

    def rebuild(self) -> None:
        """Our own observations as a resident panel, as after a start."""
        with reading(self.engine) as conn:
            PanelCache().at(conn, READ.dataset.name, READ.spec, READ.end)

    def ingest(self) -> int:
        """A Parquet file into observations."""
        return ingest.run(self.engine, READ.dataset, self.file, now=READ.end).new

    def write(self) -> int:
        """Forecasts of one tick, and their attention."""
        with writing(self.engine) as conn:
            ids = datasets.series_ids(conn, SAID.dataset.name, SAID.names)
            blocks = [*self.said.blocks()]
            rows = forecasts.write_blocks(
                conn,
                ids,
                MODEL_ID,
                (block.arrays for block in blocks),
                issued_at=SAID.end,
                origin="live",
            )
            return rows + attention.write_blocks(
                conn, ids, MODEL_ID, (block.attention for block in blocks)
            )


def postgres(cluster: Cluster, folder: Path) -> list[Row]:
    """Measure every path, and what the server can do with the same rows."""
    url = cluster.create_database("bulk")
    paths = _prepared(url, folder, METRICS.format(**TYPES["postgresql"]))
    server.execute(url, "VACUUM ANALYZE metrics")
    rows, query = READ.series * READ.context, str(READ.dataset.query)
    out = server.copy_out(url, query)
    first = server.seconds(paths.read, repeats=1)
    found = [
        _row("read, the worker started first", rows, first, "psql COPY OUT", out),
        _row("read", rows, server.seconds(paths.read), "psql COPY OUT", out, 0.6),
        _row("read + Panel", rows, server.seconds(paths.read_to_panel), "psql COPY OUT", out, 0.45),
    ]
    emptied = "TRUNCATE observations, series, datasets CASCADE"
    took = _repeated(paths.ingest, lambda: server.execute(url, emptied, "CHECKPOINT"))
    server.execute(url, "VACUUM ANALYZE observations")
    own = "SELECT series_id, timestamp, value FROM observations ORDER BY 1, 2, recorded_at"
    out = server.copy_out(url, own)
    rebuilt = server.seconds(paths.rebuild)
    into = server.copy_in(cluster, url, "observations", "SELECT * FROM observations")
    found += [
        _row("own rows to resident panel", rows, rebuilt, "psql COPY OUT", out, 0.45),
        _row("ingest from Parquet", rows, took, "COPY FROM file", into, 0.5),
    ]
    return [*found, _written(cluster, url, paths)]


def _written(cluster: Cluster, url: str, paths: Paths) -> Row:
    tables = ("forecasts", "attention")
    partitions.ensure(paths.engine, RetentionConfig(), tables, [SAID.end - HOUR])
    emptied = [f"TRUNCATE {name}" for name in tables]
    took = _repeated(paths.write, lambda: server.execute(url, *emptied, "CHECKPOINT"))
    into = sum(server.copy_in(cluster, url, name, f"SELECT * FROM {name}") for name in tables)
    rows = paths.said.keys.height * (48 + paths.said.spec.future_patches)
    return _row("write forecasts and attention", rows, took, "COPY FROM file", into, 0.8)


def sqlite(folder: Path) -> list[Row]:
    """Measure every path; SQLite has no faster way of its own."""
    url = f"sqlite:///{folder / 'bulk.db'}"
    paths = _prepared(url, folder, METRICS.format(**TYPES["sqlite"]))
    rows = READ.series * READ.context
    ingested = server.seconds(paths.ingest, repeats=1)
    written = server.seconds(paths.write, repeats=1)
    said = paths.said.keys.height * (48 + paths.said.spec.future_patches)
    return [
        _row("read", rows, server.seconds(paths.read)),
        _row("read + Panel", rows, server.seconds(paths.read_to_panel)),
        _row("own rows to resident panel", rows, server.seconds(paths.rebuild)),
        _row("ingest from Parquet", rows, ingested),
        _row("write forecasts and attention", said, written),
    ]


def _prepared(url: str, folder: Path, metrics: str) -> Paths:
    engine = open_engine(url)
    migrations.upgrade(engine)
    with writing(engine) as conn:
        conn.exec_driver_sql(metrics)
    history = READ.rows(READ.names, 0, READ.context)
    append(url, history)
    file = folder / "history.parquet"
    history.write_parquet(file)
    return Paths(engine=engine, url=url, file=file, said=_said())


def _said() -> Prediction:
    model = TrainedModel(
        spec=SAID.spec,
        network=AttentionLSTM(SAID.spec).eval(),
        series_scale=dict.fromkeys(SAID.names, 3.0),
    )
    known = SAID.rows(SAID.names, 0, SAID.context)
    return predictor.predict(model, known, [SAID.end - HOUR], device="cpu")


def _repeated(work: Callable[[], object], before: Callable[[], object]) -> float:
    found = []
    for _ in range(server.REPEATS):
        before()
        found.append(server.seconds(work, repeats=1))
    return min(found)


def _row(
    path: str,
    rows: int,
    took: float,
    against: str | None = None,
    limit: float | None = None,
    goal: float | None = None,
) -> Row:
    return {
        "path": path,
        "rows": rows,
        "s": took,
        "M rows/s": rows / took / 1e6,
        "limit": against,
        "limit s": limit,
        "share": None if limit is None else limit / took,
        "goal": goal,
    }
