"""The library as a script uses it: `import forecaster`."""

import ast
import doctest
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import forecaster
from forecaster.errors import (
    ConfigError,
    DataError,
    IncompatibleCheckpoint,
    InsufficientHistory,
    UnusablePlugin,
)
from tests.test_docs import DOCS, generated, regenerate
from tests.tolerance import within

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
PAGE = "reference/api.md"
Definition = ast.FunctionDef | ast.ClassDef
LINE = 88
SETTINGS: dict[str, Any] = {
    "step": "1h",
    "horizon": "6h",
    "model": {"hidden_size": 8, "layers": 1, "heads": 2, "statistics": "window", "calendar": False},
    "training": {"steps": 4, "batch_size": 8, "device": "cpu", "naive_guard": False},
}


def rows(series_id: str = "pump", hours: int = 24 * 14) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "series_id": series_id,
            "timestamp": [MONDAY + timedelta(hours=hour) for hour in range(hours)],
            "value": [float(hour % 24 + hour % 5 + len(series_id)) for hour in range(hours)],
        }
    )


@pytest.fixture(scope="module")
def model() -> forecaster.Model:
    return forecaster.fit(rows(), **SETTINGS)


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(forecaster) == (0, doctest.testmod(forecaster).attempted)


def test_every_public_name_is_there_and_listed() -> None:
    assert all(hasattr(forecaster, name) for name in forecaster.__all__)
    assert set(forecaster.__all__) <= set(dir(forecaster))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'forecaster' has no attribute 'train'"):
        _ = forecaster.train


def test_the_package_alone_imports_neither_torch_nor_polars() -> None:
    script = "import forecaster, sys; print({'torch', 'polars', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.stdout == "set()\n", done.stderr


def test_a_forecast_has_ascending_quantiles_of_every_step(model: forecaster.Model) -> None:
    quantiles = model.predict(rows()).quantiles

    columns = list(forecaster.QUANTILE_COLUMNS)
    assert quantiles.columns == ["series_id", "cutoff", "step", "timestamp", "status", *columns]
    assert quantiles["step"].to_list() == [1, 2, 3, 4, 5, 6]
    assert quantiles["timestamp"][0] == quantiles["cutoff"][0] + timedelta(hours=1)
    assert all(sorted(levels) == list(levels) for levels in quantiles.select(columns).iter_rows())


def test_attention_weights_of_a_future_patch_sum_to_1(model: forecaster.Model) -> None:
    forecast = model.predict(rows())

    weights = forecast.attention
    patches = weights.group_by("series_id", "cutoff", "step_from").agg(pl.col("weight").sum())
    assert patches["step_from"].min() == 1
    assert all(abs(total - 1) < within(1) for total in patches["weight"])
    sources = weights.group_by("source", maintain_order=True).len()["source"].to_list()
    assert sources == ["past", "last", "level"]
    past = weights.filter(source="past")
    assert past["context_to"].max() == forecast.quantiles["cutoff"][0]
    assert weights.filter(pl.col("source") != "past")["context_to"].null_count() == 2 * len(patches)


def test_rows_after_a_cutoff_do_not_reach_its_forecast(model: forecaster.Model) -> None:
    cutoff = MONDAY + timedelta(days=10)
    until = rows().filter(pl.col("timestamp") <= cutoff)

    both = [model.predict(given, [cutoff]).quantiles for given in (rows(), until)]

    assert_frame_equal(*both, check_exact=True)


def test_a_loaded_model_forecasts_the_same_numbers(model: forecaster.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "pump.safetensors")

    loaded = forecaster.Model.load(tmp_path / "pump.safetensors")

    both = [each.predict(rows()).quantiles for each in (model, loaded)]
    assert_frame_equal(*both, check_exact=True)


def test_a_damaged_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"not safetensors")

    with pytest.raises(IncompatibleCheckpoint):
        forecaster.Model.load(tmp_path / "model")


def test_a_series_that_cannot_be_forecast_is_skipped_with_a_reason(
    model: forecaster.Model,
) -> None:
    together = pl.concat([rows(), rows("valve", hours=3)])

    assert model.predict(together).skipped == {"valve": forecaster.SkipReason.NO_DATA}


def test_a_forecast_is_scored_on_the_values_that_came(model: forecaster.Model) -> None:
    forecast = model.predict(rows(), [MONDAY + timedelta(days=day) for day in (10, 11)])

    (overall,) = model.score(forecast, rows()).to_dicts()

    assert (overall["series"], overall["points"]) == (1, 12)
    by_lead = model.score(forecast, rows(), ["lead"])
    assert by_lead["points"].sum() == overall["points"]
    error = (by_lead["mase"] * by_lead["points"]).sum() / 12
    assert abs(error - overall["mase"]) < within(overall["mase"])


def test_a_forecast_without_values_is_not_scored(model: forecaster.Model) -> None:
    assert model.score(model.predict(rows()), rows()).is_empty()


def test_the_seasons_of_a_frame_are_found() -> None:
    seasons = forecaster.detect_seasons(rows(hours=24 * 7 * 4), step="1h")

    assert (seasons.season_length, seasons.long_season % 24) == (24, 0)


def test_timestamps_without_an_offset_are_read_on_the_clock_of_the_time_zone() -> None:
    local = rows().with_columns(pl.col("timestamp").dt.replace_time_zone(None))

    model = forecaster.fit(local, timezone="Europe/Berlin", **SETTINGS)

    newest = model.predict(local).quantiles["cutoff"][0]
    assert newest == rows()["timestamp"][-1] - timedelta(hours=1)


