import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import URL


@pytest.fixture
def sqlite_source(tmp_path: Path) -> str:
    """A SQLite file with an empty table `measured` of whatever types."""
    path = tmp_path / "odd #%20?name.db"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE measured (key, ts, value)")
    conn.close()
    return URL.create("sqlite", database=str(path)).render_as_string()
