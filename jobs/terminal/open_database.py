"""Open the database that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from forecaster.errors import DataError
from jobs.terminal.options import DEFAULT_CONFIG, load
from jobs.terminal.output import say

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEFAULT_DATABASE = "sqlite:///forecaster.db"


class Schema(Enum):
    """What a command requires of the schema. An older or newer one is never changed implicitly."""

    ANY = "any"
    NEWEST = "newest"
    MADE = "made"
    """The newest; created in an empty database, so that a first run just works."""


def database_url(config: Path) -> str:
    """Return the configured database; the embedded default where there is no configuration yet."""
    if config == DEFAULT_CONFIG and not config.exists():
        return DEFAULT_DATABASE
    return load(config).database_url


@contextmanager
def opened(url: str, schema: Schema = Schema.NEWEST) -> Iterator["Engine"]:
    """An engine on `url`; SchemaOutOfDate unless its schema is as asked."""
    from forecaster.store.connection.engine import open_engine
    from forecaster.store.connection.urls import masked
    from forecaster.store.maintenance import migrations

    engine = open_engine(url)
    try:
        if schema is Schema.MADE and migrations.revision(engine) is None:
            migrations.upgrade(engine)
            say(f"created the tables in {masked(engine.url)}")
        if schema is not Schema.ANY:
            migrations.require_head(engine)
        yield engine
    finally:
        engine.dispose()


def require_landed(url: str, dataset: str) -> None:
    """Raise DataError if the database is a file that does not exist: opening would create it."""
    from forecaster.store.connection.urls import is_missing_file, masked, parse_url

    address = parse_url(url)
    if is_missing_file(address):
        raise DataError(
            f"dataset {dataset} has no observations: database {masked(address)} does not exist",
            hint="run `forecaster ingest` or `forecaster forecast` first",
        )
