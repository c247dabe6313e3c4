"""Files of texts in, rows of answers out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.records import Prediction
from flywheel.serving.batch_files import Asked, answer_rows, read_rows
from flywheel.store import open_store
from flywheel.text.normalize import text_id
from tasks.outputs.predict import Champion


class Fixed:
    """Answers each text the same."""

    def answer(self, texts: Sequence[str], **_: object) -> tuple[list[dict[str, float]], None]:
        return [{"positive": 1.0} for _ in texts], None


def asked(folder: Path, content: str) -> Path:
    file = folder / "asked.jsonl"
    file.write_text(content, encoding="utf-8")
    return file


def test_rows_keep_their_order_and_group(tmp_path: Path) -> None:
    file = asked(tmp_path, '{"text": "b", "group_id": "g"}\n\n{"text": "a"}\n')

    (first, second) = read_rows(file)

    assert first == ("g", "b", None)
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
    assert read_rows(file) == [("48213", "a", "48213"), ("c-1", "b", "48213")]
    apart, _ = read_rows(file, by_customer=False)
    assert apart == (text_id("a"), "a", "48213")


def test_a_customer_is_named_the_same_whatever_type_the_column_has(tmp_path: Path) -> None:
    """Tables keep integers as floats beside a missing one; a blank cell names nobody."""
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "customer_id": [48213.0, None]}), numbers)
    assert [row.group_id for row in read_rows(numbers)] == ["48213", text_id("b")]
    lines = asked(tmp_path, '{"text": "a", "customer_id": 0}\n{"text": "b", "customer_id": "  "}')
    assert [row.group_id for row in read_rows(lines)] == ["0", text_id("b")]
    nested = asked(tmp_path, '{"text": "a", "customer_id": {"id": 1}}\n')
    with pytest.raises(DataError, match=r'line 1 needs a name as "customer_id", found a structure'):
        read_rows(nested)


def test_whom_an_answer_was_for_is_stored_beside_its_group(home: Home, use_case: UseCase) -> None:
    """Who is forgotten is found by it."""
    champion = Champion(use_case, home, "1", "d", Fixed())
    (one,) = champion.answer([Asked("c-1", "b", "48213")], at=datetime(2026, 1, 1, tzinfo=UTC))
    assert (one.group_id, one.customer_id) == ("c-1", "48213")


def test_a_text_that_nobody_is_named_for_has_no_customer(home: Home, use_case: UseCase) -> None:
    """As a request to the service: neither the text's hash nor its group is a customer."""
    champion = Champion(use_case, home, "1", "d", Fixed())
    asked_for = [Asked(text_id("a"), "a"), Asked("c-1", "b")]
    champion.answer(asked_for, at=datetime(2026, 1, 1, tzinfo=UTC))
    with open_store(home.warehouse) as store:
        kept = store.rows("SELECT group_id, customer_id FROM predictions ORDER BY text", {})
    assert kept == [(text_id("a"), None), ("c-1", None)]


def test_equal_texts_without_a_group_share_one(tmp_path: Path) -> None:
    rows = read_rows(asked(tmp_path, '{"text": "It works"}\n{"text": "it  works"}\n{"text": "no"}'))

    groups = [group for group, _, _ in rows]
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
