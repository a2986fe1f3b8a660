"""A directory with a configuration and data, as a person at a terminal has it."""

from pathlib import Path

import pytest

from tests.jobs.terminal import configure, trips, type_


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of their own, where they are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(folder: Path) -> Path:
    """The same with a configuration and ten days of data."""
    configure(folder)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    return folder
