"""`forecaster demo`: a real series, replayed."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.errors import ConfigError
from jobs.commands.serve import finish, stop_on_signals
from jobs.terminal import cpu_settings
from jobs.terminal.file_options import FileOptions, takes_file_options
from jobs.terminal.interruption import ended_by_ctrl_c
from jobs.terminal.open_database import Schema, opened
from jobs.terminal.options import duration
from jobs.terminal.output import say

if TYPE_CHECKING:
    from jobs.demo.demo import DemoData
    from jobs.service.service import Service

DATABASE = Path("forecaster-demo.db")


@takes_file_options
def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the replay.")] = False,
    database: Annotated[
        Path, typer.Option(metavar="PATH", help="SQLite file of the demo.")
    ] = DATABASE,
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your own CSV, Parquet or NDJSON file.")
    ] = None,
    *,
    of_file: FileOptions,
    step: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Interval between rows of the file, such as 1h."),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How far ahead to forecast, such as 2d.")
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How much of the end to replay, such as 14d."),
    ] = None,
) -> None:
    """Replay the past of a real series tick by tick, then serve it.

    Without --file: the last two years of weekly carbon dioxide at Mauna Loa.
    """
    from jobs.demo import demo as program

    if file is None:
        _refuse(of_file, {"--step": step, "--horizon": horizon})
        material = program.co2()
    else:
        material = program.of_file(file, of_file, step=step, horizon=horizon)
    _run(replace(material, replay=duration("--replay", replay) or material.replay), database, once)


def _refuse(of_file: FileOptions, others: Mapping[str, str | None]) -> None:
    names = [*of_file.given, *(name for name, value in others.items() if value)]
    if names:
        raise ConfigError([f"{name} requires --file" for name in names])


def _run(material: "DemoData", database: Path, once: bool) -> None:
    from rich.console import Console

    from jobs.demo.demo import Demo, settings
    from jobs.demo.screens import screen

    cpu_settings.flush_denormals()
    url = f"sqlite:///{database}"
    config = settings(material, url)
    with opened(url, Schema.MADE) as engine:
        shown = screen(Console(highlight=False), material.title)
        demo = Demo(material, config, engine, shown)
        try:
            with ended_by_ctrl_c("run the same command again to continue"):
                demo.replay()
        finally:
            shown.close()
            if once or sys.exc_info()[0] is not None:
                demo.service.stop()
        if not once:
            _serve(demo.service)


def _serve(service: "Service") -> None:
    stop_on_signals(service.stopping)
    service.start()
    say(f"serving {service.url}/metrics until Ctrl-C; the clock continues at the end of the replay")
    service.wait()
    finish(service.stop())
