"""Set-wise and one by one agree on every row, and no file however broken loses count of a row."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import count, cycle, product
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.ingestion.contract import FIELDS
from flywheel.ingestion.feedback import text_group
from flywheel.ingestion.readers import (
    MAX_ROW_BYTES,
    SUFFIXES,
    Chunk,
    blocks,
    chunks,
    csv_files,
    jsonl,
)
from flywheel.ingestion.readers.dialect import sniff_encoding
from flywheel.records import Ingested
from flywheel.store import Store
from flywheel.store.feedback.ingest import FEW_ROWS, _few
from flywheel.store.migrations import migrate
from tests.examples import examples
from tests.strategies import LABELS, any_text, broken_feedback, garbage_lines, raw_feedback, row

AT = datetime(2026, 1, 3, tzinfo=UTC)
FEEDBACK = """
SELECT * EXCLUDE (use_case, seq), seq IS NULL
FROM feedback
WHERE use_case = ?
ORDER BY row_number
"""
QUARANTINE = """
SELECT row_number, reason, raw FROM quarantine WHERE use_case = ? ORDER BY row_number
"""

jobs = count()
Found = tuple[Ingested, list[tuple[Any, ...]], list[tuple[Any, ...]]]


@cache
def warehouse() -> duckdb.DuckDBPyConnection:
    """One for all tests here: to make one takes longer than a test."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    migrate(con)
    return con


def one_by_one(whole: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same rows, with nothing left to judge set-wise."""
    for chunk in whole:
        numbers = chunk.table["row_number"].to_pylist()
        rows = tuple((number, chunk.row(number)) for number in numbers)
        nothing = pa.table({"row_number": pa.array([], pa.int64())})
        yield Chunk(nothing, chunk.row, (*chunk.odd, *rows))


def taken(
    name: str,
    content: bytes,
    way: Callable[[Iterator[Chunk]], Iterator[Chunk]] = iter,
    *,
    by_customer: bool = True,
    few_rows: int = 0,
) -> Found:
    """What a use case holds after its only file: counts, feedback, quarantine."""
    con, job = warehouse(), f"job-{next(jobs)}"
    counts = Store(con).ingest_file(
        job,
        file=name,
        sha256="s",
        chunks=lambda: way(chunks(name, io.BytesIO(content))),
        labels=LABELS,
        at=AT,
        by_customer=by_customer,
        few_rows=few_rows,
    )
    return (
        counts,
        con.execute(FEEDBACK, [job]).fetchall(),
        con.execute(QUARANTINE, [job]).fetchall(),
    )


def check(name: str, content: bytes, *, by_customer: bool = True) -> Found:
    """Take a file all ways; they agree, and every row is accounted for exactly once."""
    found = taken(name, content, by_customer=by_customer)
    assert found == taken(name, content, one_by_one, by_customer=by_customer)
    assert found == taken(name, content, by_customer=by_customer, few_rows=FEW_ROWS)
    counts, feedback, quarantine = found
    assert counts.read == (counts.ingested + counts.duplicate + counts.quarantined + counts.parked)
    assert (counts.ingested + counts.parked, counts.quarantined) == (len(feedback), len(quarantine))
    return found


# ---- Rows on the edge of the contract

moments = st.sampled_from(
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02 03:04:05+00:00",
        "2026-01-02T03:04:05.678901-00:30",
        "2026-01-02T03:04:05.678+14:00",
        "2026-01-02T03:04:05.6Z",
        "2026-01-02T03:04:05.6789012Z",
        "2026-01-02T03:04:05+15:00",
        "2026-01-02T03:04:05+23:59",
        "2026-01-02T03:04:05+01:00:30",
        "2026-01-02T03:04+00:00",
        "2026-01-02T03:04:60Z",
        "2026-01-02T24:00:00Z",
        "2026-02-30T03:04:05Z",
        "2024-02-29T23:59:59-14:59",
        "20260102T030405Z",
        "2026-W01-1T00:00:00Z",
        "2026-01-02T03:04:05z",
        "2026-01-02T03:04:05 Z",
        " 2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-02",
        "-2026-01-02T03:04:05Z",
        "0000-01-02T03:04:05Z",
        "0001-01-01T00:00:00+14:00",
        "0999-12-31T23:59:59Z",
        "1000-01-01T00:00:00+14:00",
        "1582-10-10T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59Z",
        "12026-01-02T03:04:05Z",
        "\u0662026-01-02T03:04:05Z",
        "-1",
        "1767322800",
    ]
)
awkward = any_text | st.sampled_from(
    [
        "",
        " ",
        "\u00a0",
        "\u2003\u3000",
        "\x1c",
        "\x85",
        "a\0b",
        "\0",
        "~tilde",
        "\x7f",
        " Two  spaces\t and\na line ",
        "Stra\u00dfe \ufb01 \uff21 \u0130",
        'say "hi"\\ or \\u0000 /',
        "\ud800",
        "\U0001f600",
        "\ufeffmark",
        "a,]",
        "x" * 512,
        "x" * 513,
        "\u00e9" * 300,
    ]
)
ratings = st.sampled_from(
    ["4", "-0", "1.50", ".5", "1.", "+1", "1e5", "1e999", "nan", "inf", "1_0", "\u0663", " 4 ", ""]
)


@st.composite
def edge_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row with some fields from the places where readers disagree."""
    raw = draw(raw_feedback() | broken_feedback())
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=3, unique=True)):
        if name == "given_at":
            raw[name] = draw(moments)
        elif name == "value" and raw.get("kind") == "rate":
            raw[name] = draw(ratings)
        elif name != "kind":
            raw[name] = draw(awkward | st.none())
    if draw(st.booleans()):
        raw["unknown"] = draw(st.sampled_from([1, 1.5e300, None, True, "x", [1], {"kind": "x"}]))
    return raw


