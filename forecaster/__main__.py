"""`python -m forecaster` is the `forecaster` command.

The one module of the library that knows the program: whose name differs between a checkout, where
it is `jobs`, and the wheel, where it is `forecaster.jobs`. The command's entry point is therefore
here.
"""

import sys

if sys.platform == "win32":
    sys.exit("error: expected Linux or macOS, found Windows\nhint:  run it in WSL or a container")

from jobs.cli import app

__all__ = ["app"]

if __name__ == "__main__":
    app(prog_name="forecaster")
