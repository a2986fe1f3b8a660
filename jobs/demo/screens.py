"""Progress of a replay: a live table on a terminal, plain lines elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from jobs.terminal.sparklines import blocks

RECENT = 8
"""Ticks in the table."""
BAR_WIDTH = 24
WIDE = 116
"""Columns of a terminal that has room for every stage."""
_PLAIN_EVERY = 13
"""Ticks per line of plain output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """A source of the forecast and its attention weight."""

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


class PlainScreen:
    """Prints a line now and then, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console, self._shown = console, ""

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def progress(self, title: str, done: int, total: int, detail: str) -> None:
        """Print a line at every quarter of a long task."""
        quarter = f"{title}{4 * done // total}"
        if quarter != self._shown:
            self._shown = quarter
            self.say(f"{title} {done}/{total}  {detail}")

    def tick(self, view: TickView) -> None:
        """Print a line at every 13th tick, and at the last."""
        if view.number % _PLAIN_EVERY == 0 or view.number == view.total:
            self.say(line(view))

    def close(self) -> None:
        """Do nothing: lines stay."""


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
    """A table of the last ticks, the newest forecast and its attention."""

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
        """Print a line above the table."""
        self._live.console.print(text, markup=False, soft_wrap=True)

    def progress(self, title: str, done: int, total: int, detail: str) -> None:
        """Show the progress of a long task."""
        self._bar.update(
            self._task, description=title, completed=done, total=total, detail=detail, visible=True
        )

    def tick(self, view: TickView) -> None:
        """Show one more tick."""
        self._views = [*self._views, view][-RECENT:]
        self.progress("replay", view.number, view.total, "ticks")

    def close(self) -> None:
        """Stop, with the last state left on the terminal."""
        self._bar.update(self._task, visible=False)
        self._live.refresh()
        self._live.stop()

    def _render(self) -> RenderableType:
        if not self._views:
            return self._bar
        shown = self._views[-1].picture
        table = ticks_table(self._views, wide=self._live.console.width >= WIDE)
        drawn = [] if shown is None else [Text(), picture(shown)]
        return Group(Text(self._title, style="bold"), table, *drawn, Text(), self._bar)


Screen = PlainScreen | LiveScreen


def ticks_table(views: Sequence[TickView], *, wide: bool) -> Table:
    """Return a row for each tick, the best forecast bold; stages only where it is `wide`."""
    newest = views[-1]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    scores = [f"mase {name}" if name == "model" else name for name in newest.mase] or ["mase"]
    times = list(newest.stages) if wide else ["took"]
    for heading in ("tick", "cutoff", *scores, "cover 80", *times):
        drawn.add_column(heading, justify="left" if heading == "cutoff" else "right", no_wrap=True)
    for view in views:
        stages = [view.stages.get(stage, 0.0) for stage in newest.stages]
        drawn.add_row(
            f"{view.number}",
            view.cutoff,
            *(_scores(view) or [Text("–")] * len(scores)),
            "–" if view.coverage_80 is None else f"{view.coverage_80:.0%}",
            *map(milliseconds, stages if wide else [sum(stages)]),
        )
    return drawn


def _scores(view: TickView) -> list[Text]:
    best = min(view.mase.values(), default=None)
    return [
        Text(f"{score:.3f}", style="bold green" if score == best else "")
        for score in view.mase.values()
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
    title = f"attention of steps {shown.attended_for}"
    heading = Text(title if shown.attended else "naive fallback: no attention", style="dim")
    return Group(sketch, heading, Padding(bars, (0, 0, 0, 2)))


def milliseconds(seconds: float) -> str:
    """Return a short duration as text."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def screen(console: Console, title: str) -> Screen:
    """Return the live screen on a terminal, the plain one elsewhere."""
    return LiveScreen(console, title) if console.is_terminal else PlainScreen(console)
