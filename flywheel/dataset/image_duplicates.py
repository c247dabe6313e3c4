"""Which pictures are nearly the same: scaled, recompressed, brightened or retouched a little.

By difference hash (Krawetz 2013): a picture is scaled to a few grey cells, and bits say whether a
cell is darker than its neighbour. Here right and lower neighbours count, and further bits say
whether it is lighter, so that plain parts are told from falling ones. Crops, mirror images and
turns are not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flywheel.dataset.images import Images, decoded
from flywheel.errors import DataError

MOST_BITS = 32
"""Bits of 288 in which pictures almost alike differ at most."""
CELLS = 9
"""A side."""
FLAT = 4
"""Grey levels, of 256: neighbours that differ by less count as equal, or noise would decide."""
MOST_COLOUR = 40
"""Levels, of 256, by which the mean red, green and blue of pictures almost alike may differ."""
_ROWS_AT_ONCE = 1_000
_MOST_KNOWN = 100_000
"""Pictures whose signatures are kept in memory, some hundred bytes each."""
_BYTES = 2 * 2 * CELLS * (CELLS - 1) // 8


@dataclass(frozen=True)
class Signatures:
    """What pictures are compared by: ``bits`` (pictures, 36) bytes, ``colours`` (pictures, 3)."""

    bits: NDArray[np.uint8]
    colours: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.bits)


def signatures(addresses: Sequence[str], images: Images) -> Signatures:
    """Two bits per pair of neighbours, one for lighter and one for darker, and the mean colours.

    Raises:
        DataError: a picture is not there.
    """
    found = [_signature_at(images.folder, address) for address in addresses]
    return Signatures(
        np.array([bits for bits, _ in found], dtype=np.uint8).reshape(-1, _BYTES),
        np.array([colour for _, colour in found], dtype=np.int16).reshape(-1, 3),
    )


def look_at(addresses: Iterable[str], images: Images) -> None:
    """Work out the signatures of these pictures ahead: before the warehouse is held for them.

    A picture's address is its content's hash, so that what is known of it stays true. One that
    cannot be read is left to who needs it.
    """
    for address in addresses:
        with suppress(DataError):
            _signature_at(images.folder, address)


@lru_cache(maxsize=_MOST_KNOWN)
def _signature_at(folder: Path, address: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    return _signature(Images(folder).content(address))


def clusters(addresses: Sequence[str], images: Images) -> list[int]:
    """Give each picture the number of its cluster, numbered from 0 by first occurrence.

    Connected components: A near B and B near C puts all three together.

    Raises:
        DataError: a picture is not there.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not addresses:
        return []
    own = signatures(addresses, images)
    left, right = _near(own, own)
    edges = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(len(own), len(own)))
    numbers: dict[int, int] = {}
    component = connected_components(edges, directed=False)[1]
    return [numbers.setdefault(int(each), len(numbers)) for each in component]


def alike(addresses: Sequence[str], others: Sequence[str], images: Images) -> list[bool]:
    """Whether each picture is almost alike to one of ``others``."""
    near = set(_near(signatures(addresses, images), signatures(others, images))[0].tolist())
    return [row in near for row in range(len(addresses))]


def _signature(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    from PIL import Image

    image = decoded(content)
    grey = image.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX)
    cells = np.asarray(grey, dtype=np.int16)
    steps = np.concatenate([np.diff(cells, axis=0).ravel(), np.diff(cells, axis=1).ravel()])
    bits = np.packbits(np.concatenate([steps >= FLAT, steps <= -FLAT]))
    return bits, np.asarray(image).mean(axis=(0, 1))


def _near(left: Signatures, right: Signatures) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the one and of the other that are almost alike; work grows with their product."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for first in range(0, len(left), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        differing = np.zeros((len(left.bits[rows]), len(right)), dtype=np.uint16)
        for byte in range(left.bits.shape[1]):
            differing += np.bitwise_count(left.bits[rows, byte, None] ^ right.bits[None, :, byte])
        near = differing <= MOST_BITS
        for channel in range(3):
            apart = left.colours[rows, channel, None] - right.colours[None, :, channel]
            near &= np.abs(apart) <= MOST_COLOUR
        found.append(np.argwhere(near) + np.array([first, 0]))
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1]
