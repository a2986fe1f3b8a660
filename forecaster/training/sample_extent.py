"""How much of its history a model was trained on, as kept among its scores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

PREFIX = "sample_"
"""Of the names of these scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How many series and steps a training sees, and of how many."""

    series: int
    all_series: int
    steps: int
    all_steps: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.series == self.all_series and self.steps == self.all_steps

    def __str__(self) -> str:
        """Describe it, as in "a sample: 10 of 400 series, the newest 90 of 5,000 steps"."""
        series = f"a sample: {self.series:,} of {self.all_series:,} series"
        steps = f", the newest {self.steps:,} of {self.all_steps:,} steps"
        return series if self.steps == self.all_steps else series + steps

    def to_scores(self) -> dict[str, float]:
        """Return what is kept with a model: nothing of a whole history."""
        return {} if self.is_whole else {PREFIX + name: n for name, n in asdict(self).items()}

    @classmethod
    def from_scores(cls, scores: Mapping[str, float | None]) -> Self | None:
        """Undo `to_scores`; None where the model has seen everything."""
        counts = {
            name.removeprefix(PREFIX): int(count)
            for name, count in scores.items()
            if name.startswith(PREFIX) and count is not None
        }
        return cls(**counts) if counts else None
