"""What is kept back from training, and that nothing of it is learnt."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from forecaster.data.panel import Panel, PanelCounts
from forecaster.training.holdout import hold_out
from tests.network.networks import small_spec

SPEC = small_spec()
LENGTH = 400


def panel_of(series: int) -> Panel:
    return Panel(
        grid=SPEC.grid(),
        series_ids=tuple(f"s{number:03}" for number in range(series)),
        start=1000,
        deviations=torch.randn(series, LENGTH, generator=torch.Generator().manual_seed(0)),
        offset=torch.zeros(series, dtype=torch.float64),
        scale=torch.ones(series, dtype=torch.float64),
        counts=PanelCounts(merged=0, off_grid=0, non_finite=0, gaps=0),
    )


def targets(pairs: Tensor, panel: Panel) -> set[tuple[int, int]]:
    """The cells of the panel that the windows of `pairs` are judged on."""
    steps = range(1, SPEC.prediction_length + 1)
    return {(row, cutoff + step - panel.start) for row, cutoff in pairs.tolist() for step in steps}


@pytest.mark.parametrize(("series", "held_out"), [(1, 1), (99, 99), (100, 50), (414, 51)])
def test_no_value_that_is_judged_can_be_learnt(series: int, held_out: int) -> None:
    panel = panel_of(series)

    holdout = hold_out(panel, SPEC)
    rest = holdout.rest_of(panel)

    judged = targets(holdout.pairs(panel), panel)
    assert len({row for row, _ in judged}) == len(holdout.rows) == held_out
    learnt = {(row, column) for row, column in rest.deviations.isfinite().nonzero().tolist()}
    assert not judged & learnt
    assert judged | learnt == {(row, column) for row in range(series) for column in range(LENGTH)}


def test_of_many_series_most_are_learnt_to_their_last_value() -> None:
    panel = panel_of(400)
    before = panel.deviations.clone()

    holdout = hold_out(panel, SPEC)
    rest = holdout.rest_of(panel)

    assert int(rest.deviations[:, -1].isfinite().sum()) == 350
    assert holdout.windows == 10
    assert holdout.share_of(panel) == pytest.approx(10 * SPEC.prediction_length / LENGTH / 8)
    assert torch.equal(panel.deviations, before)


def test_nothing_is_kept_back_where_nothing_would_be_left() -> None:
    panel = panel_of(2)
    short = Panel(
        **{name: getattr(panel, name) for name in ("grid", "series_ids", "start", "offset")},
        deviations=panel.deviations[:, :12],
        scale=panel.scale,
        counts=panel.counts,
    )

    holdout = hold_out(short, SPEC)

    assert holdout.windows == 0
    assert len(holdout.pairs(short)) == 0
    assert holdout.rest_of(short).length == 12


def test_of_many_series_those_are_held_out_that_can_be_judged() -> None:
    panel = panel_of(200)
    deviations = panel.deviations.clone()
    deviations[::2, 300:] = torch.nan  # ended long ago
    deviations[1::4, : -SPEC.prediction_length] = torch.nan  # have just begun

    rows = hold_out(replace(panel, deviations=deviations), SPEC).rows

    assert len(rows) == 50
    assert set(rows.tolist()) <= set(range(3, 200, 4))


def test_like_series_at_equal_distances_are_not_held_out_together() -> None:
    """Eight metrics of every host, sorted by name: a fixed stride would judge one metric alone."""
    rows = hold_out(panel_of(800), SPEC).rows

    assert len(rows) == 100
    assert {int(row) % 8 for row in rows} == set(range(8))
