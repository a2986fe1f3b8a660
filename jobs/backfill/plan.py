"""The plan of a backfill: which ticks, and the model of each of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Literal

from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.errors import ConfigError, DataError, NoChampion
from forecaster.store.forecasts import backfills
from forecaster.store.forecasts.backfills import FinishedTick, ForecastRun
from forecaster.store.observations import observations
from forecaster.store.state import models
from forecaster.times.durations import MICROSECOND, Step
from forecaster.times.schedules import Every, Schedule, every
from jobs.backfill import model_history as lineages
from jobs.backfill.model_history import Lineage

JOB = "backfill"
AS_OF, CHAMPION = "as-of", "champion"

_GREATEST = 2**31 - 1
"""The largest possible model number."""

Reprocess = Literal["none", "failed", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRequest:
    """The options of a backfill; `until` is included."""

    since: datetime
    until: datetime
    every: Step | None = None
    """The interval between ticks; None is the forecast schedule."""
    model: str = AS_OF
    """`as-of`, `champion`, or the number of a model."""
    retrain_every: Step | None = None
    reprocess: Reprocess = "none"
    known_after: timedelta | None = None
    """How long after its timestamp a value counts as known if ingested long afterwards; None is
    `late_data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRange:
    """Consecutive ticks that use the same model."""

    ticks: tuple[datetime, ...]
    model_id: int | None = None
    """None where it is to be trained first, at the tick `train_at`."""
    train_at: datetime | None = None
    hindsight: bool = False
    """Whether this model was chosen with knowledge of later data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, and which ticks are left as they are."""

    job: str
    """The job name of its run rows: an explicitly given model has rows of its own."""
    asked: int
    """Ticks in the range."""
    ranges: tuple[TickRange, ...]
    in_service: int
    """Ticks that the service ran, and whose forecasts are there, or that it is about to run."""
    done_before: int
    failed_before: int
    """Ticks that failed in a backfill before, and that are not to be tried again."""
    again: bool
    """Whether ticks that were done before are done once more."""
    ran: Mapping[datetime, ForecastRun]
    replaced: frozenset[int] = field(default_factory=frozenset)
    """Models whose backfilled rows give way to new ones."""

    @property
    def ticks(self) -> int:
        """How many ticks are to be done."""
        return sum(len(tick_range.ticks) for tick_range in self.ranges)


def plan(
    conn: Connection, dataset: DatasetConfig, wanted: BackfillRequest, *, now: datetime
) -> Plan:
    """Return what is to be done.

    ConfigError for a range that makes no sense, DataError for one that ends before the first
    observation, NoChampion where `as-of` finds ticks without a model and none may be trained.
    """
    ticks = _ticks(dataset, wanted, now)
    _require_observations(conn, dataset, ticks[-1])
    named = _named(conn, dataset, wanted)
    job = JOB if named is None else f"{JOB}-{named}"
    done, filled = (
        backfills.finished_ticks(conn, dataset.name, name, since=ticks[0], until=ticks[-1])
        for name in (job, JOB)
    )
    lineage = lineages.lineage(conn, dataset.name, since=ticks[0])
    in_service = lineages.present(conn, dataset.name, ticks, lineage.ran, only=named)
    in_service |= lineages.under_way(conn, dataset, ticks, now)
    kept = {tick for tick, row in done.items() if _is_kept(row.state, wanted.reprocess)}
    if named is not None:  # what it forecast while it was the champion is not hindsight
        kept |= {tick for tick, row in filled.items() if row.model_id == named}
    kept -= in_service
    ranges = _without([*_ranges(ticks, lineage, named, wanted.retrain_every)], kept | in_service)
    _require_models(ranges, len(ticks), lineage)
    return Plan(
        job=job,
        asked=len(ticks),
        ranges=tuple(ranges),
        in_service=len(in_service),
        done_before=len(kept) - _failures(done, kept),
        failed_before=_failures(done, kept),
        again=wanted.reprocess == "all",
        ran=lineage.ran,
        replaced=frozenset(row.model_id for row in done.values() if row.model_id is not None),
    )


def _failures(done: Mapping[datetime, FinishedTick], ticks: Collection[datetime]) -> int:
    return sum(tick in done and done[tick].state == "failed" for tick in ticks)


def _ticks(dataset: DatasetConfig, wanted: BackfillRequest, now: datetime) -> list[datetime]:
    if wanted.since > wanted.until:
        raise ConfigError(
            [f"--from must not be after --to, found {_text(wanted.since)} > {_text(wanted.until)}"],
            hint="swap them",
        )
    if wanted.until > now:
        raise ConfigError(
            [f"--to must not be in the future, found {_text(wanted.until)}"],
            hint="omit --to to stop at the current time",
        )
    schedule = _schedule(dataset, wanted)
    ticks = schedule.between(wanted.since - MICROSECOND, wanted.until)
    if not ticks:
        raise ConfigError(
            [f"no tick of schedule {schedule} between --from and --to"],
            hint=f"the next tick after --from is {_text(schedule.after(wanted.since))}",
        )
    return ticks


def _schedule(dataset: DatasetConfig, wanted: BackfillRequest) -> Schedule:
    """Return when ticks are; periods of one's own are those of the same zone and delay."""
    usual = dataset.forecast_schedule
    if wanted.every is None:
        return usual
    zone = (dataset.timezone or "UTC") if isinstance(usual, Every) else usual.timezone
    return every(wanted.every, timezone=zone, delay=dataset.delay)


def _require_observations(conn: Connection, dataset: DatasetConfig, last: datetime) -> None:
    span = observations.span(conn, dataset.name)
    if span is None:
        raise DataError(
            f"dataset {dataset.name} has no observations",
            hint=f"run `forecaster ingest` for a file, or `forecaster reconcile {dataset.name}` "
            "for its source",
        )
    if last - dataset.delay < span[0]:
        raise DataError(
            f"the range must end after the first observation, {_text(span[0])}, "
            f"found its last tick at {_text(last)}",
            hint=f"--to {_text(span[1])}",
        )


def _named(conn: Connection, dataset: DatasetConfig, wanted: BackfillRequest) -> int | None:
    """Return the model that was named; None for the one that served at each tick."""
    if wanted.model == AS_OF:
        return None
    if wanted.retrain_every is not None:
        raise ConfigError(
            [f"--retrain-every requires --model {AS_OF}, found --model {wanted.model}"],
            hint="omit one of them",
        )
    if wanted.model == CHAMPION:
        return models.champion(conn, dataset.name).model_id
    if not wanted.model.isdecimal() or int(wanted.model) > _GREATEST:
        raise ConfigError(
            [f"--model must be {AS_OF}, {CHAMPION} or a number, found {wanted.model}"],
            hint="`forecaster models list` shows the model numbers",
        )
    return models.get(conn, dataset.name, int(wanted.model)).model_id


def _is_kept(state: str, reprocess: Reprocess) -> bool:
    return reprocess == "none" or (reprocess == "failed" and state != "failed")


def _ranges(
    ticks: Sequence[datetime], lineage: Lineage, named: int | None, retrain_every: Step | None
) -> Iterator[TickRange]:
    """Cut ticks where the model changes; a range without any model cannot be done."""
    serving = {tick: lineage.at(tick) for tick in ticks}
    if named is not None:
        for is_other, part in groupby(ticks, lambda tick: serving[tick] != named):
            yield TickRange(ticks=tuple(part), model_id=named, hindsight=is_other)
        return
    unserved = [tick for tick in ticks if serving[tick] is None]
    for model_id, part in groupby(ticks, serving.__getitem__):
        if model_id is None and retrain_every is not None:
            yield from _trained(tuple(part), unserved[0], retrain_every)
        else:
            yield TickRange(ticks=tuple(part), model_id=model_id)


def _without(ranges: Sequence[TickRange], ticks: Collection[datetime]) -> list[TickRange]:
    """Leave out ticks, and ranges that have no others."""
    shorter = (
        replace(tick_range, ticks=tuple(tick for tick in tick_range.ticks if tick not in ticks))
        for tick_range in ranges
    )
    return [tick_range for tick_range in shorter if tick_range.ticks]


def _trained(ticks: Sequence[datetime], origin: datetime, period: Step) -> Iterator[TickRange]:
    """Yield a range for each period since `origin`, with a model trained at its start.

    Months and years are those of the calendar, in UTC.
    """
    for _, part in groupby(ticks, partial(_period_of, origin, period)):
        those = tuple(part)
        yield TickRange(ticks=those, train_at=those[0])


def _period_of(origin: datetime, period: Step, tick: datetime) -> object:
    if period.unit == "month":
        return every(period).floor(tick)
    return (tick - origin) // period.approximate


def _require_models(ranges: Sequence[TickRange], asked: int, lineage: Lineage) -> None:
    unserved = [
        tick
        for tick_range in ranges
        if tick_range.model_id is None and tick_range.train_at is None
        for tick in tick_range.ticks
    ]
    if not unserved:
        return
    first, span = lineage.first(), f"{_text(unserved[0])} … {_text(unserved[-1])}"
    later = "" if first is None else f", or start at the first model: --from {_text(first)}"
    raise NoChampion(
        f"no model with stored weights was in service at {len(unserved)} of {asked} ticks ({span})",
        hint="pass --retrain-every 7d to train models on the data known at the time; or --model "
        f"champion to use today's champion, in hindsight{later}",
    )


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
