"""What tests stand on: a fresh database on each store, and what the machine offers or not.

`database_url` is an empty database, once on SQLite and once on PostgreSQL; `engine` is that same
database with the schema at head. Where the machine lacks a service or the folder of real series,
their tests are skipped and say why; with REQUIRE_SERVICES=1 or REQUIRE_DATA=1 they fail instead.
"""

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from forecaster.config.score_names import GROUP
from tests.cpu_seconds import CpuSeconds
from tests.faults import coverage
from tests.postgres import Cluster, find_binaries

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("FORECASTER_DATA", ROOT.parent / "shared" / "data"))
TEMPLATE = "forecaster_template"
OWN_ATTENTION = ROOT / "tests" / "plugins"
MEMORY = Path("/dev/shm")
ROOM_IN_MEMORY = 4 * 2**30


def memory_has_room() -> bool:
    """Tell whether there is a file system in memory for what tests write, programs included."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    room = os.statvfs(MEMORY)
    return not room.f_flag & os.ST_NOEXEC and room.f_bavail * room.f_frsize >= ROOM_IN_MEMORY


for name in [name for name in os.environ if name.startswith(("FORECASTER_", "PG"))]:
    del os.environ[name]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in children

if "TMPDIR" not in os.environ and memory_has_room():
    # A new database takes a tenth of the time there, and most tests make one.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.register_profile("few", derandomize=True, deadline=None, max_examples=12)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="rewrite tests/golden")
    parser.addoption("--cpu-table", action="store_true", help="print CPU seconds by folder")
    parser.addoption("--fault-table", action="store_true", help="print what became of each fault")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("PERTURB_PRODUCTS") == "1":
        from tests.rounding import perturb

        perturb()
    if config.getoption("--cpu-table"):
        config.pluginmanager.register(CpuSeconds())
    if coverage.is_wanted(config):
        config.pluginmanager.register(coverage.FaultTable())


def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors: a fifth of the time of a test it waits for others."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marks = {"postgres": "postgres", "postgres_url": "postgres", "promtool": "services"}
    for item in items:
        for fixture in marks.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(marks[fixture])
        if (mark := item.get_closest_marker("quick_on")) and _other_store(item) == mark.args[0]:
            item.add_marker("slow")


def _other_store(item: pytest.Item) -> str | None:
    """Return the store that a test does not run on, of those that it runs on in turn."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    store = params.get("database_url", params.get("engine"))
    return {"sqlite": "postgres", "postgres": "sqlite"}.get(str(store))


def unavailable(reason: str, unless: str = "REQUIRE_SERVICES") -> NoReturn:
    """Skip a test that needs what the machine lacks; fail it where that is required."""
    if os.environ.get(unless) == "1":
        pytest.fail(f"{reason}, and {unless}=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """Undo what the program's entry points set for the whole thread or process."""
    excepthook, level = threading.excepthook, logging.getLogger("forecaster").level
    yield
    threading.excepthook = excepthook
    logging.getLogger("forecaster").setLevel(level)
    if log_lines := sys.modules.get("jobs.execution.log_lines"):
        ours = (log_lines.TextFormatter, log_lines.JsonFormatter)
        for handler in [*logging.getLogger().handlers]:
            if isinstance(handler.formatter, ours):
                logging.getLogger().removeHandler(handler)
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def own_attention(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A package of somebody else with plug-ins, as pip would install it; children see it too."""
    project = tomllib.loads((OWN_ATTENTION / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    site = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(OWN_ATTENTION / name, site / name)
    described = site / f"{name}-{project['version']}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\n")
    lines = [f"{key} = {path}" for key, path in project["entry-points"][GROUP].items()]
    (described / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield name
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Call with a file name and a text: they must agree, or `make golden` makes them."""

    def compare(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--write-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"differs from {name}; see `make golden`"

    return compare


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL server for the whole session; tests make databases in it."""
    binaries = find_binaries()
    if binaries is None:
        unavailable("no PostgreSQL server binaries found")
    cluster = Cluster(binaries)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' promtool."""
    return shutil.which("promtool") or unavailable("promtool is not on PATH")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real series that comes beside the repository."""
    return DATA if DATA.is_dir() else unavailable(f"no data folder at {DATA}", "REQUIRE_DATA")


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'forecaster.db'}"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres: Cluster) -> Iterator[str]:
    """An empty PostgreSQL database, or for tests that use `engine` one with the schema at head."""
    if "engine" in request.fixturenames:
        request.getfixturevalue("postgres_template")
        url = postgres.create_database(f"test_{uuid.uuid4().hex}", template=TEMPLATE)
    else:
        url = postgres.create_database(f"test_{uuid.uuid4().hex}")
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, once on each store."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(database_url: str, migrate: Callable[[str], None]) -> Iterator[Engine]:
    """An engine on `database_url` with the schema at head."""
    from forecaster.store.connection.engine import open_engine

    if database_url.startswith("sqlite"):
        migrate(database_url)
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def migrate(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Bring an empty database to the newest schema by copying one that went all the way."""

    def copy_template(url: str) -> None:
        if url.startswith("sqlite:///"):
            template: Path = request.getfixturevalue("sqlite_template")
            shutil.copyfile(template, url.removeprefix("sqlite:///"))
            return
        cluster: Cluster = request.getfixturevalue("postgres")
        request.getfixturevalue("postgres_template")
        cluster.drop_database(url)
        cluster.create_database(url.rsplit("/", 1)[1], template=TEMPLATE)

    return copy_template


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "forecaster.db"
    _upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Cluster) -> None:
    _upgrade(postgres.create_database(TEMPLATE))


def _upgrade(url: str) -> None:
    from forecaster.store.connection.engine import open_engine
    from forecaster.store.maintenance.migrations import upgrade

    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
