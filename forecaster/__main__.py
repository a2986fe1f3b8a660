"""`python -m forecaster` is the `forecaster` command.

The one module of the library that knows the program: whose name differs between a checkout, where
it is `jobs`, and the wheel, where it is `forecaster.jobs`. The command's entry point is therefore
here.
"""

from jobs.cli import app

__all__ = ["app"]

if __name__ == "__main__":
    app(prog_name="forecaster")
