"""How large the tables are, as far as it is cheap to tell."""

from sqlalchemy import Engine

from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.maintenance import sizes
from forecaster.store.maintenance.sizes import StoreSize
from forecaster.store.observations import observations
from tests.store.samples import START, observed


def measured(engine: Engine) -> StoreSize:
    with reading(engine) as conn:
        return sizes.measure(conn)


def test_every_table_has_its_rows_and_bytes(engine: Engine) -> None:
    with writing(engine) as conn:
        landed = observed({"a": [1.0, 2.0], "b": [3.0]})
        observations.ingest(conn, "bikes", landed, recorded_at=START)

    found = measured(engine)

    by_name = {each.table: each for each in found.tables}
    assert list(by_name) == list(tables.metadata.tables)
    assert (by_name["observations"].rows, by_name["observations"].is_estimate) == (3, False)
    assert (by_name["series"].rows, by_name["forecasts"].rows) == (2, 0)
    assert all(each.bytes is not None for each in found.tables)
    assert found.bytes >= sum(each.bytes or 0 for each in found.tables) > 0


def test_partitions_are_counted_with_their_range(engine: Engine) -> None:
    (found,) = [each for each in measured(engine).tables if each.table == "forecasts"]

    if engine.dialect.name == "postgresql":
        assert found.partitions == 3
        assert found.first is not None
        assert found.last is not None
        assert found.first <= START < found.last
    else:
        assert (found.partitions, found.first, found.last) == (0, None, None)


def test_rows_of_many_series_are_estimated_from_a_few(engine: Engine) -> None:
    many = {f"s{number:03}": [1.0, 2.0] for number in range(100)}
    with writing(engine) as conn:
        observations.ingest(conn, "bikes", observed(many), recorded_at=START)

    (found,) = [each for each in measured(engine).tables if each.table == "observations"]

    assert found.rows == 200
    assert found.is_estimate == (engine.dialect.name == "sqlite")
