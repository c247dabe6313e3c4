"""Every row of a labeled file becomes feedback or is left out for a reason that is said."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import curation
from flywheel.config import CurationConfig
from flywheel.ingestion import labeled_rows
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.labeled_rows import Labeled, feedback_rows, reactions
from flywheel.ingestion.tables import Refused, Table
from flywheel.records import Curated

NOW = datetime(2026, 6, 1, tzinfo=UTC)
COLUMNS = Columns("text", "label")
AS_JSON = "holds several choices or a structure, written as JSON"
RULES = CurationConfig(gold_sources=["init"], train_on_gold=True, min_chars=1, near_duplicates=1)


def table(*rows: dict[str, Any], refused: tuple[Refused, ...] = ()) -> Table:
    return Table(rows, tuple(range(2, len(rows) + 2)), refused)


def usable(*rows: dict[str, Any], columns: Columns = COLUMNS) -> labeled_rows.Usable:
    return labeled_rows.usable(table(*rows), columns, now=NOW)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "\u200b\u00a0", "label": "a"}, "no text"),
        ({"text": None, "label": "a"}, "no text"),
        ({"label": "a"}, "no text"),
        ({"text": "N/A", "label": "a"}, "a text that says nothing (N/A, -)"),
        ({"text": "a\0b", "label": "a"}, "text holds a NUL byte"),
        ({"text": ["a"], "label": "a"}, "text holds a structure (list)"),
        ({"text": "x", "label": ""}, "no label"),
        ({"text": "x", "label": float("nan")}, "no label"),
        ({"text": "x", "label": {"a": 1}}, "label holds a structure (dict)"),
        ({"text": "x", "label": '{"choices":["a","b"]}'}, f"label {AS_JSON}"),
        ({"text": "x", "label": ["a", "b"]}, "label holds several choices"),
        ({"text": "x", "label": ' ["a", "b"]'}, "label holds several choices"),
        ({"text": "x", "label": []}, "no label"),
        ({"text": "x", "label": [["a"]]}, "label holds a structure (list)"),
        ({"text": "x", "label": [{"a": 1}]}, "label holds a structure (dict)"),
        ({"text": "x", "label": "a", "who": "i" * 513}, "who has more than 512 characters"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_for_a_reason(row: dict[str, Any], why: str) -> None:
    columns = Columns("text", "label", customer="who")
    found = usable({"text": "good", "label": "b"}, row, columns=columns)
    assert found.apart == {why: (3,)}
    assert [one.text for one in found.rows] == ["good"]


@pytest.mark.parametrize("cell", [["a"], ' ["a"]', [" a "]])
def test_a_list_of_one_choice_is_that_choice(cell: object) -> None:
    (row,) = usable({"text": "x", "label": cell}).rows
    assert row.label == "a"


def test_labels_with_brackets_are_labels() -> None:
    names = ["{text}", "[urgent] bill", "[1]", '["a"', "{}x"]
    found = usable(*({"text": name, "label": name} for name in names))
    assert [one.label for one in found.rows] == names


def test_rows_that_could_not_be_read_are_left_out_as_well() -> None:
    read = table({"text": "x", "label": "a"}, refused=(Refused(7, "no valid JSON"),))
    found = labeled_rows.usable(read, COLUMNS, now=NOW)
    assert found.apart == {"no valid JSON": (7,)}
    assert found.unusable == 1


def test_whose_a_row_is_and_when_it_was_said_is_kept() -> None:
    columns = Columns("text", "label", "who", "who", "by", "when", ("body",))
    found = usable(
        {
            "text": "Subject",
            "body": "Body",
            "label": 1.0,
            "who": 48213.0,
            "by": "ann",
            "when": "03.02.2026 14:22",
        },
        {"text": "Only a subject", "body": "", "label": 2.0, "when": "soon"},
        columns=columns,
    )
    at = datetime(2026, 2, 3, 14, 22, tzinfo=UTC)
    assert found.rows == (
        Labeled(2, "Subject\n\nBody", "1", "48213", "48213", "ann", at),
        Labeled(3, "Only a subject", "2"),
    )
    assert any("1 rows have no time" in note for note in found.notes)
    first, second = feedback_rows(found.rows, given_at=NOW)
    assert (first["customer_id"], first["group_id"], first["rater_id"]) == ("48213", "48213", "ann")
    assert datetime.fromisoformat(first["given_at"]) == at
    assert "customer_id" not in second
    assert datetime.fromisoformat(second["given_at"]) == NOW


def test_booleans_are_labels_and_that_is_said() -> None:
    found = usable({"text": "x", "label": True}, {"text": "y", "label": False})
    assert [row.label for row in found.rows] == ["true", "false"]
    assert "the labels true and false were booleans" in found.notes


def test_spellings_of_one_label_become_the_commonest() -> None:
    rows = [Labeled(n, f"text {n}", label) for n, label in enumerate(["a", "A", "A", "b"])]
    done = labeled_rows.merged(rows, [("A", "a")])
    assert [row.label for row in done] == ["A", "A", "A", "b"]


# ---- Texts that stand in several rows


def curated(*rows: Labeled, side: str) -> Curated:
    found = reactions(feedback_rows(rows, given_at=NOW))
    splits = {reaction.group_id: side for reaction in found}
    return curation.curate(found, splits=splits, labels=("no", "yes"), rules=RULES)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["train", "holdout"])
def test_nine_rows_that_say_yes_are_not_overruled_by_one_that_says_no(side: str) -> None:
    rows = [Labeled(n, "is it on time", "no" if n == 4 else "yes") for n in range(10)]
    (example,) = curated(*rows, side=side).examples
    assert (example.label, len(example.feedback_ids)) == ("yes", 10)


@pytest.mark.parametrize("side", ["train", "holdout"])
def test_a_text_labeled_in_two_ways_equally_often_is_a_disagreement(side: str) -> None:
    others = [Labeled(n, f"other {n}", "yes") for n in range(20)]
    tied = [Labeled(30, "is it on time", "yes"), Labeled(31, "is it on time", "no")]
    done = curated(*others, *tied, side=side)
    assert Counter(drop.reason for drop in done.drops) == {"disagreement": 2}
    assert len(done.examples) == 20
    assert labeled_rows.repeated([*others, *tied]) == (1, 1)


rows = st.lists(
    st.builds(
        Labeled,
        number=st.just(0),
        text=st.sampled_from(["a", "b", "A "]),
        label=st.sampled_from(["x", "y"]),
        customer=st.sampled_from([None, "c1", "c2"]),
    ),
    max_size=12,
)


@given(first=rows, more=rows)
def test_each_row_is_one_feedback_and_the_same_when_rows_were_added(
    first: list[Labeled], more: list[Labeled]
) -> None:
    done = [row["feedback_id"] for row in feedback_rows(first, given_at=NOW)]
    again = [row["feedback_id"] for row in feedback_rows([*first, *more], given_at=NOW)]
    assert len(set(again)) == len(again)
    assert again[: len(done)] == done


@pytest.mark.parametrize("cell", ["-", "N/A", "null", "nan", "\u00a0", "?"])
def test_a_cell_that_names_nobody_is_no_customer_and_no_rater(cell: str) -> None:
    columns = Columns("text", "label", customer="who", rater="by")
    found = usable({"text": "x", "label": "a", "who": cell, "by": cell}, columns=columns)
    assert [(row.customer, row.rater) for row in found.rows] == [(None, None)]