@st.composite
def edge_lines(draw: st.DrawFn) -> bytes:
    """A row as JSON, written in one of the ways that JSON allows, or nearly allows."""
    raw = draw(edge_rows())
    plain = draw(st.booleans())
    text = json.dumps(
        raw, ensure_ascii=plain, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    )
    line = text.encode("utf-8", "surrogatepass")
    changes: list[Callable[[bytes], bytes]] = [
        lambda same: same,
        lambda same: same,
        lambda same: b" \t" + same + b" \r",
        lambda same: same[:-1] + b",}",
        lambda same: same[:-1] + b', "kind": "accept"}',
        lambda same: same[:-1] + b', "unknown": NaN}',
        lambda same: same[:-1] + b', "unknown": nan}',
        lambda same: same[:-1] + b', "unknown": 01}',
        lambda same: same.replace(b'"text"', b'"te\\u0078t"'),
        lambda same: same + same,
        lambda same: b"\xef\xbb\xbf" + same,
    ]
    return draw(st.sampled_from(changes))(line)


def test_both_ways_name_the_group_of_a_customer_that_came_without_one() -> None:
    """Also of a text that SQL cannot fold, and of a row without an id; not of one without text."""
    asked = [
        row(text="moja karta", customer_id="48213"),
        row(text="gdzie jest gotówka", customer_id="48213", feedback_id="f2"),
        row(text="my cash", customer_id="48213", feedback_id=None),
        row(text="my cash", customer_id="48213", group_id="c-1", feedback_id="f3"),
        row(text=None, prediction_id="p", customer_id="48213", feedback_id="f4"),
    ]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in asked).encode()
    _, feedback, _ = check("customers.jsonl", lines)
    assert [one[5] for one in feedback] == ["48213", "48213", "48213", "c-1", None]
    _, apart, _ = check("apart.jsonl", lines, by_customer=False)
    own = [text_group(text) for text in ("moja karta", "gdzie jest gotówka", "my cash")]
    assert [one[5] for one in apart] == [*own, "c-1", None]
    assert [one[0] for one in apart] == [one[0] for one in feedback]


