"""Real series for tests of published figures."""

from pathlib import Path

import pytest

from benchmarks import data


@pytest.fixture
def real_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real series, where the benchmarks look for them."""
    monkeypatch.setattr(data, "DATA", shared_data)
    return shared_data
