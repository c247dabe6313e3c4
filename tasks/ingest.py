"""Take feedback files from the inbox into the warehouse: every row is counted, none is lost.

A row that cannot be used goes to quarantine with its reason; a file that breaks off keeps the
rows before the break. A file is moved to ``done/`` only after its transaction committed, so a
kill at any point is mended by running again.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.feedback import parse_feedback
from flywheel.records import Feedback, Ingested
from flywheel.store import open_store
from tasks import retry_if_transient

log = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz")

# One row of any format: the raw text for quarantine, and its fields or why there are none.
Row = tuple[str, dict[str, object] | DataError]


def ingest_inbox(
    use_case: UseCase, home: Home, *, at: datetime, files: Sequence[Path] = ()
) -> Ingested:
    """Ingest ``files``, or everything in the inbox when none are given; files known are skipped.

    Inbox files end up in ``done/``; files from elsewhere are left where they are.

    Raises:
        DataError: a file given by name is missing or of an unknown format.
        StoreBusy: the warehouse was held too long; the files before this one are done.
    """
    inbox = home.inbox(use_case.name)
    total, known = Ingested(0, 0, 0, 0, 0), 0
    chosen = _given(files) if files else _arrived(inbox)
    for path in chosen:
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        accepted, rejected = read_rows(path.name, content, use_case.label_names)
        with open_store(home.warehouse) as store:
            if store.known_file(use_case.name, sha256):
                known += 1
            else:
                counts = store.ingest_file(
                    use_case.name,
                    file=path.name,
                    sha256=sha256,
                    accepted=accepted,
                    rejected=rejected,
                    at=at,
                )
                total = _add(total, counts)
        if path.parent.resolve() == inbox.resolve():
            _retire(path, inbox / "done" / f"{sha256[:8]}-{path.name}")
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


def _add(left: Ingested, right: Ingested) -> Ingested:
    return Ingested(*(a + b for a, b in zip(astuple(left), astuple(right), strict=True)))


def _retire(path: Path, done: Path) -> None:
    done.parent.mkdir(exist_ok=True)
    path.replace(done)


# ---- Which files


def _arrived(inbox: Path) -> list[Path]:
    """Complete feedback files in the inbox, by name; still being written: ``.x``, ``x.open``."""
    if not inbox.is_dir():
        return []
    complete = sorted(
        path
        for path in inbox.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".open")
    )
    readable = [path for path in complete if path.name.lower().endswith(SUFFIXES)]
    if len(readable) < len(complete):
        log.warning(
            "left %d files of unknown format in %s (expected %s)",
            len(complete) - len(readable),
            inbox,
            ", ".join(SUFFIXES),
        )
    return readable


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


# ---- Rows of a file


def read_rows(
    name: str, content: bytes, labels: tuple[str, ...]
) -> tuple[list[tuple[int, Feedback]], list[tuple[int, str, str]]]:
    """Read a file to its end or to where it breaks; row numbers count from 1."""
    accepted: list[tuple[int, Feedback]] = []
    rejected: list[tuple[int, str, str]] = []
    for number, (raw, fields) in enumerate(_rows(name.lower(), content), start=1):
        try:
            if isinstance(fields, DataError):
                raise fields
            accepted.append((number, parse_feedback(fields, labels=labels)))
        except DataError as error:
            rejected.append((number, raw, error.message))
    return accepted, rejected


def _rows(name: str, content: bytes) -> Iterator[Row]:
    """Yield each row; where the file breaks off, one last row stands for the rest."""
    try:
        if name.endswith(".parquet"):
            yield from _parquet_rows(content)
            return
        stream: BinaryIO = io.BytesIO(content)
        if name.endswith(".gz"):
            with gzip.open(stream) as unpacked:
                yield from _text_rows(name.removesuffix(".gz"), unpacked)
        else:
            yield from _text_rows(name, stream)
    except (EOFError, OSError, zlib.error, pa.ArrowException, ValueError) as error:
        # The bytes are in memory, so an OSError is about what they say, never about the disk;
        # a ValueError is pyarrow's for a column name that is not UTF-8.
        yield "", DataError(f"the rest of the file cannot be read ({type(error).__name__})")


def _text_rows(name: str, lines: Iterator[bytes] | BinaryIO | gzip.GzipFile) -> Iterator[Row]:
    return _csv_rows(lines) if name.endswith(".csv") else _json_rows(lines)


def _json_rows(lines: Iterator[bytes] | BinaryIO | gzip.GzipFile) -> Iterator[Row]:
    for index, line in enumerate(lines):
        line = line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line
        if line.strip():
            yield line.decode("utf-8", "backslashreplace").rstrip("\r\n"), _json_fields(line)


def _json_fields(line: bytes) -> dict[str, object] | DataError:
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return DataError("the row is not valid UTF-8")
    except (ValueError, RecursionError):
        return DataError("the row is not valid JSON")
    if not isinstance(content, dict):
        return DataError(f"the row must be a JSON object, found {type(content).__name__}")
    return content


def _csv_rows(lines: Iterator[bytes] | BinaryIO | gzip.GzipFile) -> Iterator[Row]:
    # Broken bytes become lone surrogates, which ``parse_feedback`` refuses in that row alone.
    taken: list[bytes] = []
    reader = csv.reader(_decoded(lines, taken), strict=True)
    header: list[str] | None = None
    while True:
        taken.clear()
        fields: list[str] | DataError
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = DataError(f"the row is not valid CSV ({error})")
        raw = b"".join(taken).decode("utf-8", "backslashreplace").rstrip("\r\n")
        if isinstance(fields, list) and not any(fields):
            continue
        if header is None:
            if isinstance(fields, DataError) or len(set(fields)) < len(fields):
                yield raw, DataError("the CSV header is broken or names a column twice")
                return
            header = fields
        elif isinstance(fields, DataError):
            yield raw, fields
        elif len(fields) != len(header):
            yield raw, DataError(f"the row has {len(fields)} cells, the header {len(header)}")
        else:
            yield raw, dict(zip(header, fields, strict=True))


def _decoded(
    lines: Iterator[bytes] | BinaryIO | gzip.GzipFile, taken: list[bytes]
) -> Iterator[str]:
    for index, line in enumerate(lines):
        line = line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line
        taken.append(line)
        yield line.decode("utf-8", "surrogateescape")


def _parquet_rows(content: bytes) -> Iterator[Row]:
    for batch in pq.ParquetFile(pa.BufferReader(content)).iter_batches():
        for index in range(batch.num_rows):
            try:
                cells = batch.slice(index, 1).to_pylist()[0]
            except (UnicodeDecodeError, ValueError, OverflowError) as error:
                yield "", DataError(f"the row cannot be read ({type(error).__name__})")
                continue
            # A timestamp column is as good as an ISO string; one without a zone is refused later.
            fields = {
                name: cell.isoformat() if isinstance(cell, datetime) else cell
                for name, cell in cells.items()
            }
            yield json.dumps(fields, default=repr), fields
