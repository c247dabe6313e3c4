"""Take feedback files from the inbox into the warehouse: every row is counted, none is lost.

A row that cannot be used goes to quarantine with its reason; a file that breaks off keeps the
rows before the break. A file is moved to ``done/`` only after its transaction committed, so a
kill at any point is mended by running again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import astuple, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.ingestion import journal, predictions
from flywheel.ingestion.image_rows import PictureRows
from flywheel.ingestion.inbox import DONE, Inbox
from flywheel.ingestion.readers import SUFFIXES, Chunk, chunks, dialect_of
from flywheel.privacy.erase_files import erase_rows, file_sha256
from flywheel.privacy.erasure_plan import Forgotten
from flywheel.records import Ingested
from flywheel.store import Store, open_store
from flywheel.store.feedback import named_texts
from flywheel.store.feedback.predictions import ingest_answers
from flywheel.text.normalize import printable
from tasks import quarantine, retry_if_transient

log = logging.getLogger(__name__)

_NOTHING = Ingested(0, 0, 0, 0, 0)
_NAMED = 8
"""Digits of a file's hash that stand before its name in the folder of files taken in."""
_SHOWN = 5
"""Files that are not read, named; the others are counted."""


def ingest_inbox(
    use_case: UseCase, home: Home, *, at: datetime, files: Sequence[Path] = ()
) -> Ingested:
    """Ingest ``files``, or everything in the inbox when none are given; files known are skipped.

    Inbox files end up in ``done/``; files from elsewhere are left where they are. Answers that the
    service gave come first, for feedback is about them; they are not in the counts returned.

    Pictures that rows are about are copied into the home first; those in the inbox are then gone
    from there, the unusable ones excepted.

    A file of the inbox that changes while it is read stays there for the next time and keeps no
    other from being read; one that grew after it was taken in is taken in again.

    Raises:
        DataError: a file given by name is missing, changing or of an unknown format.
        StoreBusy: the warehouse was held too long; the files before this one are done.
    """
    inbox = home.inbox(use_case.name)
    quarantine.retry(use_case, home, at=at)
    total, served, known = _NOTHING, _NOTHING, 0
    originals: set[Path] = set()
    if not files:
        journal.recover(inbox)
        _bring_back_grown(inbox)
    chosen = _given(files) if files else _arrived(inbox)
    for path in sorted(chosen, key=lambda path: not _holds_answers(path)):
        try:
            taken = _take(use_case, home, path, at)
        except _Changing as error:
            if files:
                raise
            log.warning("%s", error)
            continue
        if taken.counts is None:
            known += 1
        elif _holds_answers(path):
            served = _add(served, taken.counts)
        else:
            total = _add(total, taken.counts)
        if path.parent.resolve() == inbox.resolve():
            if taken.gone:
                erase_rows(path, taken.gone.theirs)
            if path.exists():
                _retire(path, inbox / DONE / f"{taken.sha256[:_NAMED]}-{path.name}")
            # not yet: another file may name the same picture
            originals |= taken.pictures
    for original in originals:
        original.unlink(missing_ok=True)
    if served.read:
        log.info(
            "kept %d of %d served answers of %s (%d known before, %d quarantined)",
            served.ingested,
            served.read,
            use_case.name,
            served.duplicate,
            served.quarantined,
        )
    log.info(
        "ingested %d of %d rows from %d files for %s "
        "(%d duplicate, %d quarantined, %d parked; %d files known before)",
        total.ingested,
        total.read,
        len(chosen),
        use_case.name,
        total.duplicate,
        total.quarantined,
        total.parked,
        known,
    )
    return total


ingest = task(
    name="ingest",
    retries=3,
    retry_delay_seconds=2,
    retry_condition_fn=retry_if_transient,
)(ingest_inbox)


@dataclass(frozen=True)
class _Taken:
    """What became of one file. ``counts`` is None where it was taken in before."""

    sha256: str
    counts: Ingested | None
    gone: Forgotten
    pictures: Set[Path]


