"""Every error that flywheel raises on purpose, from its class."""

from __future__ import annotations

from collections.abc import Iterator

from docs._generator.markdown import code, prose, table
from docs._generator.markdown import page as whole_page
from flywheel.errors import FlywheelError, TerminalError, TransientError

_ABOUT = """\
A message says what was expected, what was found, what state things are in, and what to do next.
This page says the same for each kind of error.
In a night's record and on its page an error stands with its name."""
_AGAIN = """\
Nothing needs to be changed: the same command, or the next night, tries again.
Prefect's tasks try again by themselves a few times before they give up."""
_CHANGE = (
    "The same command would end in the same way. A person, or new data, must change something."
)
_HEAD = ("Error", "What happened", "What to do")


def page() -> str:
    """The page of the errors, in two tables."""
    return whole_page(
        "Errors",
        _ABOUT,
        f"## Try again later\n\n{_AGAIN}",
        table(_HEAD, _rows(TransientError)),
        f"## Change something first\n\n{_CHANGE}",
        table(_HEAD, _rows(TerminalError)),
    )


def kinds(root: type[FlywheelError]) -> Iterator[type[FlywheelError]]:
    """The kinds of error below ``root`` that `flywheel.errors` declares."""
    for kind in root.__subclasses__():
        if kind.__module__ == FlywheelError.__module__:
            yield kind
            yield from kinds(kind)


def _rows(root: type[FlywheelError]) -> Iterator[tuple[str, str, str]]:
    for kind in kinds(root):
        happened, _, remedy = prose(kind.__doc__).partition("\n\n")
        yield code(kind.__name__), happened, remedy
