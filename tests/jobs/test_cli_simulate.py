"""`forecaster simulate` as it is typed."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.jobs.terminal import trips, type_

SHORT = ("--ticks", "6", "--outage", "1h", "--down", "0s")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_dataset_is_simulated_and_its_database_only_read(configured: Path) -> None:
    before = digest(configured / "forecaster.db")

    answer = type_("simulate", "bikes", *SHORT, "--keep", "kept.db", "--json")

    found = json.loads(answer.data)
    assert answer.status == 0
    assert found["is_sound"] is True
    assert found["ticks"]["disturbed"]["succeeded"] == 6
    assert [line["forecasts"] for line in found["accuracy"]] == [
        "clean",
        "disturbed",
        "seasonal naive",
    ]
    assert digest(configured / "forecaster.db") == before
    assert Path("kept.db").exists()


@pytest.mark.slow
def test_a_file_is_simulated_and_nothing_left_behind(folder: Path) -> None:
    Path("trips.csv").write_text(trips(200))

    answer = type_("simulate", "trips.csv", "--step", "1h", "--horizon", "3h", *SHORT)

    assert answer.status == 0
    assert "trips: 6 ticks" in answer.data
    assert "no tick failed in the end or was done twice, and none was skipped" in answer.data
    assert [each.name for each in folder.iterdir()] == ["trips.csv"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--late", "200%"], "--late must be a share such as 5% or 0.05, found 200%"),
        (["--gaps", "some"], "--gaps must be a share such as 5% or 0.05, found some"),
        (["--late", "60%", "--gaps", "50%"], "must be 100% at most together"),
        (["--outage", "6"], "--outage must be"),
        (["--dst", "Europe/Olso"], "--dst must be"),
        (["--step", "1h"], "--step must come with a file, found bikes"),
        (["--ticks", "9", "--replay", "9h"], "--ticks must not come with --replay"),
        (["--keep", "forecaster.toml"], "--keep must name a new file, found forecaster.toml"),
        (["--keep", "a.db", "--database", "sqlite:///b.db"], "--keep must not come with"),
    ],
)
def test_a_wrong_option_is_told(configured: Path, words: list[str], error: str) -> None:
    answer = type_("simulate", "bikes", *words)

    assert answer.status == 2
    assert error in answer.talk


def test_the_configured_database_is_no_scratch_store(configured: Path) -> None:
    answer = type_("simulate", "bikes", "--database", f"sqlite:///{configured / 'forecaster.db'}")

    assert answer.status == 2
    assert "--database must not be the configured one" in answer.talk


def test_a_database_that_is_not_empty_is_no_scratch_store(configured: Path) -> None:
    assert type_("db", "upgrade", "--config", str(configured / "forecaster.toml")).status == 0
    other = configured / "other.db"
    other.write_bytes((configured / "forecaster.db").read_bytes())

    answer = type_("simulate", "bikes", "--database", f"sqlite:///{other}")

    assert answer.status == 1
    assert "must be an empty database" in answer.talk


def test_a_file_needs_a_step_and_a_horizon(folder: Path) -> None:
    Path("trips.csv").write_text(trips(50))

    answer = type_("simulate", "trips.csv")

    assert answer.status == 2
    assert "--step must be given" in answer.talk


def test_an_unknown_dataset_is_told(configured: Path) -> None:
    answer = type_("simulate", "trains")

    assert answer.status == 2
    assert "dataset must be one of bikes, found trains" in answer.talk
