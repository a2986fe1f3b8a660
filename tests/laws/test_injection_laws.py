"""Laws of what goes wrong on purpose: nothing is lost but gaps, and all ends as it should."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from forecaster.schemas import INSTANT, OBSERVATIONS
from jobs.simulation import outages
from jobs.simulation.faults import DELIVERIES, Fault, Injection, Lags, Shares, inject, settled
from jobs.simulation.outages import What

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
LAGS = Lags(shortest=2 * HOUR, longest=9 * HOUR)
DELAY = timedelta(minutes=20)
KEY = ["series_id", "timestamp"]

values = st.floats(-1e9, 1e9)


@st.composite
def observed(draw: st.DrawFn) -> pl.DataFrame:
    """OBSERVATIONS of some series over the same hours, or some of them."""
    frames = [
        pl.DataFrame(
            {
                "series_id": [name] * len(each),
                "timestamp": pl.Series([START + hour * HOUR for hour in each], dtype=INSTANT),
                "value": [draw(values) for _ in each],
            },
            schema=OBSERVATIONS,
        )
        for name in draw(st.sets(st.sampled_from("abc"), max_size=3))
        for each in [sorted(draw(st.sets(st.integers(0, 40), max_size=25)))]
    ]
    return pl.concat([pl.DataFrame(schema=OBSERVATIONS), *frames])


@st.composite
def shares(draw: st.DrawFn) -> Shares:
    parts = [draw(st.floats(0, 0.25)) for _ in range(4)]
    late, corrections, gaps, duplicates = parts
    return Shares(late=late, corrections=corrections, gaps=gaps, duplicates=duplicates)


def injected(rows: pl.DataFrame, wanted: Shares, seed: int, *, until: int = 80) -> Injection:
    return inject(
        rows,
        wanted,
        between=(START + 5 * HOUR, START + until * HOUR),
        delay=DELAY,
        lags=LAGS,
        rng=np.random.default_rng(seed),
    )


seeds = st.integers(0, 99)


@given(observed(), shares(), seeds)
def test_no_row_is_lost_unless_it_is_a_gap(rows: pl.DataFrame, wanted: Shares, seed: int) -> None:
    found = injected(rows, wanted, seed)

    lost = rows.join(found.deliveries, on=KEY, how="anti")
    assert lost.height == found.counts[Fault.GAP]
    assert found.deliveries.join(rows, on=KEY, how="anti").is_empty()


@given(observed(), shares(), seeds)
def test_all_ends_at_its_final_value_unless_rows_contradict_one_another(
    rows: pl.DataFrame, wanted: Shares, seed: int
) -> None:
    found = injected(rows, wanted, seed)

    ends = settled(found.deliveries, until=START + 80 * HOUR)
    off = ends.join(rows, on=[*KEY, "value"], how="anti")
    assert off.height <= found.counts[Fault.CONFLICT]


@given(observed(), seeds)
def test_without_faults_each_row_is_shown_once_and_as_late_as_the_delay(
    rows: pl.DataFrame, seed: int
) -> None:
    found = injected(rows, Shares(), seed)

    shown = found.deliveries.sort(KEY)
    assert shown.select(OBSERVATIONS.names()).equals(rows.sort(KEY))
    assert shown["shown_at"].equals((rows.sort(KEY)["timestamp"] + DELAY).alias("shown_at"))
    assert set(found.counts.values()) == {0}


@given(observed(), shares(), seeds, st.integers(6, 60))
def test_faults_keep_to_their_stretch(
    rows: pl.DataFrame, wanted: Shares, seed: int, until: int
) -> None:
    found = injected(rows, wanted, seed, until=until)

    clean = injected(rows, Shares(), seed).deliveries
    touched = clean.join(found.deliveries, on=DELIVERIES.names(), how="anti")
    assert (touched["timestamp"] > START + 5 * HOUR).all()
    assert (touched["shown_at"] <= START + until * HOUR).all()
    shown_late = found.deliveries.filter(pl.col("shown_at") > pl.col("timestamp") + DELAY)
    assert (shown_late["shown_at"] <= START + until * HOUR).all()


@given(observed(), shares(), seeds)
def test_a_row_is_never_shown_before_its_time_and_at_most_two_times(
    rows: pl.DataFrame, wanted: Shares, seed: int
) -> None:
    shown = injected(rows, wanted, seed).deliveries

    assert (shown["shown_at"] >= shown["timestamp"] + DELAY).all()
    assert shown.group_by(KEY).len()["len"].max() in (None, 1, 2)
    assert shown["shown_at"].is_sorted()


@given(observed(), shares(), seeds)
def test_equal_seeds_make_equal_faults(rows: pl.DataFrame, wanted: Shares, seed: int) -> None:
    first, second = injected(rows, wanted, seed), injected(rows, wanted, seed)

    assert first.deliveries.equals(second.deliveries)
    assert first.counts == second.counts


@given(
    st.lists(st.tuples(st.sampled_from(["source", "service"]), st.integers(1, 5)), max_size=6),
    seeds,
)
def test_outages_keep_their_lengths_and_out_of_one_anothers_way(
    wanted: list[tuple[What, int]], seed: int
) -> None:
    lengths = [(what, hours * HOUR) for what, hours in wanted]
    rng = np.random.default_rng(seed)

    found = outages.place(lengths, after=START, before=START + 40 * HOUR, rng=rng)

    assert sorted((each.what, each.until - each.since) for each in found) == sorted(lengths)
    assert all(each.since > START for each in found)  # the first tick begins the replay
    ends = [START, *(each.until for each in found)]
    assert all(end <= each.since for end, each in zip(ends, found, strict=False))
    assert ends[-1] <= START + 40 * HOUR


def test_an_outage_in_a_replay_of_seconds_begins_after_its_first_tick() -> None:
    second = timedelta(seconds=1)

    for seed in range(20):
        rng = np.random.default_rng(seed)
        (found,) = outages.place(
            [("service", second)], after=START, before=START + 2 * second, rng=rng
        )
        assert START < found.since < START + second
