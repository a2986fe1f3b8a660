"""Settings that are valid one by one but odd together: reported, not rejected."""

from collections.abc import Iterator

from forecaster.checks.findings import Finding, note
from forecaster.config.settings import Config, DatasetConfig
from forecaster.times.durations import format_duration

_PREDICTIONS = 3
"""A history of fewer prediction lengths leaves little to train on and nothing to validate with."""


def oddities(config: Config) -> Iterator[Finding]:
    """Return odd settings, without reading any data."""
    if not config.datasets:
        hint = "add [datasets.NAME] with step and horizon"
        yield note("configuration", "no datasets are configured: `serve` would have nothing to do",
                   hint=hint)  # fmt: skip
    for dataset in config.datasets.values():
        yield from _in_dataset(dataset)


def _in_dataset(dataset: DatasetConfig) -> Iterator[Finding]:
    step, history = dataset.step.approximate, dataset.history
    ahead = dataset.prediction_length * step
    if history < _PREDICTIONS * ahead:
        yield note(
            dataset.name,
            f"history {format_duration(history)} is shorter than {_PREDICTIONS} times the horizon: "
            "little is left to train on",
            hint="lengthen history, or shorten the horizon",
        )
    context = dataset.model.context_length
    if context is not None and context * step + ahead > history:
        yield note(
            dataset.name,
            f"history {format_duration(history)} is shorter than context_length {context} plus "
            "the horizon",
            hint="lengthen history, or shorten context_length",
        )
    if dataset.delay + dataset.late_data > history:
        yield note(
            dataset.name,
            "delay and late_data are longer than history: every pull reads all of it",
            hint="lengthen history, or shorten late_data",
        )
    if 2 * dataset.forecast_schedule.shortest <= step:
        yield note(
            dataset.name,
            f"forecasts are due more often than steps of {dataset.step} end: a tick without a new "
            "step writes nothing",
            hint=f'set forecast_every = "{dataset.step}"',
        )
