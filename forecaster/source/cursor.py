"""How far a source has been read by a column that grows with every row that is written.

The greatest value that can be seen says little: whoever took a smaller one may commit later. What
was open at that moment tells: a row below the position that cannot be seen belongs to one of the
transactions that were open after the position was looked up. Once all of them have ended, and a
read has begun after that, everything below the position is known, and it becomes the safe bound
from where the next pull reads. Holds for numbers from a sequence without cache, for
`timestamptz DEFAULT now()`, which is when a transaction began, and for transaction ids.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

Position = int | float | str
PREPARED = "prepared/"
"""Begins the names of transactions that were prepared, and had another name until then."""

NO_START = "no row to start from"
"""Why all of the history is read for as long as no row has a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the source showed, in this order."""

    column: str
    cluster: str
    """Which database cluster on which timeline; empty where nobody may know."""
    newest_transaction: int
    open_before: frozenset[str]
    position: Position | None
    """The greatest value that could be seen, and that no clock is behind; None without rows."""
    open_after: frozenset[str]
    """Transactions open after that, less those that ended before anything was read."""

    def to_json(self) -> str:
        """Return the sight as JSON."""
        return json.dumps(asdict(self), default=sorted)

    @classmethod
    def from_json(cls, text: str) -> "Sight":
        """Undo `to_json`."""
        found = json.loads(text)
        names = {name: frozenset(found[name]) for name in ("open_before", "open_after")}
        return cls(**{**found, **names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is kept from one pull to the next."""

    column: str
    cluster: str
    newest_transaction: int
    position: Position
    safe: Position | None
    """All rows below were read; None before there is such a bound."""
    running: frozenset[str]
    """A row below `position` that was not read belongs to one of these, or is not below `safe`."""

    def document(self) -> dict[str, Any]:
        """Return the same as JSON can hold it."""
        return asdict(self) | {"running": sorted(self.running)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Progress":
        """Undo `document`."""
        return cls(**{**document, "running": frozenset(document["running"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """From where to read, and what to keep once these rows are landed."""

    after: Position | None
    """The least value to read; None: all of the history, whatever its values."""
    whole: str | None
    """Why all of the history is read."""
    progress: Progress | None
    """None leaves what was kept before."""


def follow(progress: Progress | None, sight: Sight) -> Reach:
    """Return the least that has to be read to miss no row, after `sight` and what was kept."""
    if sight.position is None:
        return Reach(after=None, whole=NO_START, progress=None)
    reason = _why_whole(progress, sight, sight.position)
    if progress is None or reason is not None:
        return Reach(after=None, whole=reason, progress=_next(sight, sight.position, None))
    is_settled = not may_be_open(progress.running, sight.open_before)
    if progress.safe is None and is_settled:
        reason = "transactions were open when it was first read"
        return Reach(
            after=None, whole=reason, progress=_next(sight, sight.position, progress.position)
        )
    after = progress.position if progress.safe is None else progress.safe
    safe = progress.position if is_settled else progress.safe
    return Reach(after=after, whole=None, progress=_next(sight, sight.position, safe))


def may_be_open(names: Set[str], now: Set[str]) -> bool:
    """Tell whether one of the transactions `names` may still be open, given those that are."""
    renamed = {name for name in now - names if name.startswith(PREPARED)}
    return bool(names) and bool(names & now or renamed)


def _next(sight: Sight, position: Position, safe: Position | None) -> Progress:
    return Progress(
        column=sight.column,
        cluster=sight.cluster,
        newest_transaction=sight.newest_transaction,
        position=position,
        safe=safe if sight.open_after else position,
        running=sight.open_after,
    )


def _why_whole(progress: Progress | None, sight: Sight, position: Position) -> str | None:
    if progress is None:
        return "first pull"
    if progress.column != sight.column:
        return "another ingest column"
    if progress.cluster != sight.cluster:
        return "another cluster or timeline"
    if sight.newest_transaction < progress.newest_transaction:
        return "transactions went back"
    if _is_behind(position, progress.position):
        return "positions went back"
    return None


def _is_behind(position: Position, before: Position) -> bool:
    if isinstance(position, str) or isinstance(before, str):
        return type(position) is not type(before) or str(position) < str(before)
    return position < before
