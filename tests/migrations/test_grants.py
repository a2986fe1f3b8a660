"""Who could read before an upgrade can read after it, and views of others are not dropped."""

import uuid
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Engine, text

from forecaster.errors import StoreError
from forecaster.store.connection.engine import open_engine, reading, writing
from forecaster.store.maintenance import migrations

GRANTS = text(
    "SELECT table_name, grantee, privilege_type, is_grantable "
    "FROM information_schema.table_privileges WHERE grantee IN ('PUBLIC', :role) "
    "AND table_schema = 'public' ORDER BY 1, 2, 3"
)
COLUMNS = text(
    "SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges "
    "WHERE grantee = :role AND table_name IN ('datasets', 'forecast_vs_actual') ORDER BY 1, 2"
)


@pytest.fixture
def before(postgres_url: str) -> Iterator[Engine]:
    """A PostgreSQL database of the revision before the views were replaced."""
    engine = open_engine(postgres_url)
    with writing(engine) as conn:
        command.upgrade(migrations.alembic_config(conn), "0005")
    yield engine
    engine.dispose()


@pytest.fixture
def dashboard(before: Engine) -> Iterator[str]:
    """A role whose name has to be quoted."""
    name = f'dash"board 100% {uuid.uuid4().hex}'
    quoted = before.dialect.identifier_preparer.quote_identifier(name)
    with writing(before) as conn:
        conn.exec_driver_sql(f"CREATE ROLE {quoted}")
        conn.exec_driver_sql(f"GRANT SELECT ON latest_forecasts TO {quoted} WITH GRANT OPTION")
        conn.exec_driver_sql(f"GRANT SELECT, UPDATE ON series TO {quoted}")
        conn.exec_driver_sql("GRANT SELECT ON forecast_vs_actual TO PUBLIC")
        conn.exec_driver_sql(f"GRANT SELECT (q50) ON forecast_vs_actual TO {quoted}")
        conn.exec_driver_sql(f"GRANT SELECT (name) ON datasets TO {quoted}")
    yield name
    with writing(before) as conn:
        conn.exec_driver_sql(f"DROP OWNED BY {quoted}")
        conn.exec_driver_sql(f"DROP ROLE {quoted}")


def test_an_upgrade_that_replaces_views_keeps_their_grants(before: Engine, dashboard: str) -> None:
    migrations.upgrade(before)

    with reading(before) as conn:
        assert conn.execute(GRANTS, {"role": dashboard}).all() == [
            ("forecast_vs_actual", "PUBLIC", "SELECT", "NO"),
            ("latest_forecasts", dashboard, "SELECT", "YES"),
            ("series", dashboard, "SELECT", "NO"),
            ("series", dashboard, "UPDATE", "NO"),
        ]


def test_privileges_on_single_columns_are_kept(before: Engine, dashboard: str) -> None:
    migrations.upgrade(before)

    with reading(before) as conn:
        assert conn.execute(COLUMNS, {"role": dashboard}).all() == [
            ("datasets", "name", "SELECT"),
            ("forecast_vs_actual", "q50", "SELECT"),
        ]


def test_a_view_of_somebody_else_is_named_and_kept(before: Engine) -> None:
    with writing(before) as conn:
        conn.exec_driver_sql("CREATE VIEW report AS SELECT * FROM latest_forecasts")

    with pytest.raises(StoreError, match="view report depends on view latest_forecasts") as caught:
        migrations.upgrade(before)

    assert "run `forecaster db upgrade`" in (caught.value.hint or "")
    assert migrations.revision(before) == "0005"
