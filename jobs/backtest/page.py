"""A backtest as a person reads it: on a terminal, and as Markdown."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.backtest.notes import facts
from jobs.backtest.run import Outcome
from jobs.backtest.summary import Section, sections
from jobs.execution.secret_filter import redacted
from jobs.terminal.output import labelled

NAMED = 10
"""Series that Markdown names of those that were left out."""


def page(outcome: Outcome) -> RenderableType:
    """Return the page of a terminal."""
    return Group(
        Text(f"backtest of {redacted(outcome.plan.rows.name)}", "bold"),
        labelled(facts(outcome)),
        *(part for section in sections(outcome) for part in _section(section)),
    )


def _section(section: Section) -> Iterator[RenderableType]:
    """Yield a table between its title and its legend; highlights the model and best figures."""
    apart = 1 if section.compares else 2  # a star, or a blank, is between figures
    drawn = Table(box=None, pad_edge=False, padding=(0, apart, 0, 0), header_style="dim")
    for place, heading in enumerate(section.headings):
        is_name = place == 0
        drawn.add_column(
            heading, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold"
        )
    for place, row in enumerate(section.rows):
        style = "bold" if section.compares and place == 0 else ""
        drawn.add_row(*(Text(redacted(cell), "green" if cell.endswith("*") else "")
                        for cell in row), style=style)  # fmt: skip
    yield from (Text(), Text(section.title, "bold"), drawn)
    if section.legend:
        yield Text("\n".join(section.legend), "dim")


def markdown(outcome: Outcome) -> str:
    """Return a page that can be attached to a ticket."""
    parts = [
        f"# Backtest of {outcome.plan.rows.name}",
        "\n".join(f"- {label}: {text}" for label, text in facts(outcome)),
    ]
    for section in sections(outcome):
        parts += [f"## {section.title[0].upper()}{section.title[1:]}", _grid(section)]
        parts += [" ".join(section.legend).replace("*", "\\*", 1)] if section.legend else []
    if outcome.left_out:
        named = [f"- {name}: {reason}" for name, reason in outcome.left_out.items()]
        more = [f"- … and {len(named) - NAMED} more"] if len(named) > NAMED else []
        parts += ["## Left out", "\n".join([*named[:NAMED], *more])]
    return "\n\n".join(parts) + "\n"


def _grid(section: Section) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join(["---", *["---:"] * (len(section.headings) - 1)]) + "|"
    return "\n".join([line(section.headings), rule, *map(line, section.rows)])
