"""One dataset of the configuration file: its settings, its model's and its training's."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from forecaster.config import schedule_table, score_names, validators
from forecaster.config.settings import (
    CATCHUPS,
    DECIMALS,
    ENCODERS,
    HEADS,
    NORMALISERS,
    OVERLAPS,
    STATISTICS,
    TIMESTAMP_MARKS,
    CalendarConfig,
    DatasetConfig,
    ModelConfig,
    TrainingConfig,
)
from forecaster.config.table import Table
from forecaster.config.urls import source_url
from forecaster.config.validators import LARGEST, InvalidSetting
from forecaster.times.durations import Step, format_duration

_DAY = timedelta(days=1)
_LONGEST_PREDICTION = 10_000


def read(name: str, table: Table, retention: timedelta | None) -> DatasetConfig:
    """Read the table of one dataset; `retention` is how long observations are."""
    step_given = _step(table)
    length = _whole(step := step_given or Step(1, "day"))
    ahead = _prediction_length(table, step_given)
    timezone = table.take("timezone", validators.timezone, None)
    history = min(10_000 * length, retention or validators.LONGEST)
    delay = table.take("delay", validators.duration, timedelta(0))
    times = schedule_table.read(table, step, delay, timezone or "UTC")
    dataset = DatasetConfig(
        **_rows(table),
        name=name,
        step=step,
        prediction_length=ahead,
        timezone=timezone,
        timestamp_marks=table.take("timestamp_marks", validators.one_of(TIMESTAMP_MARKS), None),
        delay=delay,
        forecast_schedule=times.forecast,
        retrain_schedule=times.retrain,
        history=table.take("history", validators.positive_duration, history),
        late_data=table.take("late_data", validators.duration, 2 * length),
        read_timeout=times.read_timeout,
        reconcile_schedule=times.reconcile,
        catchup=table.take("catchup", validators.one_of(CATCHUPS), CATCHUPS[0]),
        catchup_limit=table.take("catchup_limit", validators.count_between(1, 10_000), 100),
        overlap=table.take("overlap", validators.one_of(OVERLAPS), OVERLAPS[0]),
        jitter=times.jitter,
        deadlines=times.deadlines,
        lower_bound=table.take("lower_bound", validators.number, None),
        upper_bound=table.take("upper_bound", validators.number, None),
        calendar=table.table("calendar").read_all(CalendarConfig, _CALENDAR),
        model=_model(table.table("model")),
        training=table.table("training").read_all(TrainingConfig, _TRAINING),
    )
    _check_together(table, dataset, retention)
    table.report_unknown()
    return dataset


def _step(table: Table) -> Step | None:
    if "step" not in table:
        table.add_problem("step", 'must be set, such as "1h"')
    return table.take("step", validators.step, None)


def _rows(table: Table) -> dict[str, Any]:
    """Read where rows come from, what their columns are, and how their text is spelled."""
    return {
        "query": table.take("query", validators.text, None),
        "source_url": table.take_secret("source_url", source_url),
        "series_columns": table.take("series_columns", validators.column_names, ("series_id",)),
        "timestamp_column": table.take("timestamp_column", validators.text, "timestamp"),
        "value_column": table.take("value_column", validators.text, "value"),
        "ingest_column": table.take("ingest_column", validators.text, None),
        "timestamp_format": table.take("timestamp_format", validators.timestamp_format, None),
        "decimal": table.take("decimal", validators.one_of(DECIMALS), None),
        "max_rejected": table.take("max_rejected", validators.share, 0.05),
    }


def _whole(step: Step) -> timedelta:
    """Return the length of a step, in whole days for months."""
    return -(-step.approximate // _DAY) * _DAY if step.unit == "month" else step.approximate


def _prediction_length(table: Table, step: Step | None) -> int:
    """Read `horizon` or `prediction_length`; 1 when that cannot be done."""
    given = [key for key in ("horizon", "prediction_length") if key in table]
    if not given:
        table.add_problem("horizon", 'must be set, such as "2d", or prediction_length in steps')
    if len(given) == 2:
        table.add_problem("horizon", "cannot be combined with prediction_length")

    def steps_in(value: object) -> int:
        try:
            horizon = Step.parse(validators.text(value))
            length = 1 if step is None else step.steps_in(horizon)
        except ValueError as error:
            raise InvalidSetting(str(error).partition(", found ")[0]) from None
        if length > _LONGEST_PREDICTION:
            raise InvalidSetting(f"must be at most {_LONGEST_PREDICTION} steps")
        return length

    in_steps = validators.count_between(1, _LONGEST_PREDICTION)
    return table.take("prediction_length", in_steps, table.take("horizon", steps_in, 1))


def _check_together(table: Table, dataset: DatasetConfig, retention: timedelta | None) -> None:
    """Report settings that are valid by themselves but contradict one another."""
    lower, upper = dataset.lower_bound, dataset.upper_bound
    if lower is not None and upper is not None and lower >= upper:
        table.add_problem("lower_bound", f"must be below upper_bound {upper!r}, found {lower!r}")
    for key in ("source_url", "ingest_column"):
        if getattr(dataset, key) is not None and "query" not in table:
            table.add_problem("query", f"must be set together with {key}")
    if retention is not None and dataset.query is not None and dataset.history > retention:
        most, history = format_duration(retention), format_duration(dataset.history)
        table.add_problem(
            "history", f"must be at most retention.observations {most}, found {history}"
        )
    columns = [*dataset.series_columns, dataset.timestamp_column, dataset.value_column]
    if len(set(columns)) < len(columns):
        table.add_problem("series_columns", "must differ from the other columns, found a duplicate")


def _model(table: Table) -> ModelConfig:
    model = table.read_all(ModelConfig, _MODEL)
    patch, context = model.patch_length, model.context_length
    if patch is not None and context is not None and patch > context:
        table.add_problem(
            "patch_length", f"must be at most context_length {context}, found {patch}"
        )
    return model


def _device(value: object) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", validators.text(value)):
        raise InvalidSetting("must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    return str(value)


_LENGTH = validators.count_between(1, 1_000_000)
_CALENDAR = {"open": validators.opening_hours}
_MODEL: Mapping[str, Callable[[object], Any]] = {
    "score": score_names.score,
    "normaliser": validators.one_of(NORMALISERS),
    "temperature": validators.number_between(1e-3, 1e3),
    "attention_window": _LENGTH,
    "self_attention": validators.flag,
    "priors": score_names.priors,
    "encoder": validators.one_of(ENCODERS),
    "head": validators.one_of(HEADS),
    "statistics": validators.one_of(STATISTICS),
    "calendar": validators.flag,
    "season_length": _LENGTH,
    "patch_length": _LENGTH,
    "context_length": _LENGTH,
    "hidden_size": validators.count_between(1, 4096),
    "layers": validators.count_between(1, 16),
    "heads": validators.count_between(1, 64),
    "dropout": validators.number_between(0, 1),
}
_TRAINING: Mapping[str, Callable[[object], Any]] = {
    "seed": validators.count_between(0, LARGEST),
    "steps": validators.count_between(1, LARGEST),
    "batch_size": validators.count_between(1, 1_000_000),
    "learning_rate": validators.number_between(1e-8, 1),
    "device": _device,
    "ensemble": validators.count_between(1, 100),
    "naive_guard": validators.flag,
    "memory_limit_gb": validators.number_between(0.5, 1e6),
}
