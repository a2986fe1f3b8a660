"""The scripts in `examples`, as a user runs them."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.jobs.small import LAST, World, hour, land, query, rows

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Run":
    return Run(monkeypatch, capsys)


class Run:
    """Runs a script in this process, from the folder that it is in; returns what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.syspath_prepend(EXAMPLES)

    def __call__(self, script: str, argument: str) -> str:
        self._monkeypatch.setattr(sys, "argv", [script, argument])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return self._capsys.readouterr().out


def test_a_model_is_trained_on_a_frame_and_scored(run: Run) -> None:
    printed = run("fit_and_predict.py", "2")

    assert "season_length=24, long_season=168" in printed
    assert "shape: (48, 5)" in printed
    assert re.search(r"coverage_80(.|\n)*│ api (.|\n)*│ web ", printed)


def test_a_score_of_ones_own_is_trained_saved_and_loaded(run: Run) -> None:
    assert "shape: (12, 4)" in run("custom_score.py", "2")


def test_attention_is_read_by_sql(run: Run, engine: Engine) -> None:
    land(engine, rows("a", 0, LAST), rows("b/c", 0, LAST))
    world = World(engine=engine)
    world.tick("retrain", hour(LAST))
    world.tick("forecast", hour(LAST))
    script = runpy.run_path(str(EXAMPLES / "attention_from_sql.py"))

    strongest = query(engine, script["STRONGEST"])

    assert {row[0] for row in strongest} == {"a", "b/c"}
    if engine.dialect.name == "sqlite":
        printed = run("attention_from_sql.py", str(engine.url.database))
        assert len(printed.splitlines()) == len(strongest)
        assert printed.startswith("a  steps 1-")


def test_every_script_is_run() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")

    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in tested] == []
