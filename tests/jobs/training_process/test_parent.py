"""Training in a child process: same answer, killable, never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import polars as pl
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecaster.data.panel import Panel
from forecaster.errors import RunError, StageTimedOut, TrainingDiverged
from forecaster.inference import checkpoint
from forecaster.network.spec import ModelSpec
from forecaster.training import preparation
from forecaster.training.estimator import Progress
from jobs.retrain import fit_here
from jobs.training_process.parent import (
    child_environment,
    exit_error,
    fit_in_child,
)
from jobs.training_process.protocol import (
    pack_task,
    receive,
    send,
    unpack_task,
)
from tests.jobs.small import DATASET, rows
from tests.patience import eventually, not_hanging
from tests.tolerance import within

LONG = replace(DATASET.training, steps=10**6)


@pytest.fixture(scope="module")
def task() -> tuple[Panel, ModelSpec]:
    return preparation.prepare(rows("a", 0, 300), DATASET)


def trainers() -> list[psutil.Process]:
    """Return the training processes under this one, and no other child of the test session."""
    return [
        child
        for child in psutil.Process().children()
        if "jobs.training_process.child" in child.cmdline()
    ]


def when(condition: Callable[[], bool], action: Callable[[], object]) -> threading.Thread:
    """Do `action` in a thread as soon as `condition` holds."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.binary())
def test_a_message_comes_out_as_it_went_in(head: dict[str, object], body: bytes) -> None:
    ours, theirs = Pipe()

    with ours, theirs:
        send(ours, head, body)
        assert receive(theirs) == (head, body)


def test_a_task_comes_out_as_it_went_in(task: tuple[Panel, ModelSpec]) -> None:
    panel, spec = task

    sent, same_spec, config = unpack_task(*pack_task(panel, spec, DATASET.training))

    assert (same_spec, config) == (spec, DATASET.training)
    assert (sent.grid, sent.series_ids, sent.start) == (panel.grid, panel.series_ids, panel.start)
    assert sent.counts == panel.counts
    for name in ("deviations", "offset", "scale"):
        assert torch.equal(getattr(sent, name).nan_to_num(), getattr(panel, name).nan_to_num())


def test_a_child_sees_no_secret() -> None:
    environ = {"PATH": "/bin", "DATABASE_URL": "postgresql://a:b@c/d", "PGPASSWORD": "x"}

    assert child_environment(environ) == {"PATH": "/bin", "OMP_WAIT_POLICY": "PASSIVE"}


def test_a_child_trains_the_same_model(task: tuple[Panel, ModelSpec]) -> None:
    said: list[Progress] = []

    there = fit_in_child(*task, DATASET.training, on_progress=said.append)
    here = fit_here(*task, DATASET.training)

    # One score is how far rounding is off, which itself is all rounding.
    assert there.scores == pytest.approx(here.scores, rel=1e-3, abs=within())
    assert there.steps == here.steps == 4
    assert checkpoint.loads(there.checkpoint).spec == task[1]
    assert said[-1].step == said[-1].steps == 4
    assert trainers() == []


@pytest.mark.slow
def test_a_child_imports_nothing_from_where_it_is_started(
    task: tuple[Panel, ModelSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "polars.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)

    assert fit_in_child(*task, DATASET.training).steps == 4


@pytest.mark.slow
def test_what_a_child_raises_is_raised_here(task: tuple[Panel, ModelSpec]) -> None:
    with pytest.raises(TrainingDiverged):
        fit_in_child(*task, replace(DATASET.training, learning_rate=1e30, steps=8))

    assert trainers() == []


@pytest.mark.slow
def test_what_watches_a_child_can_end_it(task: tuple[Panel, ModelSpec]) -> None:
    def overdue(made: Progress | None) -> None:
        if made is not None:
            raise StageTimedOut("the training must end in time, found it running")

    with pytest.raises(StageTimedOut, match="must end in time"):
        fit_in_child(*task, LONG, watch=overdue)

    assert trainers() == []


@pytest.mark.fault(24)
def test_a_child_that_was_killed_says_so(task: tuple[Panel, ModelSpec]) -> None:
    killer = when(lambda: bool(trainers()), lambda: trainers()[0].kill())

    with pytest.raises(RunError, match=r"training process was killed \(out of memory\?\)"):
        fit_in_child(*task, LONG)

    killer.join()


@pytest.mark.fault(24)
def test_a_child_that_was_killed_before_it_read_its_task_says_so() -> None:
    task = preparation.prepare(rows("a", 0, 250_000), DATASET)
    assert len(pack_task(*task, LONG)[1]) > 2**19  # more than the buffers of a socket hold

    def kill(_: Progress | None) -> None:
        for child in trainers():
            child.kill()

    with pytest.raises(RunError, match=r"training process was killed"):
        fit_in_child(*task, LONG, watch=kill)


@pytest.mark.fault(24)
@pytest.mark.slow
def test_a_child_that_hangs_is_killed(task: tuple[Panel, ModelSpec]) -> None:
    seen: list[Progress | None] = []

    def stop_it(made: Progress | None) -> None:
        if made is not None and not seen:
            seen.append(made)
            trainers()[0].suspend()

    with pytest.raises(StageTimedOut, match=r"no heartbeat for 6 s"):
        fit_in_child(*task, LONG, watch=stop_it, silence=6)

    assert trainers() == []


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.fault(24)
@pytest.mark.slow
def test_what_a_child_has_started_ends_with_it(
    task: tuple[Panel, ModelSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, subprocess\n"
        f"pathlib.Path({str(started)!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with not_hanging():
        assert fit_in_child(*task, DATASET.training).steps == 4

    left = int(started.read_text())
    assert eventually(lambda: has_ended(left))  # it was killed, but not waited for


@pytest.mark.fault(24)
@pytest.mark.slow
def test_a_child_stays_below_its_memory_limit() -> None:
    many = [rows(f"series {number}", 0, 300) for number in range(400)]
    panel, spec = preparation.prepare(
        pl.concat(many), replace(DATASET, model=replace(DATASET.model, hidden_size=512))
    )
    hungry = replace(DATASET.training, batch_size=4096, memory_limit_gb=0.6)

    with pytest.raises(RunError, match="memory_limit_gb") as caught:
        fit_in_child(panel, spec, hungry)

    assert "memory_limit_gb" in str(caught.value.hint)
    assert trainers() == []


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (-signal.SIGSEGV, "terminated by SIGSEGV"),
        (128 + signal.SIGABRT, "terminated by SIGABRT"),
        (-signal.SIGKILL, "out of memory"),
        (128 + signal.SIGKILL, "out of memory"),
        (71, "memory_limit_gb"),
        (3, "exited with status 3; output: the end"),
    ],
)
def test_every_ending_has_a_meaning(status: int, says: str) -> None:
    assert says in exit_error(status, "the end").message


@pytest.mark.fault(28)
@pytest.mark.slow
def test_a_child_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "training\n"
    (child,) = psutil.Process(parent.pid).children()

    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()

    child.wait(timeout=10)


ORPHAN = """
from jobs.training_process.parent import fit_in_child
from forecaster.training import preparation
from tests.jobs.training_process.test_parent import LONG
from tests.jobs.small import DATASET, rows

task = preparation.prepare(rows("a", 0, 300), DATASET)
fit_in_child(*task, LONG, on_progress=lambda _: print("training", flush=True))
"""
