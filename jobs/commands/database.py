"""`forecaster db`: the schema of the database that keeps forecasts, models and runs."""

import typer

from jobs.terminal.error_boundary import Boundary
from jobs.terminal.open_database import Schema, database_url, opened
from jobs.terminal.options import DEFAULT_CONFIG, ConfigOption
from jobs.terminal.output import data

app = typer.Typer(
    cls=Boundary, no_args_is_help=True, rich_markup_mode=None, help="Upgrade or check the schema."
)


@app.command()
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the schema to the newest revision; safe to repeat."""
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
    """Exit 0 when the schema is at the newest revision, 1 when it is not."""
    from forecaster.store.connection.urls import masked
    from forecaster.store.maintenance import migrations

    with opened(database_url(config)) as engine:
        data(f"{masked(engine.url)} is at revision {migrations.revision(engine)}")
