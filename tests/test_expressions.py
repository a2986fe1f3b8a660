"""Regular expressions: none takes longer than in proportion to a text, whatever stands in it."""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

import forecaster
import jobs
from forecaster.config.redaction import Secrets

SHORT, TIMES = 1_000, 16
SPARE_SECONDS = 0.05
"""Far more than any of these takes for a text in proportion, far less than its square."""
PIECES = re.compile(r"\\?[^\w\s]|\w+")


def modules() -> Iterator[ModuleType]:
    for package in (forecaster, jobs):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


@dataclass(frozen=True)
class Expression:
    """A regular expression of a module, and what it is asked there."""

    name: str
    pattern: re.Pattern[str]
    source: str

    def ask(self, text: str) -> object:
        is_searched = re.search(rf"\b{self.name}\.(sub|search|finditer|findall)\(", self.source)
        return self.pattern.sub("", text) if is_searched else self.pattern.fullmatch(text)

    def repetitions(self, length: int) -> list[str]:
        """Return one or two of its parts again and again, ending as nothing that it matches."""
        parts = sorted({piece.lstrip("\\")[:12] for piece in PIECES.findall(self.pattern.pattern)})
        pumped = {*parts, *map("".join, product(parts, repeat=2))}
        return [(piece * length)[:length] + "\0" for piece in sorted(pumped) if piece]


def expressions() -> Iterator[Expression]:
    for module in modules():
        source = Path(str(module.__file__)).read_text()
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                yield Expression(name, value, source)


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of three."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.mark.parametrize("expression", list(expressions()), ids=lambda each: each.name)
def test_an_expression_takes_time_in_proportion_to_the_text(expression: Expression) -> None:
    few = [seconds(partial(expression.ask, text)) for text in expression.repetitions(SHORT)]
    slowest = sorted(range(len(few)), key=few.__getitem__)[-5:]

    texts = expression.repetitions(SHORT * TIMES)
    many = max(seconds(partial(expression.ask, texts[place])) for place in slowest)

    assert many < 4 * TIMES * max(few) + SPARE_SECONDS


@pytest.mark.parametrize("password", ["$ecret-99", "\\\\\\a$x!", "%25%25%5c!", "'\"$$$$$$$", "$"])
@pytest.mark.parametrize(
    "piece",
    ["\\", "%25", "%5c", "%5C%255c", "\\u00", "\\x5c", "%", "$", "+", "://", "://a:", "a@",
     "password", "password='", 'password="\\'],
)  # fmt: skip
def test_hiding_a_secret_takes_time_in_proportion_to_the_text(password: str, piece: str) -> None:
    secrets = Secrets([password])
    few, many = (piece * (length // len(piece)) for length in (SHORT, SHORT * TIMES))

    taken = seconds(lambda: secrets.hide(many))

    assert taken < 4 * TIMES * seconds(lambda: secrets.hide(few)) + SPARE_SECONDS
