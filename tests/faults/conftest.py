"""What faults are brought about on: a world with a model, and the service as a process."""

from tests.jobs.conftest import folder, trained, world
from tests.jobs.serving import serve

__all__ = ["folder", "serve", "trained", "world"]
