"""How far the source of a dataset has been read, kept from one pull to the next."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from forecaster.source.cursor import NO_START, Cursor
from forecaster.store.state import watermarks
from jobs.execution.reports import PullReport

WATERMARK = "pull"
INGESTED = "ingested"
FULL_READ = "whole"
READ_FROM = "read from"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """What earlier pulls have read; None where there was none, or it is unknown."""

    newest: datetime | None
    """The newest instant that was seen."""
    since: datetime | None
    """From when on all of the history was read, at some time."""
    ingested: Cursor | None


def reached(conn: Connection, dataset: str) -> PullProgress:
    """Return how far the source was read."""
    kept = watermarks.state(conn, dataset, INGESTED)
    return PullProgress(
        newest=watermarks.get(conn, dataset, WATERMARK),
        since=_read_from(conn, dataset),
        ingested=None if kept is None else Cursor.of(kept),
    )


def last_full_read(conn: Connection, dataset: str) -> datetime | None:
    """Return when all of the history was last read; None before it was."""
    return watermarks.get(conn, dataset, FULL_READ)


def advance(conn: Connection, dataset: str, report: PullReport | None) -> None:
    """Advance the watermarks to what `report` has read; those of a later pull stay."""
    if report is None:
        return
    if report.watermark is not None:
        watermarks.advance(conn, dataset, WATERMARK, report.watermark, now=report.until)
    if report.whole not in (None, NO_START):
        watermarks.advance(conn, dataset, FULL_READ, report.until, now=report.until)
        first = min(report.since, _read_from(conn, dataset) or report.since)
        document = {"since": first.isoformat()}
        watermarks.keep(conn, dataset, READ_FROM, document, now=report.until)
    if report.progress is not None:
        watermarks.keep(conn, dataset, INGESTED, report.progress, now=report.until)


def _read_from(conn: Connection, dataset: str) -> datetime | None:
    document = watermarks.state(conn, dataset, READ_FROM)
    return None if document is None else datetime.fromisoformat(document["since"])
