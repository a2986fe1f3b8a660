"""`forecaster simulate` as it is typed."""

import hashlib
import json
from pathlib import Path

import pytest
import typer

from jobs.simulation.scratch import Scratch
from jobs.terminal.interruption import ended_by_ctrl_c
from tests.jobs.terminal.terminal import configure, trips, type_

SHORT = ("--ticks", "6", "--outage", "1h", "--down", "0s")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
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

    answer = type_("simulate", "trips.csv", "--horizon", "3h", *SHORT)

    assert answer.status == 0
    assert "trips: 6 ticks" in answer.data
    assert (
        "no tick failed after all retries, was done twice, or was silently skipped" in answer.data
    )
    assert [each.name for each in folder.iterdir()] == ["trips.csv"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--late", "200%"], "--late must be a share such as 5% or 0.05, found 200%"),
        (["--gaps", "some"], "--gaps must be a share such as 5% or 0.05, found some"),
        (["--late", "60%", "--gaps", "50%"], "must be at most 100%"),
        (["--outage", "6"], "--outage must be"),
        (["--dst", "Europe/Olso"], "--dst must be"),
        (["--step", "1h"], "--step is only for files, found bikes"),
        (["--ticks", "9", "--replay", "9h"], "--ticks and --replay are mutually exclusive"),
        (["--keep", "forecaster.toml"], "--keep must name a new file, found forecaster.toml"),
        (
            ["--keep", "a.db", "--database", "sqlite:///b.db"],
            "--keep and --database are mutually exclusive",
        ),
    ],
)
def test_a_wrong_option_is_reported(configured: Path, words: list[str], error: str) -> None:
    answer = type_("simulate", "bikes", *words)

    assert answer.status == 2
    assert error in answer.talk


def test_the_configured_database_is_no_scratch_store(configured: Path) -> None:
    answer = type_("simulate", "bikes", "--database", f"sqlite:///{configured / 'forecaster.db'}")

    assert answer.status == 2
    assert "--database must not be the configured database" in answer.talk


def test_a_database_that_is_not_empty_is_no_scratch_store(configured: Path) -> None:
    assert type_("db", "upgrade", "--config", str(configured / "forecaster.toml")).status == 0
    other = configured / "other.db"
    other.write_bytes((configured / "forecaster.db").read_bytes())

    answer = type_("simulate", "bikes", "--database", f"sqlite:///{other}")

    assert answer.status == 1
    assert "is not empty" in answer.talk


def test_a_database_that_is_not_there_is_not_made(folder: Path) -> None:
    configure(folder)

    answer = type_("simulate", "bikes")

    assert answer.status == 1
    assert "dataset bikes has no observations: database sqlite:///" in answer.talk
    assert not (folder / "forecaster.db").exists()


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ([], "--horizon is required for a file", "--horizon 48h"),
        (["--horizon", "90m"], "--horizon must be a whole number of steps of 1h", "a number of"),
        (["--horizon", "3", "--step", "1"], "--step must be", ""),
        (
            ["--horizon", "3", "--ticks", "100000"],
            "--ticks must leave some history to train on, found 100000 of 49",
            "pass fewer --ticks",
        ),
        (
            ["--horizon", "3", "--replay", "900h"],
            "replay must be shorter than the history of 2d1h, found 37d12h",
            "shorter --replay",
        ),
        (["--horizon", "3", "--value-column", "trips"], "trips", "--value-column"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported_by_options(
    folder: Path, words: list[str], error: str, hint: str
) -> None:
    Path("trips.csv").write_text(trips(50))

    answer = type_("simulate", "trips.csv", *words, "--keep", "kept.db")

    assert answer.status in (1, 2)
    assert error in answer.talk
    assert hint in answer.talk
    assert [each.name for each in folder.iterdir()] == ["trips.csv"]


def test_too_little_to_train_on_is_reported_and_no_file_kept(configured: Path) -> None:
    configure(configured, 'delay = "12d"\n')

    answer = type_("simulate", "bikes", "--keep", "kept.db")

    assert answer.status == 1
    assert "hint:  pass fewer --ticks or a shorter --replay" in answer.talk
    assert not Path("kept.db").exists()


def test_a_file_of_unknown_format_is_reported(folder: Path) -> None:
    Path("trips.txt").write_text(trips(50))

    answer = type_("simulate", "trips.txt")

    assert answer.status == 1
    assert "pass --format csv|parquet|ndjson" in answer.talk


def test_ctrl_c_leaves_one_line_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.db"
    scratch = Scratch(keep=kept, database=None, config=tmp_path / "none.toml")

    def interrupted() -> None:
        with ended_by_ctrl_c(scratch.left), scratch.opened():
            assert kept.exists()
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as caught:
        interrupted()

    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dataset_is_reported(configured: Path) -> None:
    answer = type_("simulate", "trains")

    assert answer.status == 2
    assert "unknown dataset trains, expected one of: bikes" in answer.talk
