"""Do what the tutorial says, with nothing but the wheel: `python -m tests.first_steps [--write]`.

Every command of docs/tutorial/first-steps.md is run as it stands there, in an empty folder and an
environment of its own, and what it prints is compared with what the page shows: words must agree,
figures may differ. `--write` puts the outputs of this run into the page.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import psycopg

from tests.first_steps.page import Step, rewritten, steps
from tests.first_steps.reader import Done, Reader, environment
from tests.first_steps.shape import difference, excerpt, nearest
from tests.patience import eventually
from tests.postgres import Cluster, find_binaries

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-steps.md"
SERVICE = ("forecaster serve",)
WIDEST = 100


def build(folder: Path) -> None:
    command = ["build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Run a server with the role and the database of the page; yield what leads its clients there.

    The page names no port, and so takes the one of PGPORT. Without server binaries yield nothing.
    """
    binaries = find_binaries()
    if binaries is None:
        yield {}
        return
    cluster = Cluster(binaries, settings=["timezone=UTC"])
    try:
        cluster.start()
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE me LOGIN")
            connection.execute("CREATE DATABASE metrics OWNER me")
        yield {"PGPORT": str(cluster.port)}
    finally:
        cluster.remove()


def possible(found: list[Step], *, with_server: bool) -> list[Step]:
    """Return the steps before the section that needs a server, or all; say which are left out."""
    if with_server:
        return found
    needs = next(step.section for step in found if any("psql" in each for each in step.commands))
    first = next(number for number, step in enumerate(found) if step.section == needs)
    print(f"SKIPPED from {needs!r} on: no PostgreSQL server binaries\nhint:  make services")
    return found[:first]


class Walk:
    """One way through the page, as a table of commands and of what differs from the page."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.outputs: list[tuple[Step, str]] = []
        self.differing: list[Step] = []

    def through(self, found: Iterable[Step]) -> None:
        """Take the steps in order; SystemExit at a command that fails."""
        for section, members in groupby(found, key=lambda step: step.section):
            print(f"\n{section}\nseconds  CPU s  result   command", flush=True)
            for step in members:
                self._take(step)
        if self._reader.serves:
            report(["SIGTERM"], [self._reader.stop()], "ok")

    def _take(self, step: Step) -> None:
        for name, content in step.files.items():
            self._reader.write(name, content)
        results = self._start(step) if step.commands == SERVICE else self._type(step)
        output = printed(results)
        agrees = is_in(step.shown, output)
        report(step.commands, results, "ok" if agrees else "differs")
        if not agrees:
            self.differing.append(step)
            print(f"{difference(step.shown, output)}\n")
        if step.shown:
            self.outputs.append((step, excerpt(step.shown, output) or nearest(step.shown, output)))

    def _start(self, step: Step) -> list[Done]:
        (command,) = step.commands
        return [self._reader.start(command, lambda text: is_in(step.shown, text))]

    def _type(self, step: Step) -> list[Done]:
        """Run the commands of a step; beside the service, until it has done its first work."""
        results = self._reader.type(step.commands)

        def agree() -> bool:
            results[:] = self._reader.type(step.commands)
            return is_in(step.shown, printed(results))

        if self._reader.serves and not is_in(step.shown, printed(results)):
            eventually(agree)
        return results


def is_in(shown: str, output: str) -> bool:
    return excerpt(shown, output) is not None


def printed(results: Iterable[Done]) -> str:
    return "".join(done.output for done in results)


def report(commands: Sequence[str], results: Sequence[Done], verdict: str) -> None:
    """Print a row for each command, the verdict in the last; SystemExit where one failed."""
    for command, done in zip(commands, results, strict=False):
        name = command if len(command) <= WIDEST else f"{command[: WIDEST - 1]}…"
        result = f"exit {done.status}" if done.status else verdict if done is results[-1] else "ok"
        print(f"{done.seconds:7.1f}  {done.cpu_seconds:5.1f}  {result:7}  {name}", flush=True)
    if results[-1].status:
        sys.exit(f"\n{results[-1].output}\nerror: {commands[len(results) - 1]}: {result}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.first_steps")
    parser.add_argument("--write", action="store_true", help="put this run's outputs on the page")
    write = parser.parse_args().write
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="first-steps-") as name, postgres() as server:
        folder = Path(name)
        variables = {**environment(folder, ROOT / "constraints.txt"), **server}
        with Reader(folder, variables) as reader:
            build(reader.home)
            walk = Walk(reader)
            walk.through(possible(steps(page), with_server=bool(server)))
    if write:
        PAGE.write_text(rewritten(page, walk.outputs), encoding="utf-8")
    elif walk.differing:
        names = ", ".join(step.commands[-1] for step in walk.differing)
        hint = "make first-steps ARGS=--write, and review the diff"
        sys.exit(f"error: not what {PAGE.relative_to(ROOT)} shows: {names}\nhint:  {hint}")
    if not server and os.environ.get("REQUIRE_SERVICES") == "1":
        sys.exit("error: no PostgreSQL server binaries, and REQUIRE_SERVICES=1")


if __name__ == "__main__":
    main()
