from datetime import timedelta

import pytest
from sqlalchemy import Engine

from forecaster.config.settings import RetentionConfig
from forecaster.store.maintenance import partitions
from tests.source.sources import sqlite_source
from tests.store.samples import START

__all__ = ["sqlite_source"]


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """An engine on a database that has room for forecasts of the week of START."""
    cutoffs = [START + timedelta(days=day) for day in range(-1, 2)]
    partitions.ensure(engine, RetentionConfig(), partitions.PARTITIONED, cutoffs)
    return engine
