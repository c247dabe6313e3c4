"""Columns of sheets from several countries are told by name and by what they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flywheel.errors import DataError
from flywheel.ingestion.column_roles import NONE, Columns, customer_columns, find_columns

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TEXTS = ["my card was swallowed by the machine", "the fee is far too high for that"]


def test_a_long_time_is_no_text() -> None:
    rows = [
        {
            "タイムスタンプ": f"2026/01/02 午後3:0{n}:00",
            "内容": f"荷物{n}番",
            "種類": "配送請求"[n % 2 * 2 :],
        }
        for n in range(8)
    ]
    found = find_columns(rows, text=None, label="種類", group="-", time=None, now=NOW)
    assert (found.text, found.time) == ("内容", "タイムスタンプ")


def test_a_column_is_found_whatever_its_case_and_blanks() -> None:
    rows = [{"TEXT ": "a b", "Thema": "x", "thema": "y"}]
    found = find_columns(rows, text="text", label="thema", group="-")
    assert (found.text, found.label) == ("TEXT ", "thema")
    with pytest.raises(DataError, match="no column 'THEMA'"):
        find_columns(rows, text="text", label="THEMA", group="-")


def sheet(**columns: list[Any]) -> list[dict[str, Any]]:
    names = {name.replace("__", " "): values for name, values in columns.items()}
    return [{name: values[n % len(values)] for name, values in names.items()} for n in range(40)]


def found(rows: list[dict[str, Any]], **named: Any) -> Columns:
    usual: dict[str, Any] = dict.fromkeys(("text", "label", "group", "customer", "rater", "time"))
    return find_columns(rows, **{**usual, **named}, now=NOW)


TEXT = [f"{TEXTS[n % 2]} {n}" for n in range(40)]
DAYS = [f"{1 + n % 28:02}.02.2026 14:22" for n in range(40)]
IDS = [f"k{n // 2}" for n in range(40)]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (
            sheet(Kommentar=TEXT, Kategorie=["a", "b"], Bewertung=["4,5", "3,0"], Datum=DAYS),
            Columns("Kommentar", "Kategorie", time="Datum"),
        ),
        (
            sheet(Kundennummer=IDS, Nachricht=TEXT, Thema=["a", "b"], Bearbeiter=["x", "y"]),
            Columns("Nachricht", "Thema", "Kundennummer", "Kundennummer", "Bearbeiter"),
        ),
        (
            sheet(**{"Nº cliente": IDS}, Mensaje=TEXT, Categoría=["a", "b"], Agente=["x", "y"]),
            Columns("Mensaje", "Categoría", "Nº cliente", "Nº cliente", "Agente"),
        ),
        (
            sheet(
                **{"Tipo de cliente": ["x", "y"], "N° client": IDS},
                avis=TEXT,
                categoría=["a", "b"],
            ),
            Columns("avis", "categoría", "N° client", "N° client"),
        ),
        (
            sheet(
                **{"Data zgłoszenia": DAYS, "Nr klienta": IDS, "Treść zgłoszenia": TEXT},
                Konsultant=["x", "y"],
                Kategoria=["a", "b", "c"],
            ),
            Columns(
                *("Treść zgłoszenia", "Kategoria", "Nr klienta", "Nr klienta", "Konsultant"),
                time="Data zgłoszenia",
            ),
        ),
        (
            sheet(Номер__клиента=IDS, Оператор=["x", "y"], Обращение=TEXT, Тип=["a", "b", "c"]),
            Columns("Обращение", "Тип", "Номер клиента", "Номер клиента", "Оператор"),
        ),
        (
            sheet(고객번호=IDS, 담당자=["x", "y"], 문의내용=TEXT, 분류=["a", "b", "c"]),
            Columns("문의내용", "분류", "고객번호", "고객번호", "담당자"),
        ),
        (
            sheet(本文=TEXT, カテゴリ=["a", "b"], 顧客ID=IDS, 日時=["2026年2月3日"]),
            Columns("本文", "カテゴリ", "顧客ID", "顧客ID", time="日時"),
        ),
        (
            sheet(
                Review__Title=["x", "y", "z"],
                Review__Text=TEXT,
                Review__Submit__Date__and__Time=["2026-02-03T10:00:00Z"],
                Star__Rating=["1", "5"],
                App__Version=["1.0", "1.1"],
            ),
            Columns("Review Text", "Star Rating", time="Review Submit Date and Time"),
        ),
        (
            sheet(customer_message=TEXT, customer_age=["30", "41"], intent=["a", "b"], userId=IDS),
            Columns("customer_message", "intent", "userId", "userId"),
        ),
        (
            sheet(text=TEXT, label=["a", "b"], thread_id=IDS),
            Columns("text", "label", "thread_id"),
        ),
        (sheet(text=TEXT, label=["a", "b"], ticket_id=TEXT), Columns("text", "label")),
        (
            sheet(text=TEXT, label=["a", "b"], seen=[datetime(2026, 2, 3, tzinfo=UTC)]),
            Columns("text", "label", time="seen"),
        ),
    ],
)
def test_a_sheet_s_columns_are_found(rows: list[dict[str, Any]], columns: Columns) -> None:
    assert found(rows) == columns


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (
            sheet(cliente=["c-1", "c-2", "c-3"], estrellas=["1", "2", "3", "4", "5"], texto=TEXT),
            Columns("texto", "estrellas", "cliente", "cliente"),
        ),
        (
            sheet(レビュー=TEXT, 星=["1", "2", "3", "4", "5"], 会員=["m1", "m2", "m3"]),
            Columns("レビュー", "星", "会員", "会員"),
        ),
        (
            sheet(body=TEXT, user=["anna", "ben"], quality=["1", "2", "3"]),
            Columns("body", "quality", "user", "user"),
        ),
        (
            sheet(body=TEXT, agent=["anna", "ben"], quality=["good", "so so", "bad"]),
            Columns("body", "quality", rater="agent"),
        ),
    ],
)
def test_whom_a_row_belongs_to_is_never_guessed_to_be_its_label(
    rows: list[dict[str, Any]], columns: Columns
) -> None:
    assert found(rows) == columns


def test_a_sheet_of_texts_and_customers_alone_asks_for_its_label() -> None:
    rows = sheet(body=TEXT, customer=["anna", "ben"])
    with pytest.raises(DataError, match="--label"):
        found(rows)
    assert found(rows, label="customer").label == "customer"


def test_what_is_named_wins_and_none_can_be_named() -> None:
    rows = sheet(a=TEXT, b=["x", "y"], customer=IDS, other=IDS, created=DAYS)
    named = found(rows, customer="other", group=NONE, time=NONE)
    assert named == Columns("a", "b", None, "other")
    assert found(rows, customer=NONE).group is None
    assert found(rows, text=["b", "a"], label="customer").more == ("a",)


def test_an_instruction_and_its_input_are_one_text() -> None:
    rows = sheet(instruction=TEXT, input=["", "more"], output=TEXT)
    columns = found(rows, kind="text-generation")
    assert (columns.text, columns.more, columns.label) == ("instruction", ("input",), "output")


def test_a_customer_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"--customer: there is no column 'custmer'.*'customer'"):
        found(sheet(text=TEXT, label=["a", "b"], customer=IDS), customer="custmer")


def test_a_label_is_told_by_texts_where_no_name_says_so() -> None:
    said = {"Mạng": "mạng chập chờn từ tối", "Cước": "hóa đơn cao bất thường", "Khác": "cho hỏi"}
    labels = [list(said)[n % 3] for n in range(60)]
    rows = [
        {
            "Lời khách": f"{said[label]}, phiếu {n}",
            "Ghi chú": ["", "đã gọi lại", "chờ", ""][n * 7 % 4],
            "Nhóm": label,
            "Phụ trách": ["Lan", "Hùng"][n // 3 % 2],
            "Thuê bao": f"TB{n // 2}",
        }
        for n, label in enumerate(labels)
    ]

    columns = found(rows)

    assert columns == Columns("Lời khách", "Nhóm")
    assert customer_columns(rows, columns) == {"Thuê bao": 30}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"id": "c1", "conversations": [{"from": "human", "value": "it broke"}]}, "chat"),
        ({"messages": [{"role": "user", "content": "it broke"}], "rating": "up"}, "chat"),
        ({"fields": {"text": "it broke"}, "responses": {"topic": []}}, "argilla"),
        ({"text": "it broke", "topic.responses": [["card"]]}, "argilla"),
    ],
)
def test_rows_that_are_no_table_name_the_source_that_reads_them(
    row: dict[str, object], kind: str
) -> None:
    with pytest.raises(DataError, match=f"which a source reads.*kind: {kind}. Nothing was"):
        found([row] * 20)
