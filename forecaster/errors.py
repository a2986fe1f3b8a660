"""Failures, and what to do about them.

Every error states what must hold and what was found; its hint is a command or a setting.

ForecasterError                 stops a run; the command line exits 1
├── ConfigError                 a setting is wrong; one line per problem
├── DataError                   rows or files that cannot be used
│   ├── SchemaMismatch          a frame is not what was declared
│   └── InsufficientHistory     nothing is left to train on
├── ModelError
│   ├── NoChampion              no model is in service yet
│   ├── IncompatibleCheckpoint  written by another version, or names parts we do not have
│   │   └── DamagedCheckpoint   not the bytes that were written; nothing can serve them
│   ├── TrainingDiverged        the loss stopped being finite
│   └── UnusablePlugin          a score or prior of the user's own does not do what it must
├── StoreError
│   ├── DatabaseUnavailable     safe to retry
│   │   └── SourceUnavailable   one that is read from; ours may well answer
│   ├── AlreadyWritten          somebody else wrote this row first
│   ├── SchemaOutOfDate         migrations have to run first
│   └── UnsupportedDatabase     too old, or not one of ours
└── RunError
    ├── TickAlreadyDone         this tick was written before; nothing to do
    ├── TickTakenOver           a later attempt owns this tick; nothing was written
    └── StageTimedOut           a stage ran past its deadline

`SkipReason` is not an error: it drops one series from one run, and is counted.
"""

from enum import StrEnum


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
    """Nothing is left to train on; its hints say what is waited for."""

    NO_DATA = "run `forecaster ingest`, or look at the query with `forecaster check`"
    TOO_LITTLE = "wait for more data, lengthen history, or shorten the horizon"


class ModelError(ForecasterError):
    """A model cannot be made or used."""


class NoChampion(ModelError):
    """No model is in service yet."""


class IncompatibleCheckpoint(ModelError):
    """Damaged, written by another version, or in need of parts that we do not have."""


class DamagedCheckpoint(IncompatibleCheckpoint):
    """Not the bytes that were written: no version and no setting makes a model of them."""


class TrainingDiverged(ModelError):
    """The loss stopped being finite."""


class UnusablePlugin(ModelError):
    """A score or prior of the user's own cannot be loaded, or does not do what it must."""


class StoreError(ForecasterError):
    """The database cannot do what was asked."""


class DatabaseUnavailable(StoreError):
    """The database does not answer; safe to retry."""


class SourceUnavailable(DatabaseUnavailable):
    """A source does not give its rows, whatever database it is; ours may well answer."""


class AlreadyWritten(StoreError):
    """Somebody else wrote a row of this key first; safe to retry for whoever then looks for it."""


class SchemaOutOfDate(StoreError):
    """Migrations have to run first."""


class UnsupportedDatabase(StoreError):
    """Too old, or not one of ours."""


class RunError(ForecasterError):
    """A run cannot go on."""


class TickAlreadyDone(RunError):
    """This tick was written before; nothing was written now."""


class TickTakenOver(RunError):
    """A later attempt owns this tick; nothing was written."""


class StageTimedOut(RunError):
    """A stage ran past its deadline."""


class SkipReason(StrEnum):
    """Why one series is left out of one run."""

    NO_DATA = "no_data"
    TOO_SHORT = "too_short"
    STALE = "stale"
    NON_FINITE = "non_finite"
