"""The configuration written back as TOML, defaults included and passwords masked."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

from forecaster.config.settings import Config, DatasetConfig, RetentionConfig, ServerConfig
from forecaster.config.urls import masked
from forecaster.config.validators import FOREVER
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import Step, format_duration
from forecaster.times.schedules import Cron, Every


def to_toml(config: Config) -> str:
    """Write all settings, defaults included, passwords as `***`, for `config.file` to read."""
    return "\n".join(_lines(config)) + "\n"


def _lines(settings: object, path: str = "") -> Iterator[str]:
    """Yield the settings of one table, then the tables in it."""
    values = _as_in_file(settings)
    tables = {key: value for key, value in values.items() if is_dataclass(value)}
    for key, value in values.items():
        if value is not None and key not in tables:
            yield f"{key} = {_literal(value)}"
    for key, table in tables.items():
        yield from ("", f"[{path}{key}]", *_lines(table, f"{path}{key}."))


def _as_in_file(settings: Any) -> dict[str, object]:
    values = dict(_setting(f.name, getattr(settings, f.name)) for f in fields(settings))
    match settings:
        case Config(datasets=datasets):
            del values["datasets"]
            quoted = {name: json.dumps(name) if "." in name else name for name in datasets}
            values |= {f"datasets.{quoted[name]}": datasets[name] for name in datasets}
        case ServerConfig(host=host, port=port):
            listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            values = {"listen": listen, **values, "host": None, "port": None}
        case RetentionConfig():
            values = {key: FOREVER if age is None else age for key, age in values.items()}
        case DatasetConfig():
            schedules = (getattr(settings, f.name) for f in fields(settings))
            zones = (one.timezone for one in schedules if isinstance(one, Periods | Cron))
            values |= {"name": None, "schedule_timezone": next(zones, None)}
    return values


def _setting(key: str, value: object) -> tuple[str, object]:
    """Return a setting as in the file: a schedule is an interval or a cron expression."""
    match value:
        case Every():
            return key.replace("_schedule", "_every"), value.period
        case Periods():
            return key.replace("_schedule", "_every"), str(value.step)
        case Cron():
            return key.replace("_schedule", "_cron"), value.expression
        case Step():
            return key, str(value)
        case str() if key.endswith("password"):
            return key, "***"
        case str() if key.endswith("url"):
            return key, masked(value)
        case _:
            return key, value


def _literal(value: object) -> str:
    match value:
        case timedelta():
            return f'"{format_duration(value)}"'
        case tuple():
            return f"[{', '.join(map(_literal, value))}]"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case _:
            # JSON strings are TOML strings, but for DEL, which TOML wants escaped.
            escaped = json.dumps(str(value).replace("${", "$${"), ensure_ascii=False)
            return escaped.replace("\x7f", "\\u007f")
