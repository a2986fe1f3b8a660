"""A PostgreSQL cluster of our own, made from installed server binaries.

It lives in a temporary folder, listens on a free loopback port, and never touches a cluster that
is already there. PostgreSQL refuses to run as root, so root hands it to another user.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

Command = list[str | Path]
StopMode = Literal["smart", "fast", "immediate", "kill"]

SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
LOSES_DATA_WHEN_IT_CRASHES = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


def find_binaries() -> Path | None:
    """The folder with initdb and postgres, the newest when there are several; None without."""
    return next((folder for folder in _candidates() if _is_complete(folder)), None)


def _candidates() -> Iterator[Path]:
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    if pg_config := shutil.which("pg_config"):
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(told.stdout.strip())
    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    yield from sorted(installed, key=_major_version, reverse=True)


def _major_version(folder: Path) -> int:
    digits = "".join(letter for letter in str(folder) if letter.isdigit())
    return int(digits or 0)


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def server_account() -> pwd.struct_passwd | None:
    """Who runs the server: None means whoever runs the tests, which root may not."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


class Cluster:
    """One server with its data; `stop` and `start` keep the data, the port and the URL.

    `durable` turns the guarantees back on that fast tests do without; a test that kills the
    machine's power needs them, one that kills only the server does not. `settings` are those of
    its configuration file, such as `shared_buffers=1GB`.
    """

    def __init__(
        self, binaries: Path, *, durable: bool = False, settings: Sequence[str] = ()
    ) -> None:
        self._binaries = binaries
        self._durable = durable
        self._settings = settings
        self._account = server_account()
        self._folder = Path(tempfile.mkdtemp(prefix="forecaster-postgres-"))
        self._server: subprocess.Popen[bytes] | None = None
        self._administrator: psycopg.Connection | None = None
        self.port = _free_port()
        self._initialise()

    @property
    def url(self) -> str:
        """The maintenance database, as its superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://forecaster@127.0.0.1:{self.port}/{database}"

    @property
    def folder(self) -> Path:
        """Where the server may keep files."""
        return self._folder

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def start(self, *, timeout_seconds: float = 60.0) -> None:
        """Start the server, and wait until it answers a query."""
        self._server = self._spawn(self._server_command())
        deadline = time.monotonic() + timeout_seconds
        while not self._answers():
            if not self.is_running or time.monotonic() > deadline:
                self.stop("immediate")
                raise RuntimeError(f"postgres did not start:\n{self.log()}")
            time.sleep(0.05)

    def stop(self, mode: StopMode = "fast", *, timeout_seconds: float = 60.0) -> None:
        """Stop the server: `immediate` aborts every session, `kill` also skips its own clean-up."""
        if self._administrator is not None:
            self._administrator.close()
            self._administrator = None
        if self._server is None:
            return
        self._server.send_signal(SIGNALS[mode])
        self._server.wait(timeout_seconds)
        self._server = None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database as a copy of `template`, which nobody may be using; return its URL."""
        # Copying files takes a third of the time of writing them into the log.
        strategy = "STRATEGY file_copy" if self._session().info.server_version >= 150000 else ""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} " + strategy)
        self._session().execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop the database of `url`, together with the sessions that still use it."""
        name = urlsplit(url).path.removeprefix("/")
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self._session().execute(statement)

    def _session(self) -> psycopg.Connection:
        """Return the session that makes and drops databases: a new one takes as long as a copy."""
        if self._administrator is None:
            self._administrator = psycopg.connect(self.url, autocommit=True)
        return self._administrator

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        if self._account is not None:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        options = ["--username=forecaster", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        initdb = self._binaries / "initdb"
        command: Command = [initdb, "--no-sync", "--pgdata", self._data, *options]
        if self._spawn(command).wait():
            raise RuntimeError(f"initdb failed:\n{self.log()}")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _server_command(self) -> Command:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self._folder}",
            # A zone nobody expects, so that code which leans on the server's zone fails here.
            "timezone=Asia/Kolkata",
            *(() if self._durable else LOSES_DATA_WHEN_IT_CRASHES),
            *self._settings,
        ]
        options = [part for setting in settings for part in ("-c", setting)]
        return [*_dies_with_us(), self._binaries / "postgres", "-D", self._data, *options]

    def _spawn(self, command: Command) -> subprocess.Popen[bytes]:
        account = self._account
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=None if account is None else account.pw_uid,
                group=None if account is None else account.pw_gid,
                extra_groups=None if account is None else [],
                process_group=0,  # Ctrl-C is for the tests, which then stop the server
            )


def _dies_with_us() -> Command:
    """A prefix that makes the kernel stop the server when the tests are killed, where it can."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "QUIT"] if setpriv else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
