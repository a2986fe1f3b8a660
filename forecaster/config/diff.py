"""What a configuration would change, compared with what is stored; nothing is read or written.

A model is compared by its own spec, whatever the settings were when it was trained. All other
settings are compared with those that the service last ran with, as it stored them.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

from forecaster.config.dump import to_toml
from forecaster.config.settings import ALWAYS, AUTO, Config, DatasetConfig, ModelConfig

_SOURCE_SETTINGS = (
    "query", "source_url", "series_columns", "timestamp_column", "value_column", "timezone",
    "timestamp_format", "decimal",
)  # fmt: skip
_MODEL_SETTINGS = (
    "calendar.", "model.", "training.", "history", "step", "prediction_length", "horizon",
    "timestamp_marks",
)  # fmt: skip
_IN_PATCHES = ("attention_window", "context_length")
_GIVEN_AS_IS = tuple(part.name for part in fields(ModelConfig) if part.name not in _IN_PATCHES)
_EARLIER_DEFAULTS: Mapping[str, Any] = {"timestamp_marks": "instant", "opening_hours": ""}
"""What models of earlier versions do."""
_LONGEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting before and after; None where it was or is left to its default."""

    setting: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.setting} {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Changes of the settings of one dataset, by what follows from them."""

    read: tuple[Change, ...] = ()
    """Stored rows stay; new ones are read with these."""
    learnt: tuple[Change, ...] = ()
    """Take effect at the next retrain."""
    at_once: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of a dataset; None where there is no model, or the service never ran."""

    model_id: int | None = None
    spec: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is planned for one dataset."""

    dataset: str
    action: Literal["new", "reuse", "retrain"]
    model_id: int | None
    reasons: tuple[Change, ...]
    """Where the model differs from the settings."""
    missing_plugins: tuple[str, ...]
    """What the model needs to serve until then, and the settings do not name."""
    effects: Effects
    first_training: datetime | None
    """The tick of the training that is due at once, where there is no model yet."""
    next_forecast: datetime
    next_retrain: datetime


def plan_of(
    dataset: DatasetConfig, settings: Mapping[str, Any], stored: Stored, now: datetime
) -> Plan:
    """Return the plan for a dataset whose `documents` are `settings`."""
    spec = stored.spec
    reasons = () if spec is None else reasons_to_retrain(spec, dataset)
    missing = () if spec is None else missing_plugins(spec, dataset)
    changed = Effects() if stored.settings is None else effects(stored.settings, settings)
    known = {reason.setting for reason in reasons}
    learnt = tuple(
        change for change in changed.learnt if change.setting.split(".")[-1] not in known
    )
    return Plan(
        dataset=dataset.name,
        action="new" if spec is None else "retrain" if reasons or missing else "reuse",
        model_id=stored.model_id,
        reasons=reasons,
        missing_plugins=missing,
        effects=replace(changed, learnt=learnt),
        first_training=dataset.retrain_schedule.floor(now) if spec is None else None,
        next_forecast=dataset.forecast_schedule.after(now),
        next_retrain=dataset.retrain_schedule.after(now),
    )


def documents(config: Config) -> dict[str, dict[str, Any]]:
    """Return all settings of each dataset, defaults included, as JSON would have them.

    No secret is among them. This is what the service stores (`datasets.config`).
    """
    datasets: dict[str, dict[str, Any]] = tomllib.loads(to_toml(config)).get("datasets", {})
    return datasets


def effects(before: Mapping[str, Any], after: Mapping[str, Any]) -> Effects:
    """Compare two documents of one dataset."""
    changes = list(_changes(_flat(before), _flat(after)))
    read = [change for change in changes if change.setting in _SOURCE_SETTINGS]
    learnt = [change for change in changes if change.setting.startswith(_MODEL_SETTINGS)]
    rest = [change for change in changes if change not in (*read, *learnt)]
    return Effects(read=tuple(read), learnt=tuple(learnt), at_once=tuple(rest))


def reasons_to_retrain(spec: Mapping[str, Any], dataset: DatasetConfig) -> tuple[Change, ...]:
    """Return where a model (`models.config`) differs from the settings; empty: reuse it.

    Settings that are derived from the data are no reason.
    """
    wanted: dict[str, object] = {
        "step": str(dataset.step),
        "prediction_length": dataset.prediction_length,
        "timestamp_marks": dataset.timestamp_marks,
        **{name: getattr(dataset.model, name) for name in _GIVEN_AS_IS},
        **_in_patches(spec, dataset.model),
        **_hours(dataset),
    }
    known = {**_EARLIER_DEFAULTS, **spec}
    return tuple(
        Change(setting=name, before=before, after=value)
        for name, value in wanted.items()
        if value is not None and (before := _plain(known.get(name))) != _plain(value)
    )


def _hours(dataset: DatasetConfig) -> dict[str, object]:
    """Return the hours that settings give; a model of an earlier version is always open."""
    hours = dataset.calendar.open
    return {} if hours == AUTO else {"opening_hours": "" if hours == ALWAYS else hours}


def missing_plugins(spec: Mapping[str, Any], dataset: DatasetConfig) -> tuple[str, ...]:
    """Return the plug-ins that a model cannot serve without, and that no setting names."""
    model = ModelConfig(score=str(spec.get("score", "")), priors=tuple(spec.get("priors", ())))
    return tuple(sorted(model.plugins - dataset.model.plugins))


def _in_patches(spec: Mapping[str, Any], model: ModelConfig) -> dict[str, object]:
    """Return the settings that were rounded to whole patches, or cut to those there are."""
    settings: dict[str, object] = {}
    patch, context = int(spec.get("patch_length", 1)), int(spec.get("context_length", 1))
    if model.context_length is not None:
        settings["context_length"] = max(1, model.context_length // patch) * patch
    if model.attention_window is not None:
        settings["attention_window"] = min(model.attention_window, context // patch)
    return settings


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        was, is_now = before.get(name), after.get(name)
        if was != is_now:
            yield Change(setting=name, before=was, after=is_now)


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    if value is None:
        return "default"
    text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    text = " ".join(text.split())
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…") or '""'
