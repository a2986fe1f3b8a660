"""The rules of the house that no linter knows."""

import ast
import gc
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import source_code, test_tolerances, test_wall_clock
from tests.source_code import text_of, tree_of

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("forecaster", "jobs", "migrations", "tests", "benchmarks", "examples")
PACKAGES = ("forecaster", "jobs")
MODULE_LINES = 300
FUNCTION_LINES = 40
PACKAGE_FILES = range(2, 16)
NAMES_THAT_SAY_NOTHING = {"base", "common", "core", "helpers", "managers", "misc", "types", "utils"}

# Where a third party may be imported; anywhere else it has moved in without being asked.
HOMES = {
    "adbc_driver_postgresql": ("forecaster/source/", "forecaster/store/"),
    "alembic": ("forecaster/store/",),
    "apscheduler": ("jobs/scheduling/timer.py",),
    "prometheus_client": ("jobs/telemetry/registry.py", "jobs/telemetry/metrics.py"),
    "psycopg": ("forecaster/source/", "forecaster/store/"),
    "sqlite3": ("forecaster/source/", "forecaster/store/", "jobs/simulation/source_file.py"),
    "starlette": ("jobs/http/server.py",),
    "statsforecast": ("forecaster/baselines/statsforecast_models.py",),
    "statsmodels": ("jobs/demo/demo.py", "forecaster/baselines/markov_switching.py"),
    "typer": ("jobs/cli.py", "jobs/commands/", "jobs/terminal/", "jobs/simulation/page.py"),
    "uvicorn": ("jobs/http/server.py",),
}


@pytest.fixture(scope="module", autouse=True)
def _source_code() -> Iterator[None]:
    gc.disable()  # syntax trees have no cycles; searching for some takes seconds
    yield
    source_code.forget()
    gc.enable()


def modules(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted((ROOT / room).rglob("*.py"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line.partition("==") for line in lines if not line.startswith("#")]
    return {name: version for name, _, version in pinned}


def requirements() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from map(Requirement, group)


def imported_packages(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(text_of(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def functions(module: Path) -> Iterator[tuple[str, int]]:
    """Each function with its length in lines, not counting what its docstring declares."""
    for node in ast.walk(tree_of(text_of(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told = node.body[0] if ast.get_docstring(node) else None
            yield node.name, lines_of(node) - (lines_of(told) if told else 0)


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    pinned = [line for line in lines if not line.startswith("#")]

    exact = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9]+(\.[0-9]+)*")
    assert [line for line in pinned if not exact.fullmatch(line)] == []
    assert pinned == sorted(set(pinned))


def test_constraints_name_one_public_release_of_torch() -> None:
    text = (ROOT / "constraints.txt").read_text()

    assert re.findall(r"^torch\b.*$", text, re.MULTILINE) == ["torch==2.13.0"]


@pytest.mark.parametrize("requirement", list(requirements()), ids=str)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pins()[canonicalize_name(requirement.name)]

    assert requirement.specifier.contains(version)


def test_a_module_answers_one_question_in_at_most_300_lines() -> None:
    lines = {module: len(text_of(module).splitlines()) for module in modules(*ROOMS)}

    assert {module: count for module, count in lines.items() if count > MODULE_LINES} == {}


def packages() -> Iterator[Path]:
    """Every package below the two at the top, whose files are the jobs and what all share."""
    for top in PACKAGES:
        yield from sorted(module.parent for module in (ROOT / top).rglob("*/__init__.py"))


def test_a_package_has_2_to_15_files_and_a_docstring_of_one_line() -> None:
    sizes = {package: len(list(package.glob("*.py"))) for package in packages()}
    purposes = {
        package: ast.get_docstring(tree_of(text_of(package / "__init__.py"))) or ""
        for package in packages()
    }

    assert {each: size for each, size in sizes.items() if size not in PACKAGE_FILES} == {}
    assert [each for each, purpose in purposes.items() if len(purpose.splitlines()) != 1] == []


def test_a_function_fits_on_a_screen() -> None:
    lengths = {
        f"{module.relative_to(ROOT)}:{name}": length
        for module in modules(*PACKAGES)
        for name, length in functions(module)
    }

    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_no_module_or_folder_has_a_name_that_says_nothing() -> None:
    places = [module.relative_to(ROOT).with_suffix("") for module in modules(*PACKAGES)]

    assert [place for place in places if NAMES_THAT_SAY_NOTHING & set(place.parts)] == []


def test_a_third_party_is_imported_only_in_its_home() -> None:
    strangers = [
        f"{place} imports {package}"
        for place, package in imports_of_the_program()
        if package in HOMES and not place.startswith(HOMES[package])
    ]

    assert strangers == []


def imports_of_the_program() -> Iterator[tuple[str, str]]:
    for module in modules(*PACKAGES):
        for package in sorted(imported_packages(module)):
            yield module.relative_to(ROOT).as_posix(), package


def test_outside_the_store_sqlalchemy_only_lends_its_engine() -> None:
    imported = {
        (module.relative_to(ROOT).as_posix(), alias.name)
        for module in modules(*PACKAGES)
        for node in ast.walk(tree_of(text_of(module)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        for alias in node.names
    }

    strangers = {
        (place, name)
        for place, name in imported
        if name not in ("Connection", "Engine")
        and not place.startswith(("forecaster/source/", "forecaster/store/"))
    }
    assert strangers == set()


def test_no_test_has_a_tolerance_of_its_own() -> None:
    places = [(module, test_tolerances.findings(text_of(module))) for module in modules("tests")]

    assert [
        f"{module.relative_to(ROOT)}:{line}" for module, lines in places for line in lines
    ] == []


def test_no_test_asserts_a_speed() -> None:
    sources = {module: text_of(module) for module in modules("tests")}
    measuring = test_wall_clock.durations(map(tree_of, sources.values()))
    clocks = test_wall_clock.CLOCKS | measuring

    assert [
        f"{module.relative_to(ROOT)}:{line}"
        for module, source in sources.items()
        for line in test_wall_clock.findings(source, clocks)
    ] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_the_targets() -> None:
    told = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout

    listed = {line.split()[0] for line in told.splitlines() if not line.startswith("make")}
    assert listed >= {"run", "test", "test-all", "check", "bench"}


def test_the_image_copies_only_what_exists_and_is_let_through() -> None:
    copies = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    let_through = (ROOT / ".dockerignore").read_text().splitlines()

    sources = [source for line in copies for source in line.split()]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert [name for name in sources if f"!{name}" not in let_through] == []
