"""Whether two outputs differ in more than their figures.

Numbers, instants, durations, bars and the width of columns differ from run to run and from machine
to machine; words do not. Alike rows that follow one another count as one.
"""

import re
from difflib import SequenceMatcher, ndiff
from itertools import groupby

FIGURES = (
    (
        re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?(?:Z|[+-]\d\d(?::\d\d)?\b)?"),
        "<time>",
    ),
    (re.compile(r"(?<![\w.])(?:\d[\d.]*(?:ms|s|m|h|d|w) ?)+\b"), "<duration> "),
    (re.compile(r"(?<![\w<])[-+−]?\d+(?:[.,]\d+)*%?\*?"), "<number>"),
    (re.compile(r"[█▏▎▍▌▋▊▉]+"), "<bar>"),
    (re.compile(r"-{3,}"), "<rule>"),
    (re.compile(r"\s+"), " "),
)


def shape(line: str) -> str:
    """Return a line without its figures."""
    for pattern, name in FIGURES:
        line = pattern.sub(name, line)
    return line.strip()


def excerpt(shown: str, output: str) -> str | None:
    """Return the consecutive lines of an output that have the shape of those shown, or None."""
    wanted = _rows(shown)
    rows = _rows(output)
    for first in range(len(rows) - len(wanted) + 1):
        chosen = rows[first : first + len(wanted)]
        if [name for name, _ in chosen] == [name for name, _ in wanted]:
            return "".join(f"{line}\n" for _, lines in chosen for line in lines)
    return None


def nearest(shown: str, output: str) -> str:
    """Return the lines of an output that stand where those shown should, all if none is alike."""
    wanted, lines = _shapes(shown), [line.rstrip() for line in output.splitlines()]
    matcher = SequenceMatcher(None, wanted, _shapes(output), autojunk=False)
    alike = [block for block in matcher.get_matching_blocks() if block.size]
    if alike:
        begin, end = alike[0], alike[-1]
        lines = lines[max(begin.b - begin.a, 0) : end.b + len(wanted) - end.a]
    return "".join(f"{line}\n" for line in lines)


def difference(shown: str, output: str) -> str:
    """Return what tells the shape of an output from that of the lines shown."""
    return "\n".join(ndiff(_shapes(shown), _shapes(nearest(shown, output))))


def _shapes(text: str) -> list[str]:
    return [shape(line) for line in text.splitlines()]


def _rows(text: str) -> list[tuple[str, list[str]]]:
    lines = [line.rstrip() for line in text.splitlines()]
    return [(name, [*alike]) for name, alike in groupby(lines, key=shape)]
