"""The figures of a backtest as people read them: rows of texts for tables, and a verdict."""

from collections.abc import Iterator, Mapping

import polars as pl

from jobs.backtest.run import Outcome

MODEL = "model"
SHOWN_SERIES = 5
"""Worst and best series on a page; all of them are in JSON and CSV."""
COLUMNS: Mapping[str, str] = {
    "smape": "sMAPE",
    "mase": "MASE",
    "owa": "OWA",
    "wql": "WQL",
    "mae": "MAE",
    "coverage_80": "in 80 %",
    "coverage_95": "in 95 %",
    "skill": "skill",
}
"""What is shown of a predictor, and how it is called."""
SERIES_HEADINGS = ("series", "sMAPE", "MASE", "of seasonal naive", "WQL", "MAE", "in 80 %",
                   "skill")  # fmt: skip
LEGEND = (
    "* best of its column. MASE: error in units of the seasonal error of the past. "
    "WQL: error of all 13 quantiles.",
    "in 80 %: share of what happened inside the 80 % interval. "
    "skill: share of the error of seasonal naive that is gone.",
)
_WANTED = {"coverage_80": 0.8, "coverage_95": 0.95}
_DIGITS = {"smape": 3, "mase": 3, "owa": 3, "wql": 4, "skill": 3}
_SMALL = 0.001
"""A smaller WQL is written with three digits that count."""
_EQUAL = 1e-9
"""Figures nearer to each other than this share are equal: they differ by rounding."""

Row = Mapping[str, object]


def verdict(errors: Mapping[str, float | None]) -> str:
    """Return in a sentence how the model did beside the best of the others, by MASE."""
    told = {name: error for name, error in errors.items() if error is not None}
    if MODEL not in told:
        return "none by MASE: no series moved before the windows"
    ours = told.pop(MODEL)
    theirs, rival = min((error, name) for name, error in told.items())
    if number("mase", ours) == number("mase", theirs):
        return f"as good as {rival}, the best of the others (MASE)"
    if ours < theirs:
        return f"{1 - ours / theirs:.0%} less error (MASE) than {rival}, the best of the others"
    if number("mase", theirs) == number("mase", 0.0):
        return f"more error (MASE) than {rival}, which has none"
    if ours < 2 * theirs:
        return f"{ours / theirs - 1:.0%} more error (MASE) than {rival}, the best of the others"
    return f"{ours / theirs:.1f} times the error (MASE) of {rival}, the best of the others"


def shown(table: pl.DataFrame) -> list[str]:
    """Return the columns of `COLUMNS` that a table has."""
    return [name for name in COLUMNS if name in table.columns]


def best(table: pl.DataFrame) -> dict[str, set[str]]:
    """Return which predictors are best by each column; several where they are equally good."""
    least, value = pl.col("value").min(), pl.col("value")
    is_best = (value - least).abs() <= _EQUAL * least.abs()
    found = {}
    for name in shown(table):
        rows = table.select("predictor", value=_badness(name)).drop_nulls()
        found[name] = set(rows.filter(is_best)["predictor"])
    return found


def _badness(name: str) -> pl.Expr:
    if name in _WANTED:
        return (pl.col(name) - _WANTED[name]).abs()
    return -pl.col(name) if name == "skill" else pl.col(name)


def number(name: str, value: object) -> str:
    """Return a figure for people; nothing as a dash."""
    if not isinstance(value, float):
        return "–" if value is None else str(value)
    if name in _WANTED:
        return f"{value:.1%}"
    if name == "wql" and 0 < value < _SMALL:
        return f"{value:.2e}"
    if name in _DIGITS:
        return f"{value:,.{_DIGITS[name]}f}"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def overall_rows(outcome: Outcome) -> Iterator[list[str]]:
    """Yield one row per predictor: its name and figures, the best of a column with a star."""
    winners = best(outcome.overall)
    for row in outcome.overall.to_dicts():
        name = row["predictor"]
        yield [name] + [
            number(column, row[column]) + ("*" if name in winners.get(column, ()) else " ")
            for column in shown(outcome.overall)
        ]


def lead_rows(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Return the leads, and one row per predictor: its MASE at each, the best with a star."""
    leads = outcome.by_lead["lead"].unique(maintain_order=True).to_list()
    predictors = outcome.overall["predictor"].to_list()
    rows = [[name] for name in predictors]
    for lead in leads:
        at = outcome.by_lead.filter(pl.col("lead") == lead)
        winners = best(at)["mase"]
        values = dict(at.select("predictor", "mase").iter_rows())
        for row in rows:
            star = "*" if row[0] in winners else " "
            row.append(number("mase", values.get(row[0])) + star)
    return leads, rows


def series_rows(outcome: Outcome) -> tuple[list[list[str]], int]:
    """Return the series with the worst and the best skill, and how many lie between."""
    ours = outcome.by_series.filter(pl.col("predictor") == MODEL)
    theirs = outcome.by_series.filter(pl.col("predictor") == "seasonal_naive")
    both = ours.join(theirs.select("series_id", theirs="mase"), on="series_id")
    ordered = both.sort("skill", "series_id", nulls_last=True)
    if len(ordered) > 2 * SHOWN_SERIES:
        ordered = ordered.drop_nulls("skill")
    hidden = max(0, len(ordered) - 2 * SHOWN_SERIES)
    if hidden:
        ordered = pl.concat([ordered.head(SHOWN_SERIES), ordered.tail(SHOWN_SERIES)])
    return [_series_row(row) for row in ordered.to_dicts()], hidden


def _series_row(row: Row) -> list[str]:
    names = ("smape", "mase", "theirs", "wql", "mae", "coverage_80", "skill")
    known = {**row, "mase_of_seasonal_naive": row["theirs"]}
    return [str(row["series_id"])] + [
        number("mase" if name == "theirs" else name, known[name]) for name in names
    ]
