"""What lies in an inbox: files that the next night reads, and those that it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flywheel.dataset.images import SUFFIXES as PICTURES
from flywheel.ingestion.journal import OPEN
from flywheel.ingestion.readers import SUFFIXES, chunks, judge, rows_of
from flywheel.records import Feedback

ANSWERS = ".predictions."
"""In the names of files that hold answers of the service."""


@dataclass(frozen=True)
class Inbox:
    """Its files, by name. Hidden ones, and pictures that rows name, are in no list."""

    ready: list[Path]
    being_written: list[Path]
    """Named ``x.open`` until complete."""
    unknown: list[Path]
    """Of no format that can be read."""

    @classmethod
    def look(cls, folder: Path) -> Inbox:
        """What lies in ``folder`` now; a folder that is not there is empty."""
        found = cls([], [], [])
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            name = path.name.lower()
            if not path.is_file() or name.startswith(".") or name.endswith(PICTURES):
                continue
            if name.endswith(OPEN):
                found.being_written.append(path)
            elif name.endswith(SUFFIXES):
                found.ready.append(path)
            else:
                found.unknown.append(path)
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
