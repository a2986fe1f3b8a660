"""The figures of a backtest as sections with rows of texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from forecaster.training.validation import MODEL
from jobs.backtest.run import Outcome

SHOWN_SERIES = 5
"""Worst and best series on a page; all of them are in JSON and CSV."""
COLUMNS: Mapping[str, str] = {
    "smape": "sMAPE",
    "mase": "MASE",
    "owa": "OWA",
    "wql": "WQL",
    "mae": "MAE",
    "coverage_80": "cover 80 %",
    "coverage_95": "cover 95 %",
    "skill": "skill",
}
"""The metrics that are shown of a predictor, and their headings."""
SERIES_COLUMNS: Mapping[str, str] = {
    "smape": "sMAPE",
    "mase": "MASE",
    "seasonal_naive_mase": "MASE seasonal naive",
    "wql": "WQL",
    "mae": "MAE",
    "coverage_80": "cover 80 %",
    "skill": "skill",
}
LEGEND = (
    "* best of its column. MASE: mean absolute error / seasonal naive error of the past. "
    "WQL: weighted quantile loss over all 13 quantiles.",
    "cover 80 %: share of actual values inside the 80 % interval. "
    "skill: 1 - error relative to seasonal naive.",
)
_WANTED = {"coverage_80": 0.8, "coverage_95": 0.95}
_DIGITS = {"smape": 3, "mase": 3, "seasonal_naive_mase": 3, "owa": 3, "wql": 4, "skill": 3}
_SMALL = 0.001
"""A smaller WQL is written with three digits that count."""
_EQUAL = 1e-9
"""Figures nearer to each other than this share are equal: they differ by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table under its title."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    legend: Sequence[str] = ()
    compares: bool = True
    """Whether rows are of predictors, the model first, with a star at the best of a column."""


def sections(outcome: Outcome) -> list[Section]:
    """Return the results: overall, by lead, and of the series with extreme skill."""
    return [_overall(outcome.overall), _by_lead(outcome), _by_series(outcome.by_series)]


def _overall(table: pl.DataFrame) -> Section:
    names = [name for name in COLUMNS if name in table.columns]
    return Section(
        title="accuracy",
        headings=["", *(COLUMNS[name] for name in names)],
        rows=list(zip(table["predictor"], *(_starred(table, name) for name in names), strict=True)),
        legend=LEGEND,
    )


def _by_lead(outcome: Outcome) -> Section:
    """Return the MASE of each predictor at each lead."""
    predictors = outcome.overall.select(pl.col("predictor").cast(pl.String))
    by_lead = outcome.by_lead.with_columns(pl.col("predictor", "lead").cast(pl.String))
    leads = by_lead["lead"].unique(maintain_order=True).to_list()
    tables = (
        predictors.join(
            by_lead.filter(lead=lead), on="predictor", how="left", maintain_order="left"
        )
        for lead in leads
    )
    return Section(
        title="MASE by lead (steps ahead)",
        headings=["", *leads],
        rows=list(
            zip(
                predictors["predictor"],
                *(_starred(of_lead, "mase") for of_lead in tables),
                strict=True,
            )
        ),
    )


def _by_series(table: pl.DataFrame) -> Section:
    """Return the series with the worst and the best skill, and how many are between them."""
    own = table.filter(pl.col("predictor") == MODEL)
    naive = table.filter(pl.col("predictor") == "seasonal_naive")
    naive_errors = naive.select("series_id", seasonal_naive_mase="mase")
    both = own.drop("seasonal_naive_mase").join(naive_errors, on="series_id")
    ordered = both.sort("skill", "series_id", nulls_last=True)
    if len(ordered) > 2 * SHOWN_SERIES:
        ordered = ordered.drop_nulls("skill")
    hidden = max(0, len(ordered) - 2 * SHOWN_SERIES)
    if hidden:
        ordered = pl.concat([ordered.head(SHOWN_SERIES), ordered.tail(SHOWN_SERIES)])
    about = f"lowest and highest skill, {hidden:,} not shown" if hidden else "lowest skill first"
    return Section(
        title=f"series: {about}",
        headings=["series", *SERIES_COLUMNS.values()],
        rows=[
            [row["series_id"], *(number(name, row[name]) for name in SERIES_COLUMNS)]
            for row in ordered.to_dicts()
        ],
        compares=False,
    )


def _starred(table: pl.DataFrame, name: str) -> list[str]:
    """Return a column as texts, with a star at the best; at several where they are equal."""
    badness = pl.col(name)
    if name in _WANTED:
        badness = (badness - _WANTED[name]).abs()
    elif name == "skill":
        badness = -badness
    is_best = (badness - badness.min()).abs() <= _EQUAL * badness.min().abs()
    figures = table.select(pl.col(name), is_best=is_best.fill_null(value=False))
    return [number(name, value) + ("*" if best else " ") for value, best in figures.iter_rows()]


def number(name: str, value: object) -> str:
    """Return a figure as text; None as a dash."""
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    if name in _WANTED:
        return f"{value:.1%}"
    if name == "wql" and 0 < value < _SMALL:
        return f"{value:.2e}"
    if name in _DIGITS:
        return f"{value:,.{_DIGITS[name]}f}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
