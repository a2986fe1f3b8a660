"""`forecaster demo`: a real series, replayed."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.errors import ConfigError
from jobs.commands.serve import finish, stop_on_signals
from jobs.terminal import cpu_settings
from jobs.terminal.open_database import Schema, opened
from jobs.terminal.options import (
    SPELLING,
    WRITTEN,
    ColumnNames,
    Decimal,
    Encoding,
    MarksOption,
    MaxRejected,
    OneSeries,
    Separator,
    SeriesColumns,
    TimestampColumn,
    TimestampFormat,
    ValueColumn,
    Zone,
    dialect,
    duration,
    spelling,
    zone,
)
from jobs.terminal.output import say

if TYPE_CHECKING:
    from jobs.demo.demo import Material
    from jobs.service.service import Service

INTERRUPTED = 130


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the replay.")] = False,
    database: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(
    "forecaster-demo.db" ),
    file: Annotated[Path | None, typer.Option(help="Your CSV, Parquet or NDJSON.")] = None,
    series_column: SeriesColumns = None, timestamp_column: TimestampColumn = None,
    value_column: ValueColumn = None, timezone: Zone = None, timestamp_marks: MarksOption = None,
    timestamp_format: TimestampFormat = None, decimal: Decimal = None,
    max_rejected: MaxRejected = None, separator: Separator = None, encoding: Encoding = None,
    columns: ColumnNames = None, series: OneSeries = None,
    step: Annotated[str | None, typer.Option(help="Of the file's grid, such as 1h.")] = None,
    horizon: Annotated[str | None, typer.Option(help="How far ahead, such as 2d.")] = None,
    replay: Annotated[str | None, typer.Option(help="How much of the end, such as 14d.")] = None,
) -> None:  # fmt: skip
    """Replay the past of a real series, tick by tick, then serve it.

    Without --file: weekly carbon dioxide at Mauna Loa, its last two years.
    """
    mapping = {
        "--series-column": series_column,
        "--timestamp-column": timestamp_column,
        "--value-column": value_column,
        "--timezone": timezone,
        "--timestamp-marks": timestamp_marks,
        "--timestamp-format": timestamp_format,
        "--decimal": decimal,
        "--max-rejected": max_rejected,
        "--separator": separator,
        "--encoding": encoding,
        "--columns": columns,
        "--series": series,
        "--step": step,
        "--horizon": horizon,
    }
    if file is None:
        _refuse([name for name, value in mapping.items() if value])
    material = _material(file, mapping, duration("--replay", replay))
    _run(material, database, once=once)


def _refuse(names: list[str]) -> None:
    if names:
        raise ConfigError([f"{name} must come with --file, found none" for name in names])


def _material(
    file: Path | None, mapping: Mapping[str, Any], replay: timedelta | None
) -> "Material":
    from forecaster.ingestion.normalize import Columns
    from jobs.demo import demo as program

    if file is None:
        found = program.co2()
    else:
        found = program.of_file(
            file,
            step=mapping["--step"],
            horizon=mapping["--horizon"],
            timezone=zone(mapping["--timezone"]),
            columns=Columns(
                series=tuple(mapping["--series-column"] or ("series_id",)),
                timestamp=mapping["--timestamp-column"] or "timestamp",
                value=mapping["--value-column"] or "value",
            ),
            spelled=spelling(*(mapping[name] for name in SPELLING)),
        )
        found = replace(found, marks=mapping["--timestamp-marks"])
    written = dialect(*(mapping[name] for name in WRITTEN))
    return replace(found, dialect=written, replay=found.replay if replay is None else replay)


def _run(material: "Material", database: Path, *, once: bool) -> None:
    from rich.console import Console

    from jobs.demo.demo import Demo, settings
    from jobs.terminal.sparklines import screen

    cpu_settings.flush_denormals()
    url = f"sqlite:///{database}"
    config = settings(material, url)
    with opened(url, Schema.MADE) as engine:
        shown = screen(Console(highlight=False), material.title)
        demo = Demo(material, config, engine, shown)
        try:
            demo.replay()
        except KeyboardInterrupt:
            say("stopped; the same command carries on from here")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            shown.close()
            if once or sys.exc_info()[0] is not None:
                demo.service.stop()
        if not once:
            _serve(demo.service)


def _serve(service: "Service") -> None:
    stop_on_signals(service.stopping)
    service.start()
    say(f"serving {service.url}/metrics until Ctrl-C; the clock goes on from the end of the replay")
    service.wait()
    finish(service.stop())
