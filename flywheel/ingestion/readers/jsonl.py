"""JSON Lines: one object a line; blank lines are no rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from flywheel.errors import DataError
from flywheel.ingestion.readers.blocks import (
    BOM,
    KEPT_CHARS,
    MAX_ROW_BYTES,
    Blocks,
    fit_lines,
    lines_of,
    raw_text,
    too_long,
)
from flywheel.ingestion.readers.chunk import MAX_LINES, Chunk, Row, alone, in_batches

# as `bytes.strip` has it
_SPACES = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\x0b\f", np.uint8))


def json_chunks(blocks: Blocks) -> Iterator[Chunk]:
    number = 0
    for index, (block, whole) in enumerate(blocks):
        if not whole:
            number += 1
            yield alone(number, (raw_text(block)[:KEPT_CHARS], too_long()))
            continue
        lines = lines_of(block.removeprefix(BOM) if index == 0 else block)
        for begin in range(0, len(lines), MAX_LINES):
            chunk = _json_chunk(lines[begin : begin + MAX_LINES], number + 1)
            number += chunk.table.num_rows + len(chunk.odd)
            yield chunk
    if blocks.broken is not None:
        yield alone(number + 1, ("", blocks.broken))


def _json_chunk(lines: pa.Array, first: int) -> Chunk:
    filled = _filled(lines)
    blank = int(np.count_nonzero(~filled))
    if blank:
        lines = lines.filter(pa.array(filled))
    numbers = np.arange(first, first + len(lines))
    fit = fit_lines(lines)
    odd: list[tuple[int, Row]] = []
    if not fit.all():
        broken = lines.filter(pa.array(~fit)).to_pylist()
        odd = list(zip(numbers[~fit].tolist(), map(_json_row, broken), strict=True))
        lines, numbers = lines.filter(pa.array(fit)), numbers[fit]
    table = pa.table({"row_number": pa.array(numbers), "line": lines.view(pa.string())})

    def row(number: int) -> Row:
        return _json_row(lines[int(np.searchsorted(numbers, number))].as_py())

    return Chunk(in_batches(table), row, tuple(odd), blank)


def _filled(lines: pa.Array) -> Any:
    """Say for every line whether it is more than white space."""
    starts = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset :][: len(lines) + 1]
    content = np.frombuffer(lines.buffers()[2], np.uint8)[starts[0] : starts[-1]]
    begins = starts[:-1] - starts[0]
    filled = ~_SPACES[content[begins]]
    if not filled.all():
        # a line has its end at least, so that none is empty
        filled = np.logical_or.reduceat(~_SPACES[content], begins)
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
