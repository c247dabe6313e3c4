"""A small file cannot fill the memory or the disk: what it unpacks to is bounded by its size."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel import sources
from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, DataError
from flywheel.ingestion import tables
from flywheel.ingestion.readers import chunks, parquet_pages, rows_of
from flywheel.ingestion.readers.blocks import (
    PIECE_BYTES,
    TooManyPages,
    Unpacked,
    most_unpacked,
    reader,
)
from flywheel.ingestion.readers.parquet_batches import _row_bytes, batches
from flywheel.ingestion.readers.parquet_footer import Column, InvalidParquet, columns_of, footer_of
from flywheel.ingestion.readers.thrift import Malformed, Reading
from flywheel.serving.batch_files import read_rows

ROW = {
    "kind": "label",
    "value": "good",
    "text": "it works",
    "rater_id": "r1",
    "source": "app",
    "given_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
}


def packed(content: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(content)
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as squeezed:
        squeezed.write(content)
    return bytes(out.getvalue())


def parquet(table: pa.Table, **how: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", **how)
    return out.getvalue()


def repeated(rows: int = 65_536, chars: int = 25_000) -> bytes:
    """A text of 25 kB, 65,536 times: 1.6 GB in a few kB."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * chars])
    return parquet(pa.table({"text": one}), store_schema=False)


@pytest.fixture(scope="module")
def lines() -> bytes:
    row = json.dumps(ROW).encode() + b"\n"
    return row + (b" " * 2**20 + b"\n") * 72


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_unpacking_stops_at_what_a_file_s_size_allows(lines: bytes, packing: str) -> None:
    small = packed(lines, packing)
    assert most_unpacked(len(small)) < len(lines)
    read = reader(io.BytesIO(small), packing)
    given: list[int] = []
    with pytest.raises(Unpacked):
        given.extend(len(piece) for piece in iter(lambda: read(PIECE_BYTES), b""))
    assert 0 < sum(given) <= most_unpacked(len(small))


def test_of_a_packed_bomb_in_the_inbox_the_rows_before_the_bound_are_kept(lines: bytes) -> None:
    found = [
        row
        for chunk in chunks("a.jsonl.gz", io.BytesIO(packed(lines, ".gz")))
        for row in rows_of(chunk)
    ]
    fields = [row for _, row in found if not isinstance(row, DataError)]
    (fault,) = (row for _, row in found if isinstance(row, DataError))
    assert [row["text"] for row in fields if row] == ["it works"]
    assert fault.message == (
        "the rest of the file is not read: it unpacks to more than 100 times its size"
    )


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.zst", "a.parquet", "a.parquet.gz"])
def test_a_source_s_bomb_is_refused_and_its_watermark_stays(
    lines: bytes, tmp_path: Path, name: str
) -> None:
    content = repeated(1_000) if ".parquet" in name else lines
    packing = Path(name).suffix
    (tmp_path / name).write_bytes(content if packing == ".parquet" else packed(content, packing))
    one = SourceConfig(name="app", kind="files", location=str(tmp_path / name))
    with pytest.raises(ConfigError, match="unpacks to more than 100 times its size"):
        sources.read(one, None)


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """Arrow's memory, counted from here on."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


def lists(rows: int = 2_000) -> bytes:
    """Each row a list of 10 texts, all of them one."""
    one = pa.array([["x" * 2_500] * 10])
    return parquet(pa.table({"texts": one.take([0] * rows)}), store_schema=False)


def prefixes(rows: int = 2_000) -> bytes:
    """Each text is the one before, with nothing added."""
    how = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    return parquet(pa.table({"text": ["x" * 25_000] * rows}), **how)


@pytest.mark.parametrize("bomb", [repeated, lists, prefixes])
def test_a_parquet_file_of_a_few_kb_is_never_decoded_to_gigabytes(
    bomb: Callable[[], bytes],
) -> None:
    content = bomb()
    assert len(content) < 12_000
    with counted() as pool, pytest.raises(Unpacked):
        list(batches(io.BytesIO(content)))
    assert pool.max_memory() < 2 * most_unpacked(len(content))


def lying() -> bytes:
    """One text of 60 MB, packed into 6 kB; the account at the end says that it is small."""
    honest = parquet(
        pa.table({"text": ["x" * 60_000_000]}), use_dictionary=False, write_statistics=False
    )
    (length,) = struct.unpack("<I", honest[-8:-4])
    body, account = honest[: -8 - length], honest[-8 - length :]
    column = pq.ParquetFile(io.BytesIO(honest)).metadata.row_group(0).column(0)
    said = _varint(column.total_uncompressed_size)
    assert account.count(said) >= 1
    return body + account.replace(said, b"\x80" * (len(said) - 1) + b"\x01")


def _varint(number: int) -> bytes:
    """As Thrift's compact protocol writes a positive number."""
    left, found = 2 * number, bytearray()
    while left > 127:
        found.append(left & 127 | 128)
        left >>= 7
    return bytes(found) + bytes([left])


