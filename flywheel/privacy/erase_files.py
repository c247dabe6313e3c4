"""Files without somebody's rows, and the search for what must be nowhere.

Rows that stay keep their bytes (JSON Lines, CSV, in any encoding and with any separator that the
inbox reads) or their values (Parquet). Where the rest would not tell its encoding any more, it is
written in UTF-8.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.ingestion.readers import MAX_ROW_BYTES, Dialect, as_utf8, dialect_of, packing_of
from flywheel.ingestion.readers.csv_files import fields_of
from flywheel.ingestion.readers.dialect import named_separator
from flywheel.ingestion.readers.parquet_batches import batches
from flywheel.privacy.byte_search import MARGIN, Sought
from flywheel.privacy.clues import Clues
from flywheel.privacy.person_ids import PERSON_FIELDS
from flywheel.privacy.personal_texts import said_in_row

PARTIAL = ".erase-"
_CHUNK_BYTES = 1 << 22
_BLANK = b" \t\n\v\f\r"
_UNREADABLE = (EOFError, OSError, zlib.error, pa.ArrowException)

Theirs = Callable[[Mapping[str, object] | None, str], bool]
"""Says of a row, by its fields (None when it cannot be read) and as it stands, that it must go."""


def count_rows(path: Path, theirs: Theirs, *, clues: Clues | None = None) -> tuple[int, int]:
    """Rows of theirs and rows of others in a feedback file, up to where it breaks off.

    Rows without one of the ``clues`` are others', and are not read; None reads all.
    """
    return _sieve(path, theirs, None, clues=clues)


def erase_rows(
    path: Path, theirs: Theirs, *, name: str | None = None, clues: Clues | None = None
) -> int:
    """Rewrite a feedback file without rows of theirs, under another ``name`` if given.

    A file that holds nobody else is deleted; one that does not hold them stays as it is. Killed at
    any instant, the file is the old or the new one. Returns the number of rows removed.
    """
    gone, others = count_rows(path, theirs, clues=clues)
    target = path.with_name(name or path.name)
    if gone and not others:
        path.unlink()
    elif gone:
        partial = path.with_name(f"{PARTIAL}{os.getpid()}-{target.name}")
        _write_others(path, theirs, partial, clues=clues)
        if _dialect_at(partial).encoding != _dialect_at(path).encoding:
            # what is left does not tell its encoding any more
            _write_others(path, theirs, partial, clues=None, in_utf8=True)
        # its time says when it was written to last: nobody goes on writing it
        facts = path.stat()
        os.utime(partial, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.replace(partial, target)
        if target != path:
            path.unlink()
    elif target != path:
        path.replace(target)
    return gone


def _write_others(
    path: Path, theirs: Theirs, target: Path, *, clues: Clues | None, in_utf8: bool = False
) -> None:
    with target.open("wb") as out:
        _sieve(path, theirs, out, clues=clues, in_utf8=in_utf8)
        out.flush()
        os.fsync(out.fileno())


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def look_through(
    path: Path,
    theirs: Theirs,
    note: Callable[[Mapping[str, object]], None],
    *,
    clues: Clues | None = None,
) -> tuple[int, int]:
    """Call ``note`` with the fields of each row of theirs that can be read; as `count_rows`."""

    def noting(fields: Mapping[str, object] | None, raw: str) -> bool:
        found = theirs(fields, raw)
        if found and fields is not None:
            note(fields)
        return found

    return _sieve(path, noting, None, clues=clues)


def texts_of(path: Path, theirs: Theirs) -> set[str]:
    """What people wrote in the rows of theirs: texts and free comments."""
    found: set[str] = set()
    look_through(path, theirs, lambda fields: found.update(said_in_row(fields)))
    return found


# ---- Rows in and out


def _sieve(
    path: Path,
    theirs: Theirs,
    out: IO[bytes] | None,
    *,
    clues: Clues | None = None,
    in_utf8: bool = False,
) -> tuple[int, int]:
    packing, name = packing_of(path.name.lower())
    try:
        with _unpacked(path, packing) as rows, _repacked(out, packing) as kept:
            if name.endswith(".parquet"):
                return _sieve_parquet(rows, theirs, kept)
            dialect = _dialect_at(path)
            if clues is not None and name.endswith(".jsonl") and dialect.encoding == "utf-8":
                return _sieve_blocks(rows, theirs, kept, clues, dialect)
            return _sieve_lines(name, rows, theirs, kept, dialect, in_utf8=in_utf8)
    except pa.ArrowException:
        return 0, 0


def _dialect_at(path: Path) -> Dialect:
    with path.open("rb") as file:
        return dialect_of(path.name, file)


@contextmanager
def _unpacked(path: Path, packing: str) -> Iterator[IO[bytes]]:
    """The file's bytes; Parquet that is packed is held in memory, for it must be seekable."""
    with path.open("rb") as file:
        if not packing:
            yield file
            return
        if packing == ".gz":
            stream: Any = gzip.GzipFile(fileobj=file)
        else:
            stream = io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), "zstd"))
        if path.name.lower().endswith((".parquet.gz", ".parquet.zst")):
            stream = io.BytesIO(b"".join(_until_broken(stream)))
        yield stream


