"""Figures of how far the attention of one model can be trusted; `forecaster.explain.measure`
measures them.

They are kept among the scores of a model, so they are plain numbers with flat names.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

PREFIX = "trust_"
"""Of the figures among the scores of a model."""

COUNTS = (1, 3, 5)
"""How many patches are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What removing patches does on average."""

    change: float
    """Mean absolute change of the median."""
    error: float
    """Increase of the mean absolute error; NaN where no target is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The effect of removing `patches` past patches, by how they were chosen.

    Comprehensiveness of ERASER (DeYoung et al. 2020, section 4), for forecasts.
    """

    patches: int
    attended: Effect
    random: Effect
    least: Effect

    @property
    def ratio(self) -> float:
        """How many times as much the attended patches move the forecast as random ones."""
        return self.attended.change / self.random.change if self.random.change else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike the attention of two models is on the same windows."""

    divergence: float
    """Mean Jensen-Shannon divergence of the weights of all sources, in bits: 0 is the same."""
    overlap: float
    """Share of the most attended patches of one that are among those of the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Where the forecasts of some windows come from, on average."""

    copied: float
    """|copied| over |copied| + |last value| + |residual|, all relative to the level."""
    last_value: float
    residual: float
    last_value_weight: float
    """Attention on the last value, and on the level."""
    level_weight: float
    effective_patches: float
    """exp(entropy) of the weights of the past patches: how many are attended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the attention of one model can be trusted, over `windows` windows."""

    windows: int
    past_patches: int
    reconstruction_error: float
    """Largest |median - parts recomputed from raw values and weights|, in spreads."""
    shares: Shares
    naopc: float
    removals: tuple[Removal, ...]
    older: tuple[Removal, ...]
    """The same when the newest patch always stays."""
    seeds: Agreement | None = None
    """How alike networks of the same training are that differ in their seed."""
    planted_mass: float | None = None
    """Share of attention on a planted copy (`forecaster.explain.planted_test`)."""
    serves: bool = True
    """False where a naive fallback is served instead of the measured network."""

    @property
    def informative(self) -> bool:
        """Return whether removing the most attended patch moves the forecast more than another."""
        return bool(self.removals) and self.removals[0].ratio > 1

    def to_scores(self) -> dict[str, float]:
        """Return the figures as flat scores of a model; `from_scores` undoes it."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        curves = {**_flat("", self.removals), **_flat("older_", self.older)}
        seeds = {} if self.seeds is None else asdict(self.seeds)
        planted = {} if self.planted_mass is None else {"planted_mass": self.planted_mass}
        replaced = {} if self.serves else {"serves": 0.0}
        figures = {**plain, **asdict(self.shares), **curves, **seeds, **planted, **replaced}
        return {PREFIX + name: float(value) for name, value in figures.items()}

    @classmethod
    def from_scores(cls, scores: Mapping[str, float | None]) -> "Trust | None":
        """Read the figures back; None where the scores of a model have none. Null is NaN."""
        figures = {
            name.removeprefix(PREFIX): math.nan if value is None else float(value)
            for name, value in scores.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls(
                windows=int(figures["windows"]),
                past_patches=int(figures["past_patches"]),
                reconstruction_error=figures["reconstruction_error"],
                shares=Shares(**{field.name: figures[field.name] for field in fields(Shares)}),
                naopc=figures["naopc"],
                removals=_curve("", figures),
                older=_curve("older_", figures),
                seeds=_agreement(figures),
                planted_mass=figures.get("planted_mass"),
                serves=figures.get("serves") != 0,
            )
        except KeyError:
            return None


_PLAIN = ("windows", "past_patches", "reconstruction_error", "naopc")
_ORDERS = ("attended", "random", "least")


def _flat(prefix: str, curve: tuple[Removal, ...]) -> dict[str, float]:
    return {
        f"{prefix}{order}_{removal.patches}_{measure}": value
        for removal in curve
        for order in _ORDERS
        for measure, value in asdict(getattr(removal, order)).items()
    }


def _curve(prefix: str, figures: Mapping[str, float]) -> tuple[Removal, ...]:
    return tuple(
        Removal(
            patches=count,
            **{
                order: Effect(
                    change=figures[f"{prefix}{order}_{count}_change"],
                    error=figures[f"{prefix}{order}_{count}_error"],
                )
                for order in _ORDERS
            },
        )
        for count in COUNTS
        if f"{prefix}{_ORDERS[0]}_{count}_change" in figures
    )


def _agreement(figures: Mapping[str, float]) -> Agreement | None:
    if "divergence" not in figures:
        return None
    return Agreement(divergence=figures["divergence"], overlap=figures["overlap"])