@examples(12)
@given(st.lists(edge_lines() | garbage_lines, max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_both_ways_agree_on_json(lines: list[bytes], end: bytes) -> None:
    lines = [line.replace(b"\n", b" ") for line in lines]
    counts, _, _ = check("a.jsonl", end.join(lines))
    first, *rest = lines or [b""]
    kept = [first.removeprefix(b"\xef\xbb\xbf"), *rest]
    assert counts.read == sum(1 for line in kept if line.strip())


@examples(12)
@given(
    st.lists(edge_rows(), max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([FIELDS, FIELDS[1:], (*FIELDS, "unknown"), ("kind", "text")]),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from(list(b'",\n\r\0\xffx'))), max_size=3
    ),
)
@example([row()], csv.QUOTE_MINIMAL, "\n", FIELDS, [])
def test_both_ways_agree_on_csv(
    rows: list[dict[str, Any]],
    quoting: Any,
    end: str,
    columns: tuple[str, ...],
    strikes: list[tuple[int, int]],
) -> None:
    sheet = io.StringIO()
    writer = csv.DictWriter(
        sheet, columns, quoting=quoting, lineterminator=end, extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows(rows)
    content = bytearray(sheet.getvalue().encode("utf-8", "surrogatepass"))
    for place, byte in strikes:
        content[place % len(content)] = byte
    check("a.csv", bytes(content))


@examples(8)
@given(st.lists(edge_rows(), max_size=8), st.sampled_from(["texts", "times", "large", "coded"]))
def test_both_ways_agree_on_parquet(rows: list[dict[str, Any]], kind: str) -> None:
    texts = [
        {
            name: cell
            for name, cell in one.items()
            if name in FIELDS and isinstance(cell, str) and _encodable(cell)
        }
        for one in rows
    ]
    table = pa.table(
        {name: pa.array([one.get(name) for one in texts], pa.string()) for name in FIELDS}
    )
    if kind == "times":
        times = pa.array([AT.replace(microsecond=n) for n in range(len(rows))])
        table = table.set_column(
            FIELDS.index("given_at"), "given_at", times.cast(pa.timestamp("us", tz="UTC"))
        )
    elif kind == "large":
        table = table.cast(pa.schema([(name, pa.large_string()) for name in FIELDS]))
    elif kind == "coded":
        at = FIELDS.index("source")
        table = table.set_column(at, "source", table["source"].dictionary_encode())
    sink = io.BytesIO()
    pq.write_table(table, sink)
    check("a.parquet", sink.getvalue())


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@examples(2)
@given(st.lists(raw_feedback(), min_size=1, max_size=30), st.integers(80, 400))
def test_where_chunks_are_cut_makes_no_difference(rows: list[dict[str, Any]], size: int) -> None:
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    lines = b"\n".join(json.dumps(one).encode() for one in rows)
    for name, content in (("a.csv", sheet.getvalue().encode()), ("a.jsonl", lines)):
        whole = taken(name, content)
        with pytest.MonkeyPatch.context() as patched:
            # a row always fits into a chunk: at most 1 kB here
            patched.setattr(blocks, "CHUNK_BYTES", 1_000 + size)
            patched.setattr(blocks, "PIECE_BYTES", size)
            assert taken(name, content) == whole


# ---- Plain rows are not judged one by one


def clean_rows() -> list[dict[str, str]]:
    texts = ["where is my card", 'a "quoted", text', "Stra\u00dfe \u00e9", "tab\tand  spaces", "x"]
    plain = [row(feedback_id=f"f{n}", text=text) for n, text in enumerate(texts)]
    without = [row(feedback_id=None, text=text) for text in ("no id", "no \\ id", "no\tid")]
    return [
        *plain,
        *without,
        row(feedback_id="p1", text=None, prediction_id="p1", kind="accept", value=None),
        row(feedback_id="p2", text=None, prediction_id="p2", kind="rate", value="4.5"),
        row(feedback_id="p3", group_id="g", customer_id="c", kind="comment", value="good"),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_plain_rows_are_judged_set_wise(suffix: str) -> None:
    def untouchable(whole: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in whole:
            assert chunk.odd == ()
            yield replace(chunk, row=_never)

    rows = clean_rows()
    content = written(suffix, rows)
    counts, feedback, _ = taken(f"a.{suffix}", content, untouchable)
    assert counts == Ingested(read=len(rows), ingested=9, duplicate=0, quarantined=0, parked=2)
    assert feedback == taken(f"a.{suffix}", content, one_by_one)[1]


@examples(8)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7]), max_size=9), st.integers(1, 4))
def test_rows_are_the_same_however_many_lines_a_chunk_has(kinds: list[int], most: int) -> None:
    open_record = as_excel([row(feedback_id="o", text="a\n\n,,\n\nb")], ",").split("\r\n", 1)
    header, record = open_record[0], open_record[1]
    lines = [record, ",,\r\n", "\n", '"",""\n', '"broken"x\n', '""""\n', " \n", "x,y\n"]
    sheet = f"{header}\n{''.join(lines[kind] for kind in kinds)}".encode()
    plain = f"{json.dumps(row())}\n"
    objects = [plain, "\n", " \t\r\n", "{oops\n", "\v\f\n", "[]\n", "\u00a0\n", "0\n"]
    text = "".join(objects[kind] for kind in kinds).encode()
    whole = check("a.csv", sheet), check("a.jsonl", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "MAX_LINES", most)
        patch.setattr(jsonl, "MAX_LINES", most)
        assert (check("a.csv", sheet), check("a.jsonl", text)) == whole


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b"\n" * 60_000 + b"{oops\n" * 60_000),
        ("a.csv", b"text,value\n" + b",\n" * 60_000 + b"a,b,c\n" * 60_000),
    ],
)
def test_blank_lines_are_counted_and_a_chunk_of_short_rows_is_bounded(
    name: str, content: bytes
) -> None:
    found = [
        (chunk.blank, chunk.table.num_rows + len(chunk.odd))
        for chunk in chunks(name, io.BytesIO(content))
    ]
    assert [sum(each) for each in zip(*found, strict=True)] == [60_000, 60_000]
    assert max(blank + rows for blank, rows in found) <= 100_000


