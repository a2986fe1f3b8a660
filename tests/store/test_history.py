"""One forecast of one series, read back for people."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine

from forecaster.errors import ModelError
from forecaster.store.connection.engine import reading, writing
from forecaster.store.forecasts import history
from forecaster.store.observations import observations
from forecaster.store.state import datasets, models
from tests.store.samples import HOUR, START, add_model, forecast, observed, patches, weights
from tests.store.written import write_attention, write_forecasts

LATER = START + HOUR


def say(
    conn: Connection,
    model_id: int,
    series_id: str = "a",
    *,
    cutoff: datetime = START,
    hindsight: bool = False,
    issued: timedelta = HOUR,
) -> None:
    frame = forecast(series_id, cutoff=cutoff, hindsight=hindsight)
    write_forecasts(conn, "bikes", model_id, frame, issued_at=cutoff + issued, origin="live")
    write_attention(conn, "bikes", model_id, weights(series_id, cutoff=cutoff), patches().clear())


def test_the_newest_forecast_has_the_greatest_cutoff_of_its_series(engine: Engine) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn)
        for cutoff in (LATER, START):
            say(conn, model_id, cutoff=cutoff)
        say(conn, model_id, "b", cutoff=START + 9 * HOUR)

    with reading(engine) as conn:
        found = history.newest(conn, "bikes", "a")
        earlier = history.newest(conn, "bikes", "a", until=LATER - timedelta(seconds=1))
        none = history.newest(conn, "bikes", "a", until=START - HOUR)
        unknown = history.newest(conn, "bikes", "nobody")

    assert found is not None
    assert (found.cutoff, found.issued_at) == (LATER, LATER + HOUR)
    assert earlier is not None
    assert earlier.cutoff == START
    assert (none, unknown) == (None, None)


def test_hindsight_comes_after_what_was_said_in_time(engine: Engine) -> None:
    with writing(engine) as conn:
        honest, newer, late = (add_model(conn) for _ in range(3))
        say(conn, honest, issued=HOUR)
        say(conn, newer, issued=2 * HOUR)
        say(conn, late, issued=3 * HOUR, hindsight=True)
        say(conn, late, "b", hindsight=True)

    with reading(engine) as conn:
        found = history.newest(conn, "bikes", "a")
        only = history.newest(conn, "bikes", "b")

    assert found is not None
    assert (found.model_id, found.hindsight) == (newer, False)
    assert only is not None
    assert only.hindsight is True


def test_parts_and_attention_are_those_of_one_model_and_series(engine: Engine) -> None:
    with writing(engine) as conn:
        owners = [add_model(conn) for _ in range(2)]
        for model_id in owners:
            say(conn, model_id)
            say(conn, model_id, "b")
            write_attention(conn, "bikes", model_id, weights().clear(), patches())

    with reading(engine) as conn:
        vintage = history.newest(conn, "bikes", "a")
        assert vintage is not None
        parts = history.read_parts(conn, "bikes", vintage)
        looked = history.read_attention(conn, "bikes", START, of=vintage)
        places = history.read_patches(conn, "bikes", START, of=vintage)

    assert parts.schema == history.PARTS
    assert parts["step"].to_list() == [1, 2]
    assert parts["q50"].to_list() == pytest.approx([101.0, 102.0])
    assert parts["residual"].to_list() == pytest.approx([0.25, 1.25])
    assert looked["series_id"].to_list() == ["a"]
    assert places["patch"].to_list() == [1, 2]


def test_observations_of_one_series_leave_the_others_out(engine: Engine) -> None:
    with writing(engine) as conn:
        landed = observed({"a": [1.0, 2.0], "b": [3.0]})
        observations.ingest(conn, "bikes", landed, recorded_at=LATER)

    with reading(engine) as conn:
        found = observations.read(conn, "bikes", series="b")
        names = datasets.names(conn)

    assert found["value"].to_list() == [3.0]
    assert names == ["bikes"]


def test_scores_are_added_to_those_a_model_has(engine: Engine) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn)
        models.add_scores(conn, "bikes", model_id, {"mase": 0.7, "trust_windows": 9.0})
        found = models.get(conn, "bikes", model_id).scores

    assert found == {"mase": 0.7, "wql": None, "trust_windows": 9.0}


def test_a_model_of_another_dataset_gets_no_scores(engine: Engine) -> None:
    with writing(engine) as conn:
        model_id = add_model(conn, "trams")

        with pytest.raises(ModelError, match="dataset bikes has no model"):
            models.add_scores(conn, "bikes", model_id, {"mase": 0.7})
