"""The inbox: every row of every file is counted, whatever is in it and however often it is read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.ingestion.inbox import Inbox
from flywheel.ingestion.readers import Chunk, chunks, judge
from flywheel.privacy.erase_files import erase_rows
from flywheel.records import Feedback, Ingested, Reaction
from flywheel.reports import console
from flywheel.store import open_store
from tasks.ingest import ingest, ingest_inbox
from tests.examples import examples
from tests.strategies import LABELS, feedback_lines, garbage_lines, row

AT = datetime(2026, 1, 3, tzinfo=UTC)

JOB = UseCase.model_validate(
    {
        "name": "job",
        "kind": "text-classification",
        "description": "a job",
        "labels": {label: f"about {label}" for label in LABELS},
        "prompt": "{text}",
        "split": {"salt": "salt"},
        "curation": {"gold_sources": ["desk"]},
        "training": {"base": "tiny"},
        "gate": {"min_accuracy": 0.5},
    }
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def drop(home: Home, name: str, content: bytes) -> Path:
    inbox = home.inbox(JOB.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_bytes(content)
    return inbox / name


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


def reactions(home: Home) -> list[Reaction]:
    with open_store(home.warehouse, read_only=True) as store:
        return store.reactions(JOB.name)


def quarantine(home: Home) -> list[tuple[Any, ...]]:
    query = "SELECT row_number, reason, raw FROM quarantine ORDER BY file, row_number"
    with duckdb.connect(str(home.warehouse)) as con:
        return con.execute(query).fetchall()


def left(home: Home) -> list[str]:
    return sorted(path.name for path in home.inbox(JOB.name).iterdir() if path.is_file())


def balanced(counts: Ingested) -> bool:
    return counts.read == counts.ingested + counts.duplicate + counts.quarantined + counts.parked


def read_rows(
    name: str, content: bytes
) -> tuple[list[tuple[int, Feedback]], list[tuple[int, str, str]]]:
    """Judge every row of a file alone: (accepted, rejected), each with its row number."""
    accepted: list[tuple[int, Feedback]] = []
    rejected: list[tuple[int, str, str]] = []
    for chunk in chunks(name, io.BytesIO(content)):
        numbers = chunk.table["row_number"].to_pylist()
        for number, raw in sorted(
            [*chunk.odd, *((n, chunk.row(n)) for n in numbers)], key=itemgetter(0)
        ):
            judged = judge(raw, LABELS)
            if isinstance(judged, Feedback):
                accepted.append((number, judged))
            else:
                rejected.append((number, *judged))
    return accepted, rejected


# ---- Properties


@examples(4)
@given(st.lists(feedback_lines | garbage_lines, max_size=8))
def test_every_line_is_accounted_for_and_twice_is_once(rows: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        content = b"\n".join(rows)
        drop(home, "a.jsonl", content)
        counts = ingest_inbox(JOB, home, at=AT)
        assert balanced(counts)
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert counts.read == sum(1 for line in lines if line.strip())
        once, refused = reactions(home), quarantine(home)

        drop(home, "b.jsonl", content)
        assert ingest_inbox(JOB, home, at=AT) == Ingested(0, 0, 0, 0, 0)
        drop(home, "c.jsonl", content + b"\n\n")
        again = ingest_inbox(JOB, home, at=AT)
        assert (again.ingested, again.parked) == (0, 0)
        assert balanced(again)
        assert reactions(home) == once
        assert quarantine(home) == refused * 2
        assert left(home) == []


@examples(4)
@given(st.data())
def test_row_order_does_not_matter(data: st.DataObject) -> None:
    rows = data.draw(st.lists(feedback_lines, max_size=8))
    shuffled = data.draw(st.permutations(rows))
    seen = []
    for order in (rows, shuffled):
        with tempfile.TemporaryDirectory() as folder:
            home = Home(Path(folder))
            drop(home, "a.jsonl", b"\n".join(order))
            seen.append((ingest_inbox(JOB, home, at=AT), reactions(home)))
    assert seen[0] == seen[1]


@examples(100)
@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv", "jsonl.gz", "csv.gz", "parquet"]))
def test_no_bytes_under_any_name_stop_a_reading(content: bytes, suffix: str) -> None:
    accepted, rejected = read_rows(f"a.{suffix}", content)
    numbers = sorted([row[0] for row in accepted] + [row[0] for row in rejected])
    assert numbers == list(range(1, len(numbers) + 1))


def packed(suffix: str) -> bytearray:
    rows = [row(feedback_id=f"f{n}") for n in range(20)]
    if suffix == "jsonl.gz":
        return bytearray(gzip.compress(lines(*rows), mtime=0))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytearray(sink.getvalue())


@examples(50)
@given(st.data(), st.sampled_from(["jsonl.gz", "parquet"]))
def test_no_flipped_bytes_stop_a_reading(data: st.DataObject, suffix: str) -> None:
    content = packed(suffix)
    for _ in range(4):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_rows(f"a.{suffix}", bytes(content))


def test_a_parquet_column_name_that_is_not_utf8_stops_nothing() -> None:
    content = bytes(packed("parquet")).replace(b"rater_id", b"rater\xffid")
    accepted, rejected = read_rows("a.parquet", content)
    assert accepted == []
    assert rejected[-1][2].startswith("the rest of the file cannot be read")


# ---- Formats


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=sorted(row()))
        writer.writeheader()
        writer.writerows(rows)


def test_every_format_gives_the_same_feedback(home: Home) -> None:
    rows = [row(feedback_id="f1", text='a "quoted",\nbroken line'), row(feedback_id="f2")]
    plain = drop(home, "plain.jsonl", lines(*rows))
    zipped = drop(home, "packed.jsonl.gz", gzip.compress(lines(*rows) + b"\n"))
    table = drop(home, "table.csv", b"")
    write_csv(table, rows)
    packed_table = drop(home, "packed.csv.gz", gzip.compress(table.read_bytes()))
    columns = drop(home, "columns.parquet", b"")
    pq.write_table(pa.Table.from_pylist(rows), columns)
    assert ingest_inbox(JOB, home, at=AT, files=[plain]) == Ingested(2, 2, 0, 0, 0)
    once = reactions(home)
    assert [reaction.text for reaction in once] == [rows[0]["text"], rows[1]["text"]]
    for path in (zipped, table, packed_table, columns):
        assert ingest_inbox(JOB, home, at=AT, files=[path]) == Ingested(2, 0, 2, 0, 0)
    assert reactions(home) == once


def test_a_parquet_timestamp_with_a_zone_is_taken_and_one_without_refused(home: Home) -> None:
    for name, zone in (("aware", UTC), ("naive", None)):
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)
        path = drop(home, f"{name}.parquet", b"")
        pq.write_table(
            pa.Table.from_pylist([row(feedback_id=None, text=name) | {"given_at": moment}]), path
        )
    assert ingest_inbox(JOB, home, at=AT) == Ingested(2, 1, 0, 1, 0)
    assert [r.text for r in reactions(home)] == ["aware"]


# ---- Broken rows and files


def test_a_bad_row_goes_to_quarantine_alone(home: Home) -> None:
    content = b"\n".join(
        [
            json.dumps(row()).encode(),
            b'{"kind": "label", "text": "\xff"}',
            b"{",
            b"[1]",
            b"",
            json.dumps(row(kind="applaud")).encode(),
        ]
    )
    drop(home, "a.jsonl", content)
    assert ingest_inbox(JOB, home, at=AT) == Ingested(5, 1, 0, 4, 0)
    found = quarantine(home)
    assert [(number, reason) for number, reason, _ in found[:3]] == [
        (2, "the row is not valid UTF-8"),
        (3, "the row is not valid JSON"),
        (4, "the row must be a JSON object, found list"),
    ]
    assert found[0][2] == '{"kind": "label", "text": "\\xff"}'
    assert found[3][1].startswith("kind is unknown")


def test_a_bad_csv_row_goes_to_quarantine_alone(home: Home) -> None:
    head = b"kind,value,text,rater_id,source,given_at\n"
    good = b"label,card,hello,ann,desk,2026-01-02T03:04:05Z\n"
    content = head + good + good.replace(b"hello", b"\xff") + b"label,card\n" + b'label,"x"y\n'
    drop(home, "a.csv", content + good.replace(b"hello", b"bye"))
    assert ingest_inbox(JOB, home, at=AT) == Ingested(5, 2, 0, 3, 0)
    assert [reason.split(" (")[0] for _, reason, _ in quarantine(home)] == [
        "text is not valid UTF-8",
        "the row has 2 cells, the header 6",
        "the row is not valid CSV",
    ]


def test_an_unclosed_quote_does_not_swallow_rows_into_a_text(home: Home) -> None:
    head = b"kind,value,rater_id,source,given_at,text\n"
    good = b"label,card,ann,desk,2026-01-02T03:04:05Z,"
    drop(home, "a.csv", head + good + b"hello\n" + good + b'"open\n' + good + b"lost\n")
    assert ingest_inbox(JOB, home, at=AT) == Ingested(2, 1, 0, 1, 0)
    ((_, _, raw),) = quarantine(home)
    assert "lost" in raw


def test_a_cell_as_long_as_a_mail_thread_is_taken(home: Home) -> None:
    long = "word " * 40_000
    rows = [row(text="short", group_id="a"), row(text=long, group_id="b", feedback_id="long")]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[1]))
    writer.writeheader()
    writer.writerows(rows)
    drop(home, "long.csv", out.getvalue().encode())
    assert ingest_inbox(JOB, home, at=AT).ingested == 2
    assert {len(one.text) for one in reactions(home)} == {5, len(long)}


def test_how_a_spreadsheet_s_file_was_read_is_said(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    head, good = "kind;text;value;rater_id;source;given_at\n", "Größe, Farbe (0);card;ann;desk;"
    for name, encoding in (("west.csv", "cp1252"), ("east.csv", "cp1251")):
        text = good if encoding == "cp1252" else good.replace("Größe, Farbe", "размер, цвет")
        drop(home, name, f"{head}label;{text}2026-01-02T03:04:05Z\n".encode(encoding))
    drop(home, "plain.jsonl", lines(row(feedback_id="f2", text="plain")))
    with caplog.at_level(logging.WARNING):
        counts = ingest_inbox(JOB, home, at=AT)
    assert counts == Ingested(3, 2, 0, 1, 0)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "east.csv: it is neither UTF-8 nor UTF-16 nor Windows-1252: rows with other letters than "
        "A to Z are set apart; save it as UTF-8 and drop it again",
        "east.csv: its cells are separated by semicolons",
        "west.csv: it is not UTF-8, and was read as Windows-1252 (Western Europe)",
        "west.csv: its cells are separated by semicolons",
    ]


def test_a_csv_that_names_a_column_twice_is_refused(home: Home) -> None:
    drop(home, "a.csv", b"kind,kind\nlabel,label\n")
    assert ingest_inbox(JOB, home, at=AT) == Ingested(1, 0, 0, 1, 0)


def test_a_truncated_gzip_keeps_the_rows_before_the_break(home: Home) -> None:
    rows = [row(feedback_id=f"f{n}", text=f"text {n} {n * 7919}") for n in range(3_000)]
    packed = gzip.compress(lines(*rows))
    drop(home, "a.jsonl.gz", packed[: len(packed) // 2])
    counts = ingest_inbox(JOB, home, at=AT)
    assert counts.ingested > 100
    assert counts.quarantined == 1
    assert quarantine(home)[-1][:2] == (
        counts.read,
        "the rest of the file cannot be read (EOFError)",
    )


def test_a_broken_parquet_is_one_quarantined_row(home: Home) -> None:
    path = drop(home, "a.parquet", b"")
    pq.write_table(pa.Table.from_pylist([row()]), path)
    path.write_bytes(path.read_bytes()[:-10])
    assert ingest_inbox(JOB, home, at=AT) == Ingested(1, 0, 0, 1, 0)


# ---- Files


def test_a_file_is_moved_when_done_and_others_are_left(home: Home) -> None:
    drop(home, "b.jsonl", lines(row(feedback_id="f2")))
    drop(home, "a.jsonl", lines(row(feedback_id="f1")))
    for name in (".hidden.jsonl", "c.jsonl.open", "notes.txt"):
        drop(home, name, lines(row(feedback_id="f3")))
    assert ingest_inbox(JOB, home, at=AT) == Ingested(2, 2, 0, 0, 0)
    assert left(home) == [".hidden.jsonl", "c.jsonl.open", "notes.txt"]
    done = sorted(path.name for path in (home.inbox(JOB.name) / "done").iterdir())
    assert sorted(name[8:] for name in done) == ["-a.jsonl", "-b.jsonl"]


def test_killed_between_commit_and_move_is_mended_by_running_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(home, "a.jsonl", lines(row()))

    def killed(path: Path, done: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.ingest._retire", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest_inbox(JOB, home, at=AT)
    once = reactions(home)
    assert left(home) == ["a.jsonl"]
    assert ingest_inbox(JOB, home, at=AT) == Ingested(0, 0, 0, 0, 0)
    assert left(home) == []
    assert reactions(home) == once


def test_a_file_given_by_name_is_left_in_its_place(home: Home, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(lines(row()))
    drop(home, "a.jsonl", lines(row(feedback_id="f2")))
    assert ingest_inbox(JOB, home, at=AT, files=[mine]) == Ingested(1, 1, 0, 0, 0)
    assert mine.exists()
    assert left(home) == ["a.jsonl"]


@pytest.mark.parametrize("name", ["missing.jsonl", "mine.txt"])
def test_a_file_that_cannot_be_ingested_is_named(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match=rf"{name}.*Nothing was ingested"):
        ingest_inbox(JOB, home, at=AT, files=[tmp_path / name])


def test_no_inbox_is_an_empty_one(home: Home) -> None:
    assert ingest_inbox(JOB, home, at=AT) == Ingested(0, 0, 0, 0, 0)


def test_the_log_counts_and_never_quotes(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    drop(home, "a.jsonl", lines(row(text="secret"), row(kind="secret", feedback_id="f2")))
    with caplog.at_level(logging.DEBUG, logger="tasks.ingest"):
        ingest_inbox(JOB, home, at=AT)
    assert "ingested 1 of 2 rows from 1 files for job" in caplog.text
    assert "secret" not in caplog.text


def test_the_task_retries_only_what_can_mend() -> None:
    assert ingest.fn is ingest_inbox
    assert ingest.name == "ingest"
    assert ingest.retries == 3


def test_a_sheet_without_a_column_of_feedback_is_read_row_by_row_once() -> None:
    """Each of its rows is refused alone: the first pass, which is for plain rows, parses none."""
    content = b"nr,body,topic\n" + b"".join(b"%d,parcel %d came,x\n" % (n, n) for n in range(50))
    (chunk,) = chunks("export.csv", io.BytesIO(content))
    assert chunk.odd == ()
    assert chunk.table.column_names == ["row_number"]
    accepted, rejected = read_rows("export.csv", content)
    assert not accepted
    assert [number for number, _, _ in rejected] == list(range(1, 51))
    assert {reason for _, _, reason in rejected} == {"kind is missing or empty"}


# ---- Files that are not whole, or cannot be read


def test_a_file_that_grows_after_it_was_taken_in_is_taken_in_again(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    drop(home, "empty.jsonl", b"")
    with drop(home, "a.jsonl", b"").open("ab") as writer:
        writer.write(lines(row(feedback_id="f1")))
        writer.flush()
        assert ingest_inbox(JOB, home, at=AT).ingested == 1
        assert left(home) == []
        writer.write(lines(row(feedback_id="f2")))
    assert ingest_inbox(JOB, home, at=AT) == Ingested(2, 1, 1, 0, 0)
    assert "a.jsonl was written to after it was taken in" in caplog.text
    assert "empty.jsonl: it holds no row" in caplog.text
    assert ingest_inbox(JOB, home, at=AT) == Ingested(0, 0, 0, 0, 0)
    assert left(home) == []


def test_a_file_that_somebody_was_erased_from_is_not_taken_for_grown(home: Home) -> None:
    drop(home, "a.jsonl", lines(*(row(feedback_id=f"f{n}", rater_id=f"r{n}") for n in range(3))))
    assert ingest_inbox(JOB, home, at=AT).ingested == 3
    [path] = (home.inbox(JOB.name) / "done").iterdir()
    assert erase_rows(path, lambda fields, _raw: (fields or {}).get("rater_id") == "r1") == 1
    assert ingest_inbox(JOB, home, at=AT) == Ingested(0, 0, 0, 0, 0)
    assert path.exists()


def test_a_file_that_is_being_written_keeps_no_other_from_being_read(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    growing = drop(home, "a.jsonl", lines(row(feedback_id="f1")))
    drop(home, "b.jsonl", lines(row(feedback_id="f2")))

    def read(name: str, stream: BinaryIO) -> Iterator[Chunk]:
        yield from chunks(name, stream)
        if name.endswith("a.jsonl"):
            growing.write_bytes(growing.read_bytes() + lines(row(feedback_id="f3")))

    with monkeypatch.context() as patched:
        patched.setattr("tasks.ingest.chunks", read)
        assert ingest_inbox(JOB, home, at=AT) == Ingested(1, 1, 0, 0, 0)
        assert "a.jsonl changed while it was read" in caplog.text
        with pytest.raises(DataError, match="changed while it was read"):
            ingest_inbox(JOB, home, at=AT, files=[growing])
    assert left(home) == ["a.jsonl"]
    assert ingest_inbox(JOB, home, at=AT) == Ingested(3, 2, 1, 0, 0)


def test_what_no_night_reads_is_named_and_keeps_nothing_from_being_read(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drop(home, "a.jsonl", lines(row(feedback_id="f1")))
    inbox = home.inbox(JOB.name)
    locked = drop(home, "locked.jsonl", lines(row(feedback_id="f2")))
    drop(home, "sheet.xlsx", b"PK")
    (inbox / "folder").mkdir()
    drop(home, "folder/deep.csv", b"kind\n")
    (inbox / "pictures").mkdir()
    drop(home, "pictures/a.png", b"")
    (inbox / "link.jsonl").symlink_to(inbox / "nowhere")
    os.mkfifo(inbox / "pipe.jsonl")
    # whoever runs the tests may have all rights
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    assert ingest_inbox(JOB, home, at=AT) == Ingested(1, 1, 0, 0, 0)
    why = {path.name: why for path, why in Inbox.look(inbox).unread.items()}
    assert why == {
        "folder": "a folder; its files are not read",
        "link.jsonl": "a link to nothing",
        "locked.jsonl": "no right to read it",
        "pipe.jsonl": "no regular file",
        "sheet.xlsx": "of no format that is read (.jsonl, .csv, .parquet, also packed)",
    }
    shown = "\n".join(console.status_lines(console.status(JOB, home)))
    for name, reason in why.items():
        assert f"not read: {name}: {reason}" in caplog.text
        assert f"not read: {name}: {reason}" in shown


def test_a_header_in_another_case_or_with_blanks_names_our_fields(home: Home) -> None:
    said = row(kind="label", value=LABELS[0], feedback_id="f1", customer_id="cy@example.org")
    cells = io.StringIO()
    writer = csv.writer(cells)
    writer.writerow([f" {name.title()} " for name in said])
    writer.writerow(said.values())
    drop(home, "a.csv", cells.getvalue().encode())
    assert ingest_inbox(JOB, home, at=AT) == Ingested(1, 1, 0, 0, 0)
    [path] = (home.inbox(JOB.name) / "done").iterdir()

    def theirs(fields: Any, raw: bytes) -> bool:
        return bool(fields) and fields.get("customer_id") == "cy@example.org"

    assert erase_rows(path, theirs) == 1
