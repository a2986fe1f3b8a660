import pytest
from sqlalchemy import Engine, update

from forecaster.errors import ModelError, NoChampion, StoreError
from forecaster.store import tables
from forecaster.store.connection.engine import reading, writing
from forecaster.store.state import models
from forecaster.store.state.models import StoredModel
from tests.store.samples import HOUR, START, add_model, forecast, new_model
from tests.store.written import write_forecasts


def add(engine: Engine, count: int = 1, *, promoted: bool = True) -> list[int]:
    """Add models an hour apart, each put in service when it comes."""
    found = []
    with writing(engine) as conn:
        for hour in range(count):
            found.append(add_model(conn))
            if promoted:
                now = START + hour * HOUR
                models.promote(conn, "bikes", found[-1], now=now, reason="better")
    return found


def champion(engine: Engine) -> StoredModel:
    with reading(engine) as conn:
        return models.champion(conn, "bikes")


def test_before_the_first_promotion_there_is_no_champion(engine: Engine) -> None:
    add(engine, promoted=False)

    with pytest.raises(NoChampion, match="dataset bikes has no champion") as caught:
        champion(engine)

    assert caught.value.hint == "run `forecaster retrain`"
    with reading(engine) as conn:
        assert not models.has_champion(conn, "bikes")


def test_a_champion_comes_back_as_it_was_kept(engine: Engine) -> None:
    weights = bytes(range(256)) * 100
    with writing(engine) as conn:
        model_id = models.add(conn, "bikes", new_model(weights=weights))
        models.promote(conn, "bikes", model_id, now=START + HOUR, reason="first")

    found = champion(engine)

    assert found.weights == weights
    assert found == StoredModel(
        model_id=model_id,
        dataset="bikes",
        created_at=START,
        config={"step": "1h", "season_length": 24},
        weights=weights,
        sha256="5" * 64,
        size=25_600,
        scores={"mase": 0.8, "wql": None},
        parent_id=None,
        trained_from=START - 100 * HOUR,
        trained_to=START,
        promoted_at=START + HOUR,
        retired_at=None,
        reason="first",
    )


def test_a_promotion_retires_the_one_before(engine: Engine) -> None:
    first, second = add(engine, 2)

    with reading(engine) as conn:
        newest, oldest = models.list_models(conn, "bikes")
        served = models.has_champion(conn, "bikes")

    assert served
    assert (newest.model_id, newest.is_champion) == (second, True)
    assert (oldest.model_id, oldest.is_champion) == (first, False)
    assert oldest.retired_at == newest.promoted_at == START + HOUR


def test_promoting_the_champion_keeps_it_in_service(engine: Engine) -> None:
    [model_id] = add(engine)

    with writing(engine) as conn:
        models.promote(conn, "bikes", model_id, now=START + HOUR, reason="again")

    assert champion(engine).model_id == model_id


def test_the_database_refuses_two_champions(engine: Engine) -> None:
    add(engine, 2)

    with pytest.raises(StoreError), writing(engine) as conn:
        conn.execute(update(tables.models).values(promoted_at=START, retired_at=None))


def test_rolling_back_goes_further_back_each_time(engine: Engine) -> None:
    first, second, _ = add(engine, 3)

    with writing(engine) as conn:
        add_model(conn)  # a challenger that never served is passed over
        once = models.rollback(conn, "bikes", now=START + 5 * HOUR, reason="worse")
        twice = models.rollback(conn, "bikes", now=START + 6 * HOUR, reason="worse")

    assert (once, twice) == (second, first)
    assert champion(engine).model_id == first
    with pytest.raises(ModelError, match="has no earlier champion"), writing(engine) as conn:
        models.rollback(conn, "bikes", now=START, reason="worse")


def test_datasets_have_champions_of_their_own(engine: Engine) -> None:
    [model_id] = add(engine)

    with writing(engine) as conn:
        other = add_model(conn, "cars")
        models.promote(conn, "cars", other, now=START, reason="first")

    assert champion(engine).model_id == model_id
    with pytest.raises(ModelError, match="dataset bikes has no model"), writing(engine) as conn:
        models.promote(conn, "bikes", other, now=START, reason="wrong")


def test_pruning_drops_old_weights_and_keeps_the_champion(engine: Engine) -> None:
    first, second, third, fourth = add(engine, 4)
    with writing(engine) as conn:
        models.promote(conn, "bikes", first, now=START + 9 * HOUR, reason="it was better")
        rows = forecast()
        write_forecasts(conn, "bikes", second, rows, issued_at=START, origin="live")

        early = models.prune(conn, "bikes", keep=2, retired_before=START + 2 * HOUR)
        pruned = models.prune(conn, "bikes", keep=2, retired_before=START + 3 * HOUR)
        again = models.prune(conn, "bikes", keep=2, retired_before=START + 3 * HOUR)

    assert (early, pruned, again) == (0, 1, 0)
    with reading(engine) as conn:
        assert [found.model_id for found in models.list_models(conn, "bikes")] == [
            fourth, third, second, first,
        ]  # fmt: skip
        assert [models.get(conn, "bikes", kept).weights for kept in (first, third, fourth)] == [
            b"weights"
        ] * 3
    with pytest.raises(ModelError, match="were pruned"), reading(engine) as conn:
        models.get(conn, "bikes", second)


def test_models_that_never_served_push_no_earlier_champion_out(engine: Engine) -> None:
    first, second = add(engine, 2)
    with writing(engine) as conn:
        trained_on_the_way = [add_model(conn) for _ in range(3)]

        pruned = models.prune(conn, "bikes", keep=1, retired_before=START + 9 * HOUR)

    assert pruned == len(trained_on_the_way)
    with reading(engine) as conn:
        assert models.get(conn, "bikes", first).weights == b"weights"
        assert models.get(conn, "bikes", second).is_champion


def test_a_model_that_is_not_there_is_named(engine: Engine) -> None:
    with (
        pytest.raises(ModelError, match=r"has no model 7") as caught,
        reading(engine) as conn,
    ):
        models.get(conn, "bikes", 7)

    assert caught.value.hint == "run `forecaster models list`"
