"""No row is missed however transactions interleave: a model of writers, and of who reads when."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.source.cursor import (
    PREPARED,
    Cursor,
    SourceState,
    plan_read,
)

SIGHT = SourceState(
    column="id",
    cluster="1/1",
    newest_transaction=100,
    open_before=frozenset(),
    position=10,
    open_after=frozenset(),
)


@dataclass
class Source:
    """Transactions that take ids and commit, in any order; pulls that look and read between."""

    next_id: int = 1
    open: dict[str, list[int]] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)
    landed: set[int] = field(default_factory=set)
    kept: Cursor | None = None
    begun: int = 0

    def begin(self) -> None:
        self.begun += 1
        self.open[f"3/{self.begun}"] = []

    def write(self, which: int) -> None:
        if self.open:
            list(self.open.values())[which % len(self.open)].append(self.next_id)
            self.next_id += 1

    def commit(self, which: int) -> None:
        if self.open:
            name = list(self.open)[which % len(self.open)]
            self.committed |= set(self.open.pop(name))

    def prepare(self, which: int) -> None:
        if self.open:
            name = list(self.open)[which % len(self.open)]
            self.open[PREPARED + name] = self.open.pop(name)


Event = tuple[str, int]
events = st.lists(
    st.tuples(st.sampled_from(["begin", "write", "write", "commit", "prepare"]), st.integers(0, 9)),
    max_size=4,
)


def play(source: Source, happening: list[Event]) -> None:
    for name, which in happening:
        source.begin() if name == "begin" else getattr(source, name)(which)


def pull(source: Source, between: list[list[Event]], *, is_kept: bool) -> None:
    """Look and read with things happening before each statement."""
    play(source, between[0])
    before = frozenset(source.open)
    play(source, between[1])
    position = max(source.committed, default=None)
    play(source, between[2])
    after = frozenset(source.open)
    play(source, between[3])
    state = replace(SIGHT, open_before=before, position=position, open_after=after)
    plan = plan_read(source.kept, state)
    least = 0 if plan.after is None else int(plan.after)
    source.landed |= {row for row in source.committed if row >= least}
    if is_kept and plan.cursor is not None:
        source.kept = Cursor.of(plan.cursor.document())


@pytest.mark.fault(15)
@given(st.lists(st.tuples(st.lists(events, min_size=4, max_size=4), st.booleans()), max_size=12))
def test_whatever_was_committed_is_landed_in_the_end(
    pulls: list[tuple[list[list[Event]], bool]],
) -> None:
    source = Source()

    for between, is_kept in pulls:
        pull(source, between, is_kept=is_kept)
    for name in list(source.open):
        source.committed |= set(source.open.pop(name))
    for _ in range(3):
        pull(source, [[], [], [], []], is_kept=True)

    assert source.landed == source.committed


def test_a_quiet_source_is_read_from_its_last_row_on() -> None:
    first = plan_read(None, SIGHT)
    second = plan_read(first.cursor, replace(SIGHT, position=20))

    assert (first.after, first.full_read_reason) == (None, "first pull")
    assert (second.after, second.full_read_reason) == (10, None)


def test_a_row_is_read_again_until_everybody_who_was_there_has_gone() -> None:
    kept = plan_read(None, SIGHT).cursor
    for position in (20, 30):
        state = replace(SIGHT, position=position, open_before=frozenset({"3/1"}))
        plan = plan_read(kept, replace(state, open_after=frozenset({"3/1"})))
        assert plan.after == 10
        kept = plan.cursor

    settled = plan_read(kept, replace(SIGHT, position=40))
    after = plan_read(settled.cursor, replace(SIGHT, position=50))

    assert (settled.after, after.after) == (10, 40)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cluster": "2/1"}, "another cluster or timeline"),
        ({"cluster": "1/2"}, "another cluster or timeline"),
        ({"newest_transaction": 99}, "transactions went back"),
        ({"position": 9}, "positions went back"),
        ({"position": "9"}, "positions went back"),
        ({"column": "recorded_at"}, "another ingest column"),
    ],
)
def test_a_source_that_is_not_what_it_was_is_read_anew(
    change: dict[str, object], reason: str
) -> None:
    kept = plan_read(None, SIGHT).cursor

    plan = plan_read(kept, replace(SIGHT, **change))  # type: ignore[arg-type]

    assert (plan.after, plan.full_read_reason) == (None, reason)
    assert plan.cursor is not None


def test_a_source_without_rows_leaves_what_was_kept() -> None:
    assert plan_read(None, replace(SIGHT, position=None)).cursor is None


def test_a_sight_survives_its_way_from_the_worker() -> None:
    state = replace(SIGHT, open_before=frozenset({"3/1", "4/2"}))

    assert SourceState.from_json(state.to_json()) == state
