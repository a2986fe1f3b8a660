"""What a stream cannot encode is written in ASCII; who reads no further ends nothing in a trace.

Each costs the start of a process or two.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

ASCII = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict", "TERM": "dumb"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
DRAWN = """
import logging
from types import SimpleNamespace
from rich.console import Console
from jobs.terminal import output, progress, streams
from jobs.commands.serve import log_to_stderr
from jobs.demo.screens import Attended, Picture, picture
from jobs.terminal.sparklines import blocks

streams.degrade()
output.data(blocks([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 1.0, 8.0) + " │ … − –")
output.table([{"name": "Zürich 東京", "share": None}], columns=["name", "share"])
bars = [Attended(label="2026-01-01 … 2026-01-07", weight=0.5)]
shown = Picture(series_id="süd", recent=[1.0, 2.0], low=[0.0], median=[1.0], high=[2.0],
                attended=bars, attended_for="1-13")
Console(width=80).print(picture(shown))
with progress.training("training Zürich") as show:
    show(SimpleNamespace(step=1, steps=1, loss=0.5))
log_to_stderr()
logging.getLogger("forecaster").info("dataset läden is ours \\udcff")
output.say("\\udcff")
"""
DOCUMENT = """
from jobs.terminal import output, streams
streams.degrade()
output.as_json({"süd": "東京 …", "lost": "\\udcff"})
"""
TYPED = """
import sys
from jobs.terminal.streams import typed
print(ascii([typed(word) for word in sys.argv[1:]]))
"""
SETTINGS = """\
database_url = "sqlite:///forecaster.db"
[datasets.bikes]
step = "1h"
horizon = "6h"
query = "SELECT straße AS series_id, at AS timestamp, größe AS value FROM läden"
"""


def run(
    *words: str, folder: Path, environment: Mapping[str, str], script: str = ""
) -> subprocess.CompletedProcess[bytes]:
    if script:
        (folder / "script.py").write_text(script, encoding="utf-8")
        words = ("script.py", *words)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("environment", ASCII)
def test_tables_charts_progress_and_the_log_become_ascii(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = run(folder=tmp_path, script=DRAWN, environment=environment)

    data, talk = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert done.returncode == 0, talk
    assert "_.,-=+*# | ... - -" in data
    assert r"Z\xfcrich \u6771\u4eac" in data
    assert "2026-01-01 ... 2026-01-07  ############" in data
    assert r"training Z\xfcrich: step 1/1" in talk
    assert r"dataset l\xe4den is ours \udcff" in talk


def test_text_that_no_stream_can_encode_is_escaped(tmp_path: Path) -> None:
    done = run(folder=tmp_path, script=DRAWN, environment={"PYTHONIOENCODING": "utf-8"})

    assert done.returncode == 0, done.stderr
    assert "▁▂▃▄▅▆▇█ │ … − –" in done.stdout.decode()
    assert done.stderr.decode().endswith("\\udcff\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json(tmp_path: Path, encoding: str) -> None:
    done = run(folder=tmp_path, script=DOCUMENT, environment={"PYTHONIOENCODING": encoding})

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode(encoding)) == {"süd": "東京 …", "lost": "\udcff"}


@pytest.mark.parametrize("environment", ASCII)
def test_settings_are_utf_8_whatever_the_locale(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "forecaster.toml").write_text(SETTINGS, encoding="utf-8")

    done = run("-m", "jobs", "config", folder=tmp_path, environment=environment)

    assert done.returncode == 0, done.stderr
    assert rb"SELECT stra\xdfe AS series_id" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize("environment", ASCII)
def test_words_of_the_command_line_are_utf_8(tmp_path: Path, environment: dict[str, str]) -> None:
    said = run("süd", "\udcff", folder=tmp_path, script=TYPED, environment=environment)

    assert said.stdout.decode() == ascii(["süd", "\ufffd"]) + "\n", said.stderr


@pytest.mark.parametrize("words", [["config"], ["--help"]])
def test_output_that_is_closed_early_leaves_no_traceback(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "forecaster.toml").write_text(SETTINGS, encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-m", "jobs", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert done.returncode == 1
    assert done.stderr == b""