def _take(use_case: UseCase, home: Home, path: Path, at: datetime) -> _Taken:
    """Take one file in, in one transaction."""
    with _Steady(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        seen = PictureRows(Images(home.images), path.parent)
        rows = file.chunks
        notes: tuple[str, ...] = () if file.size else ("it holds no row",)
        if use_case.is_image and not _holds_answers(path):
            read = seen.chunks(file.chunks())
            rows = partial(iter, read)
        counts = None
        with open_store(home.warehouse) as store:
            if not store.known_file(use_case.name, sha256):
                counts = _store(store, use_case, file, rows, sha256, at)
                if not _holds_answers(path):
                    notes = file.notes() if counts.read else ("it holds no row",)
            gone = store.forgotten(use_case.name)
            unused = seen.images.written - named_texts.named(store, seen.images.written)
    for address in unused:
        # of a row that was refused
        seen.images.path(address).unlink(missing_ok=True)
    for note in notes:
        log.warning("%s: %s", path.name, note)
    return _Taken(sha256, counts, gone, seen.files)


def _store(
    store: Store,
    use_case: UseCase,
    file: _Steady,
    rows: Callable[[], Iterator[Chunk]],
    sha256: str,
    at: datetime,
) -> Ingested:
    path = Path(str(file.name))
    if _holds_answers(path):
        return ingest_answers(
            store, use_case.name, file.answers(), file=path.name, sha256=sha256, at=at
        )
    return store.ingest_file(
        use_case.name,
        file=path.name,
        sha256=sha256,
        chunks=rows,
        labels=use_case.label_names,
        at=at,
        by_customer=use_case.split.by_customer,
    )


class _Changing(DataError):
    """A file changed while it was read."""


class _Steady(io.FileIO):
    """A file that must stay as it is while it is read, and whose disk must not fail."""

    _failure: OSError | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(-1 if size is None else size) or b""
        except OSError as error:
            self._failure = error
            raise

    @property
    def size(self) -> int:
        return os.fstat(self.fileno()).st_size

    def notes(self) -> tuple[str, ...]:
        """What is to be said of how the file is written."""
        self.seek(0)
        return dialect_of(str(self.name), self).notes()

    def chunks(self) -> Iterator[Chunk]:
        """Yield the file's rows from its beginning.

        Raises:
            DataError: the file changed meanwhile.
            OSError: the disk failed; what a broken file says is no such failure.
        """
        before = os.fstat(self.fileno())
        self.seek(0)
        yield from chunks(str(self.name), self)
        self._still(before)

    def answers(self) -> predictions.Answers:
        """The served answers in the file.

        Raises:
            DataError, OSError: as `chunks`.
        """
        before = os.fstat(self.fileno())
        self.seek(0)
        lines = io.BufferedReader(self)
        found = predictions.read(lines)
        lines.detach()
        self._still(before)
        return found

    def _still(self, before: os.stat_result) -> None:
        if self._failure is not None:
            raise self._failure
        after = os.fstat(self.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _Changing(
                f"{self.name} changed while it was read. Nothing of it was ingested; write files "
                "under a name that ends in .open and rename them when complete.",
                path=str(self.name),
            )


def _add(left: Ingested, right: Ingested) -> Ingested:
    return Ingested(*(a + b for a, b in zip(astuple(left), astuple(right), strict=True)))


def _retire(path: Path, done: Path) -> None:
    done.parent.mkdir(exist_ok=True)
    path.replace(done)


def _bring_back_grown(inbox: Path) -> None:
    """Put files back that were written to after they were taken in: their writer was not done.

    To move a file leaves the time of its content and sets that of its entry; only a write after
    that makes both one. Rows that are known are not taken twice.
    """
    done = inbox / DONE
    for path in done.iterdir() if done.is_dir() else ():
        facts = path.lstat()
        if facts.st_mtime_ns < facts.st_ctime_ns or not path.is_file():
            continue
        before, _, name = path.name.partition("-")
        if name and len(before) == _NAMED and not file_sha256(path).startswith(before):
            log.warning("%s was written to after it was taken in; it is read again", name)
            path.replace(inbox / name if not (inbox / name).exists() else inbox / path.name)


# ---- Which files


def _holds_answers(path: Path) -> bool:
    return path.name.endswith(predictions.SUFFIX)


def _arrived(inbox: Path) -> list[Path]:
    found = Inbox.look(inbox)
    for path, why in list(found.unread.items())[:_SHOWN]:
        log.warning("not read: %s: %s", printable(path.name), why)
    if len(found.unread) > _SHOWN:
        log.warning("not read: %d more in %s", len(found.unread) - _SHOWN, inbox)
    return found.ready


def _given(files: Sequence[Path]) -> list[Path]:
    for path in files:
        if not path.is_file():
            raise DataError(f"No file at {path}. Nothing was ingested.", path=str(path))
        if not path.name.lower().endswith(SUFFIXES):
            raise DataError(
                f"{path} is of unknown format; expected {', '.join(SUFFIXES)}. "
                "Nothing was ingested.",
                path=str(path),
            )
    return sorted(files)
