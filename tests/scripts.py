"""Scripts in a process of their own, where nothing is imported yet."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def output_of(script: str, folder: Path) -> str:
    """What a script prints that runs in `folder` and can import ours."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.stdout
