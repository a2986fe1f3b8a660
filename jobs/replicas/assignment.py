"""How replicas share datasets: every replica computes the same owner of each dataset.

Rendezvous hashing: every dataset goes to the member whose hash with it is the greatest, so a member
that comes or goes moves only the datasets that are its own.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from forecaster.store.state import leases
from forecaster.store.state.leases import NOBODY, Lease
from jobs.replicas import identity

LONGEST_TTL = 600.0
"""Seconds. A lease that ends later than this is from before the clock was set back."""
SETTLED_AFTER = 3
"""Times the life of a lease after which the handover to a new member is complete."""
DECLINED_FOR = 40
"""Times the life of a lease until an owner that did not acquire a dataset may have it again."""


class MembershipView:
    """The replicas and leases as one replica sees them; times are seconds by its own clock."""

    def __init__(self, me: str, ttl: float) -> None:
        self._me, self._ttl = me, ttl
        self._leases: Mapping[str, Lease] = {}
        self._gone: Collection[str] = ()
        self._now = 0.0
        self._unchanged_since: dict[Lease, float] = {}
        self._free_since: dict[str, float] = {}
        self._member_since: dict[str, float] = {}
        self._declined: dict[tuple[str, str], float] = {}
        self._wanted: tuple[str, ...] = ()

    def update(
        self,
        leases_: Mapping[str, Lease],
        gone: Collection[str],
        at: float,
        datasets: Iterable[str],
    ) -> None:
        """Set all leases as they are now; `gone` are holders whose process or session has ended."""
        self._leases, self._gone, self._now = leases_, gone, at
        self._wanted = tuple(datasets)
        self._unchanged_since = {
            lease: self._unchanged_since.get(lease, at) for lease in leases_.values()
        }
        self._member_since = {
            member: self._member_since.get(member, at) for member in self.members()
        }
        self._declined = {
            pair: since
            for pair, since in self._declined.items()
            if pair[1] in self._member_since and at - since < DECLINED_FOR * self._ttl
        }
        self._free_since = {
            dataset: self._free_since.get(dataset, at)
            for dataset in self._wanted
            if self._is_free(self._lease_of(dataset))
        }

    def needs_survey(self, at: float, held: Collection[str], wanted: Collection[str]) -> bool:
        """Return whether a lease may have changed hands since the last survey, or is about to.

        That is while one is free or newly wanted, while one is to be handed over, when a renewal is
        late, and once the process of a holder has ended on this machine.
        """
        missing = {dataset for dataset in wanted if dataset not in held}
        has_changed = not missing <= {*self._wanted} or not {*held} <= {*wanted}
        return (
            has_changed
            or bool(self._free_since)
            or self._is_rebalancing(at, held, missing)
            or any(map(identity.is_gone, self._others()))
            or any(left <= self._ttl / 3 for left in self._others(at).values())
        )

    def _is_rebalancing(self, at: float, held: Iterable[str], missing: Iterable[str]) -> bool:
        """Return whether a dataset will soon be handed over, as a member joined a while ago."""
        members = self.members()
        is_new = at - max(self._member_since.values(), default=at) < SETTLED_AFTER * self._ttl
        return bool(self._of_others(held)) or (
            is_new and any(owner(dataset, members) == self._me for dataset in missing)
        )

    def _of_others(self, held: Iterable[str]) -> dict[str, str]:
        """Return the owners of those datasets that another replica should have, unless declined."""
        members = self.members()
        owners = {dataset: owner(dataset, members) for dataset in held}
        return {
            dataset: member
            for dataset, member in owners.items()
            if member != self._me and (dataset, member) not in self._declined
        }

    def _others(self, at: float = 0.0) -> dict[str, float]:
        """Return the seconds left of the leases of others by holder, without those at their end."""
        left: dict[str, float] = {}
        for lease in self._leases.values():
            seconds = lease.left.total_seconds()
            if seconds > 0 and lease.holder not in (NOBODY, self._me):
                now = seconds - max(0.0, at - self._now)
                left[lease.holder] = min(now, left.get(lease.holder, now))
        return left

    def members(self) -> set[str]:
        """Return the replicas that are alive, including this one."""
        others = (lease for lease in self._leases.values() if lease.is_member)
        return {self._me} | {lease.holder for lease in others if not self._is_free(lease)}

    def to_acquire(self) -> Iterator[tuple[str, Lease | None]]:
        """Yield the datasets to acquire, each with its current lease.

        Datasets of another owner are left to it for a third of a lease's time. An owner that does
        not acquire one then, perhaps since its settings lack it, is passed over for a while.
        """
        members = self.members()
        for dataset, since in self._free_since.items():
            preferred_owner = owner(dataset, members)
            if preferred_owner != self._me and self._now - since < self._ttl / 3:
                continue
            if preferred_owner != self._me:
                self._declined[dataset, preferred_owner] = self._now
            yield dataset, self._lease_of(dataset)

    def to_release(self, held: Iterable[str]) -> set[str]:
        """Return the datasets whose owner is another replica that has been alive for a while."""
        return {
            dataset
            for dataset, member in self._of_others(held).items()
            if self._now - self._member_since[member] >= self._ttl / 3
        }

    def _lease_of(self, dataset: str) -> Lease | None:
        return self._leases.get(leases.of_dataset(dataset))

    def _is_free(self, lease: Lease | None) -> bool:
        """Return whether a lease can be acquired: nobody's, ours, or of a holder that has ended."""
        if lease is None or lease.holder in (NOBODY, self._me) or lease.holder in self._gone:
            return True
        left, same = lease.left.total_seconds(), self._now - self._unchanged_since[lease]
        return left <= 0 or (left > LONGEST_TTL and same >= self._ttl)


def owner(dataset: str, members: Iterable[str]) -> str:
    """Return which of `members` a dataset belongs to."""
    return max(members, key=lambda member: hashlib.sha256(f"{member}\0{dataset}".encode()).digest())
