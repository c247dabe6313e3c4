"""Files of texts in, rows of answers out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.images import Images
from flywheel.records import Prediction
from flywheel.text import text_id


def read_rows(path: Path) -> list[tuple[str, str]]:
    """``(group_id, text)`` for every line; without a group, each text is its own.

    Raises:
        DataError: a line is not JSON or has no text; which line, and what was found.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON: nothing was answered.") from error
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f'{path} line {number} needs "text", a string that is not empty; '
                "nothing was answered."
            )
        rows.append((str(row.get("group_id") or text_id(text)), text))
    return rows


def with_addresses(
    rows: Sequence[tuple[str, str]], images: Images, beside: Path
) -> list[tuple[str, str]]:
    """Rows about pictures, each kept and named by its address; paths are relative to ``beside``.

    Raises:
        DataError: a picture cannot be used; in which row, and why.
    """
    found = []
    for number, (group, text) in enumerate(rows, start=1):
        try:
            address, _ = images.addressed(text.strip(), beside)
        except DataError as error:
            raise DataError(
                f"text of row {number} {error.message}; nothing was answered."
            ) from error
        found.append((text_id(address) if group == text_id(text) else group, address))
    return found


def answer_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """What a caller gets back for each text."""
    return [
        {
            "prediction_id": p.prediction_id,
            "label": p.label,
            "probabilities": dict(p.probabilities),
            "model_version": p.model_version,
            "digest": p.digest,
        }
        for p in predictions
    ]
