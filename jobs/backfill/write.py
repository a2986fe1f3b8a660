"""Write a chunk: run rows, forecasts, attention and accuracy of its ticks in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.inference.prediction import Prediction
from forecaster.inference.to_frames import attention_rows_of, rows_of, steps_frame
from forecaster.store.forecasts import accuracy, attention, backfills, forecasts
from forecaster.store.forecasts.backfills import TickRow
from jobs.backfill.chunks import Chunk
from jobs.backfill.plan import Plan
from jobs.backfill.report import TickReport
from jobs.backfill.score import score
from jobs.execution.reports import document


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenChunk:
    """What one transaction wrote."""

    reports: Sequence[TickReport]
    accuracy_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkWriter:
    """Writes chunks of one plan, each in a transaction of the caller."""

    dataset: DatasetConfig
    plan: Plan

    def write(
        self, conn: Connection, chunk: Chunk, *, started: datetime, now: datetime
    ) -> WrittenChunk:
        """Write what does not exist yet; ticks that another process did are left out."""
        name, model_id, cutoffs = self.dataset.name, chunk.serving.model_id, chunk.cutoffs
        self._withdraw(conn, chunk)
        existing = backfills.forecast_keys(
            conn, name, model_id, since=cutoffs[0], until=cutoffs[-1]
        )
        parts = _without(chunk, chunk.parts, existing)
        reports = _reports(chunk, parts)
        rows = [
            TickRow(
                tick=tick,
                state="succeeded",
                started_at=started,
                finished_at=now,
                report=document(report),
            )
            for tick, report in reports.items()
        ]
        claimed = backfills.claim(conn, name, self.plan.job, rows, again=self.plan.again)
        nth = [place for place, tick in enumerate(chunk.ticks) if tick in claimed]
        parts = [part.select(part.keys["nth"].is_in(nth)) for part in parts]
        blocks = (block.arrays for part in parts for block in part.blocks())
        forecasts.write_blocks(
            conn, chunk.segment.ids, model_id, blocks, issued_at=now, origin="backfill"
        )
        ends = sorted({end for part in parts for end in part.keys["end"].unique()})
        forecasts.write_steps(conn, model_id, steps_frame(ends, chunk.serving.model.spec))
        if parts[0].is_explained:
            self._write_attention(conn, chunk, parts, ends)
        # Scores that exist are left out: they are kept for longer than forecasts.
        frame = pl.concat(score(self.dataset, chunk.segment, part) for part in parts)
        scored = accuracy.write(conn, name, model_id, frame, scored_at=now)
        return WrittenChunk(
            reports=[report for tick, report in reports.items() if tick in claimed],
            accuracy_rows=scored.height,
        )

    def _withdraw(self, conn: Connection, chunk: Chunk) -> None:
        """Delete what is forecast again; forecasts in hindsight always give way to others."""
        name, serving, cutoffs = self.dataset.name, chunk.serving, chunk.cutoffs
        if self.plan.again:
            owners = self.plan.replaced | {serving.model_id}
            backfills.delete_forecasts(conn, name, owners, cutoffs, hindsight=serving.hindsight)
        if not serving.hindsight:
            backfills.delete_hindsight(conn, name, serving.model_id, cutoffs)

    def _write_attention(
        self, conn: Connection, chunk: Chunk, parts: Sequence[Prediction], ends: Sequence[int]
    ) -> None:
        """Write what does not exist yet: attention may be kept for longer than its forecasts."""
        name, model_id, cutoffs = self.dataset.name, chunk.serving.model_id, chunk.cutoffs
        existing = backfills.attention_keys(
            conn, name, model_id, since=cutoffs[0], until=cutoffs[-1]
        )
        left = _without(chunk, parts, existing)
        weights = (block.attention for part in left for block in part.blocks())
        attention.write_blocks(conn, chunk.segment.ids, model_id, weights)
        attention.write_patches(conn, name, model_id, parts[0].patches_at(ends))


def _without(chunk: Chunk, parts: Sequence[Prediction], existing: pl.DataFrame) -> list[Prediction]:
    """Leave out the series and cutoffs of `existing`, which this model has forecast before."""
    ends = chunk.segment.past.grid.index_of(existing["cutoff"])
    known = existing.select(pl.col("series_id").alias("number"), ends.alias("end"), is_there=True)

    def is_new(keys: pl.DataFrame) -> pl.Series:
        joined = keys.join(known, on=["number", "end"], how="left", maintain_order="left")
        return joined["is_there"].is_null()

    return [part.select(is_new(part.keys)) for part in parts]


def _reports(chunk: Chunk, parts: Sequence[Prediction]) -> dict[datetime, TickReport]:
    spec = chunk.serving.model.spec
    keys = pl.concat(part.keys.select("nth", "status", "hindsight") for part in parts)
    statuses = _counts(keys, "status", pl.len())
    hindsight = dict(keys.group_by("nth").agg(pl.col("hindsight").sum()).iter_rows())
    skipped = _counts(chunk.skipped, "reason", pl.col("series").sum())
    reports = {}
    for nth, (tick, cutoff) in enumerate(zip(chunk.ticks, chunk.cutoffs, strict=True)):
        end = pl.Series([chunk.ends[nth]], dtype=pl.Int64)
        by_status = statuses.get(nth, {})
        series = sum(by_status.values())
        attended = series if parts[0].is_explained else 0
        reports[tick] = TickReport(
            cutoff=cutoff,
            model_id=chunk.serving.model_id,
            trained_to=chunk.serving.trained_to,
            series=series,
            rows=series * rows_of(end, spec),
            attention_rows=attended * attention_rows_of(end, spec),
            statuses=by_status,
            hindsight=hindsight.get(nth, 0),
            skipped=skipped.get(nth, {}),
        )
    return reports


def _counts(rows: pl.DataFrame, name: str, count: pl.Expr) -> dict[int, dict[str, int]]:
    """Return how many there are of each `name`, for each tick of the chunk."""
    grouped = rows.group_by("nth", name).agg(count.alias("count")).sort("nth", name)
    counts: dict[int, dict[str, int]] = {}
    for nth, value, number in grouped.iter_rows():
        counts.setdefault(nth, {})[value] = number
    return counts
