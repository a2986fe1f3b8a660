"""An explanation as text: the forecast, what it attended to, how far to trust it."""

import math
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forecaster.explain.report import Trust
from forecaster.store.state.models import ModelRecord
from forecaster.times.durations import Step
from forecaster.training.sample_extent import Extent
from jobs.explain.read import Explanation, Source, StepRange
from jobs.terminal.attention_report import figures
from jobs.terminal.output import labelled, when
from jobs.terminal.sparklines import blocks

BAR_WIDTH = 24
"""Columns of a weight of 100 %."""
FEW_RANGES = 3
MOST_SOURCES, FEWER_SOURCES = 6, 3
"""Sources shown of each step range, for few ranges and for many."""
LEAST_WEIGHT = 0.005
NOTES = {
    "cold_start": "the model was not trained on this series",
    "hindsight": "the model has seen data after the cutoff; not scored, not the latest",
    "fallback_naive": "a naive fallback, which clearly beat the network on validation windows",
    "fallback_champion": "made by an earlier champion",
}
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def words(steps: int, step: Step) -> str:
    """Return how long so many steps are, such as "7 days" or "1 hour 30 minutes"."""
    count = steps * step.count
    if step.unit == "month":
        return _counted(count // 12, "year") if count % 12 == 0 else _counted(count, "month")
    if step.unit == "day":
        return _counted(count, "day") if step.count % 7 else _counted(count // 7, "week")
    seconds, fraction = divmod(count, 1_000_000)
    if fraction:
        return _counted(count, "microsecond")
    parts = []
    for unit, length in _UNITS:
        quotient, seconds = divmod(seconds, length)
        parts += [_counted(quotient, unit)] if quotient else []
    return " ".join(parts)


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")


class Page:
    """Explains one forecast."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        forecast = explanation.forecast
        width = (forecast["q90"] - forecast["q10"]).median()
        size = width if isinstance(width, float) and width > 0 else 1.0
        self._last = next(
            (value for value in reversed(explanation.recent) if value == value), math.nan
        )
        self._digits = min(9, max(0, 2 - math.floor(math.log10(size))))

    def render(self) -> RenderableType:
        """Return the whole page."""
        many = len(self._explanation.step_ranges) > FEW_RANGES
        most = FEWER_SOURCES if many else MOST_SOURCES
        parts: list[RenderableType] = [self._heading(), Text(), self._sketch()]
        for step_range in self._explanation.step_ranges:
            parts += [Text(), *self._step_range(step_range, most)]
        return Group(*parts, Text(), self._trust())

    def _heading(self) -> Text:
        explanation = self._explanation
        heading = Text.assemble(
            (f"{explanation.dataset} / {explanation.series_id}", "bold"),
            f"  forecast at {self._local(explanation.cutoff)} by model {explanation.model_id}",
            (f"\nissued {when(explanation.issued_at)}, times in {explanation.timezone}", "dim"),
        )
        for word in (explanation.status, *["hindsight"] * explanation.hindsight):
            if word in NOTES:
                heading.append(f"\n{word}: {NOTES[word]}", "yellow")
        return heading

    def _sketch(self) -> Text:
        shown, forecast = self._explanation, self._explanation.forecast
        median, low, high = (forecast[name].to_list() for name in ("q50", "q10", "q90"))
        known = [value for value in (*shown.recent, *low, *high) if value == value]
        past, ahead = (blocks(part, min(known), max(known)) for part in (shown.recent, median))
        return Text.assemble(
            (past.lstrip(), "cyan"), ("│", "dim"), (ahead, "green"),
            f"\n{words(len(median), shown.step)} ahead, {self._local(forecast['timestamp'][-1])}: ",
            (self._number(median[-1]), "bold"),
            f", between {self._number(low[-1])} and {self._number(high[-1])} at 80 %",
        )  # fmt: skip

    def _step_range(self, step_range: StepRange, most: int) -> Iterator[RenderableType]:
        steps = f"step {step_range.step_from}" + (
            "" if step_range.step_from == step_range.step_to else f"-{step_range.step_to}"
        )
        yield Text.assemble(
            (steps, "bold"), f"  {self._span(step_range.starts, step_range.ends)}  median ",
            (self._number(step_range.median), "bold"),
            f", 80 % in {self._number(step_range.low)} … {self._number(step_range.high)}",
            ("  on average", "dim"),
        )  # fmt: skip
        if step_range.sources:
            yield Padding(self._sources(step_range, most), (0, 0, 0, 2))
        else:
            yield Text(f"  {self._without_attention(step_range)}")
        yield self._sum(step_range)

    def _without_attention(self, step_range: StepRange) -> str:
        if self._explanation.status == "fallback_naive":
            return f"repeats {_repeated(step_range)}; no attention is involved"
        return "the attention of this forecast is not stored, or was pruned"

    def _sources(self, step_range: StepRange, most: int) -> Table:
        bars = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for justify in ("right", "left", "left", "left", "left", "right"):
            bars.add_column(justify=justify, no_wrap=True)
        shown = [source for source in step_range.sources[:most] if source.weight >= LEAST_WEIGHT]
        rest = step_range.sources[len(shown) :]
        for source in shown:
            bars.add_row(*self._weight(source.weight), *self._place(source), *self._adds(source))
        if rest:
            weight = sum(source.weight for source in rest)
            bars.add_row(*self._weight(weight), f"{len(rest)} more", "", *self._adds(*rest))
        return bars

    def _weight(self, weight: float) -> tuple[str, Text]:
        bar = "█" * round(BAR_WIDTH * weight) or "▏"
        return f"{100 * weight:.0f} %", Text(bar, style="cyan")

    def _place(self, source: Source) -> tuple[str, str]:
        if source.source == "last":
            return "last value", self._number(self._last)
        if source.steps_before is None or source.context_from is None or source.context_to is None:
            return "level", "mean of the latest season"
        before = f"{words(source.steps_before, self._explanation.step)} before"
        return before, self._span(source.context_from, source.context_to)

    def _adds(self, *sources: Source) -> tuple[str, str]:
        known = [source.adds for source in sources if source.adds is not None]
        return ("adds", self._signed(sum(known))) if len(known) == len(sources) else ("gone", "?")

    def _sum(self, step_range: StepRange) -> Text:
        """Return the line in which all parts add up to the median."""
        lift = step_range.lift or 0.0
        parts = [
            (step_range.copied - lift, "past"),
            (lift, "level change since"),
            (step_range.last_value, "last value"),
            (step_range.residual, "residual"),
            (step_range.adjustment, "limits"),
        ]
        terms = "".join(f" {self._signed(value)} {name}" for value, name in parts if value)
        return Text.assemble(
            f"  {self._number(step_range.level)} level{terms} = ",
            (self._number(step_range.median), "bold"),
        )

    def _trust(self) -> RenderableType:
        trust = self._explanation.trust
        if trust is None or not self._explanation.step_ranges[0].sources:
            return Text("trust in the weights: not measured for this forecast", "dim")
        heading = (
            f"trust in the weights: model {self._explanation.model_id} on {trust.windows} windows"
        )
        patch = words(self._explanation.patch_length, self._explanation.step)
        return Group(Text(heading, "bold"), Padding(labelled(figures(trust, patch)), (0, 0, 0, 2)))

    def _number(self, value: float) -> str:
        return f"{value:,.{self._digits}f}"

    def _signed(self, value: float) -> str:
        return _signed(value, self._digits)

    def _local(self, instant: datetime) -> str:
        shown = instant.astimezone(ZoneInfo(self._explanation.timezone))
        calendar = self._explanation.step.is_calendar
        return f"{shown:%Y-%m-%d}" if calendar else f"{shown:%a %Y-%m-%d %H:%M}"

    def _span(self, first: datetime, last: datetime) -> str:
        """Return both ends; the date once where it is the same."""
        ends = [self._local(first), self._local(last)]
        date, _, time = ends[1].rpartition(" ")
        return f"{ends[0]} … {time}" if date and ends[0].startswith(date) else " … ".join(ends)


def _signed(value: float, digits: int) -> str:
    text = f"{value:+,.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.,") else "0"


def _repeated(step_range: StepRange) -> str:
    """Return what a naive forecast repeats, by its parts."""
    if step_range.last_value:
        return "the last value"
    return "the latest season" + (" with drift" if step_range.residual else "")


def model_page(model: ModelRecord) -> RenderableType:
    """Return all trust figures of a model, including the perturbation curves."""
    extent = Extent.from_scores(model.scores)
    heading = Text.assemble(
        (f"{model.dataset}", "bold"),
        f"  model {model.model_id}, trained on {when(model.trained_from)}",
        f" … {when(model.trained_to)}",
        "" if extent is None else f", {extent}",
    )
    trust = Trust.from_scores(model.scores)
    if trust is None:
        hint = "run `forecaster explain DATASET --audit`, or wait for the next retrain"
        return Group(heading, Text(f"trust in the attention weights: not measured; {hint}"))
    patch = words(model.config["patch_length"], Step.parse(model.config["step"]))
    measured = labelled(figures(trust, patch))
    if not trust.removals:
        return Group(heading, Text(), measured)
    legend = Text(
        "change of the forecast (and of its error) when patches are removed, in seasonal errors:",
        "dim",
    )
    return Group(heading, Text(), measured, Text(), legend, _curves(trust))


def _curves(trust: Trust) -> Table:
    """Return the change of forecasts, and of their error, by which past patches are removed."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("removed", "most attended", "random", "least attended", "ratio"):
        drawn.add_column(heading, justify="left" if heading == "removed" else "right")
    for removals, kept in ((trust.removals, ""), (trust.older, ", latest kept")):
        for removal in removals:
            removed = _counted(removal.patches, "patch").replace("patchs", "patches")
            effects = (removal.attended, removal.random, removal.least)
            cells = [f"{effect.change:.3f} ({_signed(effect.error, 3)})" for effect in effects]
            drawn.add_row(f"{removed}{kept}", *cells, f"{removal.ratio:.1f}")
    return drawn
