"""Ship the program inside the library's package: `jobs` becomes `forecaster.jobs` in the wheel.

A wheel with a top-level package `jobs` would share that folder with any other distribution that
has one (docs/decisions/0009-package-of-the-program.md). An editable install changes nothing.
"""

import ast
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "jobs"
SHIPPED = f"forecaster.{PROGRAM}"
ENTRY = Path("forecaster", "__main__.py")


class ProgramInsideLibrary(BuildHookInterface[Any]):
    """Write the modules that import the program once more, with the name it has in the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put copies with renamed imports into the wheel in place of the originals."""
        self.folder = Path(tempfile.mkdtemp(prefix="forecaster-wheel-"))
        if version == "editable":
            return
        root = Path(self.root)
        for source in [*(root / PROGRAM).rglob("*.py"), root / ENTRY]:
            copy = self.folder / source.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(renamed(source.read_text(encoding="utf-8")), encoding="utf-8")
        shipped = SHIPPED.replace(".", "/")
        build_data["force_include"][str(self.folder / PROGRAM)] = shipped
        build_data["force_include"][str(self.folder / ENTRY)] = ENTRY.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copies."""
        shutil.rmtree(self.folder)


def renamed(source: str) -> str:
    """Return a module with `from jobs… import` as `from forecaster.jobs… import`, line by line.

    ValueError for `import jobs…`, which binds a name that would have to change in the code below.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(_is_program(alias.name) for alias in node.names):
            raise ValueError(f"expected `from {PROGRAM} import …`, found {ast.unparse(node)!r}")
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_program(node.module or ""):
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace(f"from {PROGRAM}", f"from {SHIPPED}", 1)
    return "".join(lines)


def _is_program(module: str) -> bool:
    return module.partition(".")[0] == PROGRAM
