"""Score what matured while a backfill ran, which the job `score` may have passed by."""

from datetime import datetime

from sqlalchemy import Engine

from forecaster.config import DatasetConfig, RetentionConfig
from forecaster.store import accuracy as scores
from forecaster.store import partitions
from forecaster.store.engine import reading, writing
from jobs import cases, score


def settle(
    engine: Engine,
    dataset: DatasetConfig,
    retention: RetentionConfig,
    *,
    since: datetime,
    now: datetime,
) -> int:
    """Judge what matured after what was known at `since`; return how many rows of ACCURACY."""
    floor = dataset.forecast_schedule.floor
    with reading(engine) as conn:
        after, until = (score.known_until(conn, dataset, floor(each)) for each in (since, now))
        if until <= after:
            return 0
        found = cases.read(conn, dataset, after=after, until=until, tick=floor(now))
    judged = [(case.model_id, score.judge_case(case, dataset.prediction_length)) for case in found]
    cutoffs = {cutoff for _, frame in judged for cutoff in frame["cutoff"].unique()}
    partitions.ensure(engine, retention, ("accuracy",), cutoffs)
    with writing(engine) as conn:
        return sum(
            scores.write(conn, dataset.name, model_id, frame, scored_at=now).height
            for model_id, frame in judged
        )
