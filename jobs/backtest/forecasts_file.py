"""Every forecast of a backtest in a file: CSV, NDJSON or Parquet, written some at a time."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from forecaster.errors import ConfigError, DataError

SUFFIXES = (".parquet", ".csv", ".ndjson")

Keep = Callable[[pl.DataFrame], None]


def require_new(option: str, path: Path, suffixes: tuple[str, ...], hint: str) -> None:
    """Raise ConfigError unless `path` has one of `suffixes` and can be a file, and is none yet."""
    if path.suffix.lower() not in suffixes:
        suffix = path.suffix or "no suffix"
        problem = f"{option} must end in {', '.join(suffixes)}, found {suffix}"
        raise ConfigError([problem], hint=hint)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError([f"the folder of {option} must exist, found {path}"])
    if path.exists():
        raise ConfigError(
            [f"{option} must be a new file, found the existing {path}"],
            hint="choose another name, or delete the file",
        )


@contextmanager
def written(path: Path) -> Iterator[Keep]:
    """Write frames to `path`, a new file that appears once all of them are written.

    DataError if it cannot be written. Memory is that of one frame.
    """
    with _errors_converted(path):
        folder = tempfile.TemporaryDirectory(prefix=".forecasts-", dir=path.absolute().parent)
    with folder as kept:
        parts = _Parts(path, Path(kept))
        yield parts.add
        parts.finish()


@contextmanager
def _errors_converted(path: Path) -> Iterator[None]:
    """Turn errors of the file system into DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


class _Parts:
    """What was written so far: lines are appended, Parquet files are merged at the end."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder, self._count = path, folder, 0
        self._suffix = path.suffix.lower()

    def add(self, frame: pl.DataFrame) -> None:
        """Write some more rows."""
        self._count += 1
        with _errors_converted(self._path):
            if self._suffix == ".parquet":
                frame.write_parquet(self._folder / f"part-{self._count:09}.parquet")
                return
            with self._complete.open("ab") as lines:
                if self._suffix == ".csv":
                    frame.write_csv(lines, include_header=self._count == 1)
                else:
                    frame.write_ndjson(lines)

    def finish(self) -> None:
        """Merge what was written into the file."""
        with _errors_converted(self._path):
            if self._suffix == ".parquet":
                pl.scan_parquet(self._folder / "part-*.parquet").sink_parquet(self._complete)
            with self._complete.open("rb") as complete, self._path.open("xb") as new:
                shutil.copyfileobj(complete, new)

    @property
    def _complete(self) -> Path:
        return self._folder / f"whole{self._suffix}"
