"""JSON Lines: one object a line; blank lines are no rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel.errors import DataError
from flywheel.feedback_files.blocks import (
    BOM,
    KEPT_CHARS,
    MAX_ROW_BYTES,
    Blocks,
    fit_lines,
    lines_of,
    raw_text,
    too_long,
)
from flywheel.feedback_files.chunk import Chunk, Row, alone, in_batches


def json_chunks(blocks: Blocks) -> Iterator[Chunk]:
    number = 0
    for index, (block, whole) in enumerate(blocks):
        if not whole:
            number += 1
            yield alone(number, (raw_text(block)[:KEPT_CHARS], too_long()))
            continue
        chunk = _json_chunk(block.removeprefix(BOM) if index == 0 else block, number + 1)
        number += chunk.table.num_rows + len(chunk.odd)
        yield chunk
    if blocks.broken is not None:
        yield alone(number + 1, ("", blocks.broken))


def _json_chunk(block: bytes, first: int) -> Chunk:
    lines = lines_of(block)
    filled = _filled(lines, block)
    if not filled.all():
        lines = lines.filter(pa.array(filled))
    numbers = np.arange(first, first + len(lines))
    fit = fit_lines(lines)
    odd = [(int(numbers[i]), _json_row(lines[i].as_py())) for i in np.flatnonzero(~fit)]
    if odd:
        lines, numbers = lines.filter(pa.array(fit)), numbers[fit]
    table = pa.table({"row_number": pa.array(numbers), "line": lines.view(pa.string())})

    def row(number: int) -> Row:
        return _json_row(lines[int(np.searchsorted(numbers, number))].as_py())

    return Chunk(in_batches(table), row, tuple(odd))


def _filled(lines: pa.Array, block: bytes) -> Any:
    """Say for every line whether it is more than white space."""
    if not len(lines):
        return np.zeros(0, bool)
    starts = np.frombuffer(lines.buffers()[1], np.int32)[: len(lines)]
    first = np.frombuffer(block, np.uint8)[starts]
    filled = np.ones(len(lines), bool)
    for i in np.flatnonzero(first <= ord(" ")):
        filled[i] = bool(lines[i].as_py().strip())
    return filled


def _json_row(line: bytes) -> Row:
    return raw_text(line), _json_fields(line)


def _json_fields(line: bytes) -> dict[str, object] | DataError:
    if len(line) > MAX_ROW_BYTES:
        return too_long()
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return DataError("the row is not valid UTF-8")
    except (ValueError, RecursionError):
        return DataError("the row is not valid JSON")
    if not isinstance(content, dict):
        return DataError(f"the row must be a JSON object, found {type(content).__name__}")
    return content
