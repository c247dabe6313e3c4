"""Names of metrics that MLflow takes, made of labels that may hold anything.

MLflow takes few characters, 250 of them at most, and nothing that would be another path when read
as one. Some of the databases behind it take two names for one when only their case differs.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Mapping

MOST_CHARS = 250
_REFUSED = re.compile(r"[^/\w.\- :]", re.ASCII)
_HASH_CHARS = 8


def nameable(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same values under names that MLflow takes, no two of them the same.

    A name that is one already stays as it is. Another one has ``_`` for each character that is
    refused, and a hash of what it was where that alone would not do. So the name of a label does
    not depend on the other labels, unless they would share it.
    """
    safe = {name: _safe(name) for name in metrics}
    often = Counter(map(_folded, safe.values()))
    return {
        safe[name] if often[_folded(safe[name])] == 1 else _hashed(name): value
        for name, value in metrics.items()
    }


def _safe(name: str) -> str:
    plain = _REFUSED.sub("_", name)
    fits = len(plain) <= MOST_CHARS and posixpath.normpath(plain) == plain
    return plain if fits and not plain.startswith(("/", ".")) else _hashed(name)


def _hashed(name: str) -> str:
    plain = _REFUSED.sub("_", name).replace("/", "_").lstrip(".")
    made = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    return f"{plain[: MOST_CHARS - _HASH_CHARS - 1]}-{made}"


def _folded(name: str) -> str:
    return name.casefold().rstrip()


def shortened(text: str, most: int) -> str:
    """Text of at most ``most`` characters; what is left out is marked."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
