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
import hashlib
import io
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
"""More, as a file says of itself before it is unpacked, is refused: it may be a bomb."""
MIN_SIDE = 8
KEPT_SIDE = 512
"""The bases read 224 to 518 pixels a side."""

_ADDRESS = re.compile(r"image:sha256:([0-9a-f]{64})")
_DATA = re.compile(r"data:image/[a-z]+;base64,(.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether a text names a picture."""
    return _ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True)
class Images:
    """The pictures under one folder. Files in it are never changed.

    ``written`` are the addresses that were not there before `keep`.
    """

    folder: Path
    written: set[str] = field(default_factory=set, repr=False, compare=False)

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
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with partial.open("wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
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

    Of a moving picture, the first frame.

    Raises:
        DataError: it is too large, in no known format, broken, or would unpack to too much.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(content) > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES:,} bytes")
    try:
        with warnings.catch_warnings():
            # of its own limits; ours are checked below, before anything is unpacked
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as file:
                _refuse_size(*file.size)
                image = ImageOps.exif_transpose(file).convert("RGBA")
    except Image.DecompressionBombError as error:
        raise DataError(f"has more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(f"is no picture in {', '.join(FORMATS)}") from error
    # what PIL raises on files that break off or contradict themselves
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError) as error:
        raise DataError("is broken: it cannot be decoded") from error
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    flat.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    _refuse_size(*flat.size)
    return flat


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
