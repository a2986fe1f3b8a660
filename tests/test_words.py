"""No private vocabulary: what stood in messages, names and pages before has not come back."""

import re
import subprocess
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.source_code import text_of

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).name
PACKAGES = ("forecaster", "jobs")

PHRASES = (
    r"still at it",
    r"must live, found",
    r"must let us do our work",
    r"must have room on its disk",
    r"must go steadily",
    r"not believed",
    r"found no such\b(?! file| year)",
    r"is no longer ours",
    r"left behind by its process",
    r"heeded by",
    r"without a word",
    r"told at once",
    r"abandoned what was still running",
    r"\bmend(s|ed|ing)? (it|these|the)\b",
    r"\bread(s the champion)? anew\b",
)
"""Of messages, docstrings and pages."""

NAMES = (
    r"class (Turn|Lanes|Doorman|Surroundings|Memory|Memories|Question|Sight|Reach)\b",
    r"class (Pause|Patience)\b",
    r"class (Course|Descent|Learnt|Discreet|Yardstick|Trial|Origins|Vintage|Knowledge)\b",
    r"class (Landing|Landed|Stretch|Said|Ran|Rights|Survey|Verdict)\b",
    r"def (judge|land|yardstick|weighty|unmask)\b",
    r"\bheir\b",
)

WORDS = (
    "judge judged judges judging told tell tells said stretch stretches yardstick "
    "discreet hush heard heed heeds mend mends anew lesson errand"
)
"""Refused in identifiers: what they named is a score, a forecast, a report, or a range."""
THINGS = "found each"
"""Refused as identifiers: a thing is named after what it is."""

STANDARD = ("tell",)
"""Identifiers of the standard library: the position in a file."""


@cache
def tracked() -> list[Path]:
    """Every text of the project but the history of its changes and stored results."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    left_out = ("CHANGELOG.md", "benchmarks/results/", f"tests/{HERE}")
    return [ROOT / name for name in listed if not name.startswith(left_out)]


def matches(pattern: str, paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in paths
        for match in re.finditer(pattern, text_of(path))
    ]


def identifiers(path: Path) -> set[str]:
    with tokenize.open(path) as source:
        tokens = tokenize.generate_tokens(source.readline)
        return {token.string for token in tokens if token.type == tokenize.NAME}


@cache
def words_of(name: str) -> set[str]:
    """Return the words of an identifier, and those that it is as a whole."""
    words = set(re.findall(r"[a-z]+", re.sub("([A-Z])", r" \1", name).lower()))
    return words - set(THINGS.split()) | {name.strip("_")}


@pytest.mark.parametrize("pattern", PHRASES)
def test_private_phrases_have_not_come_back(pattern: str) -> None:
    assert matches(pattern, tracked()) == []


@pytest.mark.parametrize("pattern", NAMES)
def test_private_names_have_not_come_back(pattern: str) -> None:
    packages = [path for path in tracked() if path.relative_to(ROOT).parts[0] in PACKAGES]

    assert matches(pattern, packages) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_identifiers_are_made_of_standard_words(package: str) -> None:
    used = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == package
        for name in identifiers(path)
        if name not in STANDARD and words_of(name) & {*WORDS.split(), *THINGS.split()}
    }

    assert used == set()


def test_the_texts_of_the_project_are_looked_at() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository to list files of")

    assert len(tracked()) > 600
