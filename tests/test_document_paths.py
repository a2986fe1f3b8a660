"""The documents name what exists: files, functions, packages, pages and their sections."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TOP_FOLDERS = ("benchmarks", "docs", "examples", "forecaster", "jobs", "migrations", "tests")
DECISIONS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/decisions/*.md"))
NAMES_CODE = ("ARCHITECTURE.md", "CONTRIBUTING.md", *DECISIONS)
QUESTIONS = 10

_QUOTED = re.compile(r"`([^`\s]+)`")
_FOLDERS = tuple(f"{folder}/" for folder in TOP_FOLDERS)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def places_in(document: str) -> list[str]:
    """Return what a document quotes as `folder/…`, `path.py` or `path.py:function`."""
    quoted = _QUOTED.findall((ROOT / document).read_text(encoding="utf-8"))
    return sorted({name for name in quoted if _is_place(name)})


def _is_place(name: str) -> bool:
    path = name.partition(":")[0]
    is_pattern = "<" in name or "{" in name
    return not is_pattern and (path.endswith(".py") or path.startswith(_FOLDERS))


@cache
def names_in(module: Path) -> set[str]:
    return set(names_of(ast.parse(module.read_text(encoding="utf-8")).body))


def names_of(body: list[ast.stmt], before: str = "") -> Iterator[str]:
    """Yield functions, classes and constants, what is in a class as `Class.name`."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield before + node.name
        if isinstance(node, ast.ClassDef):
            yield from names_of(node.body, f"{before}{node.name}.")
        if isinstance(node, ast.Assign):
            yield from (before + name.id for name in node.targets if isinstance(name, ast.Name))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield before + node.target.id


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("document", "place"), [(page, place) for page in NAMES_CODE for place in places_in(page)]
)
def test_what_is_named_in_the_code_exists(document: str, place: str) -> None:
    path, _, name = place.partition(":")

    assert (ROOT / path).exists(), f"{document} names {place}"
    if name:
        assert name in names_in(ROOT / path), f"{document} names {place}"


@pytest.mark.parametrize("top", ["forecaster", "jobs"])
def test_the_map_has_every_package_of_the_first_level(top: str) -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = architecture.split("## Map\n")[1].split("\n## ")[0]
    children = {path.stem for path in (ROOT / top).iterdir() if path.suffix in ("", ".py")}

    named = set(_QUOTED.findall(found))
    assert {name for name in children if not name.startswith("__")} - named == set()


def test_a_newcomer_finds_at_least_ten_questions_with_a_function() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| [^|]+\? \| [^|]*`[\w/]+\.py:[\w.]+`", text, re.MULTILINE)
    assert len(rows) >= QUESTIONS


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_decision_has_context_decision_and_consequence(decision: str) -> None:
    text = (ROOT / decision).read_text(encoding="utf-8")

    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_a_page_and_a_section(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))

    for target, _, anchor in (link.partition("#") for link in links if "://" not in link):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors_of(linked), f"{target}#{anchor}"
