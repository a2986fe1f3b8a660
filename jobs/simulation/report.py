"""The report of a simulation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.simulation.ledger import Ledger


@dataclass(frozen=True, slots=True)
class FaultLine:
    """One kind of fault: how many were injected, and how many the service noticed."""

    fault: str
    injected: int
    noticed: int
    as_what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLine:
    """Accuracy on the same points; NaN where its denominator is 0, None where it has no points."""

    forecasts: str
    mase: float | None
    wql: float | None = None
    coverage_80: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """A replay with faults beside one without."""

    dataset: str
    seed: int
    first: datetime
    last: datetime
    series: int
    model_id: int
    trained_to: datetime
    train_seconds: float
    faults: tuple[FaultLine, ...]
    ticks: Mapping[str, Ledger]
    """`clean` and `disturbed`."""
    differing: int
    """Observations that differ from the final state of the source, gaps included."""
    cutoffs: int
    """Those that both runs have, with actual values after them."""
    scored: int
    """Cutoffs of the clean run with actual values after them."""
    unscaled: int
    """Series without MASE: constant in the training data."""
    accuracy: tuple[AccuracyLine, ...]
    seconds: Mapping[str, float]
    """Duration of either run."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with either run: "the clean run: 3 ticks done twice"."""
        return [
            f"the {name} run: {problem}"
            for name, ledger in self.ticks.items()
            for problem in ledger.problems
        ]
