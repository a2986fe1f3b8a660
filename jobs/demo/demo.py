"""The demo: a real series through the whole program, replayed tick by tick.

Weekly carbon dioxide at Mauna Loa as it ships inside statsmodels, or any file. Its rows are
ingested into an archive dataset; the dataset that is forecast pulls from there what is new at each
tick, as it would from a user's own table.
"""

import io
import json
import re
import shlex
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import BinaryIO

import polars as pl
from sqlalchemy import Engine

from forecaster.config import file
from forecaster.config.settings import Config, ServerConfig
from forecaster.errors import ConfigError, DataError
from forecaster.training.estimator import Progress
from jobs import catalog, ingest
from jobs.demo.charts import local
from jobs.demo.replay import Replay, SimulatedClock, last_ticks
from jobs.demo.screens import Screen, milliseconds
from jobs.execution.reports import IngestReport
from jobs.files import reader
from jobs.service.service import Service
from jobs.stages.champions import Champions
from jobs.stages.panel_cache import PanelCache
from jobs.telemetry import record
from jobs.telemetry.metrics import Telemetry
from jobs.terminal.file_options import FileOptions
from jobs.training_process.parent import fit_in_child

REPLAYED_HORIZONS = 7
"""Default length of a replay, in prediction lengths."""
CO2_REPLAY = timedelta(weeks=104)

_NEVER = "73050d"
"""200 years: longer than any replay, so that only the replay decides when to retrain."""
_SETTINGS = """
database_url = "sqlite:///forecaster-demo.db"
[retention]
forecasts = "forever"
attention = "forever"
accuracy = "forever"
runs = "forever"
[datasets.{name}]
query = "SELECT series_id, timestamp, value FROM current_observations WHERE dataset = '{archive}'"
step = {step}
horizon = {horizon}
history = "{never}"
retrain_every = "{never}"
{zone}
"""

_QUERIES = (
    "SELECT timestamp, q10, q50, q90 FROM latest_forecasts ORDER BY timestamp DESC LIMIT 3",
    "SELECT source, context_from, weight FROM forecast_attention ORDER BY cutoff DESC LIMIT 9",
    "SELECT lead, sum(absolute_error) / sum(seasonal_naive_error) FROM accuracy GROUP BY lead",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """The data of a demo: rows, how to read them, and how far back to replay."""

    title: str
    name: str
    source: Path | BinaryIO
    file_format: reader.Format | None
    step: str
    horizon: str
    replay: timedelta | None = None
    options: FileOptions = field(default_factory=FileOptions)
    """How to read the rows."""


def co2() -> DemoData:
    """Return the weekly carbon dioxide record of statsmodels; DataError when it is missing."""
    try:
        from statsmodels.datasets import co2 as record
    except ImportError as error:
        raise DataError(
            "the demo's data requires statsmodels, which is not installed",
            hint="pip install 'forecaster[demo]', or pass your own data with --file",
        ) from error
    weekly = record.load_pandas().data["co2"]
    rows = io.BytesIO()
    pl.DataFrame(
        {
            "series_id": ["mauna_loa"] * len(weekly),
            "timestamp": [stamp.to_pydatetime().replace(tzinfo=UTC) for stamp in weekly.index],
            "value": weekly.to_numpy(),
        }
    ).with_columns(pl.col("value").fill_nan(None)).write_parquet(rows)
    rows.seek(0)
    return DemoData(
        title="carbon dioxide at Mauna Loa, ppm",
        name="co2",
        source=rows,
        file_format="parquet",
        step="1w",
        horizon="13w",
        replay=CO2_REPLAY,
    )


def of_file(path: Path, options: FileOptions, *, step: str | None, horizon: str | None) -> DemoData:
    """Return the series of a file; ConfigError unless its step and horizon are given."""
    if step is None or horizon is None:
        missing = [name for name, value in (("--step", step), ("--horizon", horizon)) if not value]
        raise ConfigError(
            [f"--file requires {name}" for name in missing],
            hint="for example --step 1h --horizon 2d",
        )
    return DemoData(
        title=str(path),
        name=re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:60] or "file",
        source=path,
        file_format=None,
        step=step,
        horizon=horizon,
        options=options,
    )


