"""Files anywhere that fsspec reaches: ``s3://…``, ``https://…``, ``memory://…``, a local path.

``location`` may hold ``*``. CSV, JSON Lines and Parquet, also ``.gz`` and ``.zst``. The watermark
is what was read: each file by its name, size and time.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import fsspec
import pyarrow.parquet as pq

from flywheel.config import SourceConfig
from flywheel.sources.pulled import Pulled


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
    """The rows of an open file, unpacked by what its name says."""
    name = path.lower()
    with file:
        content = file.read()
    if name.endswith(".gz"):
        import gzip

        name, content = name.removesuffix(".gz"), gzip.decompress(content)
    elif name.endswith(".zst"):
        import pyarrow as pa

        name = name.removesuffix(".zst")
        content = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
    if name.endswith(".parquet"):
        return list(pq.read_table(io.BytesIO(content)).to_pylist())
    text = content.decode("utf-8-sig")
    if name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    if name.endswith((".jsonl", ".ndjson")):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if name.endswith(".json"):
        from flywheel.sources import rows_of

        return list(rows_of(json.loads(text)))
    raise ValueError(f"{path} is neither .csv, .jsonl, .json nor .parquet")