@contextmanager
def _repacked(out: IO[bytes] | None, packing: str) -> Iterator[IO[bytes] | None]:
    """Where to write; no name and no time of its own: the same rows are the same bytes."""
    if out is None or not packing:
        yield out
        return
    if packing == ".gz":
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
            yield packed  # type: ignore[misc]
        return
    # Arrow closes what it writes to, so it writes to memory
    held = pa.BufferOutputStream()
    with pa.CompressedOutputStream(held, "zstd") as squeezed:
        yield squeezed
    out.write(held.getvalue())


def _sieve_lines(
    name: str,
    rows: IO[bytes],
    theirs: Theirs,
    out: IO[bytes] | None,
    dialect: Dialect,
    *,
    in_utf8: bool,
) -> tuple[int, int]:
    gone = others = 0
    lines = _lines(rows, dialect)
    pieces = _csv_pieces(lines, dialect) if name.endswith(".csv") else _json_pieces(lines, dialect)
    for at, (piece, fields, is_row) in enumerate(pieces):
        if is_row and theirs(fields, _raw(dialect.decode(piece))):
            gone += 1
            if out is not None and at == 0 and not in_utf8:
                # without it, the others' rows may be no UTF-16 any more
                out.write(_mark_of(piece, dialect))
            continue
        others += is_row
        if out is not None and in_utf8:
            out.write(dialect.decode(piece).encode("utf-8", "surrogateescape"))
        elif out is not None:
            out.write(piece)
    return gone, others


def _sieve_blocks(
    rows: IO[bytes], theirs: Theirs, out: IO[bytes] | None, clues: Clues, dialect: Dialect
) -> tuple[int, int]:
    """As `_sieve_lines` for JSON Lines in UTF-8; lines without a clue are not read."""
    gone = others = 0
    for block in _blocks(rows):
        for lines, has_clue in clues.lines(block):
            kept = lines
            if has_clue:
                for piece, fields, is_row in _json_pieces(iter([lines]), dialect):
                    is_theirs = is_row and theirs(fields, _raw(dialect.decode(piece)))
                    gone += is_theirs
                    others += is_row and not is_theirs
                    kept = b"" if is_theirs else lines
            else:
                others += sum(1 for line in lines.split(b"\n") if line.strip(_BLANK))
            if out is not None:
                out.write(kept)
    return gone, others


