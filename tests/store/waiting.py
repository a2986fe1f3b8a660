"""Sessions that wait for one another on PostgreSQL."""

import time

from sqlalchemy import Connection, text

_WAITING = """
SELECT count(*) FROM pg_locks AS wanted JOIN pg_locks AS held USING (pid)
WHERE NOT wanted.granted AND wanted.locktype = :kind
AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def wait_for_a_waiter(conn: Connection, kind: str) -> None:
    """Return as soon as somebody waits for a lock of this kind in our database."""
    until = time.monotonic() + 10
    while not conn.scalar(text(_WAITING), {"kind": kind}):
        assert time.monotonic() < until
        time.sleep(0.01)
