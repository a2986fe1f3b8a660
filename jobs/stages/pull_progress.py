"""How far the source of a dataset has been read, kept from one pull to the next."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from forecaster.source.cursor import NO_START, Cursor
from forecaster.store.state import watermarks
from jobs.execution.reports import PullReport

WATERMARK = "pull"
INGESTED = "ingested"
WHOLE = "whole"
READ_FROM = "read from"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """What earlier pulls have read; None where there was none, or none that could tell."""

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


def last_whole(conn: Connection, dataset: str) -> datetime | None:
    """Return when all of the history was last read; None before it was."""
    return watermarks.get(conn, dataset, WHOLE)


def advance(conn: Connection, dataset: str, report: PullReport | None) -> None:
    """Move the watermarks to what `report` has seen; what a later pull has moved stays."""
    if report is None:
        return
    if report.watermark is not None:
        watermarks.advance(conn, dataset, WATERMARK, report.watermark, now=report.until)
    if report.whole not in (None, NO_START):
        watermarks.advance(conn, dataset, WHOLE, report.until, now=report.until)
        first = min(report.since, _read_from(conn, dataset) or report.since)
        document = {"since": first.isoformat()}
        watermarks.keep(conn, dataset, READ_FROM, document, now=report.until)
    if report.progress is not None:
        watermarks.keep(conn, dataset, INGESTED, report.progress, now=report.until)


def _read_from(conn: Connection, dataset: str) -> datetime | None:
    found = watermarks.state(conn, dataset, READ_FROM)
    return None if found is None else datetime.fromisoformat(found["since"])
