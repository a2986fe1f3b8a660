"""`forecaster backfill` as a person meets it: options, what it says and what it writes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.backfiller import SINCE, TICKS, UNTIL
from tests.jobs.backfill.backfills import (
    CHAMPION,
    FIRST_OBSERVED,
    MEDIANS,
    OLDER,
    SECOND,
    backfill,
    change,
    furnished,
    number,
    past,
    report,
    rows,
    told,
)
from tests.jobs.small import HOUR, SCALE
from tests.jobs.terminal.terminal import type_
from tests.tolerance import within

__all__ = ["furnished", "past"]


# What it does


def test_it_asks_the_model_that_served_at_each_tick_and_says_what_it_did(past: Path) -> None:
    answer = backfill()

    first, counts, *others = told(answer)
    assert answer.status == 0
    assert first.startswith(f"bikes: backfilled {TICKS} of {TICKS} ticks, ")
    assert counts.startswith(f"{2 * TICKS} forecasts, {12 * TICKS} rows, {2 * TICKS} of attention")
    assert others == [
        f"status: {2 * TICKS} ok",
        f"model {OLDER} at {SECOND} ticks, model {CHAMPION} at {TICKS - SECOND} ticks",
        "100% of the values were ingested long after their timestamp; they count as known 2h "
        "after it (--known-after)",
    ]
    assert answer.talk.splitlines()[-1].startswith(f"backfilling bikes: {TICKS}/{TICKS} ticks, ")
    assert rows("SELECT DISTINCT origin, status FROM forecasts") == [("backfill", "ok")]
    assert number("SELECT count(*) FROM accuracy") == 2 * TICKS * 3


def test_a_second_time_there_is_nothing_to_do(past: Path) -> None:
    backfill()

    again = backfill()

    assert again.status == 0
    assert told(again)[1:] == [f"other ticks: {TICKS} done before"]


def test_json_has_the_same(past: Path) -> None:
    found = report()

    assert (found["asked"], found["ticks"], found["left"]) == (TICKS, TICKS, 0)
    assert found["models"] == {str(OLDER): SECOND, str(CHAMPION): TICKS - SECOND}
    assert (found["statuses"], found["failures"]) == ({"ok": 2 * TICKS}, [])


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(past: Path) -> None:
    before = Path("forecaster.db").read_bytes()

    answer = backfill("--dry-run")
    found = report("--dry-run", "--retrain-every", "1d")

    assert told(answer)[:2] == [
        f"bikes: would backfill {TICKS} of {TICKS} ticks",
        f"at most {12 * TICKS} forecast rows: 2 series, 6 steps",
    ]
    assert told(answer)[2].endswith(f"{SECOND} ticks, model {OLDER}")
    assert (found["ticks"], len(found["ranges"])) == (TICKS, 2)  # type: ignore[arg-type]
    assert Path("forecaster.db").read_bytes() == before


def test_every_says_how_far_apart_ticks_are(past: Path) -> None:
    assert report("--every", "12h")["asked"] == TICKS // 12


def test_several_stretches_at_once_write_the_same(
    past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.backfill.run.MOST_CELLS", 400)
    alone = report()
    medians = rows(MEDIANS)
    for table in ("forecasts", "attention", "attention_patches", "accuracy", "runs"):
        change(f"DELETE FROM {table}")

    abreast = report("--jobs", "2")

    assert {**alone, "seconds": abreast["seconds"]} == abreast
    assert [key for *key, _ in rows(MEDIANS)] == [key for *key, _ in medians]
    assert [q50 for *_, q50 in rows(MEDIANS)] == pytest.approx(
        [q50 for *_, q50 in medians], abs=within(SCALE)
    )


@pytest.mark.slow
def test_a_model_is_trained_where_none_served(past: Path) -> None:
    found = report("--retrain-every", "1d", since=SINCE - 20 * HOUR)

    assert found["trained"] == [3]
    assert found["models"] == {"1": SECOND, "2": TICKS - SECOND, "3": 20}
    assert rows("SELECT id FROM models WHERE promoted_at IS NULL") == [(3,)]
    trained_to = rows("SELECT trained_to FROM models WHERE id = 3")
    assert trained_to < rows("SELECT min(cutoff) FROM forecasts WHERE model_id = 3")


def test_known_after_says_when_what_was_landed_later_counts_as_known(past: Path) -> None:
    cutoffs = "SELECT max(report ->> '$.series') FROM runs WHERE job = 'backfill'"

    backfill("--known-after", "200h", since=UNTIL)
    late = number(cutoffs)
    backfill("--known-after", "0s", "--reprocess", "all", since=UNTIL)

    assert (late, number(cutoffs)) == (0, 2)


# Hindsight


@pytest.mark.parametrize("model", ["champion", str(CHAMPION)])
def test_a_model_that_somebody_chose_speaks_in_hindsight_where_it_did_not_serve(
    past: Path, model: str
) -> None:
    answer = backfill("--model", model)
    matured = type_("score", "--json")

    said = {*rows("SELECT status, hindsight, count(*) / 12 FROM forecast_steps GROUP BY 1, 2")}
    assert answer.status == 0
    told = f"{2 * SECOND} forecasts in hindsight: not scored, never the latest forecast"
    assert told in answer.data
    assert said == {("ok", True, SECOND), ("ok", False, TICKS - SECOND)}
    assert number("SELECT count(*) FROM runs WHERE job = ?", f"backfill-{CHAMPION}") == TICKS
    assert json.loads(matured.data)[0]["rows"] == 0
    hindsight = """SELECT count(*) FROM {} JOIN forecasts f USING (series_id, cutoff, model_id)
        WHERE f.hindsight"""
    assert number(hindsight.format("accuracy")) == 0
    assert number("SELECT count(*) FROM accuracy") == (TICKS - SECOND) * 2 * 3
    assert number("SELECT count(*) FROM latest_forecasts WHERE hindsight") == 0


# Again


def test_all_replaces_what_backfills_wrote_and_nothing_else(past: Path) -> None:
    backfill()
    change(
        "UPDATE forecasts SET origin = 'live' WHERE cutoff = (SELECT max(cutoff) FROM forecasts)"
    )
    change("UPDATE forecasts SET issued_at = 0")

    found = report("--reprocess", "all", "--known-after", "3h")

    assert (found["ticks"], found["done_before"], found["known_after"]) == (TICKS, 0, "3h")
    kept = "SELECT origin, count(*) FROM forecasts WHERE issued_at = 0 GROUP BY 1"
    assert rows(kept) == [("live", 2)]
    assert number("SELECT count(*) FROM forecast_steps") == 12 * TICKS
    assert number("SELECT max(attempt) FROM runs WHERE job = 'backfill'") == 2


def test_none_leaves_failures_alone_and_failed_does_only_these(past: Path) -> None:
    backfill()
    change("UPDATE runs SET state = 'failed' WHERE job = 'backfill' AND tick % 7 = 0")
    failed = number("SELECT count(*) FROM runs WHERE state = 'failed'")

    left, done = report(), report("--reprocess", "failed")

    assert (left["ticks"], left["failed_before"]) == (0, failed)
    assert (done["ticks"], done["failed_before"]) == (failed, 0)
    assert number("SELECT count(*) FROM forecast_steps") == 12 * TICKS


def test_what_was_scored_before_its_forecasts_were_pruned_keeps_its_score(past: Path) -> None:
    backfill()
    before = rows("SELECT * FROM accuracy ORDER BY 1, 2, 3, 4")
    change("DELETE FROM forecasts")
    change("DELETE FROM attention WHERE series_id = 1")
    change("DELETE FROM runs WHERE job = 'backfill'")

    found = report()

    assert (found["ticks"], found["rows"], found["accuracy_rows"]) == (TICKS, 12 * TICKS, 0)
    assert number("SELECT count(*) FROM attention") == 2 * TICKS
    assert rows("SELECT * FROM accuracy ORDER BY 1, 2, 3, 4") == before


# Little history


def test_ticks_with_too_little_history_say_so(past: Path) -> None:
    found = report(
        "--model", str(OLDER), since=FIRST_OBSERVED - 4 * HOUR, until=FIRST_OBSERVED + 60 * HOUR
    )

    series = "SELECT report ->> '$.skipped' FROM runs WHERE job = 'backfill-1' ORDER BY tick"
    assert found["ticks"] == 65
    assert {*rows(series)} == {('{"no_data":2}',), ('{"too_short":2}',), ("{}",)}


# Retention


def test_what_the_next_pruning_takes_away_is_said_beforehand(past: Path) -> None:
    quiet = backfill("--dry-run")
    text = Path("forecaster.toml").read_text()
    Path("forecaster.toml").write_text(f'{text}[retention]\nforecasts = "2d"\nattention = "2d"\n')

    answer = backfill()
    assert type_("score").status == type_("prune").status == 0

    notes = [line for line in answer.talk.splitlines() if line.startswith("note:")]
    before = "kept for 2d: rows before "
    until = {
        datetime.fromisoformat(line.partition(before)[2].split(" will be")[0]) for line in notes
    }
    (oldest,) = {number(f"SELECT min(cutoff) FROM {table}") for table in ("forecasts", "attention")}
    assert quiet.talk == ""
    assert [line.split()[1] for line in notes] == ["forecasts", "attention"]
    assert isinstance(oldest, int)
    assert abs(datetime.fromtimestamp(oldest / 1e6, UTC) - until.pop()) <= HOUR
    assert number("SELECT count(*) FROM accuracy") == TICKS * 2 * 3
