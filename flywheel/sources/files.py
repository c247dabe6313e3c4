"""Files anywhere that fsspec reaches: ``s3://…``, ``https://…``, ``memory://…``, a local path.

``location`` may hold ``*``. CSV of any separator, JSON Lines, JSON and Parquet, also ``.gz`` and
``.zst``, in UTF-8 or as spreadsheets write it. The watermark is what was read: each file by its
name, size and time.
"""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import fsspec

from flywheel import tables
from flywheel.config import SourceConfig
from flywheel.feedback_files import batches
from flywheel.feedback_files.blocks import PIECE_BYTES, packing_of, reader
from flywheel.feedback_files.dialect import text_of
from flywheel.sources.pulled import Pulled

log = logging.getLogger(__name__)


def read(source: SourceConfig, watermark: str | None) -> Pulled:
    """Rows of the files that are new or changed since."""
    system, pattern = fsspec.core.url_to_fs(source.location)
    known: dict[str, str] = json.loads(watermark) if watermark else {}
    found = sorted(system.glob(pattern))
    if not found and not known:
        raise FileNotFoundError(f"no file matches {source.location}")
    rows: list[dict[str, Any]] = []
    for path in found:
        mark = str(system.ukey(path))
        if known.get(path) != mark:
            rows += rows_in(path, system.open(path, "rb"))
            known[path] = mark
    return Pulled(tuple(rows), watermark=json.dumps(known, sort_keys=True))


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
        return list(batches.read_table(io.BytesIO(content)).to_pylist())
    if (text := text_of(content)) is None:
        raise ValueError(f"{path} is neither UTF-8 nor UTF-16 nor Windows-1252; save it as UTF-8")
    if name.endswith((".csv", ".tsv")):
        return _rows_of_table(path, tables.sheet(text, "\t" if name.endswith(".tsv") else None))
    if name.endswith((".jsonl", ".ndjson")):
        return _rows_of_table(path, tables.json_lines(text))
    if name.endswith(".json"):
        from flywheel.sources import rows_of

        return list(rows_of(json.loads(text)))
    raise ValueError(f"{path} is neither .csv, .tsv, .jsonl, .json nor .parquet")


def _rows_of_table(path: str, table: tables.Table) -> list[dict[str, Any]]:
    """Its rows; one that cannot be read is an empty one, which ingestion counts and sets apart."""
    for refused in table.refused:
        log.warning("row %d of %s cannot be used: %s", refused.number, path, refused.why)
    return [dict(row) for row in table.rows] + [{} for _ in table.refused]
