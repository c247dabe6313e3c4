"""From a labeled file to a use case that loads, with every row accounted for."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.ingest import ingest
from flows.cli.init import welcome
from flows.cli.main import cli
from flywheel.config import ColumnsConfig, Home, UseCase, load_use_case
from flywheel.curation import curate
from flywheel.dataset.splits import assign
from flywheel.errors import ConfigError, DataError
from flywheel.ingestion.column_roles import NONE, Columns, find_columns
from flywheel.ingestion.feedback import text_group
from flywheel.ingestion.labeled_rows import Labeled, feedback_rows, reactions
from flywheel.onboarding import classification
from flywheel.onboarding.draft import Draft
from flywheel.store import open_store
from tasks.collect import drop
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tasks.use_case.labeled_table import is_table, put_into_inbox, read_feedback
from tasks.use_case.onboard import Answers, Question, onboard

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
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
def test_a_labeled_file_becomes_a_use_case_and_its_rows_feedback(
    home: Home, tmp_path: Path, suffix: str
) -> None:
    done = onboard("tickets", written(tmp_path, suffix), home, folder=tmp_path / "usecases")

    assert (done["text"], done["label"], done["rows"]) == ("body", "intent", 40)
    use_case = load_use_case(done["file"])
    assert set(use_case.label_names) == {"lost card", "fees", "it's: #odd"}
    assert use_case.prompt == "Body: {text}\nIntent:"
    assert use_case.curation.train_on_gold
    counts = ingest_inbox(use_case, home, at=AT)
    assert (counts.read, counts.ingested, counts.quarantined) == (40, 40, 0)


def test_doing_it_again_brings_no_row_twice(home: Home, tmp_path: Path) -> None:
    path, folder = written(tmp_path, ".csv"), tmp_path / "usecases"
    use_case = load_use_case(onboard("tickets", path, home, folder=folder)["file"])
    ingest_inbox(use_case, home, at=AT)
    with pytest.raises(ConfigError, match="--force"):
        onboard("tickets", path, home, folder=folder)
    onboard("tickets", path, home, folder=folder, force=True)
    assert ingest_inbox(use_case, home, at=AT).ingested == 0


def test_columns_are_found_by_what_they_hold() -> None:
    rows = [{"a": f"some words about matter {n}", "b": "xy"[n % 2], "n": str(n)} for n in range(20)]
    found = find_columns(rows, text=None, label=None, group=None)
    assert (found.text, found.label) == ("a", "b")
    given = find_columns(rows, text="n", label="b", group="a")
    assert (given.text, given.label, given.group) == ("n", "b", "a")


def test_an_empty_file_is_named(home: Home, tmp_path: Path) -> None:
    for content in ("", "body,intent\n"):
        file = tmp_path / "empty.csv"
        file.write_text(content)
        with pytest.raises(DataError, match=r"empty\.csv holds fewer than two rows.*: 0 below"):
            onboard("tickets", file, home, folder=tmp_path / "usecases")


@pytest.mark.parametrize("begins", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_that_is_called_csv_is_named_as_one(
    home: Home, tmp_path: Path, begins: bytes
) -> None:
    file = tmp_path / "tickets.csv"
    file.write_bytes(begins + b"\x14\0\xe4,xylophone\n" * 20)
    with pytest.raises(DataError, match=r"is a spreadsheet's own file.*Save the sheet") as refused:
        onboard("tickets", file, home, folder=tmp_path / "usecases")
    assert "xylophone" not in str(refused.value)


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"'intend'.*Did you mean 'intent'\?.*id, body, intent"):
        find_columns(ROWS, text=None, label="intend", group=None)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROWS[0]], "fewer than two rows"),
        ([{**row, "intent": "one"} for row in ROWS], "holds 1 different labels"),
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


labels = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1).filter(
    str.strip
)


@given(
    names=st.lists(labels, min_size=2, max_size=6, unique_by=str.strip), column=st.text(max_size=8)
)
def test_whatever_the_labels_the_yaml_loads(
    names: list[str], column: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [Labeled(n, f"text {n}", name.strip()) for n in range(10) for name in names]
    columns = Columns("t", f"l{column}")
    feedback = feedback_rows(rows, given_at=AT)
    draft = Draft("no", '"quoted": #\n', columns, rows, feedback, method="tfidf")
    proposal = classification.propose(draft)
    path = tmp_path_factory.mktemp("usecases") / "no.yaml"
    path.write_text(proposal.yaml, encoding="utf-8")
    case = load_use_case(str(path))
    assert (case.name, case.description) == ("no", '"quoted": #\n')
    assert case.label_names == tuple(proposal.counts)
    assert set(case.label_names) == {row.label for row in rows}


# ---- What is asked, said and proposed


def sheet(folder: Path, rows: list[dict[str, str]], *, name: str = "sheet.csv") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


WORDS = ("Paket", "Rechnung", "Fahrer", "Konto", "Karte", "Service", "Lieferung", "Adresse")


def german(rows: int = 300) -> list[dict[str, str]]:
    """Rows of 60 customers, of two classes and a few more spellings of them."""
    return [
        {
            "Kundennummer": str(48_000 + n % 60),
            "Kommentar": f"{WORDS[n % 8]} {n * 7919 % 1009} war {WORDS[n // 8 % 8]} {n} Tage lang",
            "Kategorie": ("Versand", "Rechnung ", "versand", "Versand", "Lob")[n % 5],
            "Datum": f"{1 + n % 28:02}.02.2026 14:22",
        }
        for n in range(rows)
    ]


def begun(home: Home, folder: Path, rows: list[dict[str, str]], **named: object) -> dict[str, Any]:
    path = sheet(folder, rows)
    given: Any = {"method": "tfidf", **named}
    return onboard(
        "tickets", path, home, answers=Answers(**given), folder=folder / "usecases", now=LATER
    )


def test_customers_and_times_of_a_sheet_become_those_of_the_feedback(
    home: Home, tmp_path: Path
) -> None:
    done = begun(home, tmp_path, german())
    assert (done["customer"], done["group"], done["time"]) == (
        "Kundennummer",
        "Kundennummer",
        "Datum",
    )
    case = load_use_case(done["file"])
    assert ingest_inbox(case, home, at=LATER).ingested == 300
    with open_store(home.warehouse) as store:
        found = store.reactions(case.name)
    assert {one.customer_id for one in found} == {str(48_000 + n) for n in range(60)}
    assert {one.group_id for one in found} == {one.customer_id for one in found}
    assert {one.given_at.strftime("%Y-%m %H:%M") for one in found} == {"2026-02 14:22"}


def test_labels_alike_are_merged_and_said_and_their_order_is_by_frequency(
    home: Home, tmp_path: Path
) -> None:
    done = begun(home, tmp_path, german())
    assert done["labels"] == {"Versand": 180, "Rechnung": 60, "Lob": 60}
    assert any("Versand 120, versand 60" in note for note in done["notes"])
    assert load_use_case(done["file"]).label_names == ("Versand", "Rechnung", "Lob")
    assert 'also "versand"' in Path(done["file"]).read_text(encoding="utf-8")


def test_labels_alike_stay_apart_where_somebody_says_so(home: Home, tmp_path: Path) -> None:
    done = begun(home, tmp_path, german(), merge=False)
    assert done["labels"]["versand"] == 60
    assert any("stay apart" in note for note in done["notes"])


@pytest.mark.parametrize("name", [f"tickets-{n}" for n in range(8)])
def test_the_holdout_that_is_proposed_is_the_one_that_the_split_draws(
    home: Home, tmp_path: Path, name: str
) -> None:
    path, folder = sheet(tmp_path, german()), tmp_path / "usecases"
    done = onboard(name, path, home, answers=Answers(method="tfidf"), folder=folder, now=LATER)
    case = load_use_case(done["file"])
    lines = (home.inbox(name) / "init.jsonl").read_text(encoding="utf-8").splitlines()
    found = reactions([json.loads(line) for line in lines])
    curated = curate(
        found,
        splits=assign(
            {one.group_id for one in found},
            known={},
            **case.split.model_dump(exclude={"by_customer"}),
        ),
        labels=case.label_names,
        rules=case.curation,
    )
    holdout = sum(example.split == "holdout" for example in curated.examples)
    assert holdout == done["holdout"]
    kept = sum(example.split == "validation" for example in curated.examples)
    assert kept == done["validation"] > 0
    assert any(f"{kept} are for validation, {done['train']} train" in r for r in done["reasons"])
    assert 40 <= holdout <= 80
    assert case.gate.min_holdout_examples <= holdout


def test_labels_that_the_holdout_cannot_judge_are_named_with_what_to_do(
    home: Home, tmp_path: Path
) -> None:
    rows = [{**row, "Kategorie": "Retoure"} if n < 6 else row for n, row in enumerate(german())]
    (said,) = [one for one in begun(home, tmp_path, rows)["warnings"] if "holdout rows: " in one]
    assert re.match(
        r"fewer than 5 holdout rows: Retoure [0-4]\. The holdout cannot judge such", said
    )
    assert re.search(r"Label up to \d+ more of each, .*by flywheel ingest -u tickets FILE", said)
    # enough of every label: nothing is said
    (tmp_path / "other").mkdir()
    warnings = begun(home, tmp_path / "other", german())["warnings"]
    assert not [one for one in warnings if "holdout rows: " in one]


def test_few_groups_are_no_groups_to_draw_from(home: Home, tmp_path: Path) -> None:
    rows = [{**row, "Kundennummer": str(n % 3)} for n, row in enumerate(german())]
    done = begun(home, tmp_path, rows)
    assert (done["customer"], done["group"]) == ("Kundennummer", None)
    assert any("too few to draw a holdout from" in note for note in done["notes"])
    first = json.loads((home.inbox("tickets") / "init.jsonl").read_text().splitlines()[0])
    assert first["customer_id"] == "0"
    assert first["group_id"] == text_group(first["text"]), "the customer would be the group"


def served(home: Home, case: UseCase, customer: str) -> str | None:
    """The group of a feedback that comes from an app, with a customer and no group."""
    row = {
        "feedback_id": "f", "kind": "label", "value": "Lob", "text": "Danke sehr", "source": "app",
        "rater_id": customer, "customer_id": customer, "given_at": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    drop(home.inbox(case.name), "app.jsonl", [row])
    ingest_inbox(case, home, at=LATER)
    with open_store(home.warehouse) as store:
        return next(one.group_id for one in store.reactions(case.name) if one.source == "app")


@pytest.mark.parametrize(("customers", "group"), [(3, text_group("Danke sehr")), (60, "1")])
def test_who_is_no_group_in_the_file_is_none_in_the_app(
    home: Home, tmp_path: Path, customers: int, group: str
) -> None:
    """Three customers that hold all rows would be three sides drawn for everything to come."""
    rows = [{**row, "Kundennummer": str(n % customers)} for n, row in enumerate(german())]
    case = load_use_case(begun(home, tmp_path, rows)["file"])
    assert served(home, case, "1") == group


@pytest.mark.parametrize("says", [True, False])
def test_few_customers_of_a_later_table_stay_on_their_side(
    home: Home, tmp_path: Path, says: bool
) -> None:
    """A use case made earlier does not say whether customers are groups."""
    path = Path(begun(home, tmp_path, german())["file"])
    written = path.read_text(encoding="utf-8")
    assert "  by_customer: true\n" in written
    path.write_text(written if says else written.replace("  by_customer: true\n", ""), "utf-8")
    case = load_use_case(str(path))
    ingest_inbox(case, home, at=LATER)
    curate_snapshot.fn(case, home, at=LATER)
    late = [{**row, "Kommentar": f"Neu: {row['Kommentar']}"} for row in german(5)]
    named: Any = {"at": LATER, "text": ["Kommentar"], "label": "Kategorie"}
    later = read_feedback(case, home, sheet(tmp_path, [*german(5), *late]), **named)
    put_into_inbox(later)
    assert ingest_inbox(case, home, at=LATER, files=[later.path]).duplicate == 5
    with open_store(home.warehouse) as store:
        found = [one for one in store.reactions(case.name) if one.text.startswith("Neu")]
    assert {one.group_id for one in found} == {str(48_000 + n) for n in range(5)}


def test_nothing_that_people_said_is_left_out_for_its_number(home: Home, tmp_path: Path) -> None:
    case = load_use_case(begun(home, tmp_path, german(2_000))["file"])
    assert case.curation.max_examples > 2_000
    assert case.curation.min_chars == 1
    assert case.curation.max_chars >= case.serving.max_text_chars


def test_reactions_of_the_app_are_evidence_unless_only_complaints_come(
    home: Home, tmp_path: Path
) -> None:
    case = load_use_case(begun(home, tmp_path, german())["file"])
    assert case.gate.evidence_sources == [case.serving.source]
    path = sheet(tmp_path, german())
    answers = Answers(method="tfidf", everyone=False)
    some = onboard("some", path, home, answers=answers, folder=tmp_path / "usecases", now=LATER)
    assert load_use_case(some["file"]).gate.evidence_sources == []
    assert any("audits only" in reason for reason in some["reasons"])


def test_whoever_is_there_is_asked_for_what_no_option_names(home: Home, tmp_path: Path) -> None:
    asked: dict[str, Question] = {}

    def ask(question: Question) -> str:
        asked[question.flag] = question
        return {"--group": NONE, "--merge-labels": "no"}.get(question.flag, question.default)

    answers = Answers(customer="Kundennummer", method="tfidf")
    done = onboard(
        "tickets",
        sheet(tmp_path, german()),
        home,
        answers=answers,
        folder=tmp_path / "usecases",
        ask=ask,
        now=LATER,
    )
    assert set(asked) == {
        *("--text", "--label", "--time", "--rater", "--group", "--merge-labels", "--reactions"),
    }
    assert asked["--text"].default == "Kommentar"
    assert asked["--group"].default == "Kundennummer"
    assert (done["group"], len(done["labels"])) == (None, 4)


def test_what_is_left_out_is_said_with_row_numbers(home: Home, tmp_path: Path) -> None:
    rows = german()
    rows[3] = {**rows[3], "Kommentar": "\u200b"}
    rows[7] = {**rows[7], "Kategorie": " "}
    rows[9] = {**rows[9], "Kommentar": "N/A"}
    done = begun(home, tmp_path, rows)
    assert done["apart"] == {
        "no text": {"rows": 1, "first": [5]},
        "no label": {"rows": 1, "first": [9]},
        "a text that says nothing (N/A, -)": {"rows": 1, "first": [11]},
    }
    lines = "\n".join(welcome(done))
    assert "left out: 3 rows\n  1 no text (row 5)" in lines
    assert lines.endswith("next: flywheel night -u tickets")


def test_too_few_rows_for_a_first_model_are_said_with_how_many_are_missing(
    home: Home, tmp_path: Path
) -> None:
    done = begun(home, tmp_path, german(12))
    assert any("label about" in warning and "Versand" in warning for warning in done["warnings"])
    case = load_use_case(done["file"])
    assert case.training.min_examples >= 20
    assert case.gate.min_holdout_examples >= 20


def test_two_hundred_and_one_labels_are_taken(home: Home, tmp_path: Path) -> None:
    rows = [
        {"text": f"{WORDS[n % 8]} {n} {n * 31} about matter {n % 201}", "intent": f"i {n % 201}"}
        for n in range(603)
    ]
    done = begun(home, tmp_path, rows)
    assert len(load_use_case(done["file"]).label_names) == 201


def test_without_a_terminal_the_command_asks_nothing_and_says_what_it_did(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["init", "tickets", "--data", str(sheet(tmp_path, german())), "--method", "tfidf"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    for said in (
        "text: column 'Kommentar'; label: column 'Kategorie'; customer: column 'Kundennummer'",
        "300 rows, 3 labels: Versand 180, Rechnung 60, Lob 60",
        "note: the cells are separated by semicolons",
        "holdout: ",
        "method: tfidf: as asked for",
        "evidence: reactions to answers",
        "next: flywheel night -u tickets",
    ):
        assert said in result.output


def taken(home: Home, patch: pytest.MonkeyPatch, *arguments: str) -> Result:
    patch.setenv("FLYWHEEL_HOME", str(home.root))
    return CliRunner().invoke(ingest, ["--json", *arguments])


def test_a_second_export_is_read_by_the_columns_of_the_first(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begun(home, tmp_path, german(), rater="-")["file"]
    case = load_use_case(path)
    ingest_inbox(case, home, at=LATER)
    late = [{**row, "Kommentar": f"Neu: {row['Kommentar']}"} for row in german(5)]
    done = taken(home, monkeypatch, "-u", path, str(sheet(tmp_path, [*german(5), *late])))
    assert done.exit_code == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["read"], counts["ingested"], counts["duplicate"]) == (10, 5, 5)
    assert "read by the columns of the use case tickets" in done.stderr
    assert "text 'Kommentar', label 'Kategorie', customer 'Kundennummer'" in done.stderr


def test_feedback_is_still_feedback_where_columns_are_remembered(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begun(home, tmp_path, german())["file"]
    file = tmp_path / "feedback.csv"
    file.write_text(
        "kind,value,text,rater_id,source,given_at\n"
        "label,Lob,Danke sehr,ann,gold,2026-02-01T00:00:00Z\n"
    )
    done = taken(home, monkeypatch, "-u", path, str(file))
    assert json.loads(done.stdout)["ingested"] == 1
    assert "labeled table" not in done.stderr
    file.write_text("kind,value,text\nlabels,Lob,Danke\n")
    done = taken(home, monkeypatch, "-u", path, str(file))
    assert json.loads(done.stdout)["quarantined"] == 1


def test_the_first_row_of_any_format_tells_feedback_from_a_table(tmp_path: Path) -> None:
    columns = ColumnsConfig(text=["text"], label="value")
    path = tmp_path / "a.parquet"
    for kinds, table in ((["label", "no"], False), (["no", "label"], True)):
        both = {"kind": kinds, "value": ["Lob", "Lob"], "text": ["Danke", "Danke sehr"]}
        pq.write_table(pa.table(both), path)
        assert is_table(path, columns) is table
    (tmp_path / "blank.jsonl").write_text("\n\n")
    assert not is_table(tmp_path / "blank.jsonl", columns)


def test_odd_column_names_are_remembered_as_they_are(home: Home, tmp_path: Path) -> None:
    odd = {"Kommentar": 'what: "they" # say', "Kategorie": "- yes"}
    rows = [{odd.get(name, name): value for name, value in row.items()} for row in german()]
    done = begun(
        home, tmp_path, rows, text=[odd["Kommentar"]], label=odd["Kategorie"], encoding="utf-8"
    )
    columns = load_use_case(done["file"]).columns
    assert columns is not None
    assert (columns.text, columns.label) == ([odd["Kommentar"]], odd["Kategorie"])
    assert (columns.customer, columns.encoding) == ("Kundennummer", "utf-8")


def test_labels_that_may_mean_none_are_pointed_out(home: Home, tmp_path: Path) -> None:
    labels = ["card", "loan", "N/A", "-"]
    rows = [{"text": f"my question number {n * 7919}", "label": labels[n % 4]} for n in range(80)]
    path = written(tmp_path, ".csv", rows)
    done = onboard("job", path, home, folder=tmp_path / "usecases", now=LATER)
    assert any("taken for labels: N/A 20, - 20" in note for note in done["notes"])
