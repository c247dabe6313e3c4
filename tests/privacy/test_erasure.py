"""What forgetting is made of: rows cut from files, bytes from the warehouse, names, quotes."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.config import Home
from flywheel.ingestion.readers import SUFFIXES
from flywheel.privacy import erase_files
from flywheel.privacy.erasure_plan import Forgotten, name_hash, names_in
from flywheel.records import Ingested
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.compaction import rewrite_file
from flywheel.text.quotations import quoting, within
from tasks.erasure.erase import forget
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import (
    AT,
    CANARY,
    JOB,
    WHO,
    drop,
    json_lines,
    other,
    pack,
    packed,
    predicted,
    theirs,
    unpacked,
)


def test_every_table_is_known_to_hold_people_or_not(tmp_path: Path) -> None:
    with open_store(tmp_path / "w.duckdb") as store:
        names = store.con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert sorted(warehouse.HOLDING + warehouse.HARMLESS) == sorted(name for (name,) in names)


def test_deleted_bytes_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with open_store(path) as store:
        store.add_predictions("u", [predicted(f"p{n}", WHO, f"{CANARY} {n}") for n in range(9)])
        store.add_predictions("u", [predicted("kept", "x", "kept words")])
    assert CANARY.encode() in path.read_bytes()
    with open_store(path) as store:
        store.con.execute("DELETE FROM predictions WHERE customer_id = ?", [WHO])
        rewrite_file(store)
    assert CANARY.encode() not in path.read_bytes()
    assert b"kept words" in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with open_store(path) as store:
        store.add_predictions("u", [predicted("kept", "x", "kept words")])
        assert store.rows("SELECT count(*) FROM predictions", {}) == [(1,)]


named = st.sampled_from([WHO, "a", "b"])
bodies = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(deadline=None)
@given(st.lists(st.tuples(named, bodies), max_size=8), st.sampled_from(SUFFIXES))
def test_rows_of_others_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    content = [{"customer_id": who, "text": f"x{text}"} for who, text in rows]
    written, wanted = folder / f"all{suffix}", folder / f"kept{suffix}"
    kept = [one for one in content if one["customer_id"] != WHO]
    for path, some in ((written, content), (wanted, kept)):
        path.write_bytes(packed(suffix, some))
    gone = erase_files.erase_rows(written, lambda fields, raw: (fields or {})["customer_id"] == WHO)
    assert gone == len(content) - len(kept)
    if gone and not kept:
        assert not written.exists()
    elif ".parquet" in suffix:
        one, other = (pq.read_table(io.BytesIO(unpacked(path))) for path in (written, wanted))
        assert one.equals(other)
    else:
        assert unpacked(written) == unpacked(wanted)


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("separator", "encoding", "end"),
    [
        (";", "cp1252", "\r\n"),
        ("\t", "utf-16", "\r\n"),
        (",", "utf-16-be", "\n"),
        (";", "utf-8-sig", "\r"),
        (",", "cp932", "\r\n"),
    ],
)
def test_rows_of_others_keep_their_bytes_as_a_spreadsheet_wrote_them(
    tmp_path: Path, separator: str, encoding: str, end: str, packing: str
) -> None:
    text = "荷物が、届きません" if encoding == "cp932" else "Größe, Farbe; „süß“"
    rows = [(WHO if n % 3 == 1 else f"kunde {n}", f"{text} {n}") for n in range(9)]

    def sheet(some: list[tuple[str, str]]) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=separator, lineterminator=end)
        writer.writerows([("customer_id", "text"), *some])
        return out.getvalue().encode(encoding)

    file = tmp_path / f"a.csv{packing}"
    file.write_bytes(pack(packing, sheet(rows)))
    assert erase_files.holds(file, [f"{text} 1"])
    theirs = Forgotten(b"", frozenset({name_hash(b"", "person", WHO)})).theirs
    assert erase_files.texts_of(file, theirs) == {f"{text} {n}" for n in (1, 4, 7)}
    assert erase_files.erase_rows(file, theirs) == 3
    assert unpacked(file) == sheet([one for one in rows if one[0] != WHO])
    assert not erase_files.holds(file, [f"{text} 1"])


def test_a_person_in_spreadsheets_files_is_forgotten_and_the_files_are_still_read(
    home: Home,
) -> None:
    def sheet(*rows: dict[str, Any]) -> str:
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    for number, encoding in enumerate(["cp1252", "utf-16"]):
        said = theirs(number, text=f"Größe, Farbe; {CANARY} {number}", group_id=WHO)
        content = sheet(said, other(number, text=f"Tür, süß; {number}")).encode(encoding)
        drop(home, f"{number}.csv", content)
    done = forget(home, WHO, at=AT)
    assert [one["rows_removed"] for one in done["files"]] == [1, 1]
    assert done["searched_afterwards"]["found"] == []
    assert ingest_inbox(JOB, home, at=AT) == Ingested(2, 2, 0, 0, 0)
    with open_store(home.warehouse, read_only=True) as store:
        assert {one.text for one in store.reactions(JOB.name)} == {"Tür, süß; 0", "Tür, süß; 1"}


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_others_are_still_found_where_the_first_row_of_utf_16_was_erased(
    tmp_path: Path, packing: str
) -> None:
    said = "几乎没有拉丁字母的一段很长的文字" * 30
    rows = [{"customer_id": name, "text": said} for name in (WHO, "a", "b")]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file = tmp_path / f"a.jsonl{packing}"
    file.write_bytes(pack(packing, "".join(lines).encode("utf-16")))
    for name, others in ((WHO, 2), ("a", 1)):
        theirs = Forgotten(b"", frozenset({name_hash(b"", "person", name)})).theirs
        assert erase_files.count_rows(file, theirs) == (1, others)
        assert erase_files.erase_rows(file, theirs) == 1
    assert unpacked(file) == lines[-1].encode("utf-16")


def test_what_is_left_is_read_as_it_was_where_the_rest_told_its_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    left = "customer_id;text\nother;on va à la gare\n"
    file.write_text(f"{left}{WHO};Größe, Farbe, süß\n", "cp1252")
    theirs = Forgotten(b"", frozenset({name_hash(b"", "person", WHO)})).theirs
    assert erase_files.erase_rows(file, theirs) == 1
    assert file.read_text("utf-8") == left
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_an_open_row_of_a_semicolon_file_is_known_by_a_name_of_two_words(tmp_path: Path) -> None:
    head = "customer_id;text;value"
    file = tmp_path / "a.csv"
    file.write_text(f"{head}\nAnna Müller;zu wenig Zellen\nBea Groß;hallo;x\n", "cp1252")
    theirs = Forgotten(b"", frozenset({name_hash(b"", "person", "Anna Müller")})).theirs
    assert erase_files.erase_rows(file, theirs) == 1
    assert file.read_text("cp1252") == f"{head}\nBea Groß;hallo;x\n"


def test_a_cell_as_long_as_a_mail_thread_is_erased_with_its_row(tmp_path: Path) -> None:
    long = f"{WHO} wrote\n" + "word\n" * 40_000
    file = tmp_path / "a.csv"
    file.write_bytes(packed(".csv", [{"customer_id": WHO, "text": long}, {"c": "a", "t": "kept"}]))
    theirs = Forgotten(b"", frozenset({name_hash(b"", "person", WHO)})).theirs
    limit = csv.field_size_limit(131_072)
    try:
        assert erase_files.count_rows(file, theirs) == (1, 1)
    finally:
        csv.field_size_limit(limit)


def test_a_broken_file_keeps_the_rows_before_the_break(tmp_path: Path) -> None:
    rows = [
        {"customer_id": f"{n % 3}", "text": name_hash(b"", "person", f"{n}")} for n in range(999)
    ]
    whole = gzip.compress(json_lines(*rows))
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    gone = erase_files.erase_rows(
        file, lambda fields, raw: (fields or {}).get("customer_id") == "1"
    )
    left = gzip.decompress(file.read_bytes()).splitlines()
    assert gone > 100
    others = [row for row in rows if row["customer_id"] != "1"]
    assert [json.loads(line) for line in left[:-1]] == others[: len(left) - 1]


def test_a_failing_disk_does_not_cut_a_file_short(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"{}"
        raise OSError(errno.EIO, "the disk failed")

    with pytest.raises(OSError, match="the disk failed"):
        list(erase_files._until_broken(failing()))  # type: ignore[arg-type]


def test_a_quote_holds_a_whole_text_and_more() -> None:
    said = "The  Heron sings at midnight over the lake"
    texts = [
        "he wrote: the heron SINGS at midnight over the lake!",
        "the heron sings at midnight over the lake",
        "the heron sings at midnight",
        "something else altogether, but of some length",
    ]
    assert [*map(quoting([said, "too short"]), texts)] == [True, False, False, False]
    assert not any(map(quoting(["too short"]), texts))
    # cut out of longer words it is no quote
    numbered = "the heron sings at midnight, number 1"
    cut = [f"{numbered}2", f"{numbered}.", f"a{numbered}."]
    assert [*map(quoting([numbered]), cut)] == [False, True, False]


@given(st.lists(st.text("ab ", min_size=3, max_size=5), max_size=60), st.text("ab ", max_size=30))
def test_many_texts_are_found_as_few_are(wanted: list[str], text: str) -> None:
    one_by_one = {one for one in wanted if within([one])(text)}
    assert within(set(wanted))(text) == one_by_one


@given(bodies.filter(str.strip))
def test_a_name_is_found_in_a_row_however_it_is_written(name: str) -> None:
    assert name in names_in(json.dumps({"customer_id": name}))
    assert name in names_in(json.dumps({"deep": [{"who": name}]}))
    assert name in names_in(json.dumps({"customer_id": name})[:-1])


@given(st.text(), st.text())
def test_only_the_same_name_of_the_same_kind_is_known(name: str, another: str) -> None:
    gone = Forgotten(b"key", frozenset({name_hash(b"key", "person", name)}))
    assert gone.knows("person", name)
    assert gone.knows("person", another) == (name == another)
    assert not gone.knows("prediction", name)
    assert not Forgotten(b"other key", gone.hashes).knows("person", name)
