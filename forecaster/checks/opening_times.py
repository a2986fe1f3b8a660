"""What opening hours mean for a dataset, as findings for `check`."""

from collections.abc import Iterator

from forecaster.checks.findings import Finding, note
from forecaster.config.settings import AUTO, DatasetConfig
from forecaster.data.opening_detection import observed_while_closed
from forecaster.data.panel import Panel


def check_hours(panel: Panel, dataset: DatasetConfig) -> Iterator[Finding]:
    """Note when a dataset is open where that was detected, and which values lie outside."""
    hours, table = panel.grid.hours, f"[datasets.{dataset.name}.calendar]"
    if hours is None:
        return
    if dataset.calendar.open == AUTO:
        yield note(
            dataset.name,
            f"rows arrive {hours} only: other times count as closed, and are neither forecast nor "
            "scored",
            hint=f'set open = "always" in {table} to forecast them, or set the hours explicitly',
        )
    outside = observed_while_closed(panel)
    if outside:
        total = int(panel.deviations.isfinite().sum())
        yield note(
            dataset.name,
            f"{outside} of {total} values lie outside the opening hours {hours}: nothing is "
            "forecast or scored there",
            hint=f"widen open in {table}; the end of a range is exclusive",
        )
