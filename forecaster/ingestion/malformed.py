"""Lines of a file that are no rows: CSV with missing or extra cells, NDJSON without an object."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from forecaster.ingestion import losses
from forecaster.ingestion.losses import Losses
from forecaster.ingestion.normalize import NormalizedRows, RejectReason
from forecaster.schemas import OBSERVATIONS, empty


@dataclass(slots=True)
class MalformedRows:
    """How many there are so far, one of them, and what they have in common."""

    rows: int = 0
    example: str | None = None
    lost: Losses = field(default_factory=Losses)

    def add(self, lines: Sequence[str]) -> None:
        """Count some more lines."""
        cells = pl.Series(lines, dtype=pl.String)
        reasons = cells.clear().extend_constant(RejectReason.MALFORMED_ROW.value, len(cells))
        nothing = cells.clear().extend_constant(None, len(cells))
        self.rows += len(cells)
        self.example = min([*lines, *([] if self.example is None else [self.example])])
        self.lost += losses.find(reasons, nothing, cells, nothing)

    def rejected(self) -> NormalizedRows:
        """Return them as rows that are all rejected."""
        reason = RejectReason.MALFORMED_ROW.value
        return NormalizedRows(
            observations=empty(OBSERVATIONS),
            rejected={reason: self.rows} if self.rows else {},
            examples={} if self.example is None else {reason: self.example},
            duplicates=0,
            conflicting=0,
            lost=self.lost,
            contested=empty(OBSERVATIONS),
        )
