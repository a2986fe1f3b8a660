"""A backtest as a person reads it: on a terminal, and as Markdown."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.backtest.notes import facts
from jobs.backtest.run import Outcome
from jobs.backtest.summary import Section, sections
from jobs.execution.secret_filter import discreet

NAMED = 10
"""Series that Markdown names of those that were left out."""


def page(outcome: Outcome) -> RenderableType:
    """Return the page of a terminal."""
    return Group(
        Text(f"backtest of {discreet(outcome.plan.rows.name)}", "bold"),
        _facts(outcome),
        *(part for each in sections(outcome) for part in _section(each)),
    )


def _facts(outcome: Outcome) -> RenderableType:
    drawn = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column()
    for word, said in facts(outcome):
        drawn.add_row(word, Text(discreet(said)))
    return drawn


def _section(section: Section) -> Iterator[RenderableType]:
    """Yield a table between its title and its legend; the model and a best figure stand out."""
    apart = 1 if section.compares else 2  # a star, or the room for one, stands between figures
    drawn = Table(box=None, pad_edge=False, padding=(0, apart, 0, 0), header_style="dim")
    for place, heading in enumerate(section.headings):
        is_name = place == 0
        drawn.add_column(
            heading, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold"
        )
    for place, row in enumerate(section.rows):
        style = "bold" if section.compares and place == 0 else ""
        drawn.add_row(*(Text(discreet(cell), "green" if cell.endswith("*") else "")
                        for cell in row), style=style)  # fmt: skip
    yield from (Text(), Text(section.title, "bold"), drawn)
    if section.legend:
        yield Text("\n".join(section.legend), "dim")


def markdown(outcome: Outcome) -> str:
    """Return a page that can be attached to a ticket."""
    parts = [
        f"# Backtest of {outcome.plan.rows.name}",
        "\n".join(f"- {word}: {said}" for word, said in facts(outcome)),
    ]
    for each in sections(outcome):
        parts += [f"## {each.title[0].upper()}{each.title[1:]}", _grid(each)]
        parts += [" ".join(each.legend).replace("*", "\\*", 1)] if each.legend else []
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
