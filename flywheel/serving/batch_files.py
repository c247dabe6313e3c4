"""Files of texts in, rows of answers out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.ingestion.readers import parquet_batches
from flywheel.ingestion.readers.blocks import Unpacked
from flywheel.records import Prediction
from flywheel.text import label_spelling
from flywheel.text.normalize import text_id

PARQUET = ".parquet"
FORMATS = (PARQUET, ".jsonl")
SCHEMA = pa.schema(
    {
        "prediction_id": pa.string(),
        "label": pa.string(),
        "probabilities": pa.map_(pa.string(), pa.float64()),
        "model_version": pa.string(),
        "digest": pa.string(),
    }
)
"""Of a table of answers."""


class Asked(NamedTuple):
    """A row to be answered."""

    group_id: str
    text: str
    customer_id: str | None = None


def read_rows(path: Path, *, by_customer: bool = True) -> list[Asked]:
    """Every row of a Parquet file or line of JSON.

    Without a group the row's ``customer_id`` is the group if ``by_customer`` (`split`), and
    without both its text. Identifiers may be numbers.

    Raises:
        DataError: a row has no text, or is no JSON; which one, and what was expected.
    """
    if path.suffix == PARQUET:
        return _table_rows(path, by_customer=by_customer)
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
        who = _Who(f"{path} line {number}", by_customer)
        rows.append(who.asks(text, row.get("group_id"), row.get("customer_id")))
    return rows


class _Who(NamedTuple):
    """Names the group and the customer of the row at ``place``."""

    place: str
    by_customer: bool

    def asks(self, text: str, group: object, customer: object) -> Asked:
        who = self._name(customer, "customer_id")
        named = self._name(group, "group_id") or (who if self.by_customer else None)
        return Asked(named or text_id(text), text, who)

    def _name(self, value: object, field: str) -> str | None:
        """The identifier as `init` and feedback write it; None where the cell is blank."""
        try:
            return label_spelling.written(value)
        except ValueError as error:
            raise DataError(
                f'{self.place} needs a name as "{field}", found {error}; nothing was answered.'
            ) from error


def _table_rows(path: Path, *, by_customer: bool) -> list[Asked]:
    try:
        with path.open("rb") as file:
            table = parquet_batches.read_table(file)
    except (pa.ArrowException, OSError, Unpacked) as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}") from error
    if "text" not in table.column_names:
        raise DataError(
            f'{path} needs a column "text"; it has {", ".join(table.column_names) or "none"}. '
            "Nothing was answered."
        )
    texts = table["text"].to_pylist()
    groups, customers = (
        table[name].to_pylist() if name in table.column_names else [None] * len(texts)
        for name in ("group_id", "customer_id")
    )
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise DataError(
                f'{path} row {number} needs "text", a string that is not empty; '
                "nothing was answered."
            )
    return [
        _Who(f"{path} row {number}", by_customer).asks(text, group, customer)
        for number, (group, customer, text) in enumerate(
            zip(groups, customers, texts, strict=True), start=1
        )
    ]


def write_answers(path: Path, predictions: Sequence[Prediction]) -> None:
    """One row for each text, in order, as `answer_rows`; Parquet or JSON Lines, by the suffix."""
    rows = answer_rows(predictions)
    if path.suffix == PARQUET:
        columns = {name: [row[name] for row in rows] for name in SCHEMA.names}
        columns["probabilities"] = [list(row["probabilities"].items()) for row in rows]
        pq.write_table(pa.table(columns, SCHEMA), path)
        return
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def join_parts(parts: Sequence[Path], path: Path) -> None:
    """All parts in one file, in order; at most one part is in memory."""
    if path.suffix != PARQUET:
        with path.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())
        return
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def with_addresses(
    rows: Sequence[tuple[str, str] | Asked], images: Images, beside: Path
) -> list[Asked]:
    """Rows about pictures, each kept and named by its address; paths are relative to ``beside``.

    Raises:
        DataError: a picture cannot be used; in which row, and why.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        group, text, customer = Asked(*row)
        try:
            address, _ = images.addressed(text.strip(), beside)
        except DataError as error:
            raise DataError(
                f"text of row {number} {error.message}; nothing was answered."
            ) from error
        alone = group == text_id(text)
        found.append(Asked(text_id(address) if alone else group, address, customer))
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
