"""Files anywhere that fsspec reaches: ``s3://…``, ``https://…``, ``memory://…``, a local path.

``location`` may hold ``*``. CSV of any separator, JSON Lines, JSON and Parquet, also ``.gz`` and
``.zst``, in UTF-8 or as spreadsheets write it. The watermark is what was read: each file by its
name, size and time.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from typing import Any

import fsspec

from flywheel.config import SourceConfig
from flywheel.files import hashing
from flywheel.ingestion import tables
from flywheel.ingestion.readers import parquet_batches
from flywheel.ingestion.readers.blocks import BREAKS, PIECE_BYTES, packing_of, reader
from flywheel.ingestion.readers.dialect import text_of
from flywheel.sources.base import Pulled
from flywheel.text.normalize import printable
from flywheel.urls import without_secrets

log = logging.getLogger(__name__)

_SETTINGS = "settings"
"""In the watermark, beside the paths."""
_UNREADABLE = (*BREAKS, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a file raises that ends too early, or holds what its name does not say."""


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Rows of the files that are new or changed since, without those that cannot be read."""
    system, pattern = fsspec.core.url_to_fs(source.location)
    known: dict[str, str] = json.loads(watermark) if watermark else {}
    found = sorted(system.glob(pattern))
    if not found and not known:
        raise FileNotFoundError(f"no file matches {source.location}")
    settings = settings_of(source)
    if known.get(_SETTINGS, settings) != settings:
        # another mapping reads other rows in the same files
        known = {}
    rows: list[dict[str, Any]] = []
    failed: dict[str, Exception] = {}
    for path in found:
        try:
            mark = mark_of(system, path)
            if known.get(path) != mark:
                rows += rows_in(path, system.open(path, "rb"))
                known[path] = mark
        except _UNREADABLE as error:
            # half written, or damaged: the other files have nothing to do with it
            failed[path] = error
    if failed and len(failed) == len(found):
        raise next(iter(failed.values()))
    mark = json.dumps(known | {_SETTINGS: settings}, sort_keys=True)
    return Pulled(tuple(rows), watermark=mark, unread=tuple(map(_told, failed.items())))


def _told(failed: tuple[str, Exception]) -> str:
    path, error = failed
    # a library's message may quote data after its first line
    why = str(error).strip().partition("\n")[0][:200]
    return without_secrets(f"{printable(path)} ({type(error).__name__}: {printable(why)})")


def mark_of(system: Any, path: str) -> str:
    """What changes when a file does: its size and time, or its content where no server says."""
    protocols = [system.protocol] if isinstance(system.protocol, str) else system.protocol
    if not {"http", "https"}.intersection(protocols):
        return str(system.ukey(path))
    with system.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settings_of(source: SourceConfig) -> str:
    """A digest of how the source is read; after a change everything is read again."""
    how = source.model_dump(mode="json", exclude={"name", "location", "lookback_days"})
    # so that a setting which a later version adds changes nothing
    said = {name: value for name, value in how.items() if value}
    return hashing.of_json(said)[:16]


def rows_in(path: str, file: Any) -> list[dict[str, Any]]:
    """The rows of an open file, unpacked by what its name says.

    Raises:
        ValueError: it is of no known format or encoding, or unpacks to more than its size allows.
    """
    packing, name = packing_of(path.lower())
    with file:
        read = reader(file, packing)
        content = b"".join(iter(lambda: read(PIECE_BYTES), b""))
    if name.endswith(".parquet"):
        return list(parquet_batches.read_table(io.BytesIO(content)).to_pylist())
    if (text := text_of(content)) is None:
        raise ValueError(f"{path} is neither UTF-8 nor UTF-16 nor Windows-1252; save it as UTF-8")
    if name.endswith((".csv", ".tsv")):
        return _rows_of_table(path, tables.sheet(text, "\t" if name.endswith(".tsv") else None))
    if name.endswith((".jsonl", ".ndjson")):
        return _rows_of_table(path, tables.json_lines(text))
    if name.endswith(".json"):
        from flywheel.sources import rows_of

        content = json.loads(text)
        if told := _other_pages(content):
            log.warning("%s is a part of what there is (%s); the rest is not in it", path, told)
        return list(rows_of(content))
    raise ValueError(f"{path} is neither .csv, .tsv, .jsonl, .json nor .parquet")


def _other_pages(content: Any) -> str | None:
    """What an answer of a server says of further pages; None where it is all."""
    if not isinstance(content, dict):
        return None
    meta = content.get("meta")
    said = {**(meta if isinstance(meta, dict) else {}), **content}
    pages = said.get("totalPages")
    if isinstance(pages, int) and pages > 1:
        return f"page {said.get('page', 1)} of {pages}"
    more = [name for name in ("next", "nextCursor", "next_page_token") if said.get(name)]
    more += ["has_more"] if said.get("has_more") is True else []
    return more[0] if more else None


def _rows_of_table(path: str, table: tables.Table) -> list[dict[str, Any]]:
    """Its rows; one that cannot be read is an empty one, which ingestion counts and sets apart."""
    for refused in table.refused:
        log.warning("row %d of %s cannot be used: %s", refused.number, path, refused.why)
    return [dict(row) for row in table.rows] + [{} for _ in table.refused]
