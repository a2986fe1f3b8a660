"""One database on each store for all shapes, and one model, trained once."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sqlalchemy import Engine

from forecaster.inference import checkpoint, predictor
from forecaster.schemas import DEVIATION_COLUMNS
from forecaster.store.connection.engine import open_engine
from forecaster.training import preparation
from jobs.execution.reports import ForecastReport
from jobs.retrain import Challenger, fit_here
from tests.conftest import TEMPLATE
from tests.jobs.small import DATASET, LAST, hour, query, rows
from tests.shapes.places import HEALTHY, Place, Road, is_finite
from tests.tolerance import RELATIVE, assert_close

Check = Callable[[Place, ForecastReport], None]
PAIR = ("engine", "road")
QUICK = (("sqlite", "pull"), ("postgres", "ingest"))
"""In the quick tests each shape arrives in one of these ways, in turn; in all of them, and in the
other pairs, only in `make test-all`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    shapes: dict[object, int] = {}
    for item in items:
        if (spec := getattr(item, "callspec", None)) and {"engine", "road"} <= spec.params.keys():
            rest = sorted(entry for entry in spec.indices.items() if entry[0] not in PAIR)
            turn = shapes.setdefault((item.nodeid.partition("[")[0], *rest), len(shapes))
            if tuple(spec.params[name] for name in PAIR) != QUICK[turn % len(QUICK)]:
                item.add_marker("slow")


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A database with the schema at head, for all tests of this room; each has its own dataset."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = tmp_path_factory.mktemp("shapes") / "forecaster.db"
        path.write_bytes(template.read_bytes())
        engine = open_engine(f"sqlite:///{path}")
    else:
        cluster = request.getfixturevalue("postgres")
        request.getfixturevalue("postgres_template")
        engine = open_engine(
            cluster.create_database(f"shapes_{uuid.uuid4().hex}", template=TEMPLATE)
        )
    yield engine
    engine.dispose()


@pytest.fixture(params=["pull", "ingest"])
def road(request: pytest.FixtureRequest) -> Road:
    """How rows arrive."""
    road: Road = request.param
    return road


@pytest.fixture(scope="session")
def challenger() -> Challenger:
    """A tiny model that knows two healthy series."""
    torch.set_num_threads(1)
    history = pl.concat([rows(HEALTHY, 0, LAST), rows("other", 0, LAST)])
    panel, spec = preparation.prepare(history, DATASET)
    return Challenger(panel=panel, fitted=fit_here(panel, spec, DATASET.training))


@pytest.fixture(scope="session")
def alone(challenger: Challenger) -> np.ndarray:
    """What the healthy series is forecast when there is no other: (steps, quantiles)."""
    model = checkpoint.loads(challenger.fitted.checkpoint)
    said = predictor.predict(model, rows(HEALTHY, 0, LAST), [hour(LAST)], device="cpu").forecasts
    quantiles = said.select(
        pl.col(name).cast(pl.Float64) + pl.col("level") for name in DEVIATION_COLUMNS
    )
    return quantiles.to_numpy()


@pytest.fixture
def place(engine: Engine, road: Road, challenger: Challenger) -> Place:
    """A dataset with a model and no rows yet."""
    place = Place(engine=engine, road=road)
    place.adopt(challenger)
    return place


@pytest.fixture
def source(engine: Engine, challenger: Challenger) -> Place:
    """The same, where rows arrive by a query."""
    place = Place(engine=engine, road="pull")
    place.adopt(challenger)
    return place


@pytest.fixture
def file(engine: Engine, challenger: Challenger) -> Place:
    """The same, where rows arrive in files."""
    place = Place(engine=engine, road="ingest")
    place.adopt(challenger)
    return place


@pytest.fixture
def check(alone: np.ndarray) -> Check:
    """Call after a forecast: no series has stopped another, nothing lands twice, all is finite."""

    def holds(place: Place, report: ForecastReport) -> None:
        if report.pull is not None:
            assert (report.pull.new, report.pull.corrected) == (0, 0)
        assert set(report.skipped_series).isdisjoint(place.forecasts())
        said = place.forecasts()
        assert_close(said[HEALTHY], alone)
        assert is_finite(said)
        shares = query(
            place.engine,
            "SELECT sum(weight) FROM forecast_attention "
            f"WHERE dataset = '{place.name}' GROUP BY series_id, cutoff, step_from",
        )
        assert [share for (share,) in shares] == pytest.approx([1.0] * len(shares), rel=RELATIVE)

    return holds
