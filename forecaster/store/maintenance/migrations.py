"""Bring the schema to the newest revision, and refuse to work with another one."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select

from forecaster.errors import SchemaOutOfDate
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.errors import UPGRADE_HINT
from forecaster.store.connection.urls import masked
from forecaster.store.maintenance import grants

_PACKAGE = Path(__file__).resolve().parents[2]
_UPGRADE_LOCK = 0x666F7265636173  # any number, the same for every process that upgrades


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, all or none; concurrent upgrades wait for each other.

    Privileges on tables and views are kept. SchemaOutOfDate when the schema is of a newer version
    than this one; StoreError when views of somebody else depend on one that is replaced.
    """
    with writing(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        current = _revision(conn)
        if _is_newer(current):
            raise _out_of_date(engine, current)
        before = grants.granted(conn)
        command.upgrade(alembic_config(conn), "head")
        grants.restore(conn, before)


def revision(engine: Engine) -> str | None:
    """Return the revision the database is at; None before the first upgrade."""
    with reading(engine) as conn:
        return _revision(conn)


@cache
def head() -> str:
    """Return the newest revision this version knows."""
    newest = _scripts().get_current_head()
    assert newest is not None
    return newest


def require_head(engine: Engine) -> None:
    """Raise SchemaOutOfDate unless the database is at the newest revision."""
    current = revision(engine)
    if current != head():
        raise _out_of_date(engine, current)


def alembic_config(conn: Connection) -> Config:
    """Return what alembic's commands need to work on this connection."""
    config = Config()
    config.set_main_option("script_location", str(_location()).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config


def _revision(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _is_newer(current: str | None) -> bool:
    known = {script.revision for script in _scripts().walk_revisions()}
    return current is not None and current not in known


def _out_of_date(engine: Engine, current: str | None) -> SchemaOutOfDate:
    newer = "install the version of forecaster that created it"
    return SchemaOutOfDate(
        f"{masked(engine.url)}: schema revision is {current or 'none'}, expected {head()}",
        hint=newer if _is_newer(current) else UPGRADE_HINT,
    )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_location()))


def _location() -> Path:
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parent / "migrations"
