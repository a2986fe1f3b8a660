"""A PgBouncer of our own in transaction mode: two statements of a session may meet two servers."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

from tests.postgres import server_account

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=forecaster
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
ignore_startup_parameters = options, extra_float_digits
logfile = {folder}/log
"""


def find_pgbouncer() -> str | None:
    """The path of the program; None without."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class Bouncer:
    """Forwards from `port` to the server, over at most `sessions` sessions for each database."""

    def __init__(self, program: str, server: int, *, port: int, sessions: int = 2) -> None:
        self._program, self.port = program, port
        self._folder = Path(tempfile.mkdtemp(prefix="forecaster-pgbouncer-"))
        self._file = self._folder / "settings.ini"
        settings = SETTINGS.format(server=server, port=port, sessions=sessions, folder=self._folder)
        self._file.write_text(settings)

    def __enter__(self) -> Self:
        account = server_account()
        if account is not None:
            shutil.chown(self._folder, account.pw_uid, account.pw_gid)
        self._process = subprocess.Popen(
            [self._program, "--quiet", self._file],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        address = f"host=127.0.0.1 port={self.port} user=forecaster dbname=postgres"
        until = time.monotonic() + 10
        while True:
            try:
                psycopg.connect(address, connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return