def long_list() -> bytes:
    """One row, a list of very many long texts."""
    return parquet(pa.table({"texts": pa.array([["x" * 2_500] * 20_000])}))


@pytest.mark.parametrize("bomb", [lying, long_list])
def test_what_pages_say_of_themselves_is_asked_before_they_are_unpacked(
    bomb: Callable[[], bytes],
) -> None:
    content = bomb()
    assert len(content) < 12_000
    with counted() as pool, pytest.raises(Unpacked):
        list(batches(io.BytesIO(content)))
    assert pool.max_memory() < 2_000_000


def columns_in(content: bytes) -> list[Column]:
    stream = io.BytesIO(content)
    return columns_of(footer_of(stream), pq.ParquetFile(stream).schema)


def test_pages_that_name_more_values_than_the_footer_are_refused() -> None:
    content = parquet(pa.table({"score": [0.5, 1.5] * 500}))
    (column,) = columns_in(content)
    fewer = replace(column, values=column.values // 2)
    with pytest.raises(InvalidParquet):
        parquet_pages.require_within(io.BytesIO(content), [fewer], 10**9)


@pytest.mark.parametrize("delta", [False, True])
def test_the_footer_of_columns_is_what_arrow_reads_there(delta: bool) -> None:
    table = pa.table(
        {"text": ["a", "bb"] * 30, "score": [1.5] * 60, "tags": pa.array([["x", "y"]] * 60)}
    )
    how = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    content = parquet(table, row_group_size=25, **(how if delta else {}))
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    theirs = [metadata.row_group(group).column(column) for group in groups for column in columns]
    assert len(theirs) == 9
    for our, their in zip(columns_in(content), theirs, strict=True):
        assert (our.path, our.values) == (their.path_in_schema, their.num_values)
        assert our.unpacked_bytes == their.total_uncompressed_size
        assert our.packed_bytes == their.total_compressed_size
        assert our.is_text == (their.physical_type == "BYTE_ARRAY")
        assert our.is_repeated == (our.path == "tags.list.element")
        assert our.is_delta == (delta and our.path == "text")


def test_a_description_that_arrow_ends_the_process_for_is_refused() -> None:
    # the column is said to hold no nulls, and its statistics count the rows that have none
    honest = parquet(pa.table({"text": ["a", "b"]}))
    assert honest.count(b"\x25\x02\x18") == 1
    with pytest.raises(OSError, match="histogram"):
        list(batches(io.BytesIO(honest.replace(b"\x25\x02\x18", b"\x25\x00\x18"))))


def test_columns_that_lie_in_one_another_too_deep_are_refused_before_arrow_reads_them() -> None:
    # at 20,000 groups Arrow's stack ends, and the process with it
    for depth, refused in [(20, False), (1_000, True)]:
        kind: pa.DataType = pa.string()
        for _ in range(depth):
            kind = pa.struct([("a", kind)])
        content = parquet(pa.table({"deep": pa.array([None], kind)}))
        with pytest.raises(InvalidParquet) if refused else contextlib.nullcontext():
            footer_of(io.BytesIO(content))


def test_columns_that_share_their_pages_are_refused() -> None:
    # 20,000 columns with the same 80,000 heads would be read for hours
    content = parquet(pa.table({"score": [0.5, 1.5] * 500}))
    shared = columns_in(content) * 20
    with pytest.raises(InvalidParquet):
        parquet_pages.require_within(io.BytesIO(content), shared, 10**9)


def test_long_values_of_a_fixed_size_are_counted_before_they_are_decoded() -> None:
    content = parquet(pa.table({"x": pa.array([bytes(20_000)] * 2_000, pa.binary(20_000))}))
    with counted() as pool, pytest.raises(Unpacked):
        list(batches(io.BytesIO(content)))
    assert pool.max_memory() < 2_000_000


def test_texts_by_numbers_that_the_dictionary_has_not_are_refused() -> None:
    one = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), ["x"], safe=False)
    with pytest.raises(InvalidParquet):
        _row_bytes(pa.record_batch({"text": one}))


@given(st.binary(max_size=64))
def test_no_page_header_is_read_without_end(content: bytes) -> None:
    with contextlib.suppress(InvalidParquet):
        _, length = parquet_pages._header(io.BytesIO(content), 0)
        assert length <= len(content)


def test_who_looks_for_a_person_s_rows_reads_all_of_it_a_part_at_a_time() -> None:
    parts = batches(io.BytesIO(repeated(4_000)), whole=True)
    sizes = [(part.num_rows, part.nbytes) for part in parts]
    assert sum(rows for rows, _ in sizes) == 4_000
    assert max(size for _, size in sizes) < 34 * 2**20


def test_a_billion_values_that_a_file_only_names_are_not_read() -> None:
    zeros = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000_000, pa.int8()), [7])
    small = parquet(pa.table({"score": zeros.dictionary_decode()}))
    assert len(small) < 20_000
    with pytest.raises(Unpacked):
        next(batches(io.BytesIO(small)))


