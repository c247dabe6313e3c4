"""How a text file is written: its encoding, and what separates its lines and cells.

Told from a file's beginning, the same wherever it is read or rewritten. Spreadsheets save "CSV" in
the separator and the code page of the country that they run in.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from flywheel.ingestion.readers.blocks import BREAKS, MAX_ROW_BYTES, packing_of, reader

HEAD_BYTES = 2**20
"""What is looked at, unpacked."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32",
    "cp932": "Shift-JIS (Japan)",
    "cp1252": "Windows-1252 (Western Europe)",
    "mac_roman": "Mac OS Roman (Western Europe)",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BY_LINE = "cp1252"
"""What stands at a file's beginning need not hold for all of it: each line is looked at."""
_LOOKED_AT = 50
_MOST_ACCENTED = 0.25
"""Of a text in a language of the West."""
"""Records by which a separator is told."""
_WORD = re.compile(r"[A-Za-z\x80-\U0010ffff]+")
_EASTERN = re.compile(
    # Polish: ł ą inside or before letters, ż ź between them, ść, and Ł Ż Ą before one
    r"(?<!\d)[³¹](?=[a-zß-ÿœ³¹¿])|(?<=[a-zß-ÿ³¹])[¿Ÿ](?=[a-zß-ÿ³¹])|œæ|[£¯¥](?=[a-zß-ÿ])"
    # Hungarian: ő at the end of a longer word, or after vowels of its own
    r"|(?<=[a-z]{2})õ(?!\w)|(?<=[áéíú][a-z])õ(?!e)"
)
"""Places in a text of Windows-1250, read as Windows-1252, that no language of the West has."""
_CZECH = re.compile(r"[ìù](?=[a-z])|(?<![\w'\u2019])è(?=[a-zà-ÿ])")
"""ě and ů before a letter, č at a word's beginning before one; Gaelic and Breton have such too."""
_NOT_CZECH = re.compile("[àñ]")
"""Would be ŕ and ń there. Czech has neither, Slovak ŕ in few words; Gaelic lives by the one,
Breton by the other."""
_ACUTE = re.compile("[áéíóúý]")
"""The same in both code pages, and in Czech and Slovak more frequent than all other accents."""
_MAC = re.compile(rb"(?<=[A-Za-z])[\x87-\x8a\x8c-\x90\x9d\x9f\xa7](?=[a-z])")
"""Letters of Mac OS within a word (ä, ü, ß, é, è, à, ç), which no word has in Windows-1252: there
these bytes are capitals, signs or nothing."""
_OF_WINDOWS = re.compile(rb"(?<=[a-z])[\xc0-\xff](?=[a-z])")
_OF_DOS = re.compile(rb"(?<=[A-Za-z])[\x81\x82\x84\x86](?=[a-z])")
"""ü, é, ä and å of DOS within a word: low quotation marks in Windows-1252, a dagger, or nothing."""
_NOT_MAC = re.compile(rb"(?<=[a-z])[\x81\x82\x84\xb3\xb9]")
"""Capitals and signs of Mac OS at a small letter: ü, é and ä of DOS, ł and ą of Windows-1250."""
_EASTERN_SHARE = 0.05
"""Of the words with letters beyond ASCII; a slip of the keyboard is below it."""
_BEYOND = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True)
class Dialect:
    """Encoding (a codec that names its byte order), separator of cells, and end of a line."""

    encoding: str = "utf-8"
    separator: str = ","
    line_end: str = "\n"
    understood: bool = True
    """False where no encoding fits; then it is read as UTF-8, and rows that are not are refused."""

    @property
    def errors(self) -> str:
        """How bytes that do not fit are decoded.

        To lone surrogates, by which their row is refused; in UTF-16 and UTF-32 that cannot be.
        """
        return "replace" if self.encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"

    def decode(self, content: bytes) -> str:
        """The text of whole lines."""
        if self.encoding != _BY_LINE:
            return content.decode(self.encoding, self.errors).replace(self.line_end, "\n")
        lines = content.split(self.line_end.encode())
        return "\n".join(_western(line) for line in lines)

    def notes(self) -> tuple[str, ...]:
        """What is to be said of a file that is not plain UTF-8 with commas."""
        notes = []
        if not self.understood:
            notes.append(
                "it is neither UTF-8 nor UTF-16 nor Windows-1252: rows with other letters than "
                "A to Z are set apart; save it as UTF-8 and drop it again"
            )
        elif self.encoding != "utf-8":
            notes.append(f"it is not UTF-8, and was read as {ENCODINGS[self.encoding]}")
        if self.separator != ",":
            notes.append(f"its cells are separated by {SEPARATORS[self.separator]}")
        return tuple(notes)


