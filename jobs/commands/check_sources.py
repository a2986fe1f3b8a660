"""What `forecaster check` reads: our own database, and the source of every dataset.

Nothing is written, and nothing stops at the first failure: each becomes a finding.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import Engine

from forecaster import schemas
from forecaster.checks.dataset import Sample, diagnose
from forecaster.checks.findings import Finding, failure, failures_of, note
from forecaster.checks.rejected_rows import rejections
from forecaster.config.settings import Config, DatasetConfig
from forecaster.data.running_totals import LOOK_BACK, are_sums
from forecaster.errors import ForecasterError
from forecaster.ingestion import normalize
from forecaster.source import read
from forecaster.source.arrivals import arrivals_of
from forecaster.source.predicates import DATED
from forecaster.source.query import RowRange
from forecaster.store.connection.engine import open_engine, reading
from forecaster.store.connection.urls import is_missing_file, masked, parse_url
from forecaster.store.maintenance import migrations, privileges
from forecaster.store.observations import observations, versions
from forecaster.store.state import run_history
from jobs.stages.pull import normalized

PEEK_STEPS = 200
PEEK_ROWS = 100_000
"""What is read of the recent past to see whether a query runs."""
SAMPLE_ROWS = 2_000_000
"""What is read of the newest history at most, to diagnose it."""
GROWTH = 8
"""Factor by which the part of the history that is read grows, while it is small enough."""
RECENT_RUNS = 20
"""Forecast runs whose late rows are counted."""
DATABASE = "database"
NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric")
TEXTS = ("text", "varchar", "bpchar")
"""Types of PostgreSQL that hold numbers, and that may."""


@dataclass(slots=True, kw_only=True)
class Inspection:
    """The result: facts for a table, findings, and settings that would fit better."""

    database: dict[str, Any] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    suggestions: dict[str, Mapping[str, str | int | float]] = field(default_factory=dict)


def inspect(config: Config, *, now: datetime, with_data: bool) -> Inspection:
    """Inspect everything that the configuration names; `with_data` reads histories."""
    result = Inspection()
    engine = _our_database(config, result)
    try:
        for dataset in config.datasets.values():
            with _failing(dataset.name, result):
                _inspect_dataset(_Place(config, dataset, engine, now), result, with_data=with_data)
    finally:
        if engine is not None:
            engine.dispose()
    result.findings = list(dict.fromkeys(result.findings))  # one cause may affect several checks
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """A dataset, and where its rows come from."""

    config: Config
    dataset: DatasetConfig
    engine: Engine | None
    """Our database with our tables in it; None where it cannot be used."""
    now: datetime

    @property
    def url(self) -> str:
        return self.dataset.source_url or self.config.database_url


@contextmanager
def _failing(about: str, result: Inspection) -> Iterator[None]:
    try:
        yield
    except ForecasterError as error:
        result.findings += failures_of(about, error)


def _our_database(config: Config, result: Inspection) -> Engine | None:
    """Return an engine where our tables can be read."""
    address = parse_url(config.database_url)
    result.database = {"address": masked(address)}
    with _failing(DATABASE, result):
        if is_missing_file(address):
            result.findings.append(
                note(DATABASE, "the file does not exist yet: the first run creates it")
            )
            return None
        engine = open_engine(config.database_url)
        with _failing(DATABASE, result):
            if _is_usable(engine, result):
                return engine
        engine.dispose()
    return None


def _is_usable(engine: Engine, result: Inspection) -> bool:
    revision = migrations.revision(engine)
    rights = privileges.of_database(engine)
    result.database |= {"product": rights.product, "role": rights.role, "revision": revision}
    result.findings += _on_rights(rights)
    if revision is None:
        result.findings.append(
            note(DATABASE, "there are no tables yet: the first run creates them")
        )
        return False
    migrations.require_head(engine)
    return True


def _on_rights(rights: privileges.Privileges) -> Iterator[Finding]:
    if rights.is_read_only:
        yield failure(
            DATABASE,
            "the database is read-only",
            hint="connect to the primary, with default_transaction_read_only off",
        )
    if not rights.may_create:
        yield failure(
            DATABASE,
            f"role {rights.role} lacks CREATE ON SCHEMA, needed for tables and partitions",
            hint=f"GRANT CREATE ON SCHEMA public TO {rights.role}",
        )
    if rights.lacking:
        yield failure(
            DATABASE,
            f"role {rights.role} lacks {', '.join(rights.lacking)}",
            hint=f"let {rights.role} own them, or GRANT ALL ON ALL TABLES IN SCHEMA public",
        )
    if rights.not_owned:
        yield failure(
            DATABASE,
            f"role {rights.role} does not own {', '.join(rights.not_owned)}, "
            "needed to add partitions",
            hint=f"ALTER TABLE {rights.not_owned[0]} OWNER TO {rights.role}",
        )


def _inspect_dataset(place: _Place, result: Inspection, *, with_data: bool) -> None:
    if place.dataset.query is not None:
        _inspect_source(place, result)
    if with_data:
        _diagnose(place, result)
        return
    sample = _peek(place)
    result.datasets[place.dataset.name] = _facts(sample)
    result.findings += rejections(place.dataset.name, sample.rows, sample.taken)


def _inspect_source(place: _Place, result: Inspection) -> None:
    """Check the privileges of a source's role, and whether its `ingest_column` gives a bound."""
    dataset, wanted = place.dataset, RowRange(since=place.now, until=place.now)
    shape = read.read_shape(dataset, place.url, wanted)
    if shape is not None:
        result.findings += _on_types(dataset, shape.types)
    if shape is not None and shape.writable and dataset.source_url is not None:
        tables = ", ".join(shape.writable)
        message = f"the role of source_url can write to {tables}: SELECT is enough"
        result.findings.append(note(dataset.name, message))
    if dataset.ingest_column is not None:
        with _failing(dataset.name, result):
            read.read_state(dataset, place.url, wanted, patient=False)


