"""What a program shows after a restart is what it showed before."""

import pytest
from sqlalchemy import Engine, text

from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import models
from jobs.telemetry import record
from jobs.telemetry.metrics import Telemetry
from tests.jobs.small import HORIZON, LAST, World, hour, land, rows

pytestmark = pytest.mark.quick_on("sqlite")

SURVIVING = (
    "last_success_timestamp_seconds",
    "champion_trained_timestamp_seconds",
    "newest_observation_timestamp_seconds",
    "accuracy_",
)


def shown(telemetry: Telemetry) -> dict[str, float]:
    """The samples that survive a restart."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name.removeprefix("forecaster_").startswith(SURVIVING)
    }


def restarted(engine: Engine) -> Telemetry:
    telemetry = Telemetry(["bikes"])
    with reading(engine) as conn:
        record.restore(telemetry, conn, "bikes")
    return telemetry


@pytest.fixture
def scored(trained: World) -> World:
    """A program that has scored all leads, and then a tick at which nothing matured."""
    trained.tick("forecast", hour(LAST))
    for number in range(LAST + 1, LAST + HORIZON + 3):
        land(trained.engine, rows("a", number, number), rows("b/c", number, number))
        trained.tick("score", hour(number))
    trained.tick("score", hour(LAST + HORIZON + 3))
    return trained


def test_success_champion_newest_observation_and_accuracy_survive_a_restart(scored: World) -> None:
    before = Telemetry(["bikes"])
    for outcome in scored.outcomes:
        record.outcome(before, outcome)

    after = restarted(scored.engine)

    assert len(shown(before)) > 20
    assert shown(after) == pytest.approx(shown(before))


def test_a_report_of_another_version_does_not_stand_in_the_way(scored: World) -> None:
    report = '{"leads": [{"lead": "1", "mase": 0.5, "points": 3, "unheard_of": 1}]}'
    with writing(scored.engine) as conn:
        conn.execute(text("UPDATE runs SET report = :report"), {"report": report})

    found = shown(restarted(scored.engine))

    assert [value for name, value in found.items() if "accuracy" in name] == [0.5]


def test_a_forecast_shows_which_model_is_in_service_whoever_put_it_there(trained: World) -> None:
    telemetry = Telemetry(["bikes"])
    land(trained.engine, rows("a", LAST + 1, LAST + 24), rows("b/c", LAST + 1, LAST + 24))
    newest = trained.tick("retrain", hour(LAST + 24))
    record.outcome(telemetry, newest)
    with writing(trained.engine) as conn:
        models.rollback(conn, "bikes", now=hour(LAST + 24), reason="worse")

    record.outcome(telemetry, trained.tick("forecast", hour(LAST + 24)))

    name = "forecaster_champion_trained_timestamp_seconds"
    trained_to = telemetry.registry.get_sample_value(name, {"dataset": "bikes"})
    assert trained_to == hour(LAST).timestamp()
