"""Forecast one dataset for one tick: pull, read, predict, write. The main path: start here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice

import polars as pl
from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.data.panel import Panel
from forecaster.data.rolling_panel import RollingPanel
from forecaster.inference import predictor
from forecaster.inference.prediction import Prediction
from forecaster.inference.to_frames import attention_rows_of, rows_of
from forecaster.store.connection.engine import reading
from forecaster.store.connection.limits import Limit
from forecaster.store.forecasts import attention, forecasts
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ForecastReport, PullReport
from jobs.stages import pull, pull_progress
from jobs.stages.champions import Champion, Champions
from jobs.stages.panel_cache import PanelCache

SERIES_AT_ONCE = 8192
"""How many series' forecasts are rows in memory at one time."""
NAMED = 20
"""How many of the skipped series a report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known at a tick: the model in service, and all it may look at."""

    champion: Champion
    cutoff: datetime
    panel: RollingPanel
    """The champion's context: everything that was observed up to the tick less the delay."""
    names: Mapping[int, str]
    """Keys of its series."""
    known_to: datetime | None
    """Everything that was landed up to then, and nothing since."""


def run(
    engine: Engine,
    dataset: DatasetConfig,
    attempt: Attempt,
    *,
    champions: Champions,
    panels: PanelCache,
    retention: RetentionConfig,
) -> ForecastReport:
    """Write forecasts and their attention for the tick of `attempt`, all or nothing.

    Whoever lost the tick to a later attempt writes nothing.
    A series that cannot be forecast is skipped with a reason; NoChampion before a first retrain.
    """
    deadlines = dataset.deadlines

    with attempt.stage("pull", deadlines.pull):
        pulled = pull.run(engine, dataset, now=attempt.clock(), on_landing=panels.take)

    with attempt.stage("read", deadlines.pull):
        champion = champions.serving(engine, dataset, now=attempt.clock())
        with reading(engine) as conn:
            known = read(conn, dataset, attempt.tick, champion, panels)

    with attempt.stage("predict", deadlines.predict):
        prediction = predict(known, dataset, attempt.limit)

    def made(conn: Connection) -> ForecastReport:
        written = write(conn, dataset.name, known, prediction, now=attempt.clock())
        pull_progress.advance(conn, dataset.name, pulled)
        return report_on(dataset, attempt.tick, known, written, pulled, attempt.seconds)

    with attempt.stage("write", deadlines.write):
        partitions.ensure(engine, retention, ("forecasts", "attention"), [known.cutoff])
        report = attempt.commit(engine, made)

    return replace(report, stages=attempt.seconds)


def read(
    conn: Connection,
    dataset: DatasetConfig,
    tick: datetime,
    champion: Champion,
    panels: PanelCache,
) -> Known:
    """Read what may be known at `tick`: the cells that are complete at the tick less the delay."""
    until = tick - dataset.delay
    spec = champion.model.spec
    panel = panels.at(conn, dataset.name, spec, spec.grid().known(until))
    return Known(
        champion=champion,
        cutoff=champion.cutoff(until),
        panel=panel,
        names=panels.names(conn, dataset.name, panel),
        known_to=datasets.landed(conn, dataset.name).landed_at,
    )


def predict(known: Known, dataset: DatasetConfig, limit: Limit) -> Prediction:
    """Forecast every series.

    A model that has seen what came after the cutoff, as when an old tick runs late or again,
    forecasts in hindsight: such forecasts are kept apart and never scored.
    """
    model, panel = known.champion.model, known.panel
    blocks = panel.panels(
        known.names, season_length=model.spec.season_length, scales=model.series_scale
    )
    prediction = predictor.predict_panels(
        model,
        in_time(blocks, limit),
        [panel.end],
        bounds=(dataset.lower_bound, dataset.upper_bound),
        device=dataset.training.device,
    )
    if known.champion.stands_in:
        prediction = prediction.with_status("fallback_champion", instead_of="ok")
    return prediction.with_hindsight(pl.lit(known.champion.trained_to > known.cutoff))


def in_time(blocks: Iterable[Panel], limit: Limit) -> Iterator[Panel]:
    """Give one block after the other; StageTimedOut when the stage is over before the last."""
    for block in blocks:
        limit.check()
        yield block


def write(
    conn: Connection, dataset: str, known: Known, prediction: Prediction, *, now: datetime
) -> Prediction:
    """Write forecasts, their attention, and once for each cutoff where the patches lie.

    Series that the model has forecast at this cutoff before are left out, as an earlier tick or a
    backfill may share it; return what was written.
    """
    model_id = known.champion.model_id
    said = forecasts.series_at(conn, dataset, model_id, known.cutoff)
    if said:
        prediction = prediction.select(~prediction.keys["series_id"].is_in(said))
    ids = {name: number for number, name in known.names.items()}
    blocks = prediction.blocks(SERIES_AT_ONCE)
    rows = (block.forecasts for block in blocks)
    forecasts.write_blocks(conn, ids, model_id, rows, issued_at=now, origin="live")
    if prediction.is_explained and not prediction.keys.is_empty():
        weights = (block.attention for block in prediction.blocks(SERIES_AT_ONCE))
        attention.write_blocks(conn, ids, model_id, weights)
        attention.write_patches(conn, dataset, model_id, prediction.patches)
    return prediction


def report_on(
    dataset: DatasetConfig,
    tick: datetime,
    known: Known,
    prediction: Prediction,
    pulled: PullReport | None,
    stages: Mapping[str, float],
) -> ForecastReport:
    """Say what was written, and what was left out and why."""
    keys, spec = prediction.keys, prediction.spec
    by_status = keys.group_by("status").agg(pl.col("series_id").n_unique())
    return ForecastReport(
        dataset=dataset.name,
        tick=tick,
        cutoff=known.cutoff,
        model_id=known.champion.model_id,
        trained_to=known.champion.trained_to,
        known_to=known.known_to,
        series=keys["series_id"].n_unique(),
        rows=rows_of(keys["end"], spec),
        attention_rows=attention_rows_of(keys["end"], spec) if prediction.is_explained else 0,
        statuses=dict(by_status.sort("status").iter_rows()),
        hindsight=keys.filter("hindsight")["series_id"].n_unique(),
        stands_in=known.champion.stands_in,
        skipped=Counter(reason.value for reason in prediction.skipped.values()),
        skipped_series={
            series_id: reason.value
            for series_id, reason in islice(prediction.skipped.items(), NAMED)
        },
        newest_observation=known.panel.newest,
        panel=asdict(prediction.panel_counts),
        pull=pulled,
        stages=stages,
    )
