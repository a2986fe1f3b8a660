"""Which replica takes which dataset: every one comes to the same answer by itself."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.store.state import leases
from forecaster.store.state.leases import Lease
from jobs.replicas.assignment import DECLINED_FOR, MembershipView, owner
from jobs.replicas.identity import new_holder

TTL = 15.0
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
NAMES = st.sets(st.text("abcxyz", min_size=1, max_size=6), min_size=1, max_size=6)


def lease(name: str, holder: str, *, left: float = 10.0) -> Lease:
    span = timedelta(seconds=left)
    return Lease(name=name, holder=holder, token=1, expires_at=NOW + span, left=span)


def member(name: str, *, left: float = 10.0) -> Lease:
    return lease(leases.of_member(name), name, left=left)


def see(
    sight: MembershipView,
    *found: Lease,
    at: float = 0.0,
    gone: Iterable[str] = (),
    datasets: Iterable[str] = ("d",),
) -> list[str]:
    """Let `sight` see the leases; return the datasets that it would take."""
    sight.update({each.name: each for each in found}, {*gone}, at, datasets)
    return [name for name, _ in sight.to_acquire()]


def theirs(dataset: str = "d", *, left: float = 10.0) -> Lease:
    return lease(leases.of_dataset(dataset), "them", left=left)


@given(datasets=NAMES, members=NAMES, other=st.text("uvw", min_size=1))
def test_a_member_that_comes_moves_only_what_becomes_its_own(
    datasets: set[str], members: set[str], other: str
) -> None:
    for dataset in datasets:
        before, after = owner(dataset, members), owner(dataset, {*members, other})

        assert after in (before, other)


def test_datasets_are_spread_over_the_members() -> None:
    owners = [owner(f"dataset {number}", "abc") for number in range(300)]

    assert all(80 < owners.count(member) < 120 for member in "abc")


def test_alone_one_takes_everything_at_once() -> None:
    assert see(MembershipView("us", TTL), datasets=["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        (theirs(), []),
        (theirs(left=0), ["d"]),
        (theirs(left=-60), ["d"]),
        (lease(leases.of_dataset("d"), leases.NOBODY), ["d"]),
        (lease(leases.of_dataset("d"), "us"), ["d"]),
    ],
)
def test_what_is_free_is_taken(found: Lease, taken: list[str]) -> None:
    assert see(MembershipView("us", TTL), found) == taken


def test_what_the_dead_left_behind_is_taken_before_it_expires() -> None:
    sight = MembershipView("us", TTL)

    assert see(sight, theirs(), member("them"), gone=["them"]) == ["d"]
    assert sight.members() == {"us"}


@pytest.mark.fault(8)
def test_a_lease_from_before_the_clock_was_set_back_ends_by_our_own_clock() -> None:
    sight, found = MembershipView("us", TTL), theirs(left=3600)

    assert see(sight, found, at=0) == []
    assert see(sight, found, at=14) == []
    assert see(sight, found, at=15) == ["d"]


def heirs() -> tuple[MembershipView, str, str]:
    """A sight that knows another member, a dataset that is its own, and one that is not."""
    names = [f"dataset {number}" for number in range(100)]
    ours = next(name for name in names if owner(name, ["us", "them"]) == "us")
    not_ours = next(name for name in names if owner(name, ["us", "them"]) == "them")
    return MembershipView("us", TTL), ours, not_ours


def test_what_another_should_have_is_left_to_it_for_a_while() -> None:
    sight, ours, not_ours = heirs()

    first = see(sight, member("them"), at=0, datasets=[ours, not_ours])
    then = see(sight, member("them"), at=6, datasets=[ours, not_ours])

    assert (first, then) == ([ours], [ours, not_ours])


def test_a_member_is_given_its_own_once_it_has_been_there_for_a_while() -> None:
    sight, ours, not_ours = heirs()

    given_away = []
    for at in (0, 4, 5):
        see(sight, member("them"), at=at, datasets=[])
        given_away.append(sight.to_release([ours, not_ours]))

    assert given_away == [set(), set(), {not_ours}]


def test_a_member_that_does_not_take_its_own_is_not_given_it_again() -> None:
    sight, _, not_ours = heirs()
    for at in (0, 6):
        see(sight, member("them"), at=at, datasets=[not_ours])

    assert sight.to_release([not_ours]) == set()


def test_a_member_that_was_slow_once_is_given_its_own_later() -> None:
    sight, _, not_ours = heirs()
    for at in (0.0, 6.0):
        see(sight, member("them"), at=at, datasets=[not_ours])
    given_away = []
    for at in (6 + DECLINED_FOR * TTL - 1, 6 + DECLINED_FOR * TTL):
        see(sight, member("them"), at=at, datasets=[])
        given_away.append(sight.to_release([not_ours]))

    assert given_away == [set(), {not_ours}]


def test_what_the_dead_did_not_take_is_forgotten() -> None:
    sight, _, not_ours = heirs()
    for at in (0.0, 6.0):
        see(sight, member("them"), at=at, datasets=[not_ours])
    see(sight, at=7, datasets=[])

    assert not sight._declined


def test_a_member_that_expired_gets_nothing() -> None:
    sight, _, not_ours = heirs()

    taken = see(sight, member("them", left=-1), datasets=[not_ours])

    assert taken == [not_ours]
    assert sight.to_release([not_ours]) == set()


def is_worth_a_look(sight: MembershipView, at: float, held: set[str], wanted: set[str]) -> bool:
    return sight.needs_survey(at, held, wanted)


def test_who_holds_what_is_its_own_need_not_look_again() -> None:
    sight = MembershipView("us", TTL)
    see(sight, lease(leases.of_dataset("d"), "us"), member("us"), at=0, datasets=[])

    assert not is_worth_a_look(sight, 600, {"d"}, {"d"})


def test_a_dataset_that_is_free_or_wanted_anew_or_no_more_is_worth_a_look() -> None:
    free, settled = MembershipView("us", TTL), MembershipView("us", TTL)
    see(free, lease(leases.of_dataset("d"), leases.NOBODY), at=0)
    see(settled, lease(leases.of_dataset("d"), "us"), at=0, datasets=[])

    assert is_worth_a_look(free, 1, set(), {"d"})
    assert is_worth_a_look(settled, 1, {"d"}, {"d", "e"})
    assert is_worth_a_look(settled, 1, {"d"}, set())


def test_a_lease_of_another_is_worth_a_look_once_it_is_late() -> None:
    sight = MembershipView("us", TTL)
    see(sight, theirs(left=12), member("them", left=12), at=100, datasets=[])

    assert not is_worth_a_look(sight, 106, set(), set())
    assert is_worth_a_look(sight, 107.5, set(), set())


def test_a_lease_at_its_end_that_nobody_wants_is_not() -> None:
    sight = MembershipView("us", TTL)
    see(sight, theirs(left=-1), member("them", left=-1), at=100, datasets=[])

    assert not is_worth_a_look(sight, 107.5, set(), set())


def test_what_a_new_member_is_to_have_is_worth_a_look_to_both_for_a_while() -> None:
    giver, ours, not_ours = heirs()
    taker = MembershipView("them", TTL)
    for sight in (giver, taker):
        see(
            sight,
            member("us", left=TTL),
            member("them", left=TTL),
            lease(leases.of_dataset(ours), "us", left=TTL),
            lease(leases.of_dataset(not_ours), "us", left=TTL),
            at=100,
            datasets=[] if sight is giver else [ours, not_ours],
        )

    assert is_worth_a_look(giver, 101, {ours, not_ours}, {ours, not_ours})
    assert is_worth_a_look(taker, 101, set(), {ours, not_ours})
    assert not is_worth_a_look(taker, 105, {not_ours}, {ours, not_ours})


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_a_holder_whose_process_has_ended_here_is_worth_a_look_at_once() -> None:
    boot, namespace, *_, chance = new_holder().split("-")
    ended = "-".join([boot, namespace, "999999999", "1", chance])
    sight = MembershipView("us", TTL)
    see(sight, lease(leases.of_dataset("d"), ended, left=TTL), at=0, datasets=[])

    assert is_worth_a_look(sight, 1, set(), set())
