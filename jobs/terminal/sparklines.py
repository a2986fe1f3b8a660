"""Progress of a replay: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

RECENT = 8
"""Ticks shown above each other."""
BAR_WIDTH = 24
WIDE = 116
"""Columns of a terminal that has room for every stage."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_EVERY = 13
"""Ticks per line of plain output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """A share of the forecast: what was looked at, and its weight."""

    label: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The newest forecast of one series: recent values, then median and 80 % interval."""

    series_id: str
    recent: Sequence[float]
    low: Sequence[float]
    median: Sequence[float]
    high: Sequence[float]
    attended: Sequence[Attended] = ()
    """Nothing where a naive forecast serves."""
    attended_for: str = ""
    """The steps that `attended` is about, such as 1-13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickView:
    """One tick of the replay; accuracy is over everything matured so far, None before that."""

    number: int
    total: int
    cutoff: str
    mase: Mapping[str, float]
    """The model first, then the naive forecasts, all on the same points."""
    coverage_80: float | None
    stages: Mapping[str, float]
    picture: Picture | None


class Screen(Protocol):
    """Where a replay shows its progress."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def progress(self, title: str, done: int, total: int, detail: str) -> None:
        """Show how far long work is."""

    def tick(self, view: TickView) -> None:
        """Show one more tick."""

    def close(self) -> None:
        """Stop updating, and keep the last state."""


class PlainScreen:
    """One line now and then, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def progress(self, title: str, done: int, total: int, detail: str) -> None:
        quarter = f"{title}{4 * done // total}"
        if quarter != self._shown:
            self._shown = quarter
            self.say(f"{title} {done}/{total}  {detail}")

    def tick(self, view: TickView) -> None:
        if view.number % _PLAIN_EVERY == 0 or view.number == view.total:
            self.say(line(view))

    def close(self) -> None:
        pass


def line(view: TickView) -> str:
    """Return a tick as one line of text."""
    scores = "  ".join(f"{name} {value:.3f}" for name, value in view.mase.items())
    parts = [f"tick {view.number}/{view.total}", f"cutoff {view.cutoff}"]
    parts.append(f"mase: {scores}" if scores else "no forecast matured yet")
    if view.coverage_80 is not None:
        parts.append(f"80 % interval covers {view.coverage_80:.0%}")
    parts.append(f"{milliseconds(sum(view.stages.values()))} total")
    if view.picture is not None and view.picture.attended:
        first = max(view.picture.attended, key=lambda attended: attended.weight)
        parts.append(f"attended to {first.label} ({first.weight:.0%})")
    return "  ".join(parts)


class LiveScreen:
    """A table that keeps the last ticks, the newest forecast and what it looked at."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._views: list[TickView] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.completed}/{task.total}  {task.fields[detail]}"),
            console=console,
        )
        self._task = self._bar.add_task("", total=None, detail="", visible=False)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)
        self._live.start()

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, soft_wrap=True)

    def progress(self, title: str, done: int, total: int, detail: str) -> None:
        self._bar.update(
            self._task, description=title, completed=done, total=total, detail=detail, visible=True
        )

    def tick(self, view: TickView) -> None:
        self._views = [*self._views, view][-RECENT:]
        self.progress("replay", view.number, view.total, "ticks")

    def close(self) -> None:
        self._bar.update(self._task, visible=False)
        self._live.refresh()
        self._live.stop()

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._views:
            newest = self._views[-1]
            wide = self._live.console.width >= WIDE
            table = ticks_table(self._views, wide=wide)
            parts += [Text(self._title, style="bold"), table]
            if newest.picture is not None:
                parts += [Text(), picture(newest.picture)]
            parts.append(Text())
        return Group(*parts, self._bar)


def ticks_table(views: Sequence[TickView], *, wide: bool) -> Table:
    """Return a row for each tick, the best forecast bold; stages only where it is `wide`."""
    newest = views[-1]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    scores = [f"mase {name}" if name == "model" else name for name in newest.mase] or ["mase"]
    times = list(newest.stages) if wide else ["took"]
    for heading in ("tick", "cutoff", *scores, "cover 80", *times):
        drawn.add_column(heading, justify="left" if heading == "cutoff" else "right", no_wrap=True)
    for view in views:
        drawn.add_row(*_cells(view, newest, wide=wide))
    return drawn


def _cells(view: TickView, newest: TickView, *, wide: bool) -> list[Text]:
    best = min(view.mase, key=lambda name: view.mase[name]) if view.mase else None
    scores = [
        Text(f"{value:.3f}", style="bold green" if name == best else "")
        for name, value in view.mase.items()
    ] or [Text("–")] * max(1, len(newest.mase))
    covered = "–" if view.coverage_80 is None else f"{view.coverage_80:.0%}"
    stages = [view.stages.get(stage, 0.0) for stage in newest.stages]
    times = stages if wide else [sum(stages)]
    return [
        Text(f"{view.number}"),
        Text(view.cutoff),
        *scores,
        Text(covered),
        *(Text(milliseconds(seconds)) for seconds in times),
    ]


def picture(shown: Picture) -> RenderableType:
    """Return the newest forecast as a line of blocks, and its attention as bars."""
    values = [*shown.recent, *shown.low, *shown.high]
    lowest, highest = min(values), max(values)
    past, ahead = (blocks(part, lowest, highest) for part in (shown.recent, shown.median))
    sketch = Text.assemble(
        (f"{shown.series_id}  ", "bold"), (past, "cyan"), ("│", "dim"), (ahead, "green"),
        f"\nin {len(shown.median)} steps: {shown.median[-1]:,.4g}",
        (f", between {shown.low[-1]:,.4g} and {shown.high[-1]:,.4g} at 80 %", "dim"),
    )  # fmt: skip
    bars = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for attended in shown.attended:
        bar = "█" * max(1, round(BAR_WIDTH * attended.weight))
        bars.add_row(attended.label, Text(bar, style="cyan"), f"{attended.weight:.0%}")
    looked_at = f"attention of steps {shown.attended_for}"
    heading = Text(looked_at if shown.attended else "naive fallback: no attention", style="dim")
    return Group(sketch, heading, Padding(bars, (0, 0, 0, 2)))


def blocks(values: Sequence[float], lowest: float, highest: float) -> str:
    """Return `values` as one block each, between `lowest` and `highest`; NaN is a space."""
    span = (highest - lowest) or 1.0
    return "".join(
        _BLOCKS[min(7, max(0, int(8 * (value - lowest) / span)))] if value == value else " "
        for value in values
    )


def milliseconds(seconds: float) -> str:
    """Return a short time for a person."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def screen(console: Console, title: str) -> Screen:
    """Return the live screen on a terminal, the plain one elsewhere."""
    return LiveScreen(console, title) if console.is_terminal else PlainScreen(console)
