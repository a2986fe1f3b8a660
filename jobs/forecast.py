"""Forecast one dataset for one tick: pull, read, predict, write. The main path: start here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from forecaster.config.settings import DatasetConfig, RetentionConfig
from forecaster.data.panel import Panel
from forecaster.data.rolling_panel import RollingPanel
from forecaster.inference import predictor
from forecaster.inference.prediction import Prediction
from forecaster.store.connection.engine import reading
from forecaster.store.connection.limits import Limit
from forecaster.store.forecasts import forecasts
from forecaster.store.maintenance import partitions
from forecaster.store.state import datasets
from jobs.execution.attempt import Attempt
from jobs.execution.reports import ForecastReport, PullReport
from jobs.stages import pull, pull_progress, write_forecasts
from jobs.stages.champions import Champion, Champions
from jobs.stages.panel_cache import PanelCache

NAMED = 20
"""How many of the skipped series a report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known at a tick: the model in service, and its context."""

    champion: Champion
    cutoff: datetime
    panel: RollingPanel
    """The champion's context: everything that was observed up to the tick less the delay."""
    names: Mapping[int, str]
    """Keys of its series."""
    known_to: datetime | None
    """Everything that was ingested up to then, and nothing since."""


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

    An attempt whose tick was taken over by a later one writes nothing.
    A series that cannot be forecast is skipped with a reason; NoChampion before a first retrain.
    """
    deadlines = dataset.deadlines

    with attempt.stage("pull", deadlines.pull):
        pulled = pull.run(engine, dataset, now=attempt.clock(), on_ingest=panels.take)

    with attempt.stage("read", deadlines.pull):
        champion = champions.serving(engine, dataset, now=attempt.clock())
        with reading(engine) as conn:
            known = read(conn, dataset, attempt.tick, champion, panels)

    with attempt.stage("predict", deadlines.predict):
        prediction = predict(known, dataset, attempt.limit)

    def write(conn: Connection) -> ForecastReport:
        # An earlier tick, or a backfill, may share the cutoff.
        existing = forecasts.series_at(conn, dataset.name, champion.model_id, known.cutoff)
        written = prediction.without(existing)
        write_forecasts.write(
            conn, dataset.name, known.names, champion.model_id, written, now=attempt.clock()
        )
        pull_progress.advance(conn, dataset.name, pulled)
        return report_on(dataset, attempt, known, written, pulled)

    with attempt.stage("write", deadlines.write):
        partitions.ensure(engine, retention, ("forecasts", "attention"), [known.cutoff])
        return attempt.commit(engine, write)


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
        known_to=datasets.ingest_state(conn, dataset.name).landed_at,
    )


def predict(known: Known, dataset: DatasetConfig, limit: Limit) -> Prediction:
    """Forecast every series of the panel."""
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
    return known.champion.marked(prediction, known.cutoff)


def in_time(blocks: Iterable[Panel], limit: Limit) -> Iterator[Panel]:
    """Yield the blocks; StageTimedOut when the stage is over before the last."""
    for block in blocks:
        limit.check()
        yield block


def report_on(
    dataset: DatasetConfig,
    attempt: Attempt,
    known: Known,
    written: Prediction,
    pulled: PullReport | None,
) -> ForecastReport:
    """Report what was written, and what was skipped and why."""
    return ForecastReport(
        dataset=dataset.name,
        tick=attempt.tick,
        cutoff=known.cutoff,
        model_id=known.champion.model_id,
        trained_to=known.champion.trained_to,
        known_to=known.known_to,
        is_fallback=known.champion.is_fallback,
        newest_observation=known.panel.newest,
        pull=pulled,
        stages=attempt.seconds,
        **written.summary(named=NAMED),
    )
