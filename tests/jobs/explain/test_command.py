"""`forecaster explain` as it is typed."""

import json
from pathlib import Path

import pytest

from tests.jobs.terminal.terminal import configure, trips, type_
from tests.tolerance import RELATIVE, within


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the newest tick was forecast."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configure(folder)
        assert type_("ingest", "-", "--format", "csv", stdin=trips()).status == 0
        assert type_("retrain").status == 0
        assert type_("forecast").status == 0
    return folder


@pytest.fixture
def forecast(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where they are."""
    monkeypatch.chdir(made)
    return made


def test_a_forecast_is_explained(forecast: Path) -> None:
    answer = type_("explain", "bikes", "north")

    assert answer.status == 0
    lines = answer.data.splitlines()
    assert lines[0].startswith("bikes / north  forecast at ")
    assert "trust in the weights: model 1" in answer.data


def test_an_explanation_can_be_read_by_a_program(forecast: Path) -> None:
    found = json.loads(type_("explain", "bikes", "north", "--json").data)

    assert (found["dataset"], found["series_id"], found["status"]) == ("bikes", "north", "ok")
    assert found["hindsight"] is False
    assert [step["step"] for step in found["forecast"]] == [1, 2, 3, 4, 5, 6]
    stretch = found["step_ranges"][0]
    assert sum(source["weight"] for source in stretch["sources"]) == pytest.approx(1, rel=RELATIVE)
    assert found["trust"]["reconstruction_error"] < within(1)
    assert isinstance(found["trust"]["attention_informative"], bool)


def test_without_a_series_the_model_is_explained(forecast: Path) -> None:
    answer = type_("explain", "bikes")
    found = json.loads(type_("explain", "bikes", "--json").data)

    assert answer.data.startswith("bikes  model 1, trained on ")
    assert "most attended" in answer.data
    assert (found["dataset"], found["model_id"]) == ("bikes", 1)


def test_a_database_alone_will_do(made: Path, folder: Path) -> None:
    answer = type_("explain", "bikes", "south", "--database", str(made / "forecaster.db"))

    assert answer.status == 0
    assert "bikes / south" in answer.data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bikes", "nroth"), "unknown series 'nroth' in dataset bikes; did you mean 'north'?"),
        (("bike", "north"), "expected one of: bikes; did you mean 'bikes'?"),
        (("bikes", "north", "--at", "2001-01-01T00Z"), "has no forecast with a cutoff up to"),
    ],
)
def test_what_is_not_there_is_an_error_with_a_hint(
    forecast: Path, words: tuple[str, ...], said: str
) -> None:
    answer = type_("explain", *words)

    assert answer.status == 1
    assert said in answer.talk
    assert "hint:  " in answer.talk


def test_before_any_forecast_there_is_a_hint(configured: Path) -> None:
    answer = type_("explain", "bikes", "north")

    assert answer.status == 1
    assert answer.talk.endswith(
        "hint:  run `forecaster forecast`; its report lists skipped series and why\n"
    )


def test_a_cutoff_needs_an_offset(folder: Path) -> None:
    configure(folder)

    assert type_("explain", "bikes", "north", "--at", "2026-01-01").status == 2


@pytest.mark.slow
def test_retrain_says_how_far_its_attention_can_be_trusted(configured: Path) -> None:
    answer = type_("retrain")

    assert "attention: removing the most attended patch changes the forecast" in answer.data
    assert "trust_" not in answer.data


@pytest.mark.slow
def test_an_audit_is_kept_with_the_model(forecast: Path) -> None:
    answer = type_("explain", "bikes", "--audit")

    assert "another seed: step 4/4" in answer.talk
    assert "two seeds " in answer.data
    assert type_("explain", "bikes").data == answer.data


def test_an_unknown_dataset_of_an_empty_database_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert type_("init").status == 0

    answer = type_("explain", "co2")

    assert answer.status == 1
    assert answer.talk == (
        "error: unknown dataset 'co2', the database has none\n"
        "hint:  `forecaster status` lists the datasets in the database\n"
    )
