"""Modules as text and as syntax trees, each read and parsed once for all rules of the house."""

import ast
from functools import cache
from pathlib import Path


@cache
def text_of(path: Path) -> str:
    """Return what is in a file."""
    return path.read_text(encoding="utf-8")


@cache
def tree_of(source: str) -> ast.Module:
    """Return the syntax tree of a module, not to be changed."""
    return ast.parse(source)


def forget() -> None:
    """Free the memory that they take."""
    text_of.cache_clear()
    tree_of.cache_clear()
