"""Attention of the user's own, through the commands, by configuration alone."""

import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.jobs.terminal.terminal import trips, type_
from tests.tolerance import within

ROOT = Path(__file__).resolve().parents[3]
BIKES = """\
database_url = "sqlite:///forecaster.db"
[datasets.bikes]
step = "1h"
horizon = "6h"
training = {steps = 4, batch_size = 8, device = "cpu", naive_guard = false}
"""
OWN = """\
[datasets.bikes.model]
score = "SCORE"
normaliser = "entmax15"
temperature = 0.8
attention_window = 5
self_attention = true
priors = ["own_attention.priors:Decay"]
hidden_size = 8
layers = 1
heads = 2
context_length = 48
"""


@pytest.fixture
def own(folder: Path, own_attention: str) -> Path:
    """A dataset whose attention is that of an installed package."""
    configure(folder, f"{own_attention}.scores:Cosine")
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
    return folder


def configure(folder: Path, score: str) -> None:
    (folder / "forecaster.toml").write_text(BIKES + OWN.replace("SCORE", score))


@pytest.mark.slow
def test_attention_of_ones_own_trains_and_forecasts(own: Path) -> None:
    trained, forecast = type_("retrain"), type_("forecast")

    assert trained.data.startswith("bikes: model 1 promoted"), trained.talk
    assert forecast.data.startswith("bikes: forecast 2 series, 12 rows"), forecast.talk
    with sqlite3.connect(own / "forecaster.db") as connection:
        shares = connection.execute(
            "SELECT sum(weight), sum(source = 'past' AND weight > 0) FROM forecast_attention "
            "GROUP BY series_id, cutoff, step_from"
        ).fetchall()
    connection.close()
    assert shares
    assert all(abs(total - 1) < within(1) and attended <= 5 for total, attended in shares)


@pytest.mark.usefixtures("own")
def test_a_plugin_that_cannot_be_used_is_told_by_check(own: Path) -> None:
    assert type_("check").status == 0
    configure(own, "own_attention.scores:nan")

    checked, trained = type_("check"), type_("retrain")

    for answer in (checked, trained):
        assert answer.status == 1
        assert "plug-in 'own_attention.scores:nan' must have finite scores" in answer.talk
        assert "hint:  fix it" in answer.talk


@pytest.mark.slow
def test_a_model_with_a_plugin_that_config_no_longer_names_is_not_used(own: Path) -> None:
    assert type_("retrain").status == 0
    configure(own, "scaled_dot")

    answer = type_("forecast")

    assert answer.status == 1
    assert "score must be one of" in answer.talk
    assert "forecaster retrain" in answer.talk.split("hint:")[1]


@pytest.mark.slow
def test_the_example_of_the_documents_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "how-to" / "attention-plugins.md").read_text(encoding="utf-8")
    python, settings, _ = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.DOTALL)
    (folder / "my_attention.py").write_text(python)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "forecaster.toml").write_text(BIKES + settings)
    assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0

    checked, trained, forecast = type_("check"), type_("retrain"), type_("forecast")
    sys.modules.pop("my_attention", None)

    assert checked.status == 0
    assert trained.data.startswith("bikes: model 1 promoted"), trained.talk
    assert forecast.data.startswith("bikes: forecast 2 series, 12 rows"), forecast.talk
