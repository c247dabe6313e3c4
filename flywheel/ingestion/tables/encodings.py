"""Text files in the encodings that people save them in."""

from __future__ import annotations

import re
from pathlib import Path

from flywheel.errors import DataError
from flywheel.ingestion.readers.blocks import BREAKS, PIECE_BYTES, packing_of, reader
from flywheel.ingestion.readers.dialect import ENCODINGS, Dialect, sniff_encoding

_CONTROL = re.compile(r"[\x80-\x84\x86-\x9f]")
"""What letters of a Windows code page become in an encoding of ISO 8859; U+0085 ends lines."""


def unpacked(path: Path, packing: str) -> bytes:
    """The bytes of a file, packed or not."""
    with path.open("rb") as file:
        read = reader(file, packing)
        return b"".join(iter(lambda: read(PIECE_BYTES), b""))


# ---- Encodings


def is_unicode(path: Path) -> bool:
    """Whether a text file's bytes say that it is Unicode: a byte order mark, or letters in UTF-8.

    Letters of a code page are next to never valid UTF-8.
    """
    packing, name = packing_of(path.name.lower())
    if name.endswith(".parquet"):
        return False
    try:
        content = unpacked(path, packing)
    except BREAKS:
        return False
    if content.isascii():
        return False
    found = sniff_encoding(content)
    if found != "utf-8":
        return found is not None and found.startswith("utf")
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def decoded(
    content: bytes, path: Path, *, encoding: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """The text of a file's bytes, and what is to be said about it.

    In UTF-8 with few broken bytes these become lone surrogates, by which their rows are refused.

    Raises:
        DataError: ``encoding`` is not known or does not fit, or none fits.
    """
    if encoding is not None:
        return _named(content, path, encoding), ()
    found = sniff_encoding(content)
    if found is None:
        raise DataError(
            f"{path} is neither UTF-8 nor UTF-16 nor Windows-1252. Save it as UTF-8, or name its "
            "encoding with --encoding (cp1250 for Polish, Czech or Hungarian, cp850 for DOS, "
            "cp1251, gb18030, euc-kr, …). Nothing was written.",
            path=str(path),
        )
    return Dialect(found).decode(content).removeprefix("\ufeff"), _said_of(found)


def _said_of(encoding: str) -> tuple[str, ...]:
    if encoding == "utf-8":
        return ()
    if encoding.startswith("utf"):
        return (f"the file is {ENCODINGS[encoding]}; read as such",)
    read_as = f"the file is not UTF-8; read as {ENCODINGS[encoding]}"
    return (f"{read_as}; --encoding names another one",)


def _named(content: bytes, path: Path, encoding: str) -> str:
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"--encoding: no encoding is called {encoding!r}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding}: byte {error.start} does not fit. Nothing was written.",
            path=str(path),
        ) from error
    if (found := _CONTROL.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise DataError(
            f"{path} is not {encoding}: read so, line {line} holds the control character "
            f"U+{ord(found.group()):04X}, which no text has. Name another encoding with --encoding "
            "(cp1250, cp1251, …). Nothing was written.",
            path=str(path),
        )
    return text
