"""A user's query as a statement: `:since` and `:until` are parameters, no other colon is."""

import re

from sqlalchemy import TextClause, text

_PARTS = re.compile(
    r"""
      '[^']*+' | "[^"]*+"                   # strings and quoted names, a doubled quote is two
    | \$(?P<tag>\w*)\$ .*? \$(?P=tag)\$     # PostgreSQL's dollar-quoted strings
    | (?P<empty>[\s;] | --[^\n]* | /\* .*? (?:\*/|\Z))
    | :: | (?<![\w:]):(?P<name>since|until)\b
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def statement(query: str) -> tuple[TextClause, frozenset[str]]:
    """Return the query without what follows its end, and the names of the parameters it uses."""
    parts = list(_PARTS.finditer(query.strip()))
    used = {part["name"] for part in parts if part["name"]}
    while parts and parts[-1]["empty"]:
        parts.pop()
    escaped = (part[0] if part["name"] else part[0].replace(":", r"\:") for part in parts)
    return text("".join(escaped)), frozenset(used)
