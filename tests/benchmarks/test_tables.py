"""Tables of results."""

import math

from benchmarks.ablation import ARMS, constant
from benchmarks.protocols import M4
from benchmarks.tables import Row, Section, Spread, markdown, over_seeds, table
from forecaster.training import masking


def test_a_table_has_a_column_per_key_that_any_row_has_a_value_for() -> None:
    rows: list[Row] = [
        {"forecast": "a", "mase": 0.123456, "owa": None},
        {"forecast": "b", "seconds": 12345.6},
    ]

    lines = table(rows).splitlines()

    assert lines[0] == "| forecast | mase | seconds |"
    assert lines[2:] == ["| a | 0.1235 |  |", "| b |  | 12346 |"]


def test_what_is_not_a_number_is_left_blank() -> None:
    assert table([{"a": 1, "b": math.nan}]).splitlines()[2] == "| 1 |  |"


def test_seeds_are_summed_up_by_mean_and_deviation() -> None:
    rows: list[Row] = [{"forecast": "seed 0", "mase": 1.0}, {"forecast": "seed 1", "mase": 3.0}]

    summary = over_seeds("both", rows)

    assert summary == {"forecast": "both", "mase": Spread(2.0, math.sqrt(2))}
    assert table([summary]).splitlines()[2] == "| both | 2 ± 1.4 |"


def test_what_only_some_seeds_have_is_not_summed_up() -> None:
    rows: list[Row] = [{"forecast": "a", "fallback": "naive"}, {"forecast": "b", "fallback": None}]

    assert over_seeds("both", rows) == {"forecast": "both"}


def test_a_results_file_names_the_command_and_the_machine() -> None:
    section = Section(name="m4", about="official split.", tables=[[{"a": 1}], []])

    text = markdown("Accuracy", "make bench", [section])

    assert "`make bench`; cpu" in text
    assert "## m4\n\nofficial split.\n\n| a |" in text


def test_every_arm_of_the_ablation_changes_settings_or_constants_that_exist() -> None:
    for arm in ARMS.values():
        arm.config(M4, 0, None)
        assert all(hasattr(module, name) for module, name, _ in arm.constants)


def test_a_constant_has_its_value_back_afterwards() -> None:
    before = masking.GAP_SHARE

    with constant(masking, "GAP_SHARE", 0.0):
        changed = masking.GAP_SHARE

    assert (changed, masking.GAP_SHARE) == (0.0, before)
