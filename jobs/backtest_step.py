"""Lengths of time of a backtest: the step that rows come at, and others counted in it."""

from collections.abc import Sequence

import polars as pl

from forecaster import settings
from forecaster.durations import Step
from forecaster.errors import ConfigError, DataError
from forecaster.spacing import Spacing, find_spacings, is_same_step

LEAST_REGULAR = 0.9
"""Share of rows that have to lie on a step which nobody gave."""
SHOWN = 3
"""Series that are named of each step."""

Groups = Sequence[tuple[Spacing, Sequence[str]]]


def step_of(observations: pl.DataFrame, given: str | None) -> tuple[Step, list[str]]:
    """Return the step of OBSERVATIONS, and what is to be said of it.

    ConfigError where `given` is no step, or where nothing tells one; DataError where series have
    different ones and none is given, or where most steps would be empty.
    """
    wanted = None if given is None else _parsed(given)
    found = find_spacings(observations)
    return _found(found) if wanted is None else _checked(wanted, found)


def steps_in(option: str, text: str, step: Step) -> int:
    """Return how many steps `text` is: a number of them, or a length of time."""
    try:
        count = int(text) if text.isdecimal() else step.steps_in(text)
    except ValueError as error:
        raise ConfigError([f"{option} {error}"], hint="or give a number of steps") from None
    if count < 1:
        raise ConfigError([f"{option} must be at least one step, found {text}"])
    return count


def _parsed(text: str) -> Step:
    try:
        return settings.step(text)
    except settings.Unfit as error:
        raise ConfigError([f"--step {error.rule}, found {text}"]) from None


def _found(found: Groups) -> tuple[Step, list[str]]:
    if not found:
        raise ConfigError(
            ["--step must be given where rows are too few to tell it, found none"],
            hint="for example --step 1h",
        )
    if len(found) > 1:
        longest = max((spacing.step for spacing, _ in found), key=lambda step: step.approximate)
        raise DataError(
            f"all series must have one step, found {_counted(found)}",
            hint=f"give a file of each, or --step {longest}, which averages the finer ones",
        )
    spacing, _ = found[0]
    if spacing.regular < LEAST_REGULAR:
        raise ConfigError(
            [
                "--step must be given where rows are not regular, found "
                f"{spacing.regular:.0%} of them {spacing.step} apart"
            ],
            hint=f"for example --step {spacing.step}",
        )
    return spacing.step, [f"step {spacing.step}, as the rows come; --step sets another"]


def _checked(step: Step, found: Groups) -> tuple[Step, list[str]]:
    if all(is_same_step(spacing.step, step) for spacing, _ in found):
        return step, []
    told = _counted(found)
    if all(spacing.step.approximate > 1.5 * step.approximate for spacing, _ in found):
        raise DataError(
            f"rows must come about every {step}, found {told}: most steps would be empty",
            hint=f"pass --step {found[0][0].step}",
        )
    return step, [f"step {step}, but rows come {told}: finer ones are averaged"]


def _counted(found: Groups) -> str:
    return "; ".join(f"every {spacing.step} in {_named(names)}" for spacing, names in found)


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return f"{len(names)} series ({shown})"
