"""A backtest as a person reads it on a terminal."""

from collections.abc import Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.backtest.notes import facts
from jobs.backtest.run import Outcome
from jobs.backtest.summary import (
    COLUMNS,
    LEGEND,
    SERIES_HEADINGS,
    lead_rows,
    overall_rows,
    series_rows,
    shown,
)
from jobs.execution.secret_filter import discreet


def page(outcome: Outcome) -> RenderableType:
    """Return the whole page."""
    leads, by_lead = lead_rows(outcome)
    series, hidden = series_rows(outcome)
    about = f"least and most skill, {hidden:,} between" if hidden else "least skill first"
    headings = ["", *(COLUMNS[name] for name in shown(outcome.overall))]
    return Group(
        Text(f"backtest of {discreet(outcome.plan.rows.name)}", "bold"),
        _facts(outcome),
        _titled("accuracy", headings, list(overall_rows(outcome))),
        Text("\n".join(LEGEND), "dim"),
        _titled("MASE by steps ahead", ["", *leads], by_lead),
        _titled(f"series: {about}", SERIES_HEADINGS, series, ours=False),
    )


def _facts(outcome: Outcome) -> RenderableType:
    drawn = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column()
    for word, said in facts(outcome):
        drawn.add_row(word, Text(discreet(said)))
    return drawn


def _titled(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, ours: bool = True
) -> RenderableType:
    """Return a table under its title; the first row is ours and bold, and so is a best figure."""
    apart = 1 if ours else 2  # a star, or the room for one, stands between figures that have any
    drawn = Table(box=None, pad_edge=False, padding=(0, apart, 0, 0), header_style="dim")
    for place, heading in enumerate(headings):
        is_name = place == 0
        justify: Literal["left", "right"] = "left" if is_name else "right"
        drawn.add_column(heading, justify=justify, no_wrap=not is_name, overflow="fold")
    for place, row in enumerate(rows):
        style = "bold" if ours and place == 0 else ""
        drawn.add_row(*(Text(discreet(cell), "green" if cell.endswith("*") else "")
                        for cell in row), style=style)  # fmt: skip
    return Group(Text(), Text(title, "bold"), drawn)