class Demo:
    """One demo on one database: ingest, replay, and then serve."""

    def __init__(self, shown: DemoData, config: Config, engine: Engine, screen: Screen) -> None:
        """Prepare to replay `shown` with the `settings` of it; the HTTP server starts at once."""
        self._data, self._config, self._engine, self._screen = shown, config, engine, screen
        self._dataset = config.datasets[shown.name]
        self._telemetry = Telemetry([shown.name])
        self._clock = SimulatedClock(datetime.now(UTC))
        try:
            self.service = self._listen(config)
        except ConfigError:  # the port is taken: any free one
            server = ServerConfig(host=config.server.host, port=0)
            self.service = self._listen(replace(config, server=server))

    def replay(self) -> None:
        """Ingest the rows and replay the last ticks; what was done before is not repeated."""
        self._screen.say(f"metrics at {self.service.url}/metrics")
        archive = self._ingest()
        length = self._data.replay or (
            REPLAYED_HORIZONS * self._dataset.prediction_length * self._dataset.step.approximate
        )
        schedule, champions = self._dataset.forecast_schedule, Champions()
        fit = partial(fit_in_child, on_progress=self._show_training)
        replay = Replay(
            engine=self._engine,
            dataset=self._dataset,
            archive=archive,
            ticks=last_ticks(self._engine, archive, schedule=schedule, replay=length),
            jobs=catalog.jobs(self._config, champions=champions, panels=PanelCache(), fit=fit),
            champions=champions,
            clock=self._clock,
            screen=self._screen,
            observe=partial(record.outcome, self._telemetry),
        )
        replay.run()
        self._screen.close()
        for line in summary(replay, str(self._engine.url.database)):
            self._screen.say(line)

    def _ingest(self) -> str:
        """Ingest the rows into the archive dataset, and return its name."""
        options, archive = self._data.options, archive_of(self._data.name)
        report = ingest.run(
            self._engine,
            options.on(replace(self._dataset, name=archive, query=None)),
            self._data.source,
            file_format=self._data.file_format,
            dialect=replace(options.dialect, usual_series=self._data.name),
            now=datetime.now(UTC),
        )
        self._screen.say(_ingested(report))
        return archive

    def _show_training(self, at: Progress) -> None:
        self._screen.progress("training", at.step, at.steps, f"loss {at.loss:.4f}")

    def _listen(self, config: Config) -> Service:
        service = Service(config, self._telemetry, clock=self._clock, stopping=threading.Event())
        service.listen()
        return service


def settings(shown: DemoData, database_url: str) -> Config:
    """Return the configuration of a demo: all defaults, with unlimited retention."""
    zone, marks = shown.options.timezone, shown.options.timestamp_marks
    text = _SETTINGS.format(
        name=shown.name,
        archive=archive_of(shown.name),
        step=json.dumps(shown.step),
        horizon=json.dumps(shown.horizon),
        never=_NEVER,
        zone="" if zone is None else f"timezone = {json.dumps(zone)}",
    )
    config = file.parse(text, {}, read_file=str)
    dataset = replace(config.datasets[shown.name], timestamp_marks=marks)
    return replace(config, database_url=database_url, datasets={shown.name: dataset})


def archive_of(name: str) -> str:
    """Return the dataset that keeps the rows which dataset `name` pulls."""
    return f"{name}_archive"


def _ingested(report: IngestReport) -> str:
    rejected = sum(report.rejected.values())
    return (
        f"ingested {report.rows} rows, {report.new} new"
        + (f", {rejected} rejected" if rejected else "")
        + (f", {report.first:%Y-%m-%d} … {report.last:%Y-%m-%d}" if report.first else "")
    )


def summary(replay: Replay, database: str) -> Iterator[str]:
    """Yield a summary of the replay, and commands to try next."""
    first, last = (local(tick, replay.dataset) for tick in (replay.ticks[0], replay.ticks[-1]))
    before = f", {replay.already_done} done before" if replay.already_done else ""
    yield f"{len(replay.ticks)} ticks from {first} to {last}{before}"
    scores, covered = replay.scores.mase(), replay.scores.coverage_80()
    yield "mase  " + "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
    if covered is not None:
        yield f"the 80 % interval covered {covered:.1%} of actual values"
    if replay.tick_seconds:
        usual, longest = median(replay.tick_seconds), max(replay.tick_seconds)
        yield f"time per tick: median {milliseconds(usual)}, max {milliseconds(longest)}"
    yield f"results are in {database}; for example:"
    for query in _QUERIES:
        yield f'  sqlite3 {database} "{query}"'
    series = shlex.quote(replay.panel.series_ids[0])
    yield f"  forecaster explain {replay.dataset.name} {series} --database {database}"
