"""`python -m jobs` is the `forecaster` command."""

from jobs.cli import app

app(prog_name="forecaster")
