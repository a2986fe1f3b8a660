"""The hook of a build, which ships the program inside the library's package."""

import pytest

from hatch_build import renamed

SOURCE = """\
from jobs import cli
from jobs.stages import (
    pull,
)
from jobs_db import x
"""
RENAMED = """\
from forecaster.jobs import cli
from forecaster.jobs.stages import (
    pull,
)
from jobs_db import x
"""


def test_a_build_refuses_an_import_that_it_cannot_rename() -> None:
    with pytest.raises(ValueError, match=r"expected `from jobs import …`, found 'import jobs.cli'"):
        renamed("import jobs.cli\n")


def test_only_imports_of_the_program_are_renamed() -> None:
    assert renamed(SOURCE) == RENAMED
