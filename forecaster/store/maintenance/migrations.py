"""Bring the schema to the newest revision, and refuse to work with another one."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, func, select

from forecaster.errors import SchemaOutOfDate
from forecaster.store.connection.engine import reading, writing
from forecaster.store.connection.errors import UPGRADE_HINT
from forecaster.store.connection.urls import masked
from forecaster.store.maintenance import grants

_PACKAGE = Path(__file__).resolve().parents[2]
_UPGRADE_LOCK = 0x666F7265636173  # any number, the same for every process that upgrades


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing; concurrent upgrades wait for each other.

    Each step is a transaction; an upgrade that was interrupted goes on where it was. Privileges on
    tables and views are kept. SchemaOutOfDate when the schema is of a newer version than this one;
    StoreError when views of somebody else depend on one that is replaced.
    """
    while _upgrade_some(engine):
        pass


def _upgrade_some(engine: Engine) -> bool:
    """Prepare a part of a migration, or run those up to the next that has to be prepared.

    Return whether there is more to do.
    """
    with writing(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        current = _revision(conn)
        if _is_newer(current):
            raise _out_of_date(engine, current)
        scripts = _missing(current)
        if scripts and _prepare(conn, scripts[0]):
            return True
        before = grants.granted(conn)
        last = next((script for script in scripts[1:] if _needs_preparing(script)), None)
        command.upgrade(alembic_config(conn), _before(last) if last else "head")
        grants.restore(conn, before)
        return last is not None


def _missing(current: str | None) -> list[Script]:
    """Return the migrations after a revision, the oldest first."""
    newest_first = _scripts().iterate_revisions("head", current or "base")
    return [script for script in reversed([*newest_first]) if script.revision != current]


def _needs_preparing(script: Script) -> bool:
    return hasattr(script.module, "prepare")


def _prepare(conn: Connection, script: Script) -> bool:
    """Do a part of what comes before a migration, if any; return whether something was done."""
    return _needs_preparing(script) and bool(script.module.prepare(conn))


def _before(script: Script) -> str:
    assert isinstance(script.down_revision, str)
    return script.down_revision


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
