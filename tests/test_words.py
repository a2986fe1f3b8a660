"""No private vocabulary: what stood in messages, names and pages before has not come back."""

import re
import subprocess
from pathlib import Path

import pytest

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
)
"""Of messages, docstrings and pages."""

NAMES = (
    r"class (Turn|Lanes|Doorman|Surroundings|Memory|Memories|Question|Sight|Reach)\b",
    r"class (Pause|Patience)\b",
    r"class (Course|Descent|Learnt|Discreet|Yardstick|Trial|Origins|Vintage|Knowledge)\b",
    r"\bheir\b",
)


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
        for match in re.finditer(pattern, path.read_text())
    ]


@pytest.mark.parametrize("pattern", PHRASES)
def test_private_phrases_have_not_come_back(pattern: str) -> None:
    assert matches(pattern, tracked()) == []


@pytest.mark.parametrize("pattern", NAMES)
def test_private_names_have_not_come_back(pattern: str) -> None:
    packages = [path for path in tracked() if path.relative_to(ROOT).parts[0] in PACKAGES]

    assert matches(pattern, packages) == []


def test_the_texts_of_the_project_are_looked_at() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository to list files of")

    assert len(tracked()) > 600
