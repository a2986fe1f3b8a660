"""Which rows cannot be used, and whether so many that a pull would fail."""

from collections.abc import Iterator
from dataclasses import replace

from forecaster.checks.findings import Finding, failure, failures_of, note
from forecaster.config.settings import DatasetConfig
from forecaster.errors import DataError
from forecaster.ingestion import remedies
from forecaster.ingestion.normalize import REMEDIES, NormalizedRows
from forecaster.ingestion.remedies import ReadRows


def rejections(about: str, rows: int, taken: NormalizedRows) -> Iterator[Finding]:
    """Yield which of so many rows cannot be used, with an example: a failure if none can."""
    for reason, count in taken.rejected.items():
        message = f"{count} of {rows} rows cannot be used: {reason}"
        message += f", such as {taken.examples[reason]}" if reason in taken.examples else ""
        message += f"; {REMEDIES[reason]}" if reason in REMEDIES else ""
        if taken.observations.is_empty():
            yield failure(about, message, hint="choose another column, or cast it in the query")
        else:
            yield note(about, message)


def losses(dataset: DatasetConfig, rows: int, taken: NormalizedRows) -> Iterator[Finding]:
    """Yield the same; one failure for all that are lost if a pull of these rows would fail."""
    batch = ReadRows(
        name="a pull would fail",
        rows=rows,
        kept=taken.observations.height,
        lost=taken.lost,
        declared=dataset.timestamp_format,
    )
    try:
        remedies.require_full(batch, dataset.max_rejected)
    except DataError as error:
        yield from failures_of(dataset.name, error)
        lost = set(taken.lost.groups["reason"])
        others = {reason: n for reason, n in taken.rejected.items() if reason not in lost}
        taken = replace(taken, rejected=others)
    yield from rejections(dataset.name, rows, taken)
