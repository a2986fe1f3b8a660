"""How long the way is from `forecaster forecast` to the network, and how large the packages are.

    python -m benchmarks.main_path

Prints each frame of the program between the command and the forward pass, then lines, modules and
functions of both packages. Figures of code, not of a machine: nothing is kept.
"""

import ast
import math
import os
import statistics
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("forecaster", "jobs")
SETTINGS = """
database_url = "sqlite:///forecaster.db"
[datasets.waves]
step = "1h"
prediction_length = 4
[datasets.waves.training]
steps = 2
"""


def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        frames = frames_of_a_forecast()
    print(f"{len(frames)} frames in {len({file for file, _ in frames})} files")
    for file, function in frames:
        print(f"  {file}:{function}")
    for package in PACKAGES:
        print(size_of(package))


def prepare() -> None:
    """Configure a small dataset here, ingest its rows and train its model."""
    Path("forecaster.toml").write_text(SETTINGS)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=240)
    rows = [
        f"a,{(start + timedelta(hours=hour)).isoformat()},{10 + 5 * math.sin(hour / 24)}"
        for hour in range(240)
    ]
    Path("waves.csv").write_text("\n".join(["series_id,timestamp,value", *rows]))
    for words in (["ingest", "waves.csv"], ["retrain"]):
        subprocess.run(
            [sys.executable, "-m", "jobs", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )


def frames_of_a_forecast() -> list[tuple[str, str]]:
    """Return (file, function) of each frame of ours when the network first runs."""
    from torch import nn

    from jobs.cli import app

    found: list[tuple[str, str]] = []

    def note(module: nn.Module, _: object) -> None:
        if type(module).__name__ == "AttentionLSTM" and not found:
            found.extend(ours(traceback.extract_stack()))

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        app(["forecast"], standalone_mode=False)
    finally:
        hook.remove()
    return found


def ours(stack: traceback.StackSummary) -> Iterator[tuple[str, str]]:
    """Give the frames of `stack` that lie in PACKAGES."""
    for frame in stack:
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            yield path.relative_to(ROOT).as_posix(), frame.name


def size_of(package: str) -> str:
    """Describe the modules and functions of a package on one line."""
    sources = [path.read_text() for path in (ROOT / package).rglob("*.py")]
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = sum(len(source.splitlines()) for source in sources)
    return (
        f"{package}: {lines} lines, {len(sources)} modules, {len(lengths)} functions of "
        f"{statistics.median(lengths):g} lines (median), {max(lengths)} (longest)"
    )


if __name__ == "__main__":
    main()
