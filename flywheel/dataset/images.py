"""Pictures, kept by content: an input is an address, and its bytes lie under the home.

    image:sha256:<64 hex digits>   names   images/<first 2 digits>/<64 digits>.png

A picture is kept as its pixels and nothing else: turned upright, on white where it was transparent,
at most `KEPT_SIDE` pixels on its longer side, written anew as PNG. So no place, time or camera that
a phone wrote into the file (EXIF, XMP, comments) gets in, and nothing hidden behind its end.

What a picture *shows* is not looked at: faces, name plates and letters stay as they are.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.files import private_files

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
"""More, as a file says of itself before it is unpacked, is refused: it may be a bomb."""
MAX_UNPACKED, LARGE = 256_000_000, 32_000_000
"""Bytes of memory that unpacking one picture may take, and beyond which it waits for others."""
MAX_PIXELS_TOGETHER = 200_000_000
"""Of all pictures in one request: sixteen photographs of a telephone, or four of `MAX_PIXELS`."""
MIN_SIDE = 8
KEPT_SIDE = 512
"""The bases read 224 to 518 pixels a side."""

_ADDRESS = re.compile(r"image:sha256:([0-9a-f]{64})")
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
"""Of a pixel in memory, by mode; of all others 4."""
_STRIP = 64
"""Rows that are put on white at a time: no copies of the whole picture."""
_ONE_LARGE = threading.Lock()
_ORIENTATION = 0x0112
# as PIL numbers them: flips and turns that make upright what a camera held otherwise
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_LANCZOS = 1
_BROKEN = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error),
)
"""What PIL raises on files that break off or contradict themselves."""
_DATA = re.compile(r"data:image/[a-z]+;base64,(.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether a text names a picture."""
    return _ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True)
class Images:
    """The pictures under one folder. Files in it are never changed.

    ``written`` are the addresses that were not there before `keep`; ``room`` is told the bytes of
    each before it is written, and may refuse it.
    """

    folder: Path
    written: set[str] = field(default_factory=set, repr=False, compare=False)
    room: Callable[[int], None] | None = field(default=None, repr=False, compare=False)

    def path(self, address: str) -> Path:
        """Where the picture of that address lies, or would.

        Raises:
            DataError: it is no address.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise DataError("is no address of a picture (image:sha256:…)")
        return self.folder / found[1][:2] / f"{found[1]}.png"

    def keep(self, content: bytes) -> str:
        """Keep the picture in a JPEG, PNG or WebP file's bytes; its address. Twice is once.

        Raises:
            DataError: it cannot be used; the message says why.
        """
        png = _as_png(decoded(content))
        address = f"image:sha256:{hashlib.sha256(png).hexdigest()}"
        path = self.path(address)
        if not path.exists():
            if self.room is not None:
                self.room(len(png))
            partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            private_files.replace(path, png, partial=partial)
            self.written.add(address)
        return address

    def content(self, address: str) -> bytes:
        """The bytes of a picture.

        Raises:
            DataError: it is not here, or not what its address names.
        """
        path = self.path(address)
        if not path.is_file():
            raise DataError(f"{address} is not in {self.folder}.")
        found = path.read_bytes()
        if hashlib.sha256(found).hexdigest() != path.stem:
            raise DataError(f"{path} is not the picture that its name says; it was changed.")
        return found

    def sent(self, value: str) -> str:
        """The address of an address, or of a ``data:image/…;base64,`` URL; never of a path.

        Raises:
            DataError: as `addressed`.
        """
        if value.startswith("data:"):
            return self.keep(from_data_url(value))
        if not self.path(value).is_file():
            raise DataError("names a picture that is not kept here")
        return value

    def refuse_too_much(self, values: Iterable[str]) -> None:
        """Look at what the ``data:`` URLs of one request say of themselves, and unpack nothing.

        Raises:
            DataError: they would take too much time together.
        """
        together = sum(pixels(value) for value in values if value.startswith("data:"))
        if together > MAX_PIXELS_TOGETHER:
            raise DataError(
                f"the pictures have {together:,} pixels together, at most "
                f"{MAX_PIXELS_TOGETHER:,} are allowed in one request; send fewer at once"
            )

    def addressed(self, value: str, beside: Path) -> tuple[str, Path | None]:
        """The address of what a row names, and the file it came from if it came from one.

        ``value`` is an address, a ``data:image/…;base64,`` URL, or a path relative to ``beside``,
        which it cannot leave.

        Raises:
            DataError: there is no such picture, or it cannot be used; the message says why, and
                never quotes the value.
        """
        if value.startswith(("image:", "data:")):
            return self.sent(value), None
        if "\0" in value or len(value) > 1_024:
            raise DataError("is no path")
        path = (beside / value).resolve()
        if not path.is_relative_to(beside.resolve()):
            raise DataError("leads out of the folder of the file that names it")
        if not path.is_file():
            raise DataError("names a file that is not there")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"has more than {MAX_BYTES:,} bytes")
        return self.keep(path.read_bytes()), path


def from_data_url(value: str) -> bytes:
    """The bytes in a ``data:image/…;base64,`` URL.

    Raises:
        DataError: it is no such URL, or too long.
    """
    found = _DATA.fullmatch(value)
    if found is None:
        raise DataError("is no data:image/…;base64 URL")
    if len(found[1]) > MAX_BYTES * 4 / 3 + 4:
        raise DataError(f"has more than {MAX_BYTES:,} bytes")
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise DataError("is not base64") from error


def pixels(url: str) -> int:
    """How many pixels a ``data:`` URL's picture says it has; 0 where `decoded` will refuse it."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(from_data_url(url)), formats=FORMATS) as file:
                return int(file.width * file.height)
    except (DataError, Image.DecompressionBombError, *_BROKEN):
        return 0


