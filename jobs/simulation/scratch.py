"""The temporary database of a simulation."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from forecaster.errors import ConfigError
from forecaster.store.connection.engine import open_engine
from forecaster.store.forecasts import export
from forecaster.store.maintenance import migrations
from jobs.terminal.options import load

_ENDINGS = ("", "-wal", "-shm", "-journal")
"""Of an SQLite database and of the files that SQLite puts beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Where the database of both runs is."""

    keep: Path | None
    database: str | None
    config: Path

    @contextmanager
    def opened(self) -> Iterator[tuple[Engine, Path]]:
        """Yield a database with our tables and nothing in them, and a folder for files.

        StoreError for one that is not empty. On any error the file of --keep is removed.
        """
        with tempfile.TemporaryDirectory(prefix="forecaster-simulate-") as name:
            file = self.keep or Path(name) / "scratch.db"
            engine = open_engine(self.database or f"sqlite:///{file}")
            try:
                export.require_empty(engine)
                migrations.upgrade(engine)
                yield engine, Path(name)
            except BaseException:
                engine.dispose()
                for ending in _ENDINGS if self.keep is not None else ():
                    Path(f"{self.keep}{ending}").unlink(missing_ok=True)
                raise
            finally:
                engine.dispose()

    @property
    def left(self) -> str:
        """What an interrupted simulation leaves behind, as a message."""
        return "the given database is left as it is" if self.database else "nothing was written"

    def check(self) -> None:
        """Raise ConfigError for a file that exists, and for the configured database."""
        if self.keep is not None and self.database is not None:
            raise ConfigError(["--keep and --database are mutually exclusive"])
        if self.keep is not None and self.keep.exists():
            raise ConfigError([f"--keep must name a new file, found {self.keep}"])
        if self.database is None or not self.config.exists():
            return
        if load(self.config).database_url == self.database:
            raise ConfigError(["--database must not be the configured database"])