UNUSABLE: dict[str, tuple[Callable[[pl.DataFrame], Any], str, str]] = {
    "another frame": (
        pl.DataFrame.to_dict, "expected a polars DataFrame, found dict", "polars.DataFrame(rows)",
    ),
    "a missing column": (
        lambda frame: frame.rename({"value": "y"}), "missing columns 'value'", "rename",
    ),
    "no time zone": (
        lambda frame: frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)),
        "timestamps without an offset need a time zone", "set timezone",
    ),
    "text for a number": (
        lambda frame: frame.with_columns(value=pl.lit("12 kW")),
        "336 of 336 rows are unusable: 336 unreadable_value", "polars",
    ),
    "no rows": (pl.DataFrame.clear, "expected at least one row with a value, found none", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_rows_that_cannot_be_used_are_refused(case: str) -> None:
    change, message, hint = UNUSABLE[case]

    with pytest.raises(DataError) as refused:
        forecaster.fit(change(rows()), **SETTINGS)

    assert message in refused.value.message
    assert hint in (refused.value.hint or "")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InsufficientHistory):
        forecaster.fit(rows(hours=1), **SETTINGS)


def test_all_wrong_settings_are_reported_together() -> None:
    wrong = {**SETTINGS, "step": "hour", "model": {"hidden": 8}, "training": {"steps": 0}}

    with pytest.raises(ConfigError) as refused:
        forecaster.fit(rows(), **wrong)

    settings = [problem.partition(": ")[0] for problem in refused.value.problems]
    assert sorted(settings) == ["model.hidden", "step", "training.steps"]
    assert "did you mean 'hidden_size'?" in refused.value.message
    assert "docs/reference/settings.md" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"step": timedelta(hours=1)}, "step: must be a duration with its unit"),
        ({"step": timedelta(hours=1)}, "found a timedelta"),
        ({"model": [8]}, "model: must be a table, found an array"),
        ({"model": {"hidden_size": {"rows": 8}}}, "model.hidden_size: must be a whole number"),
        ({"model": {"encoder.layers": (1, 2)}}, "model.'encoder.layers': unknown setting"),
        ({"training": {"learning_rate": math.nan}}, "must be a finite number, found nan"),
        ({"training": {"device": "${DEVICE}"}}, "needs the environment variable DEVICE"),
    ],
)
def test_a_setting_of_another_type_is_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        forecaster.fit(rows(), **SETTINGS | wrong)

    assert problem in refused.value.problems[0]
    assert len(refused.value.problems) == 1


def test_a_setting_that_is_none_has_its_default(model: forecaster.Model) -> None:
    settings = SETTINGS["model"] | {"season_length": None}

    unset = forecaster.fit(rows(), **SETTINGS | {"timezone": None, "model": settings})

    assert unset.trained.spec == model.trained.spec


def test_an_array_may_be_a_tuple() -> None:
    with pytest.raises(UnusablePlugin, match=r"tests\.nowhere"):
        forecaster.fit(rows(), **SETTINGS | {"model": {"priors": ("tests.nowhere:prior",)}})


@pytest.mark.parametrize("cutoffs", [[], [datetime(2026, 1, 18)]])  # noqa: DTZ001
def test_a_cutoff_needs_a_time_zone(model: forecaster.Model, cutoffs: list[datetime]) -> None:
    with pytest.raises(DataError, match="expected cutoffs with a time zone, found"):
        model.predict(rows(), cutoffs)


def definitions() -> Iterator[tuple[str, Definition]]:
    """Yield the public functions and classes, and what is public in a class, in their order."""
    source = Path(forecaster.__file__).with_name("api.py").read_text(encoding="utf-8")
    top = [node for node in ast.parse(source).body if isinstance(node, Definition)]
    for node in top:
        if node.name in forecaster.__all__:
            yield node.name, node
            inner = [part for part in ast.iter_child_nodes(node) if isinstance(part, Definition)]
            yield from ((f"{node.name}.{part.name}", part) for part in inner if part.name[0] != "_")


def signature(name: str, node: ast.FunctionDef) -> str:
    """Return a signature as it is called, one line for each parameter where it is long."""
    arguments = [part for part in ast.unparse(node.args).split(", ") if part not in ("self", "cls")]
    is_property = any(ast.unparse(part) == "property" for part in node.decorator_list)
    returned = ast.unparse(node.returns) if node.returns else None
    called = "" if is_property else f"({', '.join(arguments)})"
    if len(line := f"{name}{called} -> {returned}") <= LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in arguments), f") -> {returned}"])


def described(name: str, node: Definition) -> str:
    """Return a section of the page: the signature, and the docstring."""
    parts = [f"{'###' if '.' in name else '##'} {name}"]
    if isinstance(node, ast.FunctionDef):
        parts.append(f"```python\n{signature(name, node)}\n```")
    return "\n\n".join([*parts, ast.get_docstring(node) or ""]) + "\n"


def test_the_page_shows_every_signature_and_docstring(request: pytest.FixtureRequest) -> None:
    content = "\n".join(described(name, node) for name, node in definitions())
    if request.config.getoption("--write-golden"):
        regenerate(PAGE, content)

    assert generated(PAGE) == content


@pytest.mark.parametrize("name", forecaster.__all__)
def test_the_page_names_every_public_name(name: str) -> None:
    page = (DOCS / PAGE).read_text(encoding="utf-8")

    assert f"`{name}`" in page or f"## {name}\n" in page or f"forecaster.{name}" in page