def _never(number: int) -> Any:
    raise AssertionError(f"row {number} was judged alone")


def written(suffix: str, rows: list[dict[str, str]]) -> bytes:
    """The rows as a file; any packing."""
    kind, _, packing = suffix.partition(".")
    if kind == "jsonl":
        content = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    elif kind == "csv":
        sheet = io.StringIO()
        writer = csv.DictWriter(sheet, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        content = sheet.getvalue().encode()
    else:
        sink = io.BytesIO()
        schema = pa.schema([(name, pa.string()) for name in FIELDS])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
        content = sink.getvalue()
    if packing == "gz":
        return gzip.compress(content, mtime=0)
    if packing == "zst":
        packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
        return packed
    return content


# ---- As spreadsheets of other countries write them


def as_excel(rows: list[dict[str, Any]], separator: str = ";", end: str = "\r\n") -> str:
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, FIELDS, delimiter=separator, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return sheet.getvalue()


def told() -> list[dict[str, Any]]:
    texts = ["Größe, Farbe; alles falsch", 'er sagt: "süß"\nund geht', "Straße | Tür\tHof", "naïve"]
    return [row(feedback_id=f"f{n}", text=text) for n, text in enumerate(texts * 3)]


SEPARATORS = [",", ";", "\t", "|"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]


@pytest.mark.parametrize(
    ("separator", "encoding"),
    dict.fromkeys([*zip(cycle(SEPARATORS), ENCODINGS), *product(SEPARATORS, ["cp1252"])]),
)
def test_any_separator_and_encoding_gives_the_same_feedback(separator: str, encoding: str) -> None:
    content = as_excel(told(), separator).encode(encoding)
    counts, feedback, quarantine = check("a.csv", content)
    assert quarantine == []
    assert feedback == taken("a.jsonl", written("jsonl", told()))[1]
    assert counts == Ingested(12, 12, 0, 0, 0)
    assert check("a.csv.gz", gzip.compress(content))[1] == feedback


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_lines_in_any_encoding_give_the_same_feedback(encoding: str) -> None:
    rows = [row(feedback_id=f"f{n}", text=f"Größe\u2028 {n}") for n in range(9)]
    if encoding == "cp1252":
        rows = told()
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
    assert check("a.jsonl", lines.encode(encoding)) == taken("a.jsonl", lines.encode())


def test_separators_are_named_lines_end_and_japan_writes_as_excel_does_there() -> None:
    plain = taken("a.jsonl", written("jsonl", told()))[1]
    assert check("a.csv", f"sep=;\r\n{as_excel(told())}".encode("cp1252"))[1] == plain
    without_breaks = [one for one in told() if "\n" not in one["text"]]
    plain = taken("a.jsonl", written("jsonl", without_breaks))[1]
    assert check("a.csv", as_excel(without_breaks, end="\r").encode("cp1252"))[1] == plain
    kana = [row(feedback_id=f"f{n}", text=f"荷物が届きません{n}") for n in range(9)]
    plain = taken("a.jsonl", written("jsonl", kana))[1]
    assert check("a.csv", as_excel(kana, ",").encode("cp932"))[1] == plain


def test_plain_rows_of_other_separators_are_judged_set_wise() -> None:
    def counted(whole: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in whole:
            assert [number for number, _ in chunk.odd] == [2]
            yield chunk

    rows = [row(feedback_id="a"), row(feedback_id="b", text="two\nlines"), row(feedback_id="c")]
    assert taken("a.csv", as_excel(rows).encode("utf-16"), counted)[0].ingested == 3


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "gb18030", "euc-kr", "cp1253"])
def test_what_no_encoding_fits_is_never_learned_as_other_letters(encoding: str) -> None:
    text = {"gb18030": "我的包裹在哪里呢", "euc-kr": "내 소포는 어디에 있습니까"}.get(
        encoding, "πού είναι το δέμα μου" if encoding == "cp1253" else "где моя посылка, она в пути"
    )
    rows = [row(feedback_id="plain"), *(row(feedback_id=f"f{n}", text=text) for n in range(9))]
    counts, _, quarantine = check("a.csv", as_excel(rows).encode(encoding))
    assert (counts.ingested, counts.quarantined) == (1, 9)
    assert {reason for _, reason, _ in quarantine} == {"text is not valid UTF-8"}