def dialect_of(name: str, stream: BinaryIO) -> Dialect:
    """The dialect of a feedback file, by its name and its bytes from here; Parquet has none."""
    packing, name = packing_of(name.lower())
    if name.endswith(".parquet"):
        return Dialect()
    head, _ = peeked(reader(stream, packing))
    return sniff_dialect(head, sheet=name.endswith(".csv"))


def sniff_dialect(head: bytes, *, sheet: bool) -> Dialect:
    """The dialect of a file that begins so; only a ``sheet`` has cells."""
    encoding = sniff_encoding(head)
    plain = Dialect(encoding or "utf-8", understood=encoding is not None)
    if not sheet:
        return plain
    decoder = codecs.getincrementaldecoder(plain.encoding)(plain.errors)
    text = decoder.decode(head).removeprefix("\ufeff")
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    lines = [f"{line}\n" for line in text.split(line_end, 4 * _LOOKED_AT + 1)]
    named = named_separator(lines[0])
    separator = named if named in SEPARATORS else sniff_separator(lines)
    return Dialect(plain.encoding, separator, line_end, plain.understood)


def as_utf8(read: Callable[[int], bytes], dialect: Dialect) -> Callable[[int], bytes]:
    """Return a function that gives what ``read`` gives in UTF-8, its lines ended by line feeds."""
    if (dialect.encoding, dialect.line_end) == ("utf-8", "\n"):
        return read
    if dialect.encoding == _BY_LINE:
        return _lines_as_utf8(read, dialect)
    decoder = codecs.getincrementaldecoder(dialect.encoding)(dialect.errors)

    def recoded(size: int) -> bytes:
        text = ""
        while not text and (piece := read(size)):
            text = decoder.decode(piece)
        text = text or decoder.decode(b"", final=True)
        return text.replace(dialect.line_end, "\n").encode("utf-8", "surrogateescape")

    return recoded


def _lines_as_utf8(read: Callable[[int], bytes], dialect: Dialect) -> Callable[[int], bytes]:
    """As `as_utf8`, a number of whole lines at a time; of one that is far too long, a part."""
    end, rest = dialect.line_end.encode(), b""

    def recoded(size: int) -> bytes:
        nonlocal rest
        cut = 0
        while not cut and (piece := read(size)):
            rest += piece
            cut = len(rest) if len(rest) > MAX_ROW_BYTES else rest.rfind(end) + 1
        cut = cut or len(rest)
        lines, rest = rest[:cut], rest[cut:]
        return dialect.decode(lines).encode("utf-8", "surrogateescape")

    return recoded


def peeked(read: Callable[[int], bytes]) -> tuple[bytes, Callable[[int], bytes]]:
    """What ``read`` gives first, and a function that gives it all, up to where it breaks off."""
    pieces: list[bytes] = []
    failure: BaseException | None = None
    try:
        while (size := sum(map(len, pieces))) < HEAD_BYTES and (piece := read(HEAD_BYTES - size)):
            pieces.append(piece)
    except BREAKS as error:
        failure = error
    head, at = b"".join(pieces), 0

    def again(size: int) -> bytes:
        nonlocal at
        if at < len(head):
            at += size
            return head[at - size : at]
        if failure is not None:
            raise failure
        return read(size)

    return head, again


# ---- Encodings


def text_of(content: bytes) -> str | None:
    """The text of a whole file, without a byte order mark; None where no encoding fits."""
    encoding = sniff_encoding(content)
    if encoding is None:
        return None
    return Dialect(encoding).decode(content).removeprefix("\ufeff")


def sniff_encoding(content: bytes) -> str | None:
    """The encoding of a text file, one of `ENCODINGS`; None where none fits.

    Windows-1250 (Poland, Bohemia, Hungary) fits Windows-1252 byte by byte: where letters stand as
    in no language of the West, none fits. So do code pages of DOS; Mac OS Roman is told by
    what stands within words.

    A byte order mark says what follows it. Without one it is UTF-8 unless most of what is not ASCII
    is not; then it is UTF-16 where every second byte is NUL, else Windows-1252, or its Japanese
    counterpart, where the result reads like it. A file cut within a character is no other.
    """
    for bom, name in _BOMS:
        if content.startswith(bom):
            return name
    if (wide := _without_mark(content)) is not None:
        return wide
    if content.isascii() or not (broken := _broken(content)):
        return "utf-8"
    text = content.decode("utf-8", "surrogateescape")
    if sum(char > "\x7f" for char in text) >= 2 * broken:
        return "utf-8"
    if (japanese := _decoded("cp932", content)) is not None and _is_japanese(japanese):
        return "cp932"
    if _is_mac(content):
        return "mac_roman"
    if len(_OF_DOS.findall(content)) > len(_OF_WINDOWS.findall(content)):
        return None
    latin = _decoded("cp1252", content)
    western = latin is not None and _is_western(latin)
    if western and latin is not None and _is_eastern(latin):
        return None
    # of a lone letter that is no UTF-8 nothing can be told but that its row is broken
    return "utf-8" if western is None else "cp1252" if western else None


