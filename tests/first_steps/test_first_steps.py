"""What the check of the tutorial reads from a page, and what counts as a difference."""

import sys
from pathlib import Path

import pytest

from forecaster import __version__
from tests.first_steps.__main__ import PAGE, SERVICE, possible
from tests.first_steps.page import Step, rewritten, steps
from tests.first_steps.reader import Reader, environment
from tests.first_steps.shape import difference, excerpt, nearest

TUTORIAL = """# Title

## 1. Begin

```sh
export NAME=me
echo $NAME
```

```text
me
```

```toml title="a.toml"
x = 1
```

```sh
cat a.toml
```

## 2. Go on

```sh
psql -c "SELECT 1"
```
"""


def test_a_page_has_steps_with_their_files_and_outputs() -> None:
    first, second, third = steps(TUTORIAL)

    assert first.commands == ("export NAME=me", "echo $NAME")
    assert (first.section, first.files, first.shown) == ("1. Begin", {}, "me\n")
    assert (second.files, second.shown) == ({"a.toml": "x = 1\n"}, "")
    assert third.section == "2. Go on"


def test_an_output_without_commands_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 3: expected commands before an output"):
        steps("# Title\n\n```text\n1\n```\n")


def test_a_page_is_rewritten_where_outputs_stand() -> None:
    first, *_ = steps(TUTORIAL)

    assert rewritten(TUTORIAL, [(first, "you\nall\n")]) == TUTORIAL.replace(
        "\nme\n", "\nyou\nall\n"
    )


def test_without_a_server_the_sections_that_need_one_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = steps(TUTORIAL)

    assert possible(found, with_server=True) == found
    assert possible(found, with_server=False) == found[:2]
    assert "SKIPPED from '2. Go on' on: no PostgreSQL server" in capsys.readouterr().out


def test_the_tutorial_is_read_to_its_service() -> None:
    found = steps(PAGE.read_text(encoding="utf-8"))

    assert [step.section[0] for step in found] == sorted(step.section[0] for step in found)
    assert SERVICE in [step.commands for step in found]
    assert all(is_its_own_excerpt(step) for step in found if step.shown)


def test_the_tutorial_installs_the_wheel_of_this_version() -> None:
    commands = [command for step in steps(PAGE.read_text()) for command in step.commands]

    (install,) = [command for command in commands if command.startswith("pip install")]
    assert f"forecaster-{__version__}-py3-none-any.whl" in install


def is_its_own_excerpt(step: Step) -> bool:
    return excerpt(step.shown, f"before\n{step.shown}after\n") == step.shown


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("mase  0.250 of 104", "mase  1,197.5 of 9"),
        ("at 2026-11-01 00:00Z", "at 2027-01-31 23:59Z"),
        ("at 2026-11-01 00:00:00+00", "at 2027-01-31T23:59:00Z"),
        ("took 4.14 s, age 11m", "took 12 s, age 1h 11m"),
        ("age 11m  1h", "age 3m41s  1h"),
        ("| a | 1 |\n|---|---|", "| a   | 100 |\n|-----|-----|"),
        ("36 %  ████  adds −0.43", "8 %  █  adds +1.1"),
        ("0.401*  77.6%  80.6%*", "0.401  77.6%*  80.6%"),
        ("1 row\n2 row\nend", "3 row\nend"),
    ],
)
def test_figures_may_differ(shown: str, printed: str) -> None:
    assert excerpt(shown, printed) == f"{printed}\n"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("mase 0.250", "mae 0.250"),
        ("q10", "q90"),
        ("1 row, of 2", "1 row of 2"),
        ("first\nsecond", "first\nwarning\nsecond"),
        ("first\nsecond", "first"),
    ],
)
def test_words_and_lines_may_not(shown: str, printed: str) -> None:
    assert excerpt(shown, printed) is None


def test_a_difference_names_the_lines_that_differ() -> None:
    shown, printed = "first 1\nsecond\nthird\n", "before\nfirst 2\nother\nthird!\nafter\n"

    told = difference(shown, printed).splitlines()

    assert [line for line in told if not line.startswith("?")] == [
        "  first <number>", "- second", "+ other", "- third", "+ third!",
    ]  # fmt: skip
    assert nearest(shown, printed) == "first 2\nother\nthird!\n"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setenv("FORECASTER_DATABASE_URL", "sqlite:///elsewhere.db")
    return Reader(tmp_path, environment(tmp_path, tmp_path / "constraints.txt"))


def test_a_shell_keeps_variables_and_nothing_of_ours(reader: Reader) -> None:
    *_, kept, ours, python = reader.type(
        ["export A=1", "echo $A", "echo -$FORECASTER_DATABASE_URL-", "python3 -m venv --help"]
    )

    assert (kept.output, ours.output, python.status) == ("1\n", "--\n", 0)


def test_a_shell_stops_at_a_command_that_fails(reader: Reader) -> None:
    results = reader.type(["true", "echo no >&2; exit 3", "true"])

    assert [done.status for done in results] == [0, 3]
    assert results[-1].output == "no\n"


def test_a_service_is_awaited_and_ended_by_sigterm(reader: Reader) -> None:
    service = f"""{sys.executable} -c '
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(print("bye")))
print("up", flush=True)
signal.pause()'"""

    with reader:
        up = reader.start(service, lambda output: output == "up\n")
        ended = reader.stop()

    assert (up.output, up.status) == ("up\n", 0)
    assert (ended.output, ended.status) == ("up\nbye\n", 0)
