"""What a model is made of: everything needed to rebuild its network and its grid."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from forecaster.config.score_names import SCORES
from forecaster.config.settings import STATISTICS, TIMESTAMP_MARKS
from forecaster.data.grid import INSTANT_MARKS, Grid
from forecaster.errors import IncompatibleCheckpoint
from forecaster.times.durations import Step
from forecaster.times.opening_hours import OpeningHours

RETRAIN = "run `forecaster retrain`, or put another model in service with `forecaster models`"

_LIMITS = {"anchor": (-(2**62), 2**62), "spread": (0, 2**62), "layers": (1, 32)}
_SIZES = (1, 1_000_000)
MOST_PAIRS = 2**24
"""Of a past patch and another patch: attention keeps a number for each, whatever the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Shapes and parts of one network; lengths are in steps of its grid."""

    step: str
    anchor: int
    timezone: str
    season_length: int
    long_season: int
    patch_length: int
    context_length: int
    """A multiple of `patch_length`."""
    prediction_length: int
    max_lag: int
    """A series silent for longer than this at the cutoff is skipped as stale."""
    min_observed: int
    """A series with fewer observed points in its context is skipped as too short."""
    score: str
    """A name in the registry, or that of a plug-in."""
    normaliser: str
    temperature: float
    """Logits are divided by it: near 0 one source takes all, a large one makes all alike."""
    attention_window: int
    """Only so many of the newest past patches may be attended."""
    self_attention: bool
    priors: tuple[str, ...]
    """Plug-ins that further restrict which past patches may be attended."""
    statistics: str
    """What tokens are scaled by: "window" or "causal"."""
    calendar: bool
    """Whether the network has the time of day and the weekday as inputs."""
    undecided: tuple[str, ...]
    """Which of `statistics` and `calendar` training settles, on validation windows."""
    encoder: str
    head: str
    hidden_size: int
    layers: int
    heads: int
    key_size: int
    mlp_size: int
    dropout: float
    timestamp_marks: str = INSTANT_MARKS
    """What the timestamps of its rows mark; see `forecaster.data.grid`."""
    spread: int = 0
    """Microseconds for which rows may lie behind the timestamp of their cell."""
    opening_hours: str = ""
    """Rules of `OpeningHours`, on the clock of the grid; empty is always open."""

    def __post_init__(self) -> None:
        """Raise IncompatibleCheckpoint on values that cannot make a network."""
        self._require_types()
        if self.statistics not in STATISTICS:
            raise _error("statistics", f"one of {sorted(STATISTICS)}", self.statistics)
        if self.timestamp_marks not in TIMESTAMP_MARKS:
            expected = f"one of {sorted(TIMESTAMP_MARKS)}"
            raise _error("timestamp_marks", expected, self.timestamp_marks)
        if not 0 <= self.dropout < 1:
            raise _error("dropout", "in [0, 1)", self.dropout)
        if not 0 < self.temperature < math.inf:
            raise _error("temperature", "a finite number above 0", self.temperature)
        if self.context_length % self.patch_length:
            multiple = f"a multiple of patch_length {self.patch_length}"
            raise _error("context_length", multiple, self.context_length)
        self._require_hours()
        past, future = self.past_patches, self.future_patches
        if pairs(past, future) > MOST_PAIRS:
            actual = f"{past} past and {future} future patches"
            raise _error("pairs of patches", f"at most {MOST_PAIRS}", actual)

    def _require_types(self) -> None:
        """Require values of the declared types, and whole numbers within bounds."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not _is_a(field.type, value):
                raise _error(field.name, f"of type {field.type}", value)
            least, most = _LIMITS.get(field.name, _SIZES)
            if field.type is int and not least <= value <= most:
                raise _error(field.name, f"between {least} and {most}", value)

    def _require_hours(self) -> None:
        try:
            _hours(self.opening_hours)
        except ValueError as error:
            raise _error("opening_hours", "rules of days and times", self.opening_hours) from error

    @property
    def past_patches(self) -> int:
        """How many patches the context holds."""
        return self.context_length // self.patch_length

    @property
    def future_patches(self) -> int:
        """How many patches cover the prediction length; the last may reach past it."""
        return -(-self.prediction_length // self.patch_length)

    @property
    def season_patches(self) -> int:
        """How many patches one season spans; a level is a mean over them."""
        return min(max(1, round(self.season_length / self.patch_length)), self.past_patches)

    @property
    def plugins(self) -> frozenset[str]:
        """Names of the parts that are the user's own: never loaded because a spec names them."""
        return frozenset({self.score} - set(SCORES)) | set(self.priors)

    def grid(self) -> Grid:
        """Return the grid the model was trained on."""
        return Grid(
            step=Step.parse(self.step),
            anchor=self.anchor,
            timezone=self.timezone,
            marks=self.timestamp_marks,
            spread=self.spread,
            hours=_hours(self.opening_hours),
        )

    def to_json(self) -> str:
        """Return the spec as a JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a spec; a field with a default may be missing, as from an earlier version.

        Raises IncompatibleCheckpoint where another one is missing, or unknown.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise _error("the model spec", "JSON", text[:80]) from error
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(values, dict) or not required <= set(values) <= known:
            raise _error("the model spec", f"an object with the keys {sorted(known)}", values)
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


def stored_grid(config: Mapping[str, Any]) -> Grid:
    """Return the grid of a stored spec (`models.config`); earlier ones know no marks or hours."""
    return Grid(
        step=Step.parse(config["step"]),
        anchor=config["anchor"],
        timezone=config["timezone"],
        marks=config.get("timestamp_marks", INSTANT_MARKS),
        spread=config.get("spread", 0),
        hours=_hours(config.get("opening_hours", "")),
    )


def _hours(rules: str) -> OpeningHours | None:
    return OpeningHours.parse(rules) if rules else None


def pairs(past: int, future: int) -> int:
    """Return how many numbers attention keeps at most between so many patches."""
    return past * max(past, future)


def _is_a(kind: object, value: object) -> bool:
    if isinstance(kind, type):
        return type(value) is kind
    return isinstance(value, tuple) and all(type(part) is str for part in value)


def _error(name: str, expected: str, actual: object) -> IncompatibleCheckpoint:
    return IncompatibleCheckpoint(f"{name} must be {expected}, found {actual!r}", hint=RETRAIN)
