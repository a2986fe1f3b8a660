"""A soak of a few seconds; `make soak` takes as long as it is told."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SECONDS, SEED = 15, 20261120
POSTGRES = pytest.mark.postgres


@pytest.mark.slow
@pytest.mark.fault(1, 2, 25)
@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def test_a_short_soak_loses_doubles_and_halves_nothing(store: str) -> None:
    words = ["--seconds", str(SECONDS), "--seed", str(SEED), "--store", store]

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
