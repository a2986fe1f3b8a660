"""Plug-ins that the configuration names: which of them cannot be used."""

from forecaster.config.settings import Config
from forecaster.errors import UnusablePlugin


def unusable_plugins(config: Config) -> dict[str, UnusablePlugin]:
    """Import and try the scores and priors of the user's own; return what is wrong, by dataset."""
    failures = {}
    for dataset in config.datasets.values():
        if dataset.model.plugins:
            from forecaster.network import plugins  # imports torch, which nothing else needs here

            try:
                plugins.load(dataset.model)
            except UnusablePlugin as error:
                failures[dataset.name] = error
    return failures