def test_a_few_broken_bytes_in_utf_8_cost_their_row_only() -> None:
    content = as_excel(told()).encode().replace("naïve".encode(), b"na\xefve", 1)
    counts, _, quarantine = check("a.csv", content)
    assert counts == Ingested(12, 11, 0, 1, 0)
    assert quarantine[0][:2] == (4, "text is not valid UTF-8")


FAR = 2**20
"""Characters by which what follows is no part of a file's beginning."""


def test_rows_in_utf_8_are_read_as_such_where_the_beginning_is_not() -> None:
    early, *late = [row(feedback_id=f"f{n}", text=f"größer {n}, 你好") for n in range(3)]
    early["text"] = "naïve"
    lines = [json.dumps(one, ensure_ascii=False) for one in (early, *late)]
    content = b"\n".join([lines[0].encode("cp1252"), b" " * FAR, *(s.encode() for s in lines[1:])])
    assert check("a.jsonl", content) == taken("a.jsonl", "\n".join(lines).encode())


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_rows_that_come_late_in_another_code_page_are_never_learned_as_other_letters(
    end: str,
) -> None:
    west = [row(feedback_id=f"w{n}", text="Größe …“, été") for n in range(9)]
    east = [row(feedback_id=f"e{n}", text="где моя посылка") for n in range(3)]
    body = as_excel(east, ",", end).partition(end)[2].encode("cp1251")
    west.append(row(feedback_id="long", text="x" * FAR))
    content = as_excel(west, ",", end).encode("cp1252") + body
    counts, _, quarantine = check("a.csv", content)
    assert (counts.ingested, counts.quarantined) == (10, 3)
    assert {reason for _, reason, _ in quarantine} == {"text is not valid UTF-8"}


def test_a_word_without_an_end_does_not_hold_up_who_tells_the_encoding() -> None:
    assert sniff_encoding(b"x" * 2**20 + " été, Größe".encode("cp1252")) == "cp1252"


def test_a_broken_row_hides_no_separator() -> None:
    broken = row(feedback_id="broken", text="without\rquotes")
    content = as_excel([broken, *told()]).replace('"without\rquotes"', "without\rquotes")
    counts, feedback, _ = check("a.csv", content.encode())
    assert counts == Ingested(13, 12, 0, 1, 0)
    assert {one[2] for one in feedback} == {
        one[2] for one in taken("a.csv", as_excel(told()).encode())[1]
    }


# ---- Broken files

