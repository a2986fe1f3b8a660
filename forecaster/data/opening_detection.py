"""When the series of a panel are open, from settings or inferred from rows, for all together.

A time of the week is closed where hardly any week has a row of any series. Then

- there have to be four weeks of it, or two weeks for a time that is closed on all days;
- it may have been open in one week of twenty, and in one of the latest four: holidays and special
  days are exceptions, and an outage closes nothing that was open before;
- what is open has to be observed so regularly that no time would lack rows by chance: sparse series
  and steps that are too fine have no hours;
- there are at most four intervals a day, each longer than a step.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.config.settings import ALWAYS, AUTO, CalendarConfig
from forecaster.data.grid import Grid
from forecaster.data.open_cells import MINUTE, Array, is_open, week_clock
from forecaster.data.panel import Panel
from forecaster.times.opening_hours import DAY, OpeningHours

_FEWEST_WEEKS, _FEWEST_DAYS = 4, 14
_EXCEPTIONS, _LATEST_EXCEPTIONS = 0.05, 1
_LEAST_OBSERVED = 0.5
"""Share of the weeks in which what is open has a row, on average."""
_CHANCE = 0.05
"""How many times of the week may seem closed by chance."""
_MOST_INTERVALS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weeks:
    """How often each slot of the week was observed: (7, slots of a day), in minutes `width`."""

    seen: Array
    """By date (D, slots): whether any series has a row."""
    exists: Array
    """(D, slots) whether the panel has such a cell."""
    weekday: Array
    """(D,) 0 is Monday."""
    width: int
    phase: int
    """Minutes after midnight at which the first slot begins."""

    def counts(self, which: Array, latest: int | None = None) -> Array:
        """Sum `which` (D, slots) by weekday (7, slots); of the `latest` dates of each only."""
        counts = np.zeros((7, which.shape[1]), np.int64)
        for day in range(7):
            rows = which[self.weekday == day]
            counts[day] = rows[-latest if latest else None :].sum(0)
        return counts


def hours_of(panel: Panel, config: CalendarConfig) -> OpeningHours | None:
    """Return when there may be data: from settings, or inferred from `panel`; None is always."""
    if config.open == ALWAYS:
        return None
    return detect_hours(panel) if config.open == AUTO else OpeningHours.parse(config.open)


def detect_hours(panel: Panel) -> OpeningHours | None:
    """Return when the series of `panel` are open, inferred from rows; None is always."""
    width = _slot(panel.grid)
    if width is None or panel.length == 0:
        return None
    weeks = _weeks(panel, width)
    closed = _closed(weeks)
    if closed is None or not closed.any() or not _is_plain(closed):
        return None
    opens = [
        (day * DAY + weeks.phase + slot * width, day * DAY + weeks.phase + (slot + 1) * width)
        for day, slot in np.argwhere(~closed).tolist()
    ]
    return OpeningHours.of(opens)


def _slot(grid: Grid) -> int | None:
    """Return how many minutes a slot has; None where steps do not divide a day."""
    if grid.step.unit == "day":
        return DAY if grid.step.count == 1 else None
    if grid.step.unit == "month" or DAY * MINUTE % grid.step.count:
        return None
    minutes = max(1, grid.step.count // MINUTE)
    return minutes if minutes * MINUTE % grid.step.count == 0 and DAY % minutes == 0 else None


def _weeks(panel: Panel, width: int) -> _Weeks:
    wall = week_clock(panel.grid, np.arange(panel.start, panel.end + 1)) // MINUTE
    phase = int(np.bincount(wall % width).argmax())
    slot = (wall - phase) // width
    date, slots = slot // (DAY // width), DAY // width
    first = int(date.min())
    shape = (int(date.max()) - first + 1, slots)
    seen, exists = np.zeros((2, *shape), bool)
    place = (date - first, slot % slots)
    exists[place] = True
    observed = panel.deviations.isfinite().any(0).cpu().numpy()
    seen[place[0][observed], place[1][observed]] = True
    weekday = (np.arange(shape[0]) + first) % 7
    return _Weeks(seen=seen, exists=exists, weekday=weekday, width=width, phase=phase)


def _closed(weeks: _Weeks) -> Array | None:
    """Return the slots of the week (7, slots) that are closed; None where rows are too few."""
    seen, existing = weeks.counts(weeks.seen), weeks.counts(weeks.exists)
    number = existing.min()
    if number >= _FEWEST_WEEKS:
        latest = weeks.counts(weeks.seen, _FEWEST_WEEKS)
        closed = (seen <= _EXCEPTIONS * existing) & (latest <= _LATEST_EXCEPTIONS)
    elif weeks.width < DAY and existing.sum(0).min() >= _FEWEST_DAYS:
        seen, existing = (np.tile(counts.sum(0), (7, 1)) for counts in (seen, existing))
        number, closed = existing.min(), seen <= _EXCEPTIONS * existing
    else:
        return None
    if closed.all():
        return None
    observed = float((seen[~closed] / existing[~closed]).mean())
    by_chance = closed.size * (1 - observed) ** number
    return closed if observed >= _LEAST_OBSERVED and by_chance <= _CHANCE else None


def _is_plain(closed: Array) -> bool:
    """Return whether it is open in a few intervals a day, each longer than a slot."""
    if closed.shape[1] == 1:
        return True
    opened = ~closed.ravel()
    begins = opened & ~np.roll(opened, 1)
    is_single = begins & ~np.roll(opened, -1)
    return not is_single.any() and bool(begins.reshape(7, -1).sum(1).max() <= _MOST_INTERVALS)


def open_share(panel: Panel) -> float:
    """Return the share of the panel's steps that are open."""
    if panel.grid.hours is None or panel.length == 0:
        return 1.0
    return float(is_open(panel.grid, np.arange(panel.start, panel.end + 1)).mean())


def observed_while_closed(panel: Panel) -> int:
    """Count the values of a panel in cells that are closed."""
    opened = is_open(panel.grid, np.arange(panel.start, panel.end + 1))
    return int(panel.deviations[:, ~opened].isfinite().sum())


def notes_on_hours(panel: Panel) -> tuple[str, ...]:
    """Return what the opening hours of a panel leave out of what was observed."""
    count = observed_while_closed(panel)
    if not count:
        return ()
    return (
        f"{count} values lie outside the opening hours {panel.grid.hours}: they are looked at, but "
        "nothing is forecast or scored there",
    )
