"""One dataset of the configuration file: its settings, its model's and its training's."""

from datetime import timedelta

from forecaster.config import schedule_table, validators
from forecaster.config.settings import CalendarConfig, DatasetConfig, ModelConfig, TrainingConfig
from forecaster.config.table import Table
from forecaster.config.validators import InvalidSetting
from forecaster.times.durations import Step, format_duration

_DAY = timedelta(days=1)
_LONGEST_PREDICTION = 10_000


def read(name: str, table: Table, retention: timedelta | None) -> DatasetConfig:
    """Read the table of one dataset; `retention` is how long observations are."""
    if "step" not in table:
        table.add_problem("step", 'must be set, such as "1h"')
    step_given = table.take("step", validators.step, None)
    ahead = _prediction_length(table, step_given)
    length = _whole(step := step_given or Step(1, "day"))
    history = min(10_000 * length, retention or validators.LONGEST)
    values = table.read_fields(DatasetConfig, history=history, late_data=2 * length)
    dataset = DatasetConfig(
        name=name,
        step=step,
        prediction_length=ahead,
        **values,
        **schedule_table.read(table, step, values["delay"], values["timezone"] or "UTC"),
        calendar=table.table("calendar").read_all(CalendarConfig),
        model=table.table("model").read_all(ModelConfig),
        training=table.table("training").read_all(TrainingConfig),
    )
    _check_together(table, dataset, retention)
    return dataset


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
        horizon = Step.parse(validators.text(value))
        length = 1 if step is None else step.steps_in(horizon)
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
    patch, context = dataset.model.patch_length, dataset.model.context_length
    if patch is not None and context is not None and patch > context:
        rule = f"must be at most context_length {context}, found {patch}"
        table.add_problem("model.patch_length", rule)
