"""What tools of annotation and training write is read as they meant it, or refused by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli.main import cli
from flywheel.config import Home, load_use_case
from flywheel.errors import DataError
from flywheel.ingestion.annotation_exports import read_table
from flywheel.ingestion.tables import Table

SAID = [("it broke again", "bad"), ("works so well", "good"), ("never again", "bad")]
NUMBER = 40
Row = Callable[[int, str, str], Any]


def rows() -> list[tuple[int, str, str]]:
    return [(n, f"{SAID[n % 3][0]}, order {n}", SAID[n % 3][1]) for n in range(NUMBER)]


def lines(path: Path, row: Row) -> Path:
    path.write_text("".join(f"{json.dumps(row(*one))}\n" for one in rows()))
    return path


def read(path: Path) -> Table:
    table = read_table(path)
    assert len(table.rows) == len(table.numbers)
    return table


def labels(table: Table, name: str = "label") -> list[Any]:
    return [row[name] for row in table.rows]


def chat(number: int, text: str, label: str) -> dict[str, Any]:
    system = {"role": "system", "content": "Say good or bad."}
    asked = {"role": "user", "content": [{"type": "text", "text": text}]}
    return {"messages": [system, asked, {"role": "assistant", "content": label}]}


@pytest.mark.parametrize(
    "row",
    [
        lambda n, text, label: (
            {"text": text, "cats": {"good": label == "good", "bad": 0.0}}
            | ({"cats": {"good": 0, "bad": 1}} if label == "bad" else {})
        ),
        lambda n, text, label: {"text": text, "accept": [label], "answer": "accept"},
        lambda n, text, label: {"text": text, "label": label, "answer": "accept"},
        lambda n, text, label: {"text": text, "good": int(label == "good"), "bad": label == "bad"},
        chat,
    ],
)
def test_every_form_is_texts_and_labels(tmp_path: Path, row: Row) -> None:
    table = read(lines(tmp_path / "a.jsonl", row))
    assert [(row["text"], row["label"]) for row in table.rows] == [one[1:] for one in rows()]
    assert table.refused == ()


def test_what_was_rejected_or_passed_over_is_no_label(tmp_path: Path) -> None:
    answers = ["accept", "reject", "ignore", "accept"]
    table = read(
        lines(
            tmp_path / "prodigy.jsonl",
            lambda n, text, label: {"text": text, "label": label, "answer": answers[n % 4]},
        )
    )
    assert table.numbers == tuple(n + 1 for n in range(NUMBER) if n % 4 in (0, 3))
    assert Counter(one.why for one in table.refused) == {
        "the annotator rejected its label": 10,
        "the annotator passed it over (ignore)": 10,
    }


@pytest.mark.parametrize(
    ("accepted", "why"), [([], "no label"), (["good", "bad"], "several choices")]
)
def test_none_and_several_choices_are_refused_by_row(
    tmp_path: Path, accepted: list[str], why: str
) -> None:
    table = read(
        lines(
            tmp_path / "prodigy.jsonl",
            lambda n, text, label: {
                "text": text,
                "accept": accepted if n == 7 else [label],
                "answer": "accept",
            },
        )
    )
    (refused,) = table.refused
    assert (refused.number, refused.why) == (8, why)
    assert len(table.rows) == NUMBER - 1


def test_an_answer_of_people_is_not_that_of_prodigy(tmp_path: Path) -> None:
    def row(n: int, text: str, label: str) -> dict[str, Any]:
        return {"text": text, "label": label, "answer": "reject" if n else "we are sorry"}

    assert len(read(lines(tmp_path / "a.jsonl", row)).rows) == NUMBER


def test_conversations_of_several_turns_are_refused_by_row(tmp_path: Path) -> None:
    def row(n: int, text: str, label: str) -> dict[str, Any]:
        once = chat(n, text, label)["messages"]
        return {"messages": once + once[1:] if n == 3 else once}

    (refused,) = read(lines(tmp_path / "a.jsonl", row)).refused
    assert (refused.number, refused.why) == (4, "a conversation of several turns")


def test_rated_chats_are_left_to_a_source(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", lambda n, t, label: {**chat(n, t, label), "rating": "up"})
    assert "messages" in read(path).rows[0]


def test_columns_of_several_ones_are_left_as_they_are(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl", lambda n, text, label: {"text": text, "good": 1, "late": n % 2}
    )
    assert set(read(path).rows[0]) == {"text", "good", "late"}


@pytest.mark.parametrize("orient", ["columns", "index", "split", "list", "records"])
def test_what_pandas_writes_is_read(tmp_path: Path, orient: str) -> None:
    texts, names = [one[1] for one in rows()], [one[2] for one in rows()]
    content: Any = {
        "columns": {
            "text": {str(n): text for n, text in enumerate(texts)},
            "label": {str(n): label for n, label in enumerate(names)},
        },
        "index": {str(n): {"text": text, "label": label} for n, text, label in rows()},
        "split": {
            "columns": ["text", "label"],
            "index": list(range(NUMBER)),
            "data": [list(one) for one in zip(texts, names, strict=True)],
        },
        "list": {"text": texts, "label": names},
        "records": [{"text": text, "label": label} for _, text, label in rows()],
    }[orient]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert [(row["text"], row["label"]) for row in read(path).rows] == [one[1:] for one in rows()]


def test_json_without_rows_says_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"version": 1}')
    with pytest.raises(DataError, match="no array of objects, nor columns of one length"):
        read(path)


def test_lines_of_fast_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("__label__bad it broke\n\n__label__a __label__b both\n__label__good fine\n")
    table = read(path)
    assert [(row["text"], row["label"]) for row in table.rows] == [
        ("it broke", "bad"),
        ("fine", "good"),
    ]
    assert [(one.number, one.why) for one in table.refused] == [(3, "several choices")]


# ---- Sheets


def sheet(path: Path, *above: str, header: str | None = "text,label") -> Path:
    said = [f'"{text}",{label}' for _, text, label in rows()]
    path.write_text("\n".join([*above, *([header] if header else []), *said, ""]))
    return path


@pytest.mark.parametrize(
    "above", [["Export of 2026-01-01,"], ["Export of 2026-01-01"], ["Text,", ","], ["Team A", ","]]
)
def test_lines_above_the_header_are_left_out(tmp_path: Path, above: list[str]) -> None:
    table = read(sheet(tmp_path / "a.csv", *above))
    assert labels(table) == [one[2] for one in rows()]
    assert table.numbers[0] == len(above) + 2
    assert table.notes == (f"{len(above)} lines above the header were left out",)


@pytest.mark.parametrize("header", ["text,", ",label", "text,label"])
def test_a_header_that_names_one_column_only_stays(tmp_path: Path, header: str) -> None:
    table = read(sheet(tmp_path / "a.csv", header=header))
    assert (len(table.rows), table.numbers[0]) == (NUMBER, 2)


def test_a_sheet_without_a_header_loses_no_row(tmp_path: Path) -> None:
    table = read(sheet(tmp_path / "a.csv", header=None))
    assert labels(table, "column 2") == [one[2] for one in rows()]
    assert table.numbers == tuple(range(1, NUMBER + 1))


def test_a_column_named_like_one_of_its_values_is_a_header(tmp_path: Path) -> None:
    table = read(sheet(tmp_path / "a.csv", header="message,bad"))
    assert labels(table, "bad") == [one[2] for one in rows()]


def test_a_header_that_comes_again_is_no_row(tmp_path: Path) -> None:
    path = sheet(tmp_path / "a.csv")
    path.write_text(path.read_text() * 3)
    table = read(path)
    assert len(table.rows) == 3 * NUMBER
    assert {one.why for one in table.refused} == {"the header again"}


# ---- From outside


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def test_init_and_ingest_read_an_annotation_tools_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {0: "reject", 1: "ignore"}
    lines(
        tmp_path / "prodigy.jsonl",
        lambda n, text, label: {
            "text": text,
            "accept": [label],
            "answer": answers.get(n, "accept"),
            "_annotator_id": "ann",
        },
    )
    made = json.loads(call("init", "notes", "--yes", "--data", "prodigy.jsonl", "--json").stdout)
    assert (made["rows"], made["unusable"], made["rater"]) == (NUMBER - 2, 2, "_annotator_id")
    assert set(load_use_case("notes").label_names) == {"bad", "good"}

    lines(
        tmp_path / "doccano.jsonl",
        lambda n, text, label: {
            "text": f"{text}, later",
            "label": [label] if n else [],
            "_annotator_id": "ben",
        },
    )
    later = json.loads(call("ingest", "-u", "notes", "doccano.jsonl", "--json").stdout)
    assert later["ingested"] == NUMBER - 1, later


def test_init_names_why_no_row_can_be_used(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "a.jsonl", lambda n, text, label: {"text": text, "label": {"name": label}})
    with pytest.raises(DataError, match=r"40 rows: label holds a structure \(dict\)"):
        call("init", "notes", "--yes", "--data", "a.jsonl")


@pytest.mark.parametrize(("others", "warned"), [((0, 1), True), ((1,), False)])
def test_minus_one_is_pointed_out_where_it_may_be_no_label(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    others: tuple[int, ...],
    warned: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    values = (-1, *others)
    lines(
        tmp_path / "a.jsonl",
        lambda n, text, label: {"text": text, "label": values[n % len(values)]},
    )
    said = call("init", "notes", "--yes", "--data", "a.jsonl", "--json").stdout
    assert any("label -1" in one for one in json.loads(said)["warnings"]) is warned
