"""Training in tests: what a process has trained once, it does not train again.

Training is a function of its arguments (`tests/training` and `tests/jobs/training_process` show
that), and most tests train the same small model before they come to what they are about.
"""

import hashlib

from forecaster.config.settings import TrainingConfig
from forecaster.data.panel import Panel
from forecaster.network.spec import ModelSpec
from forecaster.training import estimator
from jobs.retrain import Fitted, Watch, fit_here, unwatched

_FITTED: dict[str, Fitted] = {}


def fit_once(
    panel: Panel, spec: ModelSpec, config: TrainingConfig, *, watch: Watch = unwatched
) -> Fitted:
    """Return what `fit_here` returned for the same arguments before, or train."""
    key = _key(panel, spec, config)
    if key not in _FITTED:
        _FITTED[key] = fit_here(panel, spec, config, watch=watch)
    return _FITTED[key]


def _key(panel: Panel, spec: ModelSpec, config: TrainingConfig) -> str:
    patched = (estimator.FEWEST_STEPS, estimator.MOST_REPEATS)
    parts = (panel.grid, panel.series_ids, panel.start, panel.counts, spec, config, patched)
    digest = hashlib.sha256(repr(parts).encode())
    for values in (panel.deviations, panel.offset, panel.scale):
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
