"""Small pictures that tests draw themselves: dots or stripes, no two the same."""

from __future__ import annotations

import io
import math
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

KINDS = ("dots", "stripes")


def draw(kind: str, seed: int, *, side: int = 48) -> Any:
    """A ``PIL.Image`` of that kind; the seed decides colours and places."""
    rng = random.Random(f"{kind}:{seed}")
    image = Image.new("RGB", (side, side), tuple(rng.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        colour = tuple(rng.randrange(256) for _ in range(3))
        x, y, size = rng.randrange(side), rng.randrange(side), rng.randrange(6, 14)
        if kind == "dots":
            pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
        else:
            pen.rectangle((0, y, side, y + 4), fill=colour)
    return image


def mosaic(colours: Sequence[tuple[int, int, int]], tile: int) -> Any:
    """A square ``PIL.Image`` of one tile for each colour, ``tile`` pixels a side."""
    side = math.isqrt(len(colours))
    image = Image.new("RGB", (side, side))
    image.putdata(list(colours))
    return image.resize((side * tile, side * tile), Image.Resampling.NEAREST)


def encoded(image: Any, form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of that format."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it is that large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