def _blocks(rows: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, many at a time; at a break, what comes before it."""
    rest: list[bytes] = []
    read = partial(cast("io.BufferedReader", rows).read1, _CHUNK_BYTES)
    for chunk in _until_broken(iter(read, b"")):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, chunk[:end]])
            rest = []
        rest.append(chunk[end:])
    if left := b"".join(rest):
        yield left


def _mark_of(piece: bytes, dialect: Dialect) -> bytes:
    """The byte order mark that a file's first row begins with, if it does."""
    mark = "\ufeff".encode(dialect.encoding) if dialect.encoding.startswith("utf") else b""
    return mark if piece.startswith(mark) else b""


def _raw(text: str) -> str:
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.strip("\r\n")


def _lines(rows: IO[bytes], dialect: Dialect) -> Iterator[bytes]:
    """Lines with their ends, as they stand; in UTF-16 an end is a whole character."""
    end = dialect.line_end.encode(dialect.encoding)
    if end == b"\n":
        yield from _until_broken(rows)
        return
    rest = b""
    # at a break, read1 gives what comes before it
    read = partial(cast("io.BufferedReader", rows).read1, _CHUNK_BYTES)
    for chunk in _until_broken(iter(read, b"")):
        rest += chunk
        begin = at = 0
        while (at := rest.find(end, at)) >= 0:
            if at % len(end):
                at += 1
                continue
            at += len(end)
            yield rest[begin:at]
            begin = at
        rest = rest[begin:]
    if rest:
        yield rest


Piece = tuple[bytes, Mapping[str, object] | None, bool]


def _json_pieces(lines: Iterator[bytes], dialect: Dialect) -> Iterator[Piece]:
    for line in lines:
        text = dialect.decode(line).removeprefix("\ufeff")
        try:
            text.encode()
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        is_row = bool(text.strip(" \t\n\v\f\r"))
        yield line, fields if isinstance(fields, dict) else None, is_row


def _csv_pieces(lines: Iterator[bytes], dialect: Dialect) -> Iterator[Piece]:
    # as where they are read: a mail thread is longer than the csv module's own limit
    csv.field_size_limit(MAX_ROW_BYTES)
    taken: list[bytes] = []

    def decoded() -> Iterator[str]:
        for index, line in enumerate(lines):
            taken.append(line)
            text = dialect.decode(line)
            yield text.removeprefix("\ufeff") if index == 0 else text

    reader = csv.reader(decoded(), delimiter=dialect.separator, strict=True)
    header: list[str] | None = None
    while True:
        taken.clear()
        cells: list[str] | None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        piece = b"".join(taken)
        if cells is not None and not any(cells):
            yield piece, None, False
        elif header is None and cells is not None:
            if not named_separator(dialect.decode(piece).removeprefix("\ufeff")):
                header = fields_of(cells)
            yield piece, None, False
        elif (
            cells is None
            or header is None
            or len(cells) != len(header)
            or len(set(header)) < len(header)
        ):
            yield piece, None, True
        else:
            yield piece, dict(zip(header, cells, strict=True)), True


def _until_broken(lines: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from lines
    except (EOFError, zlib.error, pa.ArrowException):
        return
    except OSError as error:
        # one with a number is the disk's, and then the rest must not be taken for missing
        if error.errno is not None:
            raise


def _sieve_parquet(rows: IO[bytes], theirs: Theirs, out: IO[bytes] | None) -> tuple[int, int]:
    gone = others = 0
    writer = None if out is None else pq.ParquetWriter(out, pq.read_schema(rows))
    for batch in batches(rows, whole=True):
        keep = []
        for index in range(batch.num_rows):
            fields = _cells(batch.slice(index, 1))
            keep.append(not theirs(fields, json.dumps(fields, default=repr)))
        gone += keep.count(False)
        others += keep.count(True)
        if writer is not None and any(keep):
            writer.write_batch(batch.filter(pa.array(keep)))
    if writer is not None:
        writer.close()
    return gone, others


def _cells(row: pa.RecordBatch) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            fields[name] = column[0].as_py()
        except (ValueError, OverflowError):
            fields[name] = None
    return fields


# ---- Looking for what must be nowhere


def holds(path: Path, texts: Sequence[str], *, names: Sequence[str] = ()) -> bool:
    """Whether a file holds one of ``texts``, or one of ``names``, as words of their own."""
    return holds_any(path, Sought(tuple(texts), tuple(names)))


def holds_any(path: Path, sought: Sought) -> bool:
    """Whether a file holds anything of what is ``sought``.

    Packed files are looked into. A file that cannot be read as what it is named is searched as it
    stands; one that is not there holds nothing.
    """
    if not sought:
        return False
    try:
        return any(
            sought.is_in(chunk, first=first, last=last)
            for chunk, first, last in _chunks(path, overlap=sought.longest + 2 * MARGIN)
        )
    except FileNotFoundError:
        return False


def has_id(path: Path, names: Collection[str]) -> bool:
    """Whether a row of a file has one of these ids in a field that names a person."""

    def theirs(fields: Mapping[str, object] | None, _raw: str) -> bool:
        return fields is not None and any(fields.get(one) in names for one in PERSON_FIELDS)

    return count_rows(path, theirs)[0] > 0


Chunk = tuple[bytes, bool, bool]
"""Bytes of a file, and whether these are the first and the last ones."""


def _chunks(path: Path, *, overlap: int) -> Iterator[Chunk]:
    packing, name = packing_of(path.name.lower())
    dialect = _dialect_at(path) if name.endswith((".csv", ".jsonl")) else Dialect()
    if packing or name.endswith(".parquet") or dialect.encoding != "utf-8":
        try:
            with _unpacked(path, packing) as rows:
                if name.endswith(".parquet"):
                    yield from _said_in_parquet(rows)
                else:
                    yield from _pieces(as_utf8(rows.read, dialect), overlap)
            return
        except _UNREADABLE:
            pass
    with path.open("rb") as plain:
        yield from _pieces(plain.read, overlap)


def _said_in_parquet(rows: IO[bytes]) -> Iterator[Chunk]:
    for batch in batches(rows, whole=True):
        said = json.dumps(batch.to_pylist(), default=repr, ensure_ascii=False)
        yield said.encode("utf-8", "backslashreplace"), True, True


def _pieces(read: Callable[[int], bytes], overlap: int) -> Iterator[Chunk]:
    tail, chunk, first = b"", read(_CHUNK_BYTES), True
    while chunk:
        following = read(_CHUNK_BYTES)
        piece = tail + chunk
        yield piece, first, not following
        tail, chunk, first = piece[-overlap:], following, False
