"""Forecast one dataset for one tick: pull, read, predict, write. The main path: start here."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster import inference
from forecaster.config import DatasetConfig, RetentionConfig
from forecaster.inference import Prediction
from forecaster.store import attention, forecasts, observations, partitions, runs
from forecaster.store.engine import reading, writing
from jobs import pull
from jobs.champions import Champion, Champions
from jobs.reports import ForecastReport, PullReport, Stopwatch, document
from jobs.ticks import Turn

NAMED = 20
"""How many of the skipped series a report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known at a tick: the model in service, and all it may look at."""

    champion: Champion
    cutoff: datetime
    context: pl.DataFrame
    """OBSERVATIONS of the champion's context, up to the tick less the delay."""
    said: list[str]
    """Series that the champion has forecast at this cutoff: an earlier tick may share it."""


def run(
    engine: Engine,
    dataset: DatasetConfig,
    turn: Turn,
    *,
    champions: Champions,
    retention: RetentionConfig,
) -> ForecastReport:
    """Write forecasts and their attention for the tick of `turn`, all or nothing.

    Claiming the end comes first in that transaction: whoever lost the tick writes nothing.
    A series that cannot be forecast is skipped with a reason; NoChampion before a first retrain.
    """
    watch = Stopwatch()

    with watch.stage("pull"):
        pulled = pull.run(engine, dataset, now=turn.clock())

    with watch.stage("read"), reading(engine) as conn:
        known = read(conn, dataset, turn.tick, champions)

    with watch.stage("predict"):
        prediction = predict(known, dataset)

    partitions.ensure(engine, retention, ("forecasts", "attention"), [known.cutoff])
    with watch.stage("write"), writing(engine) as conn:
        report = report_on(dataset, turn.tick, known, prediction, pulled, watch.seconds)
        runs.finish(conn, turn.claim, now=turn.clock(), report=document(report))
        write(conn, dataset.name, known, prediction, now=turn.clock())
        pull.advance(conn, dataset.name, pulled)

    return replace(report, stages=watch.seconds)


def read(conn: Connection, dataset: DatasetConfig, tick: datetime, champions: Champions) -> Known:
    """Read what may be known at `tick`: nothing later than the tick less the delay."""
    champion = champions.load(conn, dataset)
    until = tick - dataset.delay
    cutoff = champion.cutoff(until)
    since = champion.context_start(cutoff)
    return Known(
        champion=champion,
        cutoff=cutoff,
        context=observations.read(conn, dataset.name, since=since, until=until),
        said=forecasts.series_at(conn, dataset.name, champion.model_id, cutoff),
    )


def predict(known: Known, dataset: DatasetConfig) -> Prediction:
    """Forecast every series that was not forecast at this cutoff before.

    A model that has seen what came after the cutoff, as when an old tick runs late or again,
    forecasts in hindsight: such forecasts are kept apart and never scored.
    """
    prediction = inference.predict(
        known.champion.model,
        known.context,
        [known.cutoff],
        lower_bound=dataset.lower_bound,
        upper_bound=dataset.upper_bound,
        device=dataset.training.device,
    )
    is_new = ~pl.col("series_id").is_in(known.said)
    fresh = prediction.forecasts.filter(is_new)
    if known.champion.trained_to > known.cutoff:
        fresh = fresh.with_columns(status=pl.lit("hindsight"))
    return replace(prediction, forecasts=fresh, attention=prediction.attention.filter(is_new))


def write(
    conn: Connection, dataset: str, known: Known, prediction: Prediction, *, now: datetime
) -> None:
    """Write forecasts, their attention, and once for each cutoff where the patches lie."""
    model_id = known.champion.model_id
    forecasts.write(conn, dataset, model_id, prediction.forecasts, issued_at=now, origin="live")
    is_first = not known.said and not prediction.forecasts.is_empty()
    patches = prediction.patches if is_first else prediction.patches.clear()
    attention.write(conn, dataset, model_id, prediction.attention, patches)


def report_on(
    dataset: DatasetConfig,
    tick: datetime,
    known: Known,
    prediction: Prediction,
    pulled: PullReport | None,
    stages: Mapping[str, float],
) -> ForecastReport:
    """Say what was written, and what was left out and why."""
    by_status = prediction.forecasts.group_by("status").agg(pl.col("series_id").n_unique())
    return ForecastReport(
        dataset=dataset.name,
        tick=tick,
        cutoff=known.cutoff,
        model_id=known.champion.model_id,
        trained_to=known.champion.trained_to,
        series=prediction.forecasts["series_id"].n_unique(),
        rows=prediction.forecasts.height,
        attention_rows=prediction.attention.height,
        statuses=dict(by_status.sort("status").iter_rows()),
        skipped=Counter(reason.value for reason in prediction.skipped.values()),
        skipped_series={
            series_id: reason.value
            for series_id, reason in islice(prediction.skipped.items(), NAMED)
        },
        newest_observation=pull.newest_of(known.context),
        panel=asdict(prediction.panel_counts),
        pull=pulled,
        stages=stages,
    )
