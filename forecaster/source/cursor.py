"""How far a source has been read by a column that grows with every row that is written.

The greatest visible value is no safe bound: a transaction that took a smaller one may commit later.
A row below the position that is not visible yet belongs to one of the transactions that were open
after the position was looked up. Once all of them have ended, and a read has begun after that,
everything below the position has been read, and it becomes the safe bound from where the next pull
reads. Holds for numbers from a sequence without cache, for
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
"""Why all of the history is read while no row has a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What was read from the source, in this order."""

    column: str
    cluster: str
    """Which database cluster on which timeline; empty without the privilege to read it."""
    newest_transaction: int
    open_before: frozenset[str]
    position: Position | None
    """The greatest visible value, never ahead of the clock; None without rows."""
    open_after: frozenset[str]
    """Transactions open after that, less those that ended before anything was read."""

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(asdict(self), default=sorted)

    @classmethod
    def from_json(cls, text: str) -> "SourceState":
        """Undo `to_json`."""
        fields = json.loads(text)
        names = {name: frozenset(fields[name]) for name in ("open_before", "open_after")}
        return cls(**{**fields, **names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
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
    def of(cls, document: Mapping[str, Any]) -> "Cursor":
        """Undo `document`."""
        return cls(**{**document, "running": frozenset(document["running"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """From where to read, and what to keep once these rows are stored."""

    after: Position | None
    """The least value to read; None: all of the history, whatever its values."""
    full_read_reason: str | None
    """Why all of the history is read."""
    cursor: Cursor | None
    """None leaves what was kept before."""


def plan_read(cursor: Cursor | None, state: SourceState) -> ReadPlan:
    """Return the least that has to be read to miss no row, after `state` and what was kept."""
    if state.position is None:
        return ReadPlan(after=None, full_read_reason=NO_START, cursor=None)
    reason = _reason_for_full_read(cursor, state, state.position)
    if cursor is None or reason is not None:
        return ReadPlan(
            after=None, full_read_reason=reason, cursor=_next(state, state.position, None)
        )
    is_settled = not may_be_open(cursor.running, state.open_before)
    if cursor.safe is None and is_settled:
        reason = "transactions were open when it was first read"
        return ReadPlan(
            after=None,
            full_read_reason=reason,
            cursor=_next(state, state.position, cursor.position),
        )
    after = cursor.position if cursor.safe is None else cursor.safe
    safe = cursor.position if is_settled else cursor.safe
    return ReadPlan(after=after, full_read_reason=None, cursor=_next(state, state.position, safe))


def may_be_open(names: Set[str], now: Set[str]) -> bool:
    """Return whether one of the transactions `names` may be open, given those that are."""
    renamed = {name for name in now - names if name.startswith(PREPARED)}
    return bool(names) and bool(names & now or renamed)


def _next(state: SourceState, position: Position, safe: Position | None) -> Cursor:
    return Cursor(
        column=state.column,
        cluster=state.cluster,
        newest_transaction=state.newest_transaction,
        position=position,
        safe=safe if state.open_after else position,
        running=state.open_after,
    )


def _reason_for_full_read(
    cursor: Cursor | None, state: SourceState, position: Position
) -> str | None:
    if cursor is None:
        return "first pull"
    if cursor.column != state.column:
        return "another ingest column"
    if cursor.cluster != state.cluster:
        return "another cluster or timeline"
    if state.newest_transaction < cursor.newest_transaction:
        return "transactions went back"
    if _is_behind(position, cursor.position):
        return "positions went back"
    return None


def _is_behind(position: Position, before: Position) -> bool:
    if isinstance(position, str) or isinstance(before, str):
        return type(position) is not type(before) or str(position) < str(before)
    return position < before
