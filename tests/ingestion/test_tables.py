"""Tables as people keep them: every row is read, or set apart with its number."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import DataError
from flywheel.ingestion.tables import Refused, Table, read_table

HEADER = ("Kommentar", "Kategorie")
ROWS = [("Größe, Farbe; alles falsch", "Lob"), ("Zeile eins\nZeile zwei", 'sagt "nein"')] * 20


def read(folder: Path, content: bytes, name: str = "x.csv", **named: str) -> Table:
    path = folder / name
    path.write_bytes(content)
    return read_table(path, **named)


def sheet(separator: str, encoding: str, rows: Any = ROWS) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator).writerows([HEADER, *rows])
    return out.getvalue().encode(encoding)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_any_separator_in_any_encoding_is_read(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    found = read(tmp_path, sheet(separator, encoding))
    assert [tuple(row.values()) for row in found.rows] == ROWS
    assert list(found.rows[0]) == list(HEADER)
    assert found.refused == ()
    assert any("UTF-8" in note for note in found.notes) == (encoding == "cp1252")


def test_a_sheet_of_a_japanese_excel_is_read(tmp_path: Path) -> None:
    rows = [("荷物が届きません", "配送"), ("ありがとうございます", "お礼")] * 5
    found = read(tmp_path, sheet(",", "cp932", rows))
    assert [tuple(row.values()) for row in found.rows] == rows
    assert any("Shift-JIS" in note for note in found.notes)


EASTERN = {
    "Polish": ["problem z płatnością za przesyłkę", "książka nie dotarła, proszę o zwrot"],
    "Czech": ["zboží stále není doručeno", "děkuji za vyřízení, můžete mi vrátit peníze"],
    "Slovak": ["čakám na zásielku, vŕtačka neprišla", "čo mám robiť, účet je zablokovaný"],
    "Hungarian": ["a következő szállítási időpont nem megfelelő", "az előfizetésem lejárt"],
}


@pytest.mark.parametrize("language", EASTERN)
def test_windows_1250_is_never_read_as_windows_1252(tmp_path: Path, language: str) -> None:
    rows = [(text, EASTERN[language][0].split()[-1]) for text in EASTERN[language] * 9]
    content = sheet(";", "cp1250", rows)
    with pytest.raises(DataError, match=r"--encoding \(cp1250"):
        read(tmp_path, content)
    assert read(tmp_path, content, encoding="cp1250").rows[0]["Kommentar"] == rows[0][0]


@pytest.mark.parametrize(
    "text",
    [
        "où est mon cœur ? Il a été brûlé à la fin de l'été, père",
        "¿Dónde está? Así no; ¿qué hago mañana?",
        "Pris i alt 20 m³, nøgle køer; så får vi se på søen",
        "as questões põem opções à prova, não é",
        "õhtusöök põles läbi, jõudu tööle",
        "lunedì è così, perché di più non c'è; è già là, virtù",
        "sgrìobh mi thugaibh mun àite ùr, tha e làn dùil; èist rium a-rithist, tha gràdh agam",
        "bezañ laouen on gant ar c'hoarì, kasañ a rin ar pezh-mañ en-dro da Zoùe",
        "Größe 3 m², das Maß für ¼ l; naïve Œuvre, Ÿ",
    ],
)
def test_languages_of_the_west_are_still_read_as_windows_1252(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, sheet(";", "cp1252", [(text, "Lob")] * 9))
    assert found.rows[0]["Kommentar"] == text


def test_a_named_encoding_that_gives_control_characters_is_refused(tmp_path: Path) -> None:
    content = sheet(";", "cp1250", [("świeże śliwki", "źle")] * 9)
    with pytest.raises(DataError, match=r"U\+009C.*another encoding"):
        read(tmp_path, content, encoding="iso-8859-2")


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    rows = [("где моя посылка", "доставка")] * 3
    found = read(tmp_path, sheet(";", "cp1251", rows), encoding="cp1251")
    assert [tuple(row.values()) for row in found.rows] == rows
    with pytest.raises(DataError, match="no encoding is called 'klingon'"):
        read(tmp_path, b"a,b\n", encoding="klingon")
    with pytest.raises(DataError, match="is not ascii: byte"):
        read(tmp_path, sheet(";", "cp1251", rows), encoding="ascii")


def test_excel_may_name_its_separator(tmp_path: Path) -> None:
    found = read(tmp_path, b"sep=;\r\na;b\r\n1;2\r\n")
    assert found.rows == ({"a": "1", "b": "2"},)
    assert found.numbers == (3,)


def test_odd_rows_are_set_apart_by_number_and_the_others_are_used(tmp_path: Path) -> None:
    content = b'a,b\n1,2\n3,4,5\n"lone,6\n7\n8,9\n"x"y,10\n\xff,11\n12,13,\n'
    found = read(tmp_path, content)
    assert [row.get("a") for row in found.rows] == ["1", "7", "8", "12"]
    assert found.numbers == (2, 5, 6, 9)
    assert [(one.number, one.why.split(" (")[0]) for one in found.refused] == [
        (3, "3 cells where the header has 2"),
        (4, "no valid CSV"),
        (7, "no valid CSV"),
        (8, "not valid UTF-8"),
    ]


def test_few_broken_bytes_in_utf_8_cost_their_row_only(tmp_path: Path) -> None:
    content = b"a,b\n" + "größer,x\n".encode() * 9 + b"\xff,x\n"
    found = read(tmp_path, content)
    assert len(found.rows) == 9
    assert found.refused == (Refused(11, "not valid UTF-8"),)


def test_a_cell_beyond_the_csv_module_s_limit_is_read(tmp_path: Path) -> None:
    long = "word " * 60_000
    (row,) = read(tmp_path, f"text,label\n{long},a\n".encode()).rows
    assert row["text"] == long


def test_columns_without_a_name_or_with_one_twice_are_told_apart(tmp_path: Path) -> None:
    (row,) = read(tmp_path, b"a,,a\n1,2,3\n").rows
    assert row == {"a": "1", "column 2": "2", "a (3)": "3"}


def test_json_lines_may_hold_unicode_s_line_ends(tmp_path: Path) -> None:
    rows = [{"t": "a\u2028b\u0085c"}, {"t": "d"}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    found = read(tmp_path, f"{text}\n[1]\n{{\n".encode(), "x.jsonl")
    assert list(found.rows) == rows
    assert [(one.number, one.why.split(",")[0].split(" (")[0]) for one in found.refused] == [
        (3, "no JSON object"),
        (4, "no valid JSON"),
    ]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_an_array_of_objects_is_read(tmp_path: Path, name: str) -> None:
    rows = [{"a": 1}, {"a": 2}]
    assert read(tmp_path, json.dumps([*rows, 3]).encode(), name).rows == tuple(rows)
    nested = read(tmp_path, json.dumps({"data": rows, "version": 1}).encode(), "y.json")
    assert nested.rows == tuple(rows)


def test_a_cell_beyond_the_csv_module_s_limit_hides_no_separator(tmp_path: Path) -> None:
    limit = csv.field_size_limit(131_072)
    try:
        found = read(tmp_path, sheet(";", "utf-8", [("x, y " * 40_000, "Lob")]))
    finally:
        csv.field_size_limit(limit)
    assert [row["Kategorie"] for row in found.rows] == ["Lob"]


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b"a;b\n1;2\n"), "x.csv.gz").rows == ({"a": "1", "b": "2"},)


def test_class_labels_of_parquet_have_their_names(tmp_path: Path) -> None:
    named = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]}).replace_schema_metadata(
        {"huggingface": json.dumps(named)}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    assert [row["label"] for row in read_table(tmp_path / "x.parquet").rows] == ["yes", "no", None]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.doc", b"", r"unknown format; expected \.csv"),
        ("x.xlsx", b"PK", "Save the sheet as CSV UTF-8 first"),
        ("x.json", b'{"a": 1}', "cannot be read as json"),
        ("x.json", b"[\n{]", "cannot be read as json .line 2"),
        ("x.parquet", b"PAR1", "cannot be read as parquet"),
        ("x.csv.gz", b"not packed", "cannot be read as csv"),
        ("x.csv", b"a,b\n\x81\x8d\n\x81\n", "neither UTF-8 nor UTF-16"),
        ("x.csv", "내용;주제\n소포는 어디에 있습니까;배송\n".encode("euc-kr"), "--encoding"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, content, name)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1)


@given(rows=st.lists(st.tuples(cells, cells), min_size=2, max_size=20))
def test_what_was_written_is_read(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = [row for row in rows if any(cell.strip() for cell in row)]
    path = tmp_path_factory.mktemp("sheet") / "x.csv"
    path.write_bytes(sheet(",", "utf-8-sig", rows))
    found = read_table(path, separator=",")
    assert [tuple(row.values()) for row in found.rows] == wanted