def test_a_bomb_that_a_person_brings_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(repeated(1_000))
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        tables.read_table(path)
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        read_rows(path)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_dictionary": False},
        {"version": "1.0"},
        {"use_dictionary": ["score"], "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"store_schema": False},
    ],
)
def test_an_honest_parquet_file_is_read_as_it_was_written(how: dict[str, object]) -> None:
    table = pa.table(
        {
            "text": ["a", None, "ä" * 50] * 1_000,
            "long": pa.array(["b", "c", None] * 1_000, pa.large_string()),
            "coded": pa.array(["d", "e", "e"] * 1_000).dictionary_encode(),
            "bytes": pa.array([b"f", None, b"g"] * 1_000),
            "score": [0.5, None, 2.0] * 1_000,
            "names": [["h", "i"], [], None] * 1_000,
            "said": [{"by": "j"}, None, {"by": None}] * 1_000,
            "likely": pa.array(
                [[("k", 1.0)], [], None] * 1_000, pa.map_(pa.string(), pa.float64())
            ),
        }
    )
    content = parquet(table, row_group_size=700, **how)
    found = pa.Table.from_batches(list(batches(io.BytesIO(content))))
    assert found.schema == pq.read_table(io.BytesIO(content)).schema
    assert found.to_pylist() == table.to_pylist()


def _page(*fields: bytes) -> bytes:
    """A page's head that says one byte, unpacked and packed, and then ``fields``."""
    return b"\x15\x00\x15\x02\x15\x02" + b"".join(fields) + b"\x00"


@pytest.mark.parametrize(
    "head",
    [
        _page(b"\x25\x02"),  # what stands for the account of its values is a number
        _page(b"\x2c\x18\x01a\x00"),  # how many values: a text
        _page(b"\x2c\x15\x01\x00"),  # how many values: -1
        b"\x15\x00\x18\x01a\x15\x02\x00",  # its size is a text
        b"\x15\x00\x00",  # it has no size
        b"\x15\x00\x15\x02\x15\x80\x80\x80\x80\x80\x80\x80\x80\x40\x00",  # longer than the file
        _page(b"\x35\x00\x00\x05\x04\x02"),  # a size twice
        _page(b"\x19" + b"\xf9\x7f" * 40_000),  # lists in lists
        _page(b"\x19\xf1" + b"\xff" * 8 + b"\x7f"),  # very many values of a bit
    ],
)
def test_a_page_header_that_is_none_is_refused(head: bytes) -> None:
    column = Column("a", False, False, False, 0, 1, 1, len(head) + 1, 0)
    with pytest.raises(InvalidParquet):
        parquet_pages.require_within(io.BytesIO(head + b"x"), [column], 10**9)


def _small(values: int) -> bytes:
    """A page of so many values in no byte: a head of 17 bytes."""
    head = b"\x15\x00\x15\x00\x15\x00\x2c\x15" + _varint(values)
    return head + b"\x15\x00\x15\x06\x15\x06\x00\x00"


@pytest.mark.parametrize("values", [0, 1])
def test_very_many_small_pages_are_refused_before_all_are_looked_at(values: int) -> None:
    """100 MB of them took more than a minute."""

    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    def asked(pages: int) -> int:
        stream = Counted(_small(values) * pages)
        length = len(stream.getvalue())
        column = Column("a", False, False, False, 0, max(1, values * pages), 1, length, 0)
        parquet_pages.require_within(stream, [column], 10**12)
        return stream.reads

    assert asked(20_000) == 20_000
    with pytest.raises(TooManyPages, match="too many pages of few values; write it with larger"):
        asked(25_000)


@pytest.mark.parametrize(
    "how", [{"row_group_size": 1}, {"data_page_size": 1, "write_batch_size": 1}]
)
def test_an_honest_file_of_small_row_groups_or_small_pages_is_read(how: dict[str, int]) -> None:
    table = pa.table({"text": [f"a text no. {n}" for n in range(500)], "score": [1.5] * 500})
    content = parquet(table, use_dictionary=False, **how)
    assert (
        pa.Table.from_batches(list(batches(io.BytesIO(content)))).to_pylist() == table.to_pylist()
    )


def test_a_footer_or_a_page_header_of_very_many_values_is_refused() -> None:
    """One byte of a footer may be a struct, which takes a hundred of memory."""
    # 150 as a value is written as 300 as a count is
    structs = b"\x19\xfc" + _varint(150) + bytes(300) + b"\x00"
    assert Reading(structs, most=301).struct() == {1: [{}] * 300}
    with pytest.raises(Malformed):
        Reading(structs, most=300).struct()
    head = b"\x15\x00\x15\x02\x15\x02\x19\xf3" + _varint(150) + bytes(300)
    head += b"\x1c\x15\x02\x15\x00\x15\x06\x15\x06\x00\x00"
    column = Column("a", False, False, False, 0, 1, 1, len(head) + 1, 0)
    with pytest.raises(InvalidParquet):
        parquet_pages.require_within(io.BytesIO(head + b"x"), [column], 10**9)
