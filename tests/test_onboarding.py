"""From a labelled file to a use case that loads, with every row accounted for."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import onboarding
from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError, DataError
from tasks.ingest import ingest_inbox
from tasks.onboard import onboard

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = [
    {"id": str(n), "body": f"my card number {n} was swallowed by the machine", "intent": intent}
    for n in range(40)
    for intent in [("lost card", "fees", "it's: #odd")[n % 3]]
]


def written(folder: Path, suffix: str, rows: list[dict[str, str]] | None = None) -> Path:
    path = folder / f"tickets{suffix}"
    rows = ROWS if rows is None else rows
    if suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_labelled_file_becomes_a_use_case_and_its_rows_feedback(
    home: Home, tmp_path: Path, suffix: str
) -> None:
    done = onboard("tickets", written(tmp_path, suffix), home, folder=tmp_path / "usecases")

    assert (done["text"], done["label"], done["rows"]) == ("body", "intent", 40)
    use_case = load_use_case(done["use_case"])
    assert set(use_case.label_names) == {"lost card", "fees", "it's: #odd"}
    assert use_case.prompt == "Body: {text}\nIntent:"
    assert use_case.curation.train_on_gold
    counts = ingest_inbox(use_case, home, at=AT)
    assert (counts.read, counts.ingested, counts.quarantined) == (40, 40, 0)


def test_doing_it_again_brings_no_row_twice(home: Home, tmp_path: Path) -> None:
    path, folder = written(tmp_path, ".csv"), tmp_path / "usecases"
    use_case = load_use_case(onboard("tickets", path, home, folder=folder)["use_case"])
    ingest_inbox(use_case, home, at=AT)
    with pytest.raises(ConfigError, match="--force"):
        onboard("tickets", path, home, folder=folder)
    onboard("tickets", path, home, folder=folder, force=True)
    assert ingest_inbox(use_case, home, at=AT).ingested == 0


def test_columns_are_found_by_what_they_hold() -> None:
    rows = [{"a": f"some words about matter {n}", "b": "xy"[n % 2], "n": str(n)} for n in range(20)]
    found = onboarding.find_columns(rows, text=None, label=None, group=None)
    assert (found.text, found.label) == ("a", "b")
    given = onboarding.find_columns(rows, text="n", label="b", group="a")
    assert (given.text, given.label, given.group) == ("n", "b", "a")


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"'intend'.*Did you mean 'intent'\?.*id, body, intent"):
        onboarding.find_columns(ROWS, text=None, label="intend", group=None)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROWS[0]], "fewer than two rows"),
        ([{**row, "intent": "one"} for row in ROWS], "1 different labels"),
        (
            [{"body": f"b{n}", "intent": f"free text {n}"} for n in range(300)],
            "300 different labels",
        ),
    ],
)
def test_a_file_of_no_use_is_refused_and_nothing_is_written(
    home: Home, tmp_path: Path, rows: list[dict[str, str]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        onboard("tickets", written(tmp_path, ".csv", rows), home, folder=tmp_path / "usecases")
    assert not (tmp_path / "usecases").exists()
    assert not home.inbox("tickets").exists()


def test_rows_without_text_or_label_are_counted_and_rare_labels_named(
    home: Home, tmp_path: Path
) -> None:
    rows = [
        *ROWS,
        {"id": "x", "body": " ", "intent": "fees"},
        {"id": "y", "body": "b", "intent": ""},
    ]
    rows.append({"id": "z", "body": "hello", "intent": "rare"})
    done = onboard("tickets", written(tmp_path, ".csv", rows), home, folder=tmp_path / "usecases")
    assert (done["rows"], done["unusable"]) == (41, 2)
    assert any("rare" in warning for warning in done["warnings"])


@pytest.mark.parametrize("name", ["Tickets", "../x", "a b", "1a", ""])
def test_a_name_that_cannot_be_one_is_refused(home: Home, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a name"):
        onboard(name, written(tmp_path, ".csv"), home, folder=tmp_path / "usecases")


@pytest.mark.parametrize("content", [b"text,label\n\xff\xfe,a\n", b'text,label\n"a,b\n'])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as csv"):
        onboarding.read_table(path)
    other = path.rename(tmp_path / "x.doc")
    with pytest.raises(DataError, match="unknown format"):
        onboarding.read_table(other)


labels = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).filter(
    str.strip
)


@given(
    names=st.lists(labels, min_size=2, max_size=6, unique_by=str.strip), column=st.text(max_size=8)
)
def test_whatever_the_labels_the_yaml_loads(
    names: list[str], column: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{"t": f"text {n}", f"l{column}": name} for n in range(10) for name in names]
    columns = onboarding.Columns("t", f"l{column}", None)
    proposal = onboarding.propose("x", rows, columns, described='"quoted": #\n')
    path = tmp_path_factory.mktemp("usecases") / "x.yaml"
    path.write_text(proposal.yaml, encoding="utf-8")
    assert set(load_use_case(str(path)).label_names) == {name.strip() for name in names}