PACKED = [suffix.removeprefix(".") for suffix in SUFFIXES]


@pytest.mark.parametrize("suffix", PACKED)
def test_every_format_and_packing_gives_the_same_feedback(suffix: str) -> None:
    rows = clean_rows()
    assert check(f"a.{suffix}", written(suffix, rows)) == taken("a.jsonl", written("jsonl", rows))


@examples(20)
@given(st.data(), st.sampled_from(PACKED))
def test_a_half_written_or_damaged_file_is_accounted_for(data: st.DataObject, suffix: str) -> None:
    content = bytearray(written(suffix, clean_rows() * 5))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    check(f"a.{suffix}", bytes(content))


@examples(25)
@given(st.binary(max_size=300), st.sampled_from(PACKED))
def test_any_bytes_under_any_name_are_accounted_for(content: bytes, suffix: str) -> None:
    check(f"a.{suffix}", content)


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst", "csv.gz", "csv.zst"])
def test_the_rows_before_a_break_are_kept(suffix: str) -> None:
    rows = [row(feedback_id=f"f{n}", text=f"text {n} {n * 7919}") for n in range(20_000)]
    content = written(suffix, rows)
    counts, _, quarantine = taken(f"a.{suffix}", content[: len(content) // 2])
    assert counts.ingested > 1_000
    assert counts.quarantined == 1
    assert quarantine[0][:2] == (
        counts.read,
        f"the rest of the file cannot be read ({'EOFError' if 'gz' in suffix else 'OSError'})",
    )


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv", "csv.zst"])
def test_a_50_mb_line_is_one_quarantined_row(suffix: str) -> None:
    kind, _, packing = suffix.partition(".")
    around = written(kind, clean_rows()).splitlines(keepends=True)
    long = b"x" * 50_000_000 + b"\n"
    content = b"".join([*around[:2], long, *around[2:]])
    if packing == "gz":
        content = gzip.compress(content, 1, mtime=0)
    elif packing:
        content = pa.compress(content, codec="zstd", asbytes=True)
    counts, _, quarantine = taken(f"a.{suffix}", content)
    assert counts == Ingested(read=12, ingested=9, duplicate=0, quarantined=1, parked=2)
    ((number, reason, raw),) = quarantine
    assert number == (3 if kind == "jsonl" else 2)
    assert reason == f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB"
    assert len(raw) == 1_000


def test_csv_with_the_wrong_quoting_is_accounted_for() -> None:
    head = ",".join(FIELDS) + "\n"
    good = ",".join(row().get(name, "") for name in FIELDS) + "\n"
    broken = good.replace("where", '"wh"ere')
    escaped = good.replace("where", '"wh\\"ere, is"')
    single = good.replace("where is", "'where, is'")
    counts, _, _ = check("a.csv", (head + good + broken + good + escaped + good + single).encode())
    assert counts.quarantined >= 2
    assert counts.ingested == 1
    assert counts.duplicate >= 1


def test_few_rows_that_are_long_are_not_held_all_at_once() -> None:
    rows = [json.dumps({"text": "x" * 4_000_000}) for _ in range(3)]
    assert _few(chunks("few.jsonl", io.BytesIO("\n".join(rows[:1]).encode())), FEW_ROWS)
    assert _few(chunks("few.jsonl", io.BytesIO("\n".join(rows).encode())), FEW_ROWS) is None


@pytest.mark.parametrize(
    "text",
    [
        "Käse und Brötchen über Straße, größer für fünf",
        "déjà reçu, élève très français",
        "el niño está aquí, qué día más frío",
        "smörgås på ön är här",
        "Käse",
    ],
)
def test_what_an_old_mac_or_dos_saved_is_read_or_refused_and_never_garbled(text: str) -> None:
    rows = [row(feedback_id=f"f{n}", text=text) for n in range(9)]
    plain = taken("a.jsonl", written("jsonl", rows))[1]
    for encoding in ("mac_roman", "cp1252", "utf-8"):
        assert check("a.csv", as_excel(rows).encode(encoding))[1] == plain
    if "niño" not in text:
        counts, _, quarantine = check("a.csv", as_excel(rows).encode("cp850"))
        assert (counts.ingested, len(quarantine)) == (0, 9)
