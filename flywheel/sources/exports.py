"""Files that another system exports whole: read again when they, or how they are read, change.

Feedback comes late: a chat is rated, and an annotation corrected, long after it was made. So an
export that changed is read from its beginning, and what is known is told by its id (`tasks.pull`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import fsspec

from flywheel.config import SourceConfig
from flywheel.sources.files import mark_of, rows_in, settings_of
from flywheel.text.normalize import printable

_SHOWN_FIELDS = 12


def entries(
    source: SourceConfig, watermark: str | None, labels: Sequence[str]
) -> tuple[list[dict[str, Any]], str, str]:
    """The entries of an export, its new watermark, and up to when they were read before.

    There are no entries where nothing changed. Older versions kept the newest time as the
    watermark, and read nothing before it again: what they took in has other ids.

    Raises:
        OSError, ValueError: there is no such file, or it cannot be read.
    """
    system, path = fsspec.core.url_to_fs(source.location)
    known = _known(watermark)
    told = json.dumps([mark_of(system, path), settings_of(source), sorted(labels)])
    before = str(known.get("before") or "")
    mark = json.dumps({"read": told, "before": before}, sort_keys=True)
    if known.get("read") == told:
        return [], mark, before
    return rows_in(source.location, system.open(path, "rb")), mark, before


def require_known(known: int, entries: Sequence[Mapping[str, Any]], expected: str) -> None:
    """Refuse an export none of whose entries has the shape that is needed.

    Raises:
        ValueError: saying how many there are, which fields they have, and what was expected.
    """
    if known or not entries:
        return
    raise ValueError(
        f"none of its {len(entries):,} entries {expected}; they have {fields(entries)}"
    )


def fields(entries: Iterable[Mapping[str, Any]]) -> str:
    """The names of their fields, the commonest first."""
    names = [name for name, _ in Counter(name for one in entries for name in one).most_common()]
    shown = ", ".join(printable(str(name))[:40] for name in names[:_SHOWN_FIELDS]) or "no fields"
    return f"{shown}, …" if len(names) > _SHOWN_FIELDS else shown


def _known(watermark: str | None) -> dict[str, Any]:
    try:
        found = json.loads(watermark or "{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"before": watermark}
