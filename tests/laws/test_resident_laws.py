"""A panel that is updated in place says what a panel built anew says, to the last bit."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from forecaster.data.panel import Panel, PanelCounts, build
from forecaster.schemas import OBSERVATIONS
from forecaster.store.connection.engine import reading, writing
from forecaster.store.observations import observations
from jobs.stages.panel_cache import PanelCache
from tests.network.networks import small_spec
from tests.store.samples import HOUR, START

pytestmark = [pytest.mark.numeric, pytest.mark.quick_on("sqlite")]

NAMES = ("b", "a", "a/b", "é", "Z")
EXAMPLES = count()


@dataclass(frozen=True)
class Rows:
    """Rows that are landed; `handed` to the panel, or landed by somebody else."""

    found: dict[tuple[str, int], float | None]
    handed: bool


@dataclass(frozen=True)
class Look:
    """A forecast so many quarters of an hour after the last one."""

    quarters: int


VALUES = st.none() | st.sampled_from([-0.0, 0.1, 0.2, 0.3, 1e10, 1e300]) | st.floats(-1e6, 1e6)
LANDINGS = st.builds(
    Rows,
    st.dictionaries(
        st.tuples(st.sampled_from(NAMES), st.integers(-130, 60)), VALUES, min_size=1, max_size=12
    ),
    st.sampled_from([True, True, True, False]),
)
STORIES = st.lists(LANDINGS | st.builds(Look, st.integers(0, 40)), min_size=2, max_size=12)


def frame(found: dict[tuple[str, int], float | None]) -> pl.DataFrame:
    rows = [(name, START + quarter * HOUR / 4, value) for (name, quarter), value in found.items()]
    return pl.DataFrame(rows, schema=OBSERVATIONS, orient="row").sort("series_id", "timestamp")


def land(engine: Engine, dataset: str, rows: Rows, panels: PanelCache) -> None:
    with writing(engine) as conn:
        landing = observations.ingest(conn, dataset, frame(rows.found), recorded_at=START)
    if rows.handed:
        panels.take(dataset, landing)


def resident(conn: Connection, panels: PanelCache, dataset: str, until: datetime) -> Panel:
    spec = small_spec()
    panel = panels.at(conn, dataset, spec, until)
    names = panels.names(conn, dataset, panel)
    [found] = panel.panels(names, season_length=spec.season_length, scales={"a": 2.0})
    return found


def anew(conn: Connection, dataset: str, until: datetime) -> Panel:
    spec = small_spec()
    grid = spec.grid()
    end = grid.index_at(until)
    start = end - spec.context_length + 1
    since = grid.timestamp_at(start)
    return build(
        observations.read(conn, dataset, since=since, until=until),
        grid,
        season_length=spec.season_length,
        start=start,
        end=end,
        scales={"a": 2.0},
    )


def assert_same(found: Panel, expected: Panel) -> None:
    assert found.series_ids == expected.series_ids
    assert (found.start, found.end, found.counts) == (expected.start, expected.end, expected.counts)
    for name in ("deviations", "offset", "scale"):
        assert torch.equal(
            getattr(found, name).nan_to_num(nan=-7.0), getattr(expected, name).nan_to_num(nan=-7.0)
        )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(story=STORIES)
def test_whatever_was_landed_a_panel_kept_in_memory_equals_one_built_anew(
    engine: Engine, story: list[Rows | Look]
) -> None:
    dataset, panels, until = f"bikes {next(EXAMPLES)}", PanelCache(), START
    for event in story:
        if isinstance(event, Rows):
            land(engine, dataset, event, panels)
            continue
        until += event.quarters * HOUR / 4
        with reading(engine) as conn:
            assert_same(resident(conn, panels, dataset, until), anew(conn, dataset, until))


def test_rows_that_were_handed_over_are_not_read_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = PanelCache()
    land(engine, "bikes", Rows({(name, 0): 1.0 for name in NAMES}, handed=True), panels)
    with reading(engine) as conn:
        resident(conn, panels, "bikes", START)
    land(engine, "bikes", Rows({(name, 4): 2.0 for name in NAMES}, handed=True), panels)

    for read in ("read_cells", "read_some_cells"):
        monkeypatch.delattr(observations, read)
    with reading(engine) as conn:
        found = resident(conn, panels, "bikes", START + HOUR)

    assert (found.deviations[:, -2:].isfinite()).all()
    assert found.counts == PanelCounts()


def test_rows_newer_than_the_look_wait_for_theirs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = PanelCache()
    land(engine, "bikes", Rows({("a", 0): 1.0}, handed=True), panels)
    with reading(engine) as conn:
        resident(conn, panels, "bikes", START)
    monkeypatch.delattr(observations, "read_cells")

    for hour in range(1, 4):  # as with a delay: each look is an hour behind what was landed
        land(engine, "bikes", Rows({("a", 4 * hour): float(hour)}, handed=True), panels)
        with reading(engine) as conn:
            found = resident(conn, panels, "bikes", START + (hour - 1) * HOUR)

    assert found.deviations[0, -3:].isfinite().all()


def test_an_older_look_is_read_anew(engine: Engine) -> None:
    panels = PanelCache()
    land(
        engine,
        "bikes",
        Rows({("a", 4 * hour): float(hour) for hour in range(-30, 9)}, True),
        panels,
    )
    with reading(engine) as conn:
        resident(conn, panels, "bikes", START + 8 * HOUR)

        back = START - 2 * HOUR - timedelta(minutes=10)
        assert_same(resident(conn, panels, "bikes", back), anew(conn, "bikes", back))
        ahead = START + 9 * HOUR
        assert_same(resident(conn, panels, "bikes", ahead), anew(conn, "bikes", ahead))
