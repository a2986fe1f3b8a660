import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

from forecaster.errors import SchemaOutOfDate
from forecaster.store import tables
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.maintenance import migrations

CONSTRAINTS = """
SELECT conrelid::regclass::text AS table, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT partrelid::regclass::text, 'parts', pg_get_partkeydef(partrelid) FROM pg_partitioned_table
ORDER BY 1, 2, 3
"""


def definitions(engine: Engine) -> list[list[str]]:
    """Everything the database knows of tables and constraints, as lines of text."""
    query = (
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1, 2"
        if engine.dialect.name == "sqlite"
        else CONSTRAINTS
    )
    with engine.connect() as conn:
        rows = conn.execute(text(query)).all()
    ours = [row for row in rows if "alembic_version" not in str(row) and row[0] != "view"]
    return [[*row[:2], *_lines(row[2])] for row in ours]


def _lines(definition: str) -> list[str]:
    unquoted = definition.replace('"', "")  # SQLite quotes the name of a table that it renamed
    parts = re.split(r"\n|, ", unquoted)  # SQLite adds a column at the end of another's line
    return sorted(part.strip(" ,\t") for part in parts if part.strip())


def test_migrations_from_zero_lead_to_the_tables_we_use(engine: Engine) -> None:
    with writing(engine) as conn:
        config = migrations.alembic_config(conn)
        config.attributes["target_metadata"] = tables.metadata

        command.check(config)


def test_migrations_make_the_same_constraints_as_the_tables_declare(
    engine: Engine, tmp_path: Path
) -> None:
    migrated = definitions(engine)

    if engine.dialect.name == "sqlite":
        other = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
        tables.metadata.create_all(other)
        declared = definitions(other)
        other.dispose()
    else:
        with writing(engine) as conn:
            command.downgrade(migrations.alembic_config(conn), "base")
            tables.metadata.create_all(conn)
        declared = definitions(engine)

    assert migrated == declared


def test_every_sqlite_table_is_strict(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    migrations.upgrade(engine)

    with reading(engine) as conn:
        found = conn.execute(
            text("SELECT name, strict FROM pragma_table_list WHERE type = 'table'")
        ).all()
    engine.dispose()

    own = {name: strict for name, strict in found if not name.startswith(("sqlite_", "alembic_"))}
    assert own == dict.fromkeys(tables.metadata.tables, 1)


@pytest.mark.fault(17)
def test_downgrade_and_upgrade_lead_back_to_the_same_schema(engine: Engine) -> None:
    before = definitions(engine)

    with writing(engine) as conn:
        command.downgrade(migrations.alembic_config(conn), "base")
    between = definitions(engine)
    migrations.upgrade(engine)

    assert between == []
    assert definitions(engine) == before


def test_an_upgrade_that_has_nothing_to_do_changes_nothing(engine: Engine) -> None:
    before = definitions(engine)

    migrations.upgrade(engine)

    assert definitions(engine) == before


def test_two_upgrades_at_once_both_succeed(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrations.upgrade, engines))

    assert {migrations.revision(engine) for engine in engines} == {migrations.head()}
    for engine in engines:
        engine.dispose()


def test_there_is_one_head(engine: Engine) -> None:
    with reading(engine) as conn:
        scripts = ScriptDirectory.from_config(migrations.alembic_config(conn))

    assert scripts.get_heads() == [migrations.head()]


def test_migrations_import_nothing_of_ours() -> None:
    folder = Path(__file__).resolve().parents[2] / "migrations"

    importing = [
        path.name
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(from|import) (forecaster|jobs)\b", path.read_text(), re.MULTILINE)
    ]

    assert importing == []


@pytest.mark.fault(17)
def test_a_new_database_is_refused_with_the_command_that_helps(database_url: str) -> None:
    engine = open_engine(database_url)

    with pytest.raises(SchemaOutOfDate, match=r"schema revision is none, expected") as caught:
        migrations.require_head(engine)

    engine.dispose()
    assert caught.value.hint == "run `forecaster db upgrade`"


@pytest.mark.fault(17)
def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for action in (migrations.require_head, migrations.upgrade):
        with pytest.raises(SchemaOutOfDate, match="revision is 9999") as caught:
            action(engine)
        assert caught.value.hint == "install the version of forecaster that created it"


def test_the_newest_schema_is_accepted(engine: Engine) -> None:
    migrations.require_head(engine)


def test_using_tables_that_are_not_there_asks_for_the_upgrade(database_url: str) -> None:
    engine = open_engine(database_url)

    with (
        pytest.raises(SchemaOutOfDate, match="schema is out of date"),
        reading(engine) as conn,
    ):
        conn.execute(text("SELECT * FROM datasets"))
    engine.dispose()
