"""Failures cross from one process to another as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster import errors
from forecaster.errors import (
    ConfigError,
    ForecasterError,
    RunError,
    SourceUnavailable,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ForecasterError)
]


def sent(error: ForecasterError) -> ForecasterError:
    """Return the failure that another process makes of the bytes it gets."""
    return errors.from_json(json.loads(json.dumps(errors.to_json(error)).encode()))


def test_every_class_of_failures_is_looked_at() -> None:
    assert {ForecasterError, ConfigError, RunError, SourceUnavailable} < set(KINDS)
    assert {kind.__name__ for kind in KINDS} == {
        name for name in (errors.__doc__ or "").split() if hasattr(errors, name)
    } - {"SkipReason"}


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.text(), min_size=1), hint=st.none() | st.text())
def test_a_failure_is_the_same_in_another_process(
    kind: type[ForecasterError], texts: list[str], hint: str | None
) -> None:
    raised = ConfigError(texts, hint=hint) if kind is ConfigError else kind(texts[0], hint=hint)

    found = sent(raised)

    assert type(found) is kind
    assert vars(found) == vars(raised)
    assert str(found) == str(raised)


@pytest.mark.parametrize("kind", ["NoSuchError", "SkipReason", "Any", "__doc__"])
def test_a_failure_of_an_unknown_kind_keeps_its_message_and_hint(kind: str) -> None:
    document = {"kind": kind, "message": "lost", "hint": "search"}

    run, source = (
        errors.from_json(document),
        errors.from_json(document, otherwise=SourceUnavailable),
    )

    assert (type(run), type(source)) == (RunError, SourceUnavailable)
    assert (run.message, run.hint) == ("lost", "search")
