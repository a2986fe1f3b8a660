"""`check --data` on more rows than are read for it."""

from datetime import timedelta
from pathlib import Path

import pytest

from jobs.commands import check_sources
from tests.jobs.terminal.terminal import (
    NEWEST,
    configure,
    trips,
    type_,
)


@pytest.mark.parametrize("most", [300, 1000])
def test_a_sample_that_leaves_history_out_does_not_ask_for_more_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    configure(folder)
    type_("ingest", "-", "--format", "csv", stdin=trips(600, NEWEST - timedelta(hours=1)))
    monkeypatch.setattr(check_sources, "SAMPLE_ROWS", most)

    answer = type_("check", "--data")

    assert answer.status == 0, answer.talk
    assert "detecting a season" not in answer.talk
    assert "history =" not in answer.data
