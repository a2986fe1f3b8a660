"""The configuration written back as TOML, defaults included and passwords masked."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta

from forecaster.config.settings import Config, DatasetConfig, RetentionConfig
from forecaster.config.urls import masked
from forecaster.config.validators import FOREVER
from forecaster.times.calendar_periods import Periods
from forecaster.times.durations import format_duration
from forecaster.times.schedules import Cron, Every


def to_toml(config: Config) -> str:
    """Write all settings, defaults included, passwords as `***`, for `config.file` to read."""
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    top = {
        "database_url": masked(config.database_url),
        "prune_schedule": config.prune_schedule,
        "lease_ttl": config.lease_ttl,
    }
    lines = _lines(_spelled(top))
    lines += _section(
        "server",
        {
            "listen": f"{host}:{config.server.port}",
            "username": config.server.username,
            "password": None if config.server.password is None else "***",
            "tls_certificate": config.server.tls_certificate,
            "tls_key": config.server.tls_key,
        },
    )
    ages = {f.name: getattr(config.retention, f.name) for f in fields(RetentionConfig)}
    forever = {key: FOREVER if ages[key] is None else ages[key] for key in ages}
    lines += _section("retention", forever)
    for name, dataset in config.datasets.items():
        lines += _dataset_lines(f"datasets.{json.dumps(name) if '.' in name else name}", dataset)
    return "\n".join(lines) + "\n"


def _dataset_lines(path: str, dataset: DatasetConfig) -> list[str]:
    tables = ("deadlines", "calendar", "model", "training")
    values = {f.name: getattr(dataset, f.name) for f in fields(DatasetConfig)}
    flat = {key: value for key, value in values.items() if key not in ("name", *tables)}
    if dataset.source_url is not None:
        flat["source_url"] = masked(dataset.source_url)
    zones = {
        schedule.timezone for schedule in flat.values() if isinstance(schedule, Periods | Cron)
    }
    lines = _section(path, _spelled(flat) | {"schedule_timezone": next(iter(zones), None)})
    for key in tables:
        of_table = values[key]
        lines += _section(
            f"{path}.{key}", {f.name: getattr(of_table, f.name) for f in fields(of_table)}
        )
    return lines


def _spelled(values: Mapping[str, object]) -> dict[str, object]:
    """Return settings as in the file: a schedule is an interval or a cron expression.

    The zone of schedules is a setting of its own.
    """
    settings: dict[str, object] = {}
    for key, value in values.items():
        match value:
            case Every():
                settings[key.replace("_schedule", "_every")] = value.period
            case Periods():
                settings[key.replace("_schedule", "_every")] = str(value.step)
            case Cron():
                settings[key.replace("_schedule", "_cron")] = value.expression
            case _:
                settings[key] = value
    return settings


def _section(path: str, values: Mapping[str, object]) -> list[str]:
    return ["", f"[{path}]", *_lines(values)]


def _lines(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {_literal(value)}" for key, value in values.items() if value is not None]


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