def _decoded(encoding: str, content: bytes) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return None


def _without_mark(content: bytes) -> str | None:
    """UTF-16 without a byte order mark, by NUL in every second byte and not in the others."""
    low, high = content[0:2_000:2], content[1:2_000:2]
    for name, nul, other in (("utf-16-le", high, low), ("utf-16-be", low, high)):
        many, few = 0.4 * len(nul), 0.05 * len(nul)
        if len(nul) > 3 and nul.count(0) > many and other.count(0) <= few:
            return name
    return None


def _broken(content: bytes) -> int:
    """How many bytes are no UTF-8; the beginning of a character at the very end is none of them."""
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(content)
    return sum("\udc80" <= char <= "\udcff" for char in text)


def _is_mac(content: bytes) -> bool:
    """Whether a text is of Mac OS, in a language of the West."""
    own = len(_MAC.findall(content))
    if own <= len(_OF_WINDOWS.findall(content)) or _NOT_MAC.search(content) is not None:
        return False
    letters = sum(len(word) for word in content.split())
    return sum(byte > 0x7F for byte in content) < _MOST_ACCENTED * letters


def _is_japanese(text: str) -> bool:
    """Whether a good part of what is not ASCII is kana, as in any Japanese text."""
    other = [char for char in text if char > "\x7f"]
    return sum("\u3041" <= char <= "\u30ff" for char in other) > 0.2 * len(other)


def _is_western(text: str) -> bool | None:
    """Whether letters beyond ASCII stand among those of ASCII, as in any language of the West.

    In Cyrillic, Greek, Thai or Chinese read so whole words are beyond ASCII. None where nothing
    speaks for or against it.
    """
    likely = unlikely = 0
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        if any(char.isascii() for char in word) or (len(word) == 1 and not word.isalpha()):
            likely += 1
        elif len(word) > 1:
            unlikely += 1
    return likely > unlikely if likely or unlikely else None


def _is_eastern(text: str) -> bool:
    """Whether a text read as Windows-1252 is of Windows-1250."""
    words = [word for word in text.split() if not word.isascii()]
    western = len(_NOT_CZECH.findall(text)) > len(_ACUTE.findall(text))
    strange = sum(
        _EASTERN.search(word) is not None or (not western and _CZECH.search(word) is not None)
        for word in words
    )
    return strange > _EASTERN_SHARE * len(words)


def _western(line: bytes) -> str:
    """A line of a file in Windows-1252, unless it is UTF-8 or reads like nothing of the West.

    Then it is what it is in UTF-8: right, or refused.
    """
    try:
        return line.decode()
    except UnicodeDecodeError:
        text = line.decode("cp1252", "surrogateescape")
        strange = sum(len(word) > 1 and word.isalpha() for word in _BEYOND.findall(text))
        if strange > 1 and _is_western(text) is False:
            return line.decode("utf-8", "surrogateescape")
        return text


# ---- Separators


def named_separator(line: str) -> str | None:
    """The separator that a first line ``sep=;`` names, which is Excel's own way to do so."""
    line = line.strip(" \r\n")
    return line[-1] if len(line) == 5 and line.casefold().startswith("sep=") else None


def sniff_separator(lines: Sequence[str]) -> str:
    """The separator by which most of the first records have as many cells as the first one.

    Of several the one that makes more cells; a comma where none makes two.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    found = {}
    for separator in SEPARATORS:
        records = csv.reader(lines[: 4 * _LOOKED_AT], delimiter=separator)
        widths = [len(cells) for cells in _some(records) if any(cells)]
        if widths and widths[0] > 1:
            found[separator] = (widths.count(widths[0]) / len(widths), widths[0])
    return max(found, key=lambda separator: found[separator], default=",")


def _some(records: Iterator[list[str]]) -> Iterator[list[str]]:
    """The first records; one that is broken says nothing of the others."""
    for _ in range(_LOOKED_AT):
        try:
            record = next(records, None)
        except csv.Error:
            continue
        if record is None:
            return
        yield record
