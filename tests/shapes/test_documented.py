"""The page on odd data names tests that exist, and every reason that is counted."""

import ast
import re
from dataclasses import fields

import pytest

from forecaster.data.panel import PanelCounts
from forecaster.errors import SkipReason
from forecaster.ingestion.normalize import RejectReason
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "data.md").read_text(encoding="utf-8")
COUNTERS = [
    *map(str, RejectReason),
    *map(str, SkipReason),
    *(field.name for field in fields(PanelCounts)),
]


def functions_of(room: str) -> set[str]:
    return {
        node.name
        for module in (ROOT / "tests" / room).glob("test_*.py")
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_is_named_exists_and_every_shape_is_named() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named - functions_of("shapes") - functions_of("laws") == set()
    of_this_module = {name for name in globals() if name.startswith("test_")}
    assert functions_of("shapes") - of_this_module - named == set()


@pytest.mark.parametrize("counter", COUNTERS)
def test_every_counter_is_explained(counter: str) -> None:
    assert f"`{counter}`" in PAGE
