"""`python -m jobs` is the `forecaster` command of a checkout."""

from jobs.cli import app

app(prog_name="forecaster")
