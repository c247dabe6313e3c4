"""Errors keep their facts when they cross a process border."""

from __future__ import annotations

import pickle

import pytest

from flywheel import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FlywheelError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_with_its_facts(kind: type[errors.FlywheelError]) -> None:
    found = pickle.loads(pickle.dumps(kind("what was found", row=3)))
    assert type(found) is kind
    assert (found.message, found.facts, str(found)) == (
        "what was found",
        {"row": 3},
        "what was found",
    )


def test_every_error_says_whether_a_retry_can_help() -> None:
    assert len(KINDS) > 5
    for kind in KINDS:
        if kind is not errors.FlywheelError:
            assert issubclass(kind, errors.TransientError) != issubclass(kind, errors.TerminalError)
