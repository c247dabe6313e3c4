"""Answers that are known from before: bounded by bytes, and to each caller their own.

How fast an answer comes tells whether it was kept. Were answers kept for everybody, a customer
could find out which texts another one sent. So each has the answers to what they asked themselves.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict

from flywheel.serving.models.engine import Probabilities

_ENTRY_BYTES = 250
"""What keeping an answer takes beside the answer."""


class Cache:
    """The answers asked last, at most ``most`` of them in ``max_bytes``. No text is in it."""

    def __init__(self, most: int, max_bytes: int) -> None:
        self._most, self._max_bytes = most, max_bytes
        self._kept: OrderedDict[bytes, Probabilities] = OrderedDict()
        self.size = 0
        """What it takes, about, in bytes."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, whose: str, digest: str, text: str) -> Probabilities | None:
        """What the version with ``digest`` answered to this caller's text."""
        return self._kept.get(_key(whose, digest, text))

    def keep(self, whose: str, digest: str, text: str, answer: Probabilities) -> None:
        """Keep an answer; what was kept first goes where there is no room."""
        key = _key(whose, digest, text)
        if key in self._kept:
            return
        self._kept[key] = answer
        self.size += _size(answer)
        while self._kept and (len(self._kept) > self._most or self.size > self._max_bytes):
            _, gone = self._kept.popitem(last=False)
            self.size -= _size(gone)


def _key(*told: str) -> bytes:
    parts = [part.encode("utf-8", "surrogatepass") for part in told]
    head = b"".join(len(part).to_bytes(8, "big") for part in parts)
    return hashlib.sha256(head + b"".join(parts)).digest()


def _size(answer: Probabilities) -> int:
    numbers = sum(sys.getsizeof(name) + sys.getsizeof(0.5) for name in answer)
    return _ENTRY_BYTES + sys.getsizeof(dict(answer)) + numbers
