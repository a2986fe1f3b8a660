"""Failures, and what to do about them.

Every error states what was expected and what was found; its hint is a command or a setting.

ForecasterError                 stops a run; the command line exits 1
├── ConfigError                 a setting is wrong; one line per problem
├── DataError                   rows or files that cannot be used
│   ├── SchemaMismatch          a frame is not what was declared
│   └── InsufficientHistory     nothing is left to train on
├── ModelError
│   ├── NoChampion              no model is in service yet
│   ├── IncompatibleCheckpoint  written by another version, or needs plug-ins that are missing
│   │   └── DamagedCheckpoint   corrupt: not the bytes that were written
│   ├── TrainingDiverged        the loss stopped being finite
│   └── UnusablePlugin          a user's score or prior cannot be loaded, or fails its checks
├── StoreError
│   ├── DatabaseUnavailable     safe to retry
│   │   └── SourceUnavailable   a source database; our own may be available
│   ├── AlreadyWritten          another process wrote this row first
│   ├── SchemaOutOfDate         migrations have to run first
│   └── UnsupportedDatabase     too old, or not a supported database
└── RunError
    ├── TickAlreadyDone         this tick was written before; nothing to do
    ├── TickTakenOver           a later attempt owns this tick; nothing was written
    └── StageTimedOut           a stage ran past its deadline

`SkipReason` is not an error: it drops one series from one run, and is counted.
"""

from enum import StrEnum
from typing import Any


class ForecasterError(Exception):
    """Base of all failures a user can act on."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(ForecasterError):
    """A setting is wrong; `problems` lists all of them."""

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class DataError(ForecasterError):
    """Rows or files that cannot be used."""


class SchemaMismatch(DataError):
    """A frame is not what was declared."""


class InsufficientHistory(DataError):
    """Nothing is left to train on; its hints say what to do."""

    NO_DATA = "run `forecaster ingest`, or check the query with `forecaster check`"
    TOO_LITTLE = "wait for more data, lengthen history, or shorten the horizon"


class ModelError(ForecasterError):
    """A model cannot be trained or used."""


class NoChampion(ModelError):
    """No model is in service yet."""


class IncompatibleCheckpoint(ModelError):
    """Corrupt, written by another version, or in need of plug-ins that are missing."""


class DamagedCheckpoint(IncompatibleCheckpoint):
    """Not the bytes that were written: no version and no setting can load them."""


class TrainingDiverged(ModelError):
    """The loss stopped being finite."""


class UnusablePlugin(ModelError):
    """A user's score or prior cannot be loaded, or fails its checks."""


class StoreError(ForecasterError):
    """An operation of the database failed."""


class DatabaseUnavailable(StoreError):
    """The database is unavailable; safe to retry."""


class SourceUnavailable(DatabaseUnavailable):
    """A source database is unavailable or too slow; our own may be available."""


class AlreadyWritten(StoreError):
    """Another process wrote a row of this key first; safe to retry after reading it."""


class SchemaOutOfDate(StoreError):
    """Migrations have to run first."""


class UnsupportedDatabase(StoreError):
    """Too old, or not a supported database."""


class RunError(ForecasterError):
    """A run cannot continue."""


class TickAlreadyDone(RunError):
    """This tick was written before; nothing was written now."""


class TickTakenOver(RunError):
    """A later attempt owns this tick; nothing was written."""


class StageTimedOut(RunError):
    """A stage ran past its deadline."""


def to_json(error: ForecasterError) -> dict[str, Any]:
    """Return a failure as a JSON object, to be raised in another process."""
    message = error.problems if isinstance(error, ConfigError) else error.message
    return {"kind": type(error).__name__, "message": message, "hint": error.hint}


def from_json(
    raised: dict[str, Any], *, otherwise: type[ForecasterError] = RunError
) -> ForecasterError:
    """Undo `to_json`; a failure of an unknown kind is one of the kind `otherwise`."""
    kind: Any = globals().get(raised["kind"])
    if not (isinstance(kind, type) and issubclass(kind, ForecasterError)):
        kind = otherwise
    error: ForecasterError = kind(raised["message"], hint=raised["hint"])
    return error


class SkipReason(StrEnum):
    """Why one series is left out of one run."""

    NO_DATA = "no_data"
    TOO_SHORT = "too_short"
    STALE = "stale"
    NON_FINITE = "non_finite"
