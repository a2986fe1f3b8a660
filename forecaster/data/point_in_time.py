"""PointInTime: which version of a value was known at which tick.

A tick that the service ran knew what had been ingested by the watermark in its run row. Any other
tick, had it been run, would have known what was recorded by then. Of what was recorded later, as
after an outage or from a file, it is unknown when it could have been read: its first version counts
as known `late_data` after its timestamp, unless a later tick ran before it was recorded, looked,
and did not find it. A correction is known from when it was recorded, never before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from forecaster.data.grid import EPOCH
from forecaster.schemas import VERSIONS, conform
from forecaster.times.durations import MICROSECOND

Array = np.ndarray[Any, np.dtype[Any]]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of each version: the place of the first tick that knew it, and whether that is assumed.

    Places count from 0; the number of ticks stands for a version that none of them knew. `ingested`
    is the first tick by which it was there, though its time may not have come.
    """

    place: Array
    ingested: Array
    is_assumed: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PointInTime:
    """K ticks, ascending, and what was known at each; instants are microseconds since 1970.

    until     (K,) no timestamp after it may be looked at: the tick less `delay`
    settled   (K,) a value that was there to be read came in by now up to this timestamp
    recorded  (K,) all versions recorded up to here were known
    assumed   (K,) first versions recorded up to here, of timestamps up to `settled`, count as known
    """

    ticks: Array
    until: Array
    settled: Array
    recorded: Array
    assumed: Array

    def __len__(self) -> int:
        return len(self.ticks)

    def first_known(self, versions: pl.DataFrame) -> Known:
        """Return from which tick on each of VERSIONS was known: all versions of its timestamps."""
        conform(versions, VERSIONS)
        stamps, recorded = (
            versions[name].to_physical().to_numpy() for name in ("timestamp", "recorded_at")
        )
        recorded_from = np.searchsorted(self.recorded, recorded)
        counted = np.maximum(
            np.searchsorted(self.settled, stamps), np.searchsorted(self.assumed, recorded)
        )
        counted[~_is_first(versions)] = len(self)
        may_be_seen = np.searchsorted(self.until, stamps)
        ingested = np.minimum(recorded_from, counted)
        return Known(
            place=np.maximum(ingested, may_be_seen).astype(np.int32),
            ingested=ingested,
            is_assumed=np.maximum(counted, may_be_seen) < np.maximum(recorded_from, may_be_seen),
        )


def point_in_time(
    ticks: Sequence[datetime],
    ran: Mapping[datetime, datetime],
    *,
    delay: timedelta,
    late_data: timedelta,
) -> PointInTime:
    """Return what was known at `ticks`, ascending, where `ran` holds the mark of each that ran.

    Ticks of `ran` need not be among `ticks`. A tick that ran out of turn, long after later ones,
    counts as knowing no more than they did.
    """
    at, ordered = _microseconds(ticks), sorted(ran)
    ran_ticks, marks = _microseconds(ordered), _microseconds([ran[tick] for tick in ordered])
    all_ticks = np.union1d(at, ran_ticks)
    known_until = all_ticks.copy()
    known_until[np.searchsorted(all_ticks, ran_ticks)] = marks
    following = np.append(_least_from_here_on(marks), _NEVER)
    return PointInTime(
        ticks=at,
        until=at - delay // MICROSECOND,
        settled=at - max(delay, late_data) // MICROSECOND,
        recorded=_least_from_here_on(known_until)[np.searchsorted(all_ticks, at)],
        assumed=following[np.searchsorted(ran_ticks, at)],
    )


def _microseconds(instants: Sequence[datetime]) -> Array:
    return np.array([(instant - EPOCH) // MICROSECOND for instant in instants], np.int64)


def _least_from_here_on(values: Array) -> Array:
    return np.minimum.accumulate(values[::-1])[::-1]


def _is_first(versions: pl.DataFrame) -> Array:
    """Return which versions are the first of their timestamp."""
    series, stamps = (
        versions[name].to_physical().to_numpy() for name in ("series_id", "timestamp")
    )
    is_first = np.ones(len(stamps), bool)
    is_first[1:] = (series[1:] != series[:-1]) | (stamps[1:] != stamps[:-1])
    return is_first
