"""What a simulation says in the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.simulation.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultLine:
    """One kind of fault: how many were brought about, and how many the service noticed."""

    fault: str
    injected: int
    noticed: int
    as_what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLine:
    """Accuracy on the same points; NaN where its denominator is 0, None where there is no such."""

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
    """Observations that are not as the source has them in the end, gaps included."""
    cutoffs: int
    """Those that both runs have, and that something happened after."""
    judged: int
    """Cutoffs of the clean run that something happened after."""
    unscaled: int
    """Series that no MASE is of: they never moved in what the model was trained on."""
    accuracy: tuple[AccuracyLine, ...]
    seconds: Mapping[str, float]
    """How long either run took."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with either run: "the clean run: 3 ticks done twice"."""
        return [
            f"the {name} run: {problem}"
            for name, ledger in self.ticks.items()
            for problem in ledger.problems
        ]
