"""How replicas share datasets: each one computes the same owner of each, and no one decides.

Rendezvous hashing: every dataset goes to the member whose hash with it is the greatest, so a member
that comes or goes moves only the datasets that are its own.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from forecaster.store.state import leases
from forecaster.store.state.leases import NOBODY, Lease
from jobs.replicas import identity

LONGEST_TTL = 600.0
"""Seconds. Whoever holds a lease for longer has one from before the clock was set back."""
SETTLED_AFTER = 3
"""Times the life of a lease after which all that was to be shared with a new member is."""
DECLINED_FOR = 40
"""Times the life of a lease until a replica that did not take a dataset is given it again."""


class MembershipView:
    """What one replica sees of all of them, and since when; times are seconds by its own clock."""

    def __init__(self, me: str, ttl: float) -> None:
        self._me, self._ttl = me, ttl
        self._found: Mapping[str, Lease] = {}
        self._gone: Collection[str] = ()
        self._at = 0.0
        self._same_since: dict[Lease, float] = {}
        self._free_since: dict[str, float] = {}
        self._there_since: dict[str, float] = {}
        self._declined: dict[tuple[str, str], float] = {}
        self._asked: tuple[str, ...] = ()

    def see(
        self, found: Mapping[str, Lease], gone: Collection[str], at: float, datasets: Iterable[str]
    ) -> None:
        """Remember all leases as they are now; `gone`: holders that have evidently ended."""
        self._found, self._gone, self._at = found, gone, at
        self._asked = tuple(datasets)
        self._same_since = {lease: self._same_since.get(lease, at) for lease in found.values()}
        self._there_since = {member: self._there_since.get(member, at) for member in self.members()}
        self._declined = {
            pair: since
            for pair, since in self._declined.items()
            if pair[1] in self._there_since and at - since < DECLINED_FOR * self._ttl
        }
        self._free_since = {
            dataset: self._free_since.get(dataset, at)
            for dataset in self._asked
            if self._is_free(self._lease_of(dataset))
        }

    def is_worth_a_look(self, at: float, held: Collection[str], wanted: Collection[str]) -> bool:
        """Tell whether a lease may have changed hands since the last look, or is about to.

        That is while one is free or wanted anew, while one is to be given or got, when one is late,
        and once the process of a holder has ended on this machine.
        """
        lacking = {dataset for dataset in wanted if dataset not in held}
        is_asked = not lacking <= {*self._asked} or not {*held} <= {*wanted}
        return (
            is_asked
            or bool(self._free_since)
            or self._is_moving(at, held, lacking)
            or any(map(identity.is_gone, self._others()))
            or any(left <= self._ttl / 3 for left in self._others(at).values())
        )

    def _is_moving(self, at: float, held: Iterable[str], lacking: Iterable[str]) -> bool:
        """Tell whether a dataset will soon be given or got, as a member came a while ago."""
        members = self.members()
        heirs = {dataset: owner(dataset, members) for dataset in held}
        is_to_give = any(
            preferred_owner != self._me and (dataset, preferred_owner) not in self._declined
            for dataset, preferred_owner in heirs.items()
        )
        is_new = at - max(self._there_since.values(), default=at) < SETTLED_AFTER * self._ttl
        return is_to_give or (
            is_new and any(owner(dataset, members) == self._me for dataset in lacking)
        )

    def _others(self, at: float = 0.0) -> dict[str, float]:
        """Return the seconds left of the leases of others by holder, without those at their end."""
        left: dict[str, float] = {}
        for lease in self._found.values():
            seconds = lease.left.total_seconds()
            if seconds > 0 and lease.holder not in (NOBODY, self._me):
                now = seconds - max(0.0, at - self._at)
                left[lease.holder] = min(now, left.get(lease.holder, now))
        return left

    def members(self) -> set[str]:
        """Return the replicas that are there, this one among them."""
        others = (lease for lease in self._found.values() if lease.is_member)
        return {self._me} | {lease.holder for lease in others if not self._is_free(lease)}

    def taking(self) -> Iterator[tuple[str, Lease | None]]:
        """Give the datasets to take, each with its lease as it is.

        What another replica should have is left to it for a third of a lease's time. One that does
        not take it then, since its settings do not name it perhaps, is not given it for a while.
        """
        members = self.members()
        for dataset, since in self._free_since.items():
            preferred_owner = owner(dataset, members)
            if preferred_owner != self._me and self._at - since < self._ttl / 3:
                continue
            if preferred_owner != self._me:
                self._declined[dataset, preferred_owner] = self._at
            yield dataset, self._lease_of(dataset)

    def giving(self, held: Iterable[str]) -> set[str]:
        """Return the datasets that another one should have, which has been there for a while."""
        members = self.members()
        heirs = {dataset: owner(dataset, members) for dataset in held}
        return {
            dataset
            for dataset, preferred_owner in heirs.items()
            if preferred_owner != self._me
            and self._at - self._there_since[preferred_owner] >= self._ttl / 3
            and (dataset, preferred_owner) not in self._declined
        }

    def _lease_of(self, dataset: str) -> Lease | None:
        return self._found.get(leases.of_dataset(dataset))

    def _is_free(self, lease: Lease | None) -> bool:
        """Tell whether a lease can be taken: nobody's, ours, or of a holder that is no more."""
        if lease is None or lease.holder in (NOBODY, self._me) or lease.holder in self._gone:
            return True
        left, same = lease.left.total_seconds(), self._at - self._same_since[lease]
        return left <= 0 or (left > LONGEST_TTL and same >= self._ttl)


def owner(dataset: str, members: Iterable[str]) -> str:
    """Return which of `members` a dataset belongs to."""
    return max(members, key=lambda member: hashlib.sha256(f"{member}\0{dataset}".encode()).digest())
