"""`forecaster serve`: the service in the foreground, until a signal."""

import logging
import os
import signal
from threading import Event, Thread, Timer
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from forecaster.errors import ConfigError, DatabaseUnavailable, ForecasterError
from jobs.execution.log_lines import LogFormat, log_to_stderr
from jobs.terminal import cpu_settings
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption, load

if TYPE_CHECKING:
    from sqlalchemy import Engine

GRACE = 9.0
"""Seconds from the first signal to the end of the process: `docker stop` kills after ten."""
FLUSH_SECONDS = 0.5
"""How long the last line of the log may take."""

log = logging.getLogger("forecaster")

LogFormatOption = Annotated[
    LogFormat, typer.Option(envvar="FORECASTER_LOG_FORMAT", help="How log lines are written.")
]


def serve(
    config: ConfigOption = DEFAULT_CONFIG, log_format: LogFormatOption = LogFormat.text
) -> None:
    """Run all jobs on schedule and serve /metrics, until SIGTERM."""
    stopping = Event()
    stop_on_signals(stopping)
    settings = load(config)
    if not settings.datasets:
        raise ConfigError(["no dataset is configured"], hint="add a [datasets.NAME] section")

    from jobs.execution.clock import SteadyClock
    from jobs.service.config_reload import Reloader
    from jobs.service.service import Service
    from jobs.telemetry.metrics import Telemetry

    cpu_settings.flush_denormals()
    log_to_stderr(log_format)
    reloader = Reloader(config, settings)
    telemetry = Telemetry(settings.datasets)
    service = Service(
        settings, telemetry, clock=SteadyClock(), stopping=stopping, reloader=reloader
    )
    try:
        _require_schema(service.engine)
        service.listen()
    except ForecasterError:
        service.engine.dispose()
        raise
    service.start()
    log.info("serving %s/metrics /livez /readyz", service.url)
    service.wait()
    finish(service.stop())


def _require_schema(engine: "Engine") -> None:
    """Raise SchemaOutOfDate unless the schema is the newest; a database that is down may be it."""
    from forecaster.store.maintenance import migrations

    try:
        migrations.require_head(engine)
    except DatabaseUnavailable as error:
        log.warning("%s; retrying", error.message)


def stop_on_signals(stopping: Event, *, within: float = GRACE) -> None:
    """Set `stopping` at the first SIGTERM or SIGINT; end at once at the second.

    The process ends at most `within` seconds after the first, whatever still runs.
    """

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()
        last = Timer(within, finish, [False])
        last.daemon = True
        last.start()

    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, stop)


def finish(done: bool) -> NoReturn:
    """Leave at once; what could not be finished in time is cut off, and runs at the next start."""
    if not done:
        flushing = Thread(target=_log_cancelled, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
    os._exit(0)


def _log_cancelled() -> None:
    log.warning("cancelled running jobs")
    logging.shutdown()
