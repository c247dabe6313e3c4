"""Files of texts in, rows of answers out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel.batch import answer_rows, read_rows
from flywheel.errors import DataError
from flywheel.records import Prediction


def asked(folder: Path, content: str) -> Path:
    file = folder / "asked.jsonl"
    file.write_text(content, encoding="utf-8")
    return file


def test_rows_keep_their_order_and_group(tmp_path: Path) -> None:
    file = asked(tmp_path, '{"text": "b", "group_id": "g"}\n\n{"text": "a"}\n')

    (first, second) = read_rows(file)

    assert first == ("g", "b")
    assert second[1] == "a"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_without_a_group_is_its_customers(tmp_path: Path, suffix: str) -> None:
    asked = [
        {"text": "a", "group_id": None, "customer_id": "48213"},
        {"text": "b", "group_id": "c-1", "customer_id": "48213"},
    ]
    file = tmp_path / f"asked{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(asked), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    assert read_rows(file) == [("48213", "a"), ("c-1", "b")]


def test_equal_texts_without_a_group_share_one(tmp_path: Path) -> None:
    rows = read_rows(asked(tmp_path, '{"text": "It works"}\n{"text": "it  works"}\n{"text": "no"}'))

    groups = [group for group, _ in rows]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("line", ["not json", "[1]", "{}", '{"text": 3}', '{"text": "  "}'])
def test_a_bad_line_is_named_and_nothing_is_answered(tmp_path: Path, line: str) -> None:
    file = asked(tmp_path, f'{{"text": "fine"}}\n{line}\n')

    with pytest.raises(DataError, match=r"asked\.jsonl line 2 .*nothing was answered"):
        read_rows(file)


def test_an_answer_says_what_feedback_must_name() -> None:
    prediction = Prediction(
        prediction_id="p1",
        text="it works",
        group_id="g",
        customer_id="c",
        label="positive",
        probabilities={"negative": 0.25, "positive": 0.75},
        model_version="3",
        digest="d",
        predicted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    (row,) = answer_rows([prediction])

    assert json.loads(json.dumps(row)) == {
        "prediction_id": "p1",
        "label": "positive",
        "probabilities": {"negative": 0.25, "positive": 0.75},
        "model_version": "3",
        "digest": "d",
    }
