import pytest
import torch

from forecaster.training.regimes import LARGEST_FACTOR, change_regimes, changed_share
from tests.tolerance import RELATIVE, assert_close

BATCH, LENGTH, HORIZON, NEWEST, SEASON = 2000, 96, 8, 4, 8
SHARE = 0.3


@pytest.fixture
def context() -> torch.Tensor:
    values = torch.randn(BATCH, LENGTH, generator=torch.Generator().manual_seed(1))
    values[:, 10] = torch.nan
    return values


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randn(BATCH, HORIZON, generator=torch.Generator().manual_seed(2))


def changed(context: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return change_regimes(
        context,
        target,
        share=SHARE,
        newest=NEWEST,
        season=SEASON,
        generator=torch.Generator().manual_seed(3),
    )


def test_a_share_of_the_windows_changes_and_the_others_stay(
    context: torch.Tensor, target: torch.Tensor
) -> None:
    _, found = changed(context, target)

    share = (found != target).any(1).float().mean().item()
    assert share == pytest.approx(SHARE, abs=0.04)  # tolerance: a share of random draws


def test_a_change_starts_near_the_cutoff_and_lasts(
    context: torch.Tensor, target: torch.Tensor
) -> None:
    found, future = changed(context, target)

    moved = (found != context) & ~context.isnan()
    windows = (future != target).any(1)
    first = moved.float().argmax(1)[windows]
    assert not moved[~windows].any()
    assert int(first.min()) >= LENGTH - 5 * SEASON - 1
    assert int(first.max()) <= LENGTH - NEWEST + 1  # the smallest value itself never moves
    assert moved[windows, -NEWEST:].float().mean() > 0.95


def test_missing_values_stay_missing_and_the_smallest_stays(
    context: torch.Tensor, target: torch.Tensor
) -> None:
    found, _ = changed(context, target)

    assert torch.equal(found.isnan(), context.isnan())
    lowest = context.nan_to_num(nan=torch.inf).amin(1)
    assert_close(found.nan_to_num(nan=torch.inf).amin(1), lowest)
    before = context.nan_to_num(nan=-torch.inf).amax(1) - lowest
    assert (
        (found.nan_to_num(nan=-torch.inf).amax(1) - lowest)
        <= (1 + RELATIVE) * LARGEST_FACTOR * before
    ).all()


def test_a_shift_of_the_series_shifts_the_change(
    context: torch.Tensor, target: torch.Tensor
) -> None:
    plain = changed(context, target)
    shifted = changed(context + 100, target + 100)

    for before, after in zip(plain, shifted, strict=True):
        assert_close(before + 100, after)


def test_a_window_without_values_stays_empty(target: torch.Tensor) -> None:
    found, _ = changed(torch.full((BATCH, LENGTH), torch.nan), target)

    assert found.isnan().all()


def test_many_series_need_fewer_made_up_changes() -> None:
    assert changed_share(1) == changed_share(20) > changed_share(100) > changed_share(10_000) > 0
