"""What a tutorial page asks its reader to type, and what it says they will see.

A block with a title is a file to write, one of `sh` commands to type, one of `text` the output of
the commands before it, or some consecutive lines of that output.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

HEADING_OR_BLOCK = re.compile(
    r"^## (?P<heading>[^\n]*)$"
    r'|^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """Commands of one block, the files to write before them, and the output shown, if any."""

    section: str
    commands: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    span: tuple[int, int] = (0, 0)
    """Where `shown` begins and ends in the page."""


def steps(page: str) -> list[Step]:
    """Return the steps of a page in order; ValueError for a block that is none of a step."""
    found: list[Step] = []
    section, files = "", {}
    for match in HEADING_OR_BLOCK.finditer(page):
        body, title = match["body"], match["title"]
        if heading := match["heading"]:
            section = heading
        elif title:
            files[title] = body
        elif match["language"] == "sh":
            found.append(Step(section=section, commands=tuple(body.splitlines()), files=files))
            files = {}
        elif match["language"] == "text" and found and not found[-1].shown:
            found[-1] = replace(found[-1], shown=body, span=match.span("body"))
        else:
            line = page.count("\n", 0, match.start()) + 1
            raise ValueError(f"line {line}: expected commands before an output, found none")
    return found


def rewritten(page: str, outputs: Iterable[tuple[Step, str]]) -> str:
    """Return the page with other outputs of its steps."""
    for step, output in sorted(outputs, key=lambda pair: pair[0].span, reverse=True):
        begin, end = step.span
        page = page[:begin] + output + page[end:]
    return page
