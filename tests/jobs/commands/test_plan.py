"""`forecaster plan`: what would be trained, reused and dropped, and that nothing is."""

import json
from pathlib import Path

import pytest

from forecaster.config import file
from forecaster.config.diff import documents
from forecaster.store.connection.engine import open_engine, writing
from forecaster.store.state import datasets
from tests.jobs.terminal.terminal import configure, type_


def note_as_serve_does(folder: Path) -> None:
    """Keep the settings in force, as the service does when it starts."""
    config = file.parse((folder / "forecaster.toml").read_text(), {}, read_file=str)
    engine = open_engine(config.database_url)
    with writing(engine) as conn:
        for name, document in documents(config).items():
            datasets.store_settings(conn, name, document)
    engine.dispose()


def test_a_plan_without_a_database_makes_none(folder: Path) -> None:
    configure(folder)

    answer = type_("plan")

    assert answer.status == 0
    assert answer.data.startswith("bikes\n  new: first training at once, for tick ")
    assert not (folder / "forecaster.db").exists()


@pytest.mark.slow
def test_a_model_is_reused_until_its_settings_change(configured: Path) -> None:
    type_("retrain")
    note_as_serve_does(configured)
    same = type_("plan")
    configure(configured, 'delay = "5m"\nlower_bound = 0\n')
    config = configured / "forecaster.toml"
    config.write_text(config.read_text().replace("6h", "12h").replace("steps = 4", "steps = 5"))

    changed = type_("plan")
    [document] = json.loads(type_("plan", "--json").data)["datasets"]

    assert same.data.splitlines()[1] == "  reuse model 1"
    assert len(same.data.splitlines()) == 3
    lines = changed.data.splitlines()
    assert lines[1] == "  retrain: prediction_length 6 -> 12"
    assert lines[3] == "    model 1 serves until then"
    assert "  takes effect at the next retrain: training.steps 4 -> 5" in lines
    at_once = "delay 0s -> 5m, lower_bound default -> 0.0"
    assert f"  takes effect at once: {at_once}" in lines
    assert (document["action"], document["model"]) == ("retrain", 1)
    assert document["reasons"] == [{"setting": "prediction_length", "before": 6, "after": 12}]


def test_a_dataset_that_is_configured_no_more_keeps_its_rows(configured: Path) -> None:
    config = configured / "forecaster.toml"
    config.write_text(config.read_text().replace("datasets.bikes", "datasets.trams"))

    answer = type_("plan")

    assert "bikes\n  dropped from service: rows kept, 0 forecasts" in answer.data
    assert "trams\n  new: " in answer.data
