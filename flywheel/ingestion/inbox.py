"""What lies in an inbox: files that the next night reads, and those that it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flywheel.dataset.images import SUFFIXES as PICTURES
from flywheel.ingestion.journal import OPEN
from flywheel.ingestion.readers import SUFFIXES, chunks, judge, rows_of
from flywheel.records import Feedback

DONE = "done"
"""The folder of files that were taken in."""
_MOST_LOOKED_AT = 1_000
"""Entries of a folder."""
ANSWERS = ".predictions."
"""In the names of files that hold answers of the service."""


@dataclass(frozen=True)
class Inbox:
    """Its files, by name. Hidden ones, and pictures that rows name, are in no list."""

    ready: list[Path]
    being_written: list[Path]
    """Named ``x.open`` until complete."""
    unread: dict[Path, str]
    """What a night leaves where it is → why."""

    @classmethod
    def look(cls, folder: Path) -> Inbox:
        """What lies in ``folder`` now; a folder that is not there is empty."""
        found = cls([], [], {})
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            name = path.name.lower()
            if path.name == DONE or name.startswith(".") or name.endswith(PICTURES):
                continue
            if why := _why_unread(path):
                found.unread[path] = why
            elif path.is_file() and name.endswith(OPEN):
                found.being_written.append(path)
            elif path.is_file():
                found.ready.append(path)
        return found

    def rows(self) -> int:
        """How many rows of feedback the files hold; answers of the service are not counted."""
        return sum(rows_in(path) for path in self.ready if ANSWERS not in path.name.lower())

    def feedback(
        self, labels: tuple[str, ...], *, by_customer: bool
    ) -> Iterator[Feedback | tuple[str, str]]:
        """Each row of feedback, or what was refused and why, as a night will read it."""
        for path in self.ready:
            if ANSWERS in path.name.lower():
                continue
            with suppress(FileNotFoundError), path.open("rb") as stream:
                for chunk in chunks(path.name, stream):
                    for row in rows_of(chunk):
                        yield judge(row, labels, by_customer=by_customer)


def _why_unread(path: Path) -> str | None:
    """Why a night does not read what lies there; None where it does, or need not.

    A folder may hold the pictures that rows name.
    """
    name = path.name.lower()
    if path.is_dir():
        within = islice(path.rglob("*"), _MOST_LOOKED_AT)
        holds = any(one.name.lower().endswith(SUFFIXES) for one in within)
        return "a folder; its files are not read" if holds or name.endswith(SUFFIXES) else None
    if not path.exists():
        # else a night took it meanwhile
        return "a link to nothing" if path.is_symlink() else None
    if not path.is_file():
        return "no regular file"
    if not name.endswith((OPEN, *SUFFIXES)):
        return f"of no format that is read ({', '.join(SUFFIXES[::3])}, also packed)"
    return None if os.access(path, os.R_OK) else "no right to read it"


def rows_in(path: Path) -> int:
    """How many rows a feedback file holds; none where it is gone."""
    return rows_and_blank_lines(path)[0]


def rows_and_blank_lines(path: Path) -> tuple[int, int]:
    """How many rows a feedback file holds, and how many blank lines; (0, 0) where it is gone."""
    rows = blank = 0
    try:
        with path.open("rb") as stream:
            for chunk in chunks(path.name, stream):
                rows += chunk.table.num_rows + len(chunk.odd)
                blank += chunk.blank
    except FileNotFoundError:
        # a night took it meanwhile
        return 0, 0
    return rows, blank
