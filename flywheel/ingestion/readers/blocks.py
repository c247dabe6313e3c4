"""The bytes of a feedback file, unpacked and cut into whole lines.

A packed file may unpack to `MOST_TIMES` times its size, and always to `ALWAYS_UNPACKED` bytes or,
where it is read piece by piece, `ALWAYS_STREAMED`: feedback shrinks to a tenth of its size, and
only what was made to fill a machine to a thousandth.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import DataError

CHUNK_BYTES = 8 * 2**20
MAX_ROW_BYTES = 16 * 2**20
"""A longer row is quarantined with its beginning only."""
PIECE_BYTES = 2**20
KEPT_CHARS = 1_000
MOST_TIMES = 100
ALWAYS_UNPACKED = 16 * 2**20
ALWAYS_STREAMED = 64 * 2**20
_ZSTD_PIECE_BYTES = 2**16
BOM = b"\xef\xbb\xbf"
# The bytes come from a file that was opened: an OSError here is about what they say.
BREAKS = (EOFError, OSError, zlib.error, pa.ArrowException, ValueError)


def packing_of(name: str) -> tuple[str, str]:
    """Tell a file's packing (``.gz``, ``.zst`` or nothing) from the rest of its name."""
    for packing in (".gz", ".zst"):
        if name.endswith(packing):
            return packing, name.removesuffix(packing)
    return "", name


class Unpacked(ValueError):
    """A file unpacks to more than what its size allows."""

    def __init__(self, why: str = f"it unpacks to more than {MOST_TIMES} times its size") -> None:
        super().__init__(why)


class TooManyPages(Unpacked):
    """A Parquet file has so many small pages as no writer makes; each takes time to look at."""

    def __init__(self) -> None:
        super().__init__("it has too many pages of few values; write it with larger pages")


def most_unpacked(size: int, *, always: int = ALWAYS_UNPACKED) -> int:
    """Bytes that a packed file of ``size`` bytes may unpack to."""
    return always + MOST_TIMES * size


def reader(
    stream: BinaryIO, packing: str, *, always: int = ALWAYS_UNPACKED
) -> Callable[[int], bytes]:
    """Return a function that gives the next unpacked bytes, at most so many; b"" at the end.

    It raises `Unpacked` before it gives more than `most_unpacked` of what was read so far.
    """
    if not packing:
        return stream.read
    packed = _Counted(stream)
    read = _unpacking(packed, packing)
    given = 0

    def bounded(size: int) -> bytes:
        nonlocal given
        piece = read(size)
        given += len(piece)
        if given > most_unpacked(packed.count, always=always):
            raise Unpacked
        return piece

    return bounded


def _unpacking(packed: _Counted, packing: str) -> Callable[[int], bytes]:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=cast("BinaryIO", packed)).read1
    # Smaller pieces: where a frame breaks off, the piece being read is lost.
    unpacked = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")
    return lambda size: bytes(unpacked.read(min(size, _ZSTD_PIECE_BYTES)))


class _Counted:
    """A stream that counts its bytes, and stays open when Arrow, done with it, closes it."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.count += len(piece)
        return piece

    def close(self) -> None:
        """Do nothing."""


class Blocks:
    """Whole lines in blocks of about `CHUNK_BYTES`; afterwards ``broken`` says what broke off."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.broken: DataError | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Yield (lines, True), or (the beginning of one line that is far too long, False)."""
        parts: list[bytes] = []
        size, lines = 0, False
        while piece := self._piece():
            parts.append(piece)
            size += len(piece)
            lines = lines or b"\n" in piece
            if lines and size >= CHUNK_BYTES:
                block = b"".join(parts)
                end = block.rfind(b"\n") + 1
                yield block[:end], True
                rest = block[end:]
            elif not lines and size > MAX_ROW_BYTES:
                yield b"".join(parts)[: 4 * KEPT_CHARS], False
                rest = self._after_line()
            else:
                continue
            parts, size, lines = [rest], len(rest), b"\n" in rest
        block = b"".join(parts)
        if self.broken is not None:
            block = block[: block.rfind(b"\n") + 1]
        if block:
            yield block, True

    def _piece(self) -> bytes:
        try:
            return self._read(PIECE_BYTES)
        except BREAKS as error:
            self.broken = unreadable(error)
            return b""

    def _after_line(self) -> bytes:
        while piece := self._piece():
            _, newline, rest = piece.partition(b"\n")
            if newline and (rest or (rest := self._piece())):
                return rest
            if newline:
                break
        return b""


def unreadable(error: BaseException) -> DataError:
    if isinstance(error, Unpacked):
        return DataError(f"the rest of the file is not read: {error}")
    return DataError(f"the rest of the file cannot be read ({type(error).__name__})")


def too_long() -> DataError:
    return DataError(f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB")


def lines_of(block: bytes) -> pa.Array:
    """Return the lines as binary, each with its line end, without copying them."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    if block and not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )


def raw_text(line: bytes) -> str:
    kept = line if len(line) <= MAX_ROW_BYTES else line[: 4 * KEPT_CHARS]
    text = kept.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(line) <= MAX_ROW_BYTES else text[:KEPT_CHARS]


def is_utf8(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def fit_lines(lines: pa.Array) -> Any:
    """Say for every line whether it is UTF-8 and not too long."""
    fit = pc.binary_length(lines).to_numpy(zero_copy_only=False) <= MAX_ROW_BYTES
    if not is_utf8(lines.view(pa.string())):
        fit &= np.fromiter(map(_decodes, lines.to_pylist()), bool, len(lines))
    return fit


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