def probes() -> list[str]:
    """``data:`` URLs of a few pictures of nothing, always the same: stripes of several widths."""
    from PIL import Image

    found = []
    for width in (3, 9, 27):
        picture = Image.new("RGB", (64, 64), (20 * width % 256, 90, 160))
        for left in range(0, 64, 2 * width):
            picture.paste((250, 200, 9 * width), (left, 0, left + width, 64))
        found.append(f"data:image/png;base64,{base64.b64encode(_as_png(picture)).decode()}")
    return found


def decoded(content: bytes) -> Any:
    """A picture in memory, as it is kept: RGB, upright, scaled down; a ``PIL.Image``.

    Of a moving picture, the first frame. Of 16 bits a channel, the upper 8. Threads unpack large
    pictures one after the other.

    Raises:
        DataError: it is too large, in no known format, broken, or would unpack to too much.
    """
    from PIL import Image, UnidentifiedImageError

    if len(content) > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            # of its own limits; ours are checked before anything is unpacked
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as file:
                _refuse_size(*file.size)
                image = _kept(file)
    except Image.DecompressionBombError as error:
        raise DataError(f"has more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(f"is no picture in {', '.join(FORMATS)}") from error
    except _BROKEN as error:
        raise DataError("is broken: it cannot be decoded") from error
    _refuse_size(*image.size)
    return image


def _kept(file: Any) -> Any:
    """What is kept of an open file.

    A JPEG that is too large to unpack as a whole is unpacked at a half, a quarter or an eighth.
    """
    pixels = file.width * file.height
    # a PNG may say it behind its pixels
    turn = None if file.format == "PNG" else _turn(file)
    if _bytes_needed(file, pixels, turn) > MAX_UNPACKED:
        file.draft(None, (2 * KEPT_SIDE, 2 * KEPT_SIDE))
    needed = _bytes_needed(file, pixels, turn)
    _refuse_bytes(needed)
    with _ONE_LARGE if needed > LARGE else contextlib.nullcontext():
        file.load()
        if file.format == "PNG":
            turn = _turn(file)
            _refuse_bytes(_bytes_needed(file, pixels, turn))
        image = _on_white(file)
        if turn is not None:
            image = image.transpose(turn)
        image.thumbnail((KEPT_SIDE, KEPT_SIDE), _LANCZOS)
        return image.convert("RGB")


def _bytes_needed(file: Any, pixels: int, turn: int | None) -> int:
    """What it takes at most to unpack an open file, put it on white and turn it.

    By what it says of itself. ``pixels`` are those of the whole picture, also where fewer are
    unpacked.
    """
    each = _BYTES.get(file.mode, 4) + (0 if _is_plain(file) else 4) + (0 if turn is None else 4)
    unpacked = file.width * file.height * each
    if file.format == "WEBP":
        # the decoder's canvases
        return int(unpacked + 12 * pixels)
    # the decoder keeps the coefficients of a whole progressive JPEG
    return int(unpacked + (6 * pixels if file.info.get("progressive") else 0))


def _refuse_bytes(needed: int) -> None:
    if needed > MAX_UNPACKED:
        raise DataError(
            f"takes {needed // 1_000_000:,} MB to unpack, at most {MAX_UNPACKED // 1_000_000:,} "
            "are allowed; send it smaller"
        )


def _turn(file: Any) -> int | None:
    """How a camera says that its picture has to be turned; None where it says nothing usable."""
    try:
        return _TURNS.get(file.getexif().get(_ORIENTATION))
    except _BROKEN:
        # the picture itself is whole, and was unpacked
        return None


def _is_plain(file: Any) -> bool:
    return file.mode == "RGB" and "transparency" not in file.info


def _on_white(file: Any) -> Any:
    """An unpacked picture in RGB, on white where it was transparent; made strip by strip."""
    from PIL import Image

    if _is_plain(file):
        return file
    flat = Image.new("RGB", file.size)
    for top in range(0, file.height, _STRIP):
        strip = file.crop((0, top, file.width, min(top + _STRIP, file.height)))
        flat.paste(_strip_on_white(strip), (0, top))
    return flat


def _strip_on_white(strip: Any) -> Any:
    from PIL import Image

    if strip.mode.startswith("I"):
        return _of_16_bits(strip)
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    white = Image.new("RGBA", strip.size, "white")
    return Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB")


def _of_16_bits(strip: Any) -> Any:
    """Grey of 16 bits as RGB: ``PIL`` would cut off, and leave white, what is above 255."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(strip).astype(np.int64).clip(0, 65_535)
    grey = (levels >> 8).astype(np.uint8)
    if (nothing := strip.info.get("transparency")) is not None:
        grey[levels == nothing] = 255
    return Image.fromarray(grey).convert("RGB")


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"has more than {MAX_PIXELS:,} pixels")
    if min(width, height) < MIN_SIDE:
        raise DataError(f"has fewer than {MIN_SIDE} pixels on a side")


def _as_png(image: Any) -> bytes:
    # a new image has the pixels only, whatever the file said beside them
    from PIL import Image

    bare = Image.new("RGB", image.size)
    bare.paste(image)
    out = io.BytesIO()
    bare.save(out, "PNG")
    return out.getvalue()
