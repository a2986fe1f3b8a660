"""A series with a known answer: does attention of these settings find the patch it was copied from?

Every value is the one exactly `lag` patches before plus a little noise, and older copies lie
outside the context, so that there is one place to look at.
"""

import torch

from forecaster.data.panel import Panel, PanelCounts
from forecaster.data.windows import gather
from forecaster.inference.device import CPU, Runner
from forecaster.network.spec import ModelSpec
from forecaster.training.loop import Schedule, train

SERIES = 64
PERIODS = 6
"""Times that each series repeats itself."""
NOISE = 0.1
"""Standard deviation of what is not copied, in units of the series."""
STEPS = 300
BATCH, LEARNING_RATE, MATRIX_RATE = 64, 8e-3, 2.0
WINDOWS = 256


def planted_mass(spec: ModelSpec, *, seed: int = 0, steps: int = STEPS) -> float | None:
    """Train a network of `spec` on planted copies; return the share of attention on the source.

    The mean over windows and future patches; 1 is all of it. None where the context is too short
    for a source that lies inside it for every future patch while its own source does not.
    """
    lag = planted_lag(spec)
    if lag is None:
        return None
    panel = planted_panel(spec, lag, seed)
    schedule = Schedule(
        steps=steps, batch_size=BATCH, learning_rate=LEARNING_RATE, matrix_rate=MATRIX_RATE
    )
    network = train(panel, spec, schedule, seed, None, lambda step, loss: None).network
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(panel), (WINDOWS,), generator=generator)
    first = panel.start + spec.context_length - 1
    cutoffs = torch.randint(first, panel.end + 1, (WINDOWS,), generator=generator)
    windows = gather(panel, rows, cutoffs, spec.context_length)
    weights = Runner(network, CPU)(windows.context, cutoffs).weights
    future = torch.arange(spec.future_patches)
    return float(weights[:, future, spec.past_patches - lag + future].mean())


def planted_lag(spec: ModelSpec) -> int | None:
    """Return how many patches back to copy from, or None where no lag has a single answer."""
    attended = min(spec.past_patches, spec.attention_window)
    return (attended + spec.future_patches + 1) // 2 if spec.future_patches < attended else None


def planted_panel(spec: ModelSpec, lag: int, seed: int) -> Panel:
    """Return a panel whose patches repeat those `lag` patches before, scale 1 and offset 0."""
    generator = torch.Generator().manual_seed(seed)
    period = lag * spec.patch_length
    values = torch.randn(SERIES, PERIODS, period, generator=generator)
    values[:, 1:] *= NOISE
    deviations = values.cumsum(1).flatten(1)
    return Panel(
        grid=spec.grid(),
        series_ids=tuple(f"{row:03}" for row in range(SERIES)),
        start=0,
        deviations=deviations,
        offset=torch.zeros(SERIES, dtype=torch.float64),
        scale=torch.ones(SERIES, dtype=torch.float64),
        counts=PanelCounts(merged=0, off_grid=0, non_finite=0, gaps=0),
    )
