"""Where errors become two lines and an exit status: `error:` and `hint:`, never a traceback.

Exit status 1 is a failure the user can act on, 2 a wrong setting or a wrong command line.
A bug keeps its traceback: hiding it would be worse than showing it.
"""

import sys
from typing import Any

from typer.core import TyperGroup

from forecaster.errors import ConfigError, ForecasterError
from jobs.terminal.output import say
from jobs.terminal.streams import degrade


class Boundary(TyperGroup):
    """The one place that turns a ForecasterError into output."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, whatever its streams can encode."""
        degrade()
        try:
            return super().main(*args, **kwargs)
        except ForecasterError as error:
            complain(error)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


def complain(error: ForecasterError, *, about: str = "") -> None:
    """Write `error` to stderr: one `error:` line for each problem, then its hint."""
    for problem in error.problems if isinstance(error, ConfigError) else [error.message]:
        say(f"error: {about}{problem}")
    if error.hint:
        say(f"hint:  {error.hint}")
