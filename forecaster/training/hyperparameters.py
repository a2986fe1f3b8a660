"""Hyper-parameters from the data: no setting is needed, and no data set is special."""

from dataclasses import replace
from datetime import timedelta

from forecaster.config.settings import DatasetConfig
from forecaster.data.opening_detection import open_share
from forecaster.data.panel import Panel
from forecaster.data.seasonality import Seasons
from forecaster.errors import ConfigError
from forecaster.network.spec import MOST_PAIRS, ModelSpec, pairs

KEY_SIZE, MLP_SIZE = 32, 128
WEEK = timedelta(weeks=1)
FEWEST_STEPS = 2
"""A context and what must be known of it are at least so long, unless settings say otherwise."""
PATCHES = 14
"""Past patches of a context where nothing asks for more."""
MOST_PATCHES = 64
SHORTEST_PATCH, LONGEST_PATCH = 4, 48
LONGEST_PRIME_PATCH = 128
"""A season without useful divisors is one patch up to this length."""
MANY_SERIES = 100
"""From here on nothing is left to validation. On 414 hourly series causal statistics and a calendar
changed the error by less than 1 %, which is noise between seeds, and each costs a training."""


def derive(config: DatasetConfig, seasons: Seasons, panel: Panel) -> ModelSpec:
    """Return the spec of a model for `panel`; settings given in `config.model` come first.

    ConfigError where they ask for more patches than attention can hold.
    """
    model, horizon = config.model, config.prediction_length
    season = model.season_length or seasons.season_length
    long_season = max(season, seasons.long_season)
    patch, patches = _patches(config, season, long_season, median_history(panel))
    context, opened = patches * patch, open_share(panel)
    wanted = round(max(patch, season) * opened)
    return ModelSpec(
        step=str(config.step),
        anchor=panel.grid.anchor,
        timezone=panel.grid.timezone,
        season_length=season,
        long_season=long_season,
        patch_length=patch,
        context_length=context,
        prediction_length=horizon,
        max_lag=max(1, min(max(patch, horizon), int(context * opened) // 3)),
        min_observed=min(context, max(FEWEST_STEPS, min(wanted, context // 2))),
        score=model.score,
        normaliser=model.normaliser,
        temperature=float(model.temperature),
        attention_window=min(model.attention_window or patches, patches),
        self_attention=model.self_attention,
        priors=model.priors,
        statistics=model.statistics or "window",
        calendar=bool(model.calendar),
        undecided=_undecided(config, len(panel)),
        encoder=model.encoder,
        head=model.head,
        hidden_size=model.hidden_size,
        layers=model.layers,
        heads=model.heads,
        key_size=KEY_SIZE,
        mlp_size=MLP_SIZE,
        dropout=float(model.dropout),
        timestamp_marks=panel.grid.marks,
        spread=panel.grid.spread,
        opening_hours="" if panel.grid.hours is None else str(panel.grid.hours),
    )


def _patches(config: DatasetConfig, season: int, long_season: int, history: int) -> tuple[int, int]:
    """Return how long a patch is and how many make a context; ConfigError if they are too many."""
    model, horizon = config.model, config.prediction_length
    room = max(FEWEST_STEPS, int(history / 2.5))
    patch = model.patch_length or patch_length(season, horizon, room)
    derived = min(room, context_length(season, long_season, patch, horizon))
    past, future = max(1, (model.context_length or derived) // patch), -(-horizon // patch)
    if pairs(past, future) > MOST_PAIRS:
        raise ConfigError(
            [
                f"datasets.{config.name}.model: pairs of patches must be at most {MOST_PAIRS}, "
                f"found {past} past and {future} future patches"
            ],
            hint="set a longer `patch_length`, or a shorter `context_length`",
        )
    return patch, past


def _undecided(config: DatasetConfig, series: int) -> tuple[str, ...]:
    """Return what few series are to choose; steps of a week or more have no weekday."""
    choices = ("statistics", "calendar") if config.step.approximate < WEEK else ("statistics",)
    if series >= MANY_SERIES:
        return ()
    return tuple(name for name in choices if getattr(config.model, name) is None)


def variants(spec: ModelSpec) -> tuple[ModelSpec, ...]:
    """Return every way to settle what `spec` leaves open, for validation to choose from."""
    settled = [replace(spec, undecided=())]
    if "statistics" in spec.undecided:
        settled.append(replace(settled[0], statistics="causal"))
    if "calendar" in spec.undecided:
        settled.append(replace(settled[0], calendar=True))
    return tuple(settled)


def median_history(panel: Panel) -> int:
    """Return how long the series are, from first to last observed value: half of all steps lie in
    series at least that long, so that many short series do not shorten the context of a long one.
    """
    observed = panel.deviations.isfinite()
    seen = observed[observed.any(1)].to(dtype=panel.deviations.dtype)
    if len(seen) == 0:
        return 0
    lengths = (panel.length - seen.argmax(1) - seen.flip(1).argmax(1)).sort().values
    before = lengths.cumsum(0) - lengths
    return int(lengths[2 * before <= lengths.sum()].max())


def patch_length(season: int, horizon: int, room: int) -> int:
    """Return the largest divisor of the season that is not longer than horizon and history allow.

    A season of a few steps is repeated inside a patch; one without useful divisors is one patch.
    """
    most = min(LONGEST_PATCH, max(horizon, 8), max(1, room // 2))
    if season <= 1:
        return min(8 if horizon >= 16 else SHORTEST_PATCH, most)
    if season < SHORTEST_PATCH:
        return season * max(1, min(8, most) // season)
    divisor = max(d for d in range(1, min(season, most) + 1) if season % d == 0)
    if divisor >= SHORTEST_PATCH:
        return divisor
    return season if season <= min(LONGEST_PRIME_PATCH, room) else min(8, most)


def context_length(season: int, long_season: int, patch: int, horizon: int) -> int:
    """Return how far back to look: 14 patches, two long or three short seasons, two horizons."""
    long = 2 * long_season if long_season <= 800 else 0
    return min(max(PATCHES * patch, long, 3 * season, 2 * horizon), MOST_PATCHES * patch)
