"""The wheel as somebody else installs it, beside a distribution that has a `jobs` of its own."""

import ast
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
THEIRS = ROOT / "tests" / "scheduled_jobs"
IMPORT_EVERYTHING = """
import importlib, pkgutil
import forecaster
for module in pkgutil.walk_packages(forecaster.__path__, "forecaster."):
    if "migrations" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import jobs
print(jobs.OWNER, forecaster.jobs.cli.app.info.name)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source archive builds."""
    return build(ROOT, tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def their_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of another project, whose package is called `jobs`."""
    return build(THEIRS, tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def installed(
    wheel: Path, their_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Environment":
    """An environment with both wheels, and our dependencies."""
    environment = Environment(tmp_path_factory.mktemp("installed"))
    environment.pip("install", str(their_wheel))
    environment.pip("install", str(wheel))
    return environment


def build(project: Path, folder: Path) -> Path:
    command = ["build", "--no-isolation", "--outdir", str(folder), str(project)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A virtual environment that sees the packages of this one, but not our source tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (site,) = folder.glob("venv/lib/python*/site-packages")
        borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
        (site / "borrowed.pth").write_text("\n".join(borrowed))

    def pip(self, action: str, *arguments: str) -> None:
        """Install wheels without what they need, or uninstall them."""
        options = ["--no-deps", "--no-index"] if action == "install" else ["--yes"]
        python = str(self.folder / "venv" / "bin" / "python")
        command = ["pip", "--python", python, action, *options, *arguments]
        subprocess.run([sys.executable, "-m", *command], check=True)

    def run(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        """Run a program of the environment in an empty folder, and return its stdout."""
        home = folder or self.folder
        environment: Mapping[str, str] = {"PATH": os.defpath, "HOME": str(home)}
        done = subprocess.run(
            [self.folder / "venv" / "bin" / program, *arguments],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,  # ends what hangs
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_wheel_has_one_package_and_imports_no_jobs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name) for name in archive.namelist()}

    tops = {name.partition("/")[0] for name in sources}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"forecaster"}
    modules = {name: text.decode() for name, text in sources.items() if name.endswith(".py")}
    assert "forecaster/jobs/forecast.py" in modules
    assert {
        name: module
        for name, text in modules.items()
        for module in imported(text)
        if module.partition(".")[0] == "jobs"
    } == {}


def test_every_module_of_the_wheel_is_imported_beside_another_jobs(installed: Environment) -> None:
    found = installed.run("python", "-W", "error", "-c", IMPORT_EVERYTHING)

    assert found.split() == ["somebody", "forecaster"]


@pytest.mark.parametrize("command", [("forecaster",), ("python", "-m", "forecaster")])
def test_the_command_of_the_wheel_shows_its_help(
    installed: Environment, command: tuple[str, ...]
) -> None:
    assert "Usage: forecaster [OPTIONS] COMMAND" in installed.run(*command, "--help")


def test_each_of_two_distributions_outlives_the_other(
    wheel: Path, their_wheel: Path, tmp_path: Path
) -> None:
    environment = Environment(tmp_path)
    environment.pip("install", str(wheel), str(their_wheel))

    environment.pip("uninstall", "scheduled-jobs")
    assert "Usage: forecaster" in environment.run("forecaster", "--help")

    environment.pip("install", str(their_wheel))
    environment.pip("uninstall", "forecaster")
    assert environment.run("python", "-c", "import jobs; print(jobs.OWNER)") == "somebody\n"


def test_the_wheel_upgrades_a_database_from_an_empty_folder(
    installed: Environment, tmp_path: Path
) -> None:
    installed.run("forecaster", "db", "upgrade", folder=tmp_path)

    assert list(tmp_path.glob("*.db"))
    installed.run("forecaster", "db", "check", folder=tmp_path)


def test_the_wheel_runs_the_demo_from_an_empty_folder(
    installed: Environment, tmp_path: Path
) -> None:
    """It trains in a child process, once, and reads its source in another."""
    pytest.importorskip("statsmodels")

    installed.run("forecaster", "demo", "--once", "--replay", "8w", folder=tmp_path)

    assert list(tmp_path.glob("*.db"))