def _on_types(dataset: DatasetConfig, types: Mapping[str, str | None]) -> Iterator[Finding]:
    for setting, rule, fitting in (
        ("timestamp_column", "times, text or numbers", (*NUMBERS, *TEXTS, *DATED)),
        ("value_column", "numbers", (*NUMBERS, *TEXTS, "bool", "money")),
    ):
        column = getattr(dataset, setting)
        if types[column] not in fitting:
            yield failure(
                dataset.name,
                f"{setting} {column!r} has type {types[column] or 'unknown'}, expected {rule}",
                hint="cast it in the query, or name another column",
            )


def _peek(place: _Place) -> Sample:
    """Return some rows of the recent past; of all of history where it has none."""
    dataset = place.dataset
    recent = min(dataset.history, PEEK_STEPS * dataset.step.approximate + dataset.late_data)
    sample = _sample(place, recent, PEEK_ROWS)
    return sample if sample.rows else _sample(place, dataset.history, PEEK_ROWS)


def _sample(place: _Place, length: timedelta, limit: int) -> Sample:
    """Return the newest rows of a source, or of what was ingested."""
    dataset, now, arrivals = place.dataset, place.now, None
    wanted = RowRange(since=now - length, until=now, limit=limit, arrivals=True)
    if dataset.query is not None:
        raw = read.read_rows(dataset, place.url, wanted)
        taken, arrivals = normalized(raw, dataset), arrivals_of(raw, dataset, wanted)
    else:
        raw = schemas.empty(schemas.OBSERVATIONS)
        if place.engine is not None:
            with reading(place.engine) as conn:
                raw = observations.read(conn, dataset.name, since=wanted.since, until=now)[:limit]
        taken = normalize.normalize(raw, normalize.Columns(), timezone=None)
    since = now if raw.height >= limit else wanted.since
    return Sample(rows=raw.height, taken=taken, since=since, now=now, arrivals=arrivals)


def _facts(sample: Sample) -> dict[str, Any]:
    observed = sample.taken.observations
    return {
        "rows": sample.rows,
        "series": observed["series_id"].n_unique(),
        "first": observed["timestamp"].min(),
        "last": observed["timestamp"].max(),
        "rejected": sum(sample.taken.rejected.values()),
    }


def _diagnose(place: _Place, result: Inspection) -> None:
    """Read as much of the newest history as a diagnosis needs, and report how recent it is."""
    dataset = place.dataset
    length = PEEK_STEPS * dataset.step.approximate
    while True:
        length = min(length, dataset.history)
        sample = _sample(place, length, SAMPLE_ROWS)
        if length == dataset.history or sample.rows * GROWTH > SAMPLE_ROWS:
            break
        length *= GROWTH
    sample = replace(sample, versions=_recent_versions(place))
    diagnosis = diagnose(sample, dataset)
    result.datasets[dataset.name] = diagnosis.facts | {"late": _late(place)}
    marks = diagnosis.facts.get("timestamp_marks")
    result.findings += [*diagnosis.findings, *_on_marks(dataset, sample, marks)]
    result.suggestions[dataset.name] = diagnosis.suggestions


def _recent_versions(place: _Place) -> pl.DataFrame | None:
    """Return how some of our newest rows were corrected; None where we have none."""
    if place.engine is None:
        return None
    since = place.now - LOOK_BACK * place.dataset.step.approximate
    with reading(place.engine) as conn:
        return versions.of_some_series(conn, place.dataset.name, since=since, until=place.now)


def _on_marks(dataset: DatasetConfig, sample: Sample, marks: object) -> Iterator[Finding]:
    """Report what timestamps of sums are taken to mark, and how to change that."""
    grow = sample.versions is not None and are_sums(sample.versions, dataset.step)
    if not (grow or dataset.groups):
        return
    why = "the newest rows are corrected until their step is over" if grow else (
        "the query has a GROUP BY"
    )  # fmt: skip
    if marks != "instant" and dataset.timestamp_marks is None:
        message = f"{why}: each is read as a sum over the step that starts at its timestamp, and "
        message += "is used once that step is over"
        hint = 'set timestamp_marks = "start" to say so, or "end" or "instant" if it is not'
        yield note(dataset.name, message, hint=hint)
    if grow and marks == "instant":
        message = f"{why}, but timestamps are read as instants: the last step is incomplete"
        yield note(dataset.name, message, hint='set timestamp_marks = "start"')


def _late(place: _Place) -> int | None:
    """Return how many rows came late in the latest runs; None where none ran."""
    if place.engine is None:
        return None
    with reading(place.engine) as conn:
        name = place.dataset.name
        runs = run_history.list_runs(conn, name, job="forecast", limit=RECENT_RUNS)
    pulls = [run.report.get("pull") or {} for run in runs if run.report is not None]
    return sum(pull.get("late", 0) for pull in pulls) if pulls else None
