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

_COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Where both runs are to live."""

    keep: Path | None
    database: str | None
    config: Path

    @contextmanager
    def opened(self) -> Iterator[tuple[Engine, Path]]:
        """Give a store with our tables and nothing in them, and a folder for files.

        StoreError for one that is not empty. What was to be kept is not kept if anything is raised.
        """
        with tempfile.TemporaryDirectory(prefix="forecaster-simulate-") as name:
            file = Path(name) / "scratch.db"
            engine = open_engine(self.database or f"sqlite:///{self.keep or file}")
            try:
                export.require_empty(engine)
                migrations.upgrade(engine)
                yield engine, Path(name)
            except BaseException:
                engine.dispose()
                self._forget()
                raise
            finally:
                engine.dispose()

    @property
    def left(self) -> str:
        """What is there when a simulation is stopped."""
        return "the given database is left as it is" if self.database else "nothing was written"

    def check(self) -> None:
        """Raise ConfigError for a file that is there, and for the configured database."""
        if self.keep is not None and self.database is not None:
            raise ConfigError(["--keep and --database are mutually exclusive"])
        if self.keep is not None and self.keep.exists():
            raise ConfigError([f"--keep must name a new file, found {self.keep}"])
        if self.database is None or not self.config.exists():
            return
        if load(self.config).database_url == self.database:
            raise ConfigError(["--database must not be the configured database"])

    def _forget(self) -> None:
        if self.keep is not None:
            for ending in ("", *_COMPANIONS):
                Path(f"{self.keep}{ending}").unlink(missing_ok=True)
