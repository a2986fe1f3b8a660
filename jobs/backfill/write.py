"""Keep a chunk: run rows, forecasts, attention and accuracy of its ticks in one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from forecaster.config.settings import DatasetConfig
from forecaster.inference.prediction import Prediction
from forecaster.inference.to_frames import attention_rows_of, rows_of
from forecaster.store.forecasts import (
    accuracy,
    attention,
    backfills,
    forecasts,
)
from forecaster.store.forecasts.backfills import TickRow
from jobs.backfill.chunks import Chunk
from jobs.backfill.plan import Plan
from jobs.backfill.report import TickReport
from jobs.backfill.score import judge
from jobs.execution.reports import to_json


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

    def keep(
        self, conn: Connection, chunk: Chunk, *, started: datetime, now: datetime
    ) -> WrittenChunk:
        """Write what nobody has written before; ticks that somebody else did are left to them."""
        name, model_id, cutoffs = self.dataset.name, chunk.asked.model_id, chunk.cutoffs
        self._withdraw(conn, chunk)
        said = backfills.forecast_keys(conn, name, model_id, since=cutoffs[0], until=cutoffs[-1])
        parts = _without(chunk, chunk.parts, said)
        reports = _reports(chunk, parts)
        rows = [
            TickRow(
                tick=tick,
                state="succeeded",
                started_at=started,
                finished_at=now,
                report=_document(report),
            )
            for tick, report in reports.items()
        ]
        claimed = backfills.claim(conn, name, self.plan.job, rows, again=self.plan.again)
        nth = [place for place, tick in enumerate(chunk.ticks) if tick in claimed]
        parts = [part.select(part.keys["nth"].is_in(nth)) for part in parts]
        self._write_forecasts(conn, chunk, parts, now)
        return WrittenChunk(
            reports=[report for tick, report in reports.items() if tick in claimed],
            accuracy_rows=self._write_accuracy(conn, chunk, parts, now),
        )

    def _withdraw(self, conn: Connection, chunk: Chunk) -> None:
        """Make room for what is said again; hindsight gives way to what is none, always."""
        name, asked, cutoffs = self.dataset.name, chunk.asked, chunk.cutoffs
        if self.plan.again:
            owners = self.plan.replaced | {asked.model_id}
            backfills.delete_forecasts(conn, name, owners, cutoffs, hindsight=asked.hindsight)
        if not asked.hindsight:
            backfills.delete_hindsight(conn, name, asked.model_id, cutoffs)

    def _write_forecasts(
        self, conn: Connection, chunk: Chunk, parts: Sequence[Prediction], now: datetime
    ) -> None:
        ids, model_id = chunk.stretch.ids, chunk.asked.model_id
        blocks = (block for part in parts for block in part.blocks())
        said = (block.forecasts for block in blocks)
        forecasts.write_blocks(conn, ids, model_id, said, issued_at=now, origin="backfill")
        if not parts[0].is_explained:
            return
        self._write_attention(conn, chunk, parts)

    def _write_attention(self, conn: Connection, chunk: Chunk, parts: Sequence[Prediction]) -> None:
        """Write what is missing: attention may be kept for longer than its forecasts are."""
        name, model_id, cutoffs = self.dataset.name, chunk.asked.model_id, chunk.cutoffs
        explained = backfills.attention_keys(
            conn, name, model_id, since=cutoffs[0], until=cutoffs[-1]
        )
        left = _without(chunk, parts, explained)
        blocks = (block for part in left for block in part.blocks())
        weights = (block.attention for block in blocks)
        attention.write_blocks(conn, chunk.stretch.ids, model_id, weights)
        ends = {end for part in parts for end in part.keys["end"].unique()}
        attention.write_patches(conn, name, model_id, parts[0].patches_at(sorted(ends)))

    def _write_accuracy(
        self, conn: Connection, chunk: Chunk, parts: Sequence[Prediction], now: datetime
    ) -> int:
        """Write what is missing: scores are kept for longer than forecasts are."""
        name, model_id = self.dataset.name, chunk.asked.model_id
        judged = pl.concat(judge(self.dataset, chunk.stretch, part) for part in parts)
        return accuracy.write(conn, name, model_id, judged, scored_at=now).height


def _without(chunk: Chunk, parts: Sequence[Prediction], said: pl.DataFrame) -> list[Prediction]:
    """Leave out what this model has SAID at these cutoffs."""
    ends = chunk.stretch.past.grid.index_of(said["cutoff"])
    known = said.select(pl.col("series_id").alias("number"), ends.alias("end"), is_said=True)
    return [part.select(_is_unsaid(part.keys, known)) for part in parts]


def _is_unsaid(keys: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
    beside = keys.join(known, on=["number", "end"], how="left", maintain_order="left")
    return beside["is_said"].is_null()


def _reports(chunk: Chunk, parts: Sequence[Prediction]) -> dict[datetime, TickReport]:
    spec = chunk.asked.model.spec
    keys = pl.concat(part.keys.select("nth", "status", "hindsight") for part in parts)
    statuses = _counts(keys, "status")
    hindsight = dict(keys.group_by("nth").agg(pl.col("hindsight").sum()).iter_rows())
    skipped = _counts(chunk.skipped, "reason", pl.col("series").sum())
    is_explained, found = parts[0].is_explained, {}
    ends = pl.Series(chunk.ends, dtype=pl.Int64)
    for nth, (tick, cutoff) in enumerate(zip(chunk.ticks, chunk.cutoffs, strict=True)):
        by_status = statuses.get(nth, {})
        series = sum(by_status.values())
        found[tick] = TickReport(
            cutoff=cutoff,
            model_id=chunk.asked.model_id,
            trained_to=chunk.asked.trained_to,
            series=series,
            rows=series * rows_of(ends[nth : nth + 1], spec),
            attention_rows=series * attention_rows_of(ends[nth : nth + 1], spec)
            if is_explained
            else 0,
            statuses=by_status,
            hindsight=hindsight.get(nth, 0),
            skipped=skipped.get(nth, {}),
        )
    return found


def _counts(
    rows: pl.DataFrame, name: str, count: pl.Expr | None = None
) -> dict[int, dict[str, int]]:
    """Return how many there are of each `name`, for each place in the chunk."""
    grouped = rows.group_by("nth", name).agg((pl.len() if count is None else count).alias("count"))
    found: dict[int, dict[str, int]] = {}
    for nth, value, number in grouped.sort("nth", name).iter_rows():
        found.setdefault(nth, {})[value] = number
    return found


def _document(report: TickReport) -> Mapping[str, object]:
    found = to_json(report)
    assert isinstance(found, dict)
    return found


def failed(
    ticks: Collection[datetime], error: str, hint: str | None, *, started: datetime, now: datetime
) -> list[TickRow]:
    """Return the run rows of ticks that could not be done."""
    return [
        TickRow(
            tick=tick, state="failed", started_at=started, finished_at=now, error=error, hint=hint
        )
        for tick in ticks
    ]
