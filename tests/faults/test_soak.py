"""A soak of a few seconds; `make soak` takes as long as it is told."""

import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT
from tests.faults.soak.burners import burning

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


def test_burners_burn_and_leave_no_process() -> None:
    with burning(2) as pids:
        burners = [psutil.Process(pid) for pid in pids]
        while any(sum(burner.cpu_times()[:2]) < 0.1 for burner in burners):
            time.sleep(0.01)

    assert not any(map(psutil.pid_exists, pids))
