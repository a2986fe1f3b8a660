"""Names of scores in the settings: built in, or a user's plug-in. Imports no plug-in.

A plug-in is named by its path, `package.module:Name`, or by an entry point of GROUP in the
metadata of an installed package.
"""

import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from forecaster.config.validators import InvalidSetting, nearest, text

GROUP = "forecaster.attention"
SCORES = ("scaled_dot", "dot", "general", "additive", "location", "local")
ALIASES = {"concat": "additive"}
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_RULE = "the path of a plug-in, such as 'package.module:Name'"


def installed() -> Mapping[str, EntryPoint]:
    """Return the plug-ins that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def find(name: str) -> EntryPoint | None:
    """Return where the plug-in called `name` is; None if there is none."""
    if _PATH.fullmatch(name):
        return EntryPoint(name=name, value=name, group=GROUP)
    return installed().get(name)


def score(value: object) -> str:
    """Read the name of a score; an alias is replaced by what it stands for."""
    name = ALIASES.get(text(value), text(value))
    if name in SCORES or find(name) is not None:
        return name
    near = nearest(name, (*SCORES, *ALIASES, *installed()))
    raise InvalidSetting(f"must be {' or '.join(map(repr, SCORES))} or {_RULE}", near=near)


def priors(value: object) -> tuple[str, ...]:
    """Read the name of a prior, or an array of them."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or find(name) is None:
            rule = f"must be {_RULE}, or an array of them"
            raise InvalidSetting(rule, near=nearest(name, installed()))
    return tuple(names)
