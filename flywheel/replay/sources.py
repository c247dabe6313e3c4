"""A life's texts: made up, or of a file with columns ``text`` and ``label``."""

from __future__ import annotations

from pathlib import Path

from flywheel.errors import DataError
from flywheel.ingestion import tables
from flywheel.replay.texts import Company, File, Said, Source
from flywheel.replay.worlds import World

_SO = "Nothing was replayed."


def of(world: World, file: Path | None, seed: int) -> Source:
    """The texts of a life: the same seed, the same texts.

    Raises:
        DataError: the file cannot be read, or has no such columns.
    """
    return Company(world, seed) if file is None else File(rows(file), seed)


def rows(file: Path) -> list[Said]:
    """The labeled rows of a table; a column ``domain`` tells kinds of requests apart.

    A column ``rated`` has what a real rater said of the text: reactions then err as people do.
    A text that comes twice is taken once, or it would be both asked and hidden.

    Raises:
        DataError: as `of`.
    """
    found = tables.read_table(file).rows
    if not found or not {"text", "label"} <= set(found[0]):
        raise DataError(f"{file} needs the columns text and label. {_SO}", path=str(file))
    domains = sorted({str(row.get("domain") or "") for row in found})
    once = {
        str(row["text"]): Said(
            str(row["text"]),
            str(row["label"]),
            domains.index(str(row.get("domain") or "")),
            str(row["rated"]) if row.get("rated") else None,
        )
        for row in found
        if row.get("text") and row.get("label")
    }
    if len({one.label for one in once.values()}) < 2:
        raise DataError(f"{file} needs rows of at least 2 labels. {_SO}", path=str(file))
    return list(once.values())
