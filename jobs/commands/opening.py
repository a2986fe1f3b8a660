"""Open the database that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.commands.options import DEFAULT_CONFIG, load

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEFAULT_DATABASE = "sqlite:///forecaster.db"


def database_url(config: Path) -> str:
    """Return the configured database; the embedded default where there is no configuration yet."""
    if config == DEFAULT_CONFIG and not config.exists():
        return DEFAULT_DATABASE
    return load(config).database_url


@contextmanager
def opened(url: str, *, at_head: bool = True) -> Iterator["Engine"]:
    """An engine on `url`; SchemaOutOfDate unless its schema is the newest or need not be."""
    from forecaster.store import schema
    from forecaster.store.engine import open_engine

    engine = open_engine(url)
    try:
        if at_head:
            schema.require_head(engine)
        yield engine
    finally:
        engine.dispose()
