"""Lengths of time of a backtest: the step between rows, and others counted in it."""

from collections.abc import Sequence

import polars as pl

from forecaster.config import validators
from forecaster.data.frequency import (
    LEAST_REGULAR,
    Spacing,
    advised_step,
    find_spacings,
    is_same_step,
)
from forecaster.errors import ConfigError, DataError
from forecaster.times.durations import Step
from jobs.terminal.options import checked

SHOWN = 3
"""Series that are named in a message."""
_SPARSE = 1.5
"""Rows that come so many steps apart leave most steps empty."""

Groups = Sequence[tuple[Spacing, Sequence[str]]]


def step_of(observations: pl.DataFrame, given: str | None) -> tuple[Step, list[str]]:
    """Return the step of OBSERVATIONS, and notes on it.

    ConfigError where `given` is no step, or where none can be detected; DataError where series have
    different ones and none is given, or where most steps would be empty.
    """
    wanted = checked("--step", given, validators.step)
    spacings = find_spacings(observations)
    if wanted is None:
        return _detected(spacings, observations)
    return wanted, _checked(wanted, spacings, observations)


def steps_in(option: str, text: str, step: Step) -> int:
    """Return how many steps `text` is: a number of them, or a length of time."""
    try:
        count = int(text) if text.isdecimal() else step.steps_in(text)
    except ValueError as error:
        raise ConfigError([f"{option} {error}"], hint="or pass a number of steps") from None
    if count < 1:
        raise ConfigError([f"{option} must be at least one step, found {text}"])
    return count


def _detected(spacings: Groups, observations: pl.DataFrame) -> tuple[Step, list[str]]:
    if not spacings:
        raise ConfigError(
            ["--step is required: too few rows to detect it"],
            hint="for example --step 1h",
        )
    if len(spacings) > 1:
        steps = [_advised(spacing, names, observations) for spacing, names in spacings]
        longest = max(steps, key=lambda step: step.approximate)
        raise DataError(
            f"all series must have the same step, found {_counted(spacings)}",
            hint=f"split the file by step, or pass --step {longest} to average more frequent rows",
        )
    spacing, names = spacings[0]
    if spacing.regular < LEAST_REGULAR:
        raise ConfigError(
            [
                "--step is required for irregular rows, found only "
                f"{spacing.regular:.0%} of them {spacing.step} apart"
            ],
            hint=f"for example --step {_advised(spacing, names, observations)}",
        )
    return spacing.step, [f"step {spacing.step}, detected from the rows; to change it, pass --step"]


def _advised(spacing: Spacing, names: Sequence[str], observations: pl.DataFrame) -> Step:
    """Return the step of regular rows, and one that people would choose for all others."""
    rows = observations.filter(pl.col("series_id").is_in(pl.Series(names).implode()))
    return advised_step(spacing, rows)


def _checked(step: Step, spacings: Groups, observations: pl.DataFrame) -> list[str]:
    """Return notes on rows that are not `step` apart."""
    others = [group for group in spacings if not is_same_step(group[0].step, step)]
    coarser = [group for group in others if group[0].step.approximate > _SPARSE * step.approximate]
    if spacings and len(coarser) == len(spacings):
        advised = max(
            (_advised(spacing, names, observations) for spacing, names in spacings),
            key=lambda step_: step_.approximate,
        )
        raise DataError(
            f"rows must be about {step} apart, found {_counted(spacings)}: "
            "most steps would be empty",
            hint=f"pass --step {advised}",
        )
    finer = [group for group in others if group[0].step.approximate < step.approximate]
    near = [group for group in others if group not in finer and group not in coarser]
    fates = {
        "rows within a step are averaged": finer,
        "most of their steps are empty": coarser,
        "some of their steps are empty": near,
    }
    return [
        f"step {step}, but the rows are {_counted(groups)}: {fate}"
        for fate, groups in fates.items()
        if groups
    ]


def _counted(spacings: Groups) -> str:
    return "; ".join(
        f"every {spacing.step} in {len(names)} series ({first_names(names)})"
        for spacing, names in spacings
    )


def first_names(names: Sequence[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
