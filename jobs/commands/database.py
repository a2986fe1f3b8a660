"""`forecaster db`: the schema of the database with forecasts, models and runs."""

import typer

from jobs.terminal.error_boundary import Boundary
from jobs.terminal.open_database import Schema, database_url, opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption
from jobs.terminal.output import data

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Upgrade or check the database schema.",
)


@app.command()
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Upgrade the schema to the latest revision; safe to repeat."""
    from forecaster.store.connection.urls import masked
    from forecaster.store.maintenance import migrations

    with opened(database_url(config), Schema.ANY) as engine:
        before = migrations.revision(engine)
        migrations.upgrade(engine)
        after = migrations.revision(engine)
        verb = "is at" if before == after else "upgraded to"
        data(f"{masked(engine.url)} {verb} revision {after}")


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Exit 0 if the schema is at the latest revision, 1 otherwise."""
    from forecaster.store.connection.urls import masked
    from forecaster.store.maintenance import migrations

    with opened(database_url(config)) as engine:
        data(f"{masked(engine.url)} is at revision {migrations.revision(engine)}")
