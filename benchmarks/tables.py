"""Tables and results files: what was measured, when, and on which machine."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

RESULTS = Path(__file__).resolve().parent / "results"


class Spread(NamedTuple):
    """A mean over seeds and the standard deviation between them."""

    mean: float
    deviation: float


Cell: TypeAlias = str | float | int | Spread | None
Row: TypeAlias = Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a results file: what was done, and tables of it."""

    name: str
    about: str
    tables: Sequence[Sequence[Row]]


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table: a column per key that any row has a value for."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row.get(name) is not None for row in rows)]
    lines = [names, ["---"] * len(names)]
    lines += [[text(row.get(name)) for name in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(cell: Cell) -> str:
    """Return a cell with four significant digits."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, Spread):
        return f"{text(cell.mean)} ± {cell.deviation:.2g}"
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 10_000 else f"{cell:.0f}"
    return str(cell)


def over_seeds(name: str, rows: Sequence[Row]) -> Row:
    """Return the mean and the spread of every number in `rows`, under a new `forecast` name."""
    summary: dict[str, Cell] = {"forecast": name}
    for key in rows[0]:
        numbers = [cell for row in rows if isinstance(cell := row[key], float)]
        if len(numbers) == len(rows):
            summary[key] = Spread(float(np.mean(numbers)), float(np.std(numbers, ddof=1)))
    return summary


def machine() -> dict[str, str | float | None]:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return {
        "cpu": next(line.split(":")[1].strip() for line in lines if "model name" in line),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "polars": metadata.version("polars"),
    }


def markdown(title: str, command: str, sections: Sequence[Section]) -> str:
    """Return a results file for people."""
    said = ", ".join(f"{name} {value}" for name, value in machine().items())
    parts = [f"# {title}, {today()}", f"`{command}`; {said}."]
    for section in sections:
        parts += [f"## {section.name}", section.about]
        parts += [table(rows) for rows in section.tables if rows]
    return "\n\n".join(parts) + "\n"


def keep(name: str, title: str, command: str, sections: Sequence[Section]) -> None:
    """Write benchmarks/results/<name>-<date>.md and .json."""
    path = RESULTS / f"{name}-{today()}"
    path.with_suffix(".md").write_text(markdown(title, command, sections), encoding="utf-8")
    document = {
        "date": today(),
        "command": command,
        "machine": machine(),
        "sections": {section.name: list(section.tables) for section in sections},
    }
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def today() -> str:
    """Return the date, in UTC."""
    return datetime.now(UTC).date().isoformat()
