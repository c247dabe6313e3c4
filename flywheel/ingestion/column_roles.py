"""Which column holds what: text, label, customer, rater, time, group.

By name first, in some of the languages that sheets are kept in, then by what the cells hold
(`flywheel.ingestion.column_contents`). All of it is a guess for a person to correct.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flywheel.config.task_types import Kind
from flywheel.errors import DataError
from flywheel.ingestion.column_contents import Row, Sheet, could_name_customers
from flywheel.text.normalize import normalise

NONE = "-"
"""Named for a column, it says that there is none."""
TEXT_NAMES = (
    *("text", "body", "review", "sentence", "utterance", "message", "question", "content"),
    *("comment", "feedback", "description", "query", "kommentar", "nachricht", "texte", "texto"),
    *("commentaire", "comentario", "mensaje", "avis", "本文", "コメント", "内容", "文本", "评论"),
    *("treść", "wiadomość", "opis", "mensagem", "comentário", "testo", "messaggio", "commento"),
    *("tekst", "bericht", "zpráva", "besked", "meddelande", "metin", "mesaj"),
    *("текст", "сообщение", "обращение", "повідомлення", "내용", "메시지", "문의"),
)
REFERENCE_NAMES = (
    "summary",
    "reply",
    "response",
    "answer",
    "reference",
    "target",
    "output",
    "label",
)
GENERATION_TEXT_NAMES = ("dialogue", "document", "article", "conversation", "input", *TEXT_NAMES)
LABEL_NAMES = (
    *("label", "category", "intent", "class", "sentiment", "topic", "target", "tag", "kategorie"),
    *("klasse", "thema", "absicht", "catégorie", "étiquette", "categoría", "categoria", "etiqueta"),
    *("ラベル", "カテゴリ", "カテゴリー", "分類", "标签", "类别", "意图"),
    *("kategoria", "etykieta", "etichetta", "categorie", "štítek", "kategori", "etiket", "tema"),
    *("категория", "категорія", "метка", "카테고리", "라벨", "분류"),
    *("rating", "stars", "score", "bewertung", "sterne", "étoiles", "estrellas"),
    *("valoración", "puntuación", "valutazione", "stelle", "評価", "星", "评分", "星级"),
)
_WHO = (
    *("customer", "client", "user", "account", "member", "author", "sender", "reviewer"),
    *("kunde", "kunden", "benutzer", "cliente", "usuario", "utilisateur"),
    *("klient", "klienta", "użytkownik", "usuário", "utente", "klant", "gebruiker"),
    *("zákazník", "zákazníka", "uživatel", "kund", "användare", "bruger", "bruker"),
    *("müşteri", "клиент", "клиента", "клієнт", "клієнта", "пользователь"),
    *("顧客", "お客様", "会員", "ユーザー", "客户", "用户", "고객", "회원", "email", "mail"),
)
_RATERS = (
    *("rater", "annotator", "labeller", "labeler", "labelled", "labeled", "rated", "agent"),
    *("bearbeiter", "sachbearbeiter", "agente", "担当者", "評価者", "담당자"),
    *("konsultant", "pracownik", "atendente", "operador", "operatore"),
    *("medewerker", "pracovník", "handläggare", "temsilci", "оператор", "сотрудник"),
)
_THREADS = ("group", "thread", "conversation", "session", "dialog", "dialogue", "ticket", "case")
_TIMES = (
    *("given", "labelled", "labeled", "closed", "resolved", "created", "submitted", "submit"),
    *("timestamp", "datetime", "date", "time", "datum", "zeit", "zeitpunkt", "fecha", "hora"),
    *("日時", "日付", "时间", "日期"),
)
_OF_AN_ID = frozenset(
    (
        *(
            "id",
            "ids",
            "no",
            "nr",
            "number",
            "nummer",
            "nummern",
            "num",
            "key",
            "ref",
            "uuid",
            "by",
        ),
        # Nº cliente, N° client, número de cliente, código cliente
        *("n", "nº", "nro", "número", "numero", "numéro", "código", "codigo", "de", "du", "del"),
        *("name", "nombre", "nom", "email", "mail", "番号", "名", "编号", "번호"),
        *("numer", "kod", "identyfikator", "nome", "codice", "číslo", "номер", "код"),
    )
)
_ALPACA = ("instruction", "input")
"""In a file of instructions the input is often empty, and the instruction the question."""


@dataclass(frozen=True)
class Columns:
    """Which column holds what; None: no column does.

    Without ``group`` every text is a group of its own. ``more`` are columns whose text follows that
    of ``text`` after a blank line, where it is not empty: a mail's body after its subject.
    """

    text: str
    label: str
    group: str | None = None
    customer: str | None = None
    rater: str | None = None
    time: str | None = None
    more: tuple[str, ...] = ()


def find_columns(
    rows: Sequence[Row],
    *,
    text: str | Sequence[str] | None,
    label: str | None,
    group: str | None,
    customer: str | None = NONE,
    rater: str | None = NONE,
    time: str | None = NONE,
    kind: Kind = "text-classification",
    now: datetime | None = None,
) -> Columns:
    """The columns named, or those that look like it.

    Args:
        rows: At least two; one where text and label are named.
        text, label, group, customer, rater, time: A column, `NONE`, or None: find it. Several
            texts are joined.
        kind: What is to be learned.
        now: No later moment makes a column one of times.

    Raises:
        DataError: there are no rows, a named column is missing, or none looks like it.
    """
    least = 1 if text and label else 2
    if len(rows) < least or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"The file holds {len(rows)} rows of fields, and {least} are needed. Nothing was "
            "written."
        )
    there = list(dict.fromkeys(name for row in rows for name in row))
    texts = [_as_there(one, there) for one in ([text] if isinstance(text, str) else text or ())]
    label, group, customer, rater, time = (
        one and _as_there(one, there) for one in (label, group, customer, rater, time)
    )
    named: list[tuple[str, str | None]] = [("--text", one) for one in texts]
    named += [("--label", label), ("--group", group), ("--customer", customer)]
    _require(there, [*named, ("--rater", rater), ("--time", time)])
    sheet = Sheet(rows, there, now)
    if not texts and kind == "text-generation" and set(_ALPACA) <= set(there):
        texts = list(_ALPACA)
    first = texts[0] if texts else None
    label = label or _label(sheet, kind, texts)
    first = first or _text(sheet, kind, but=label)
    told = None if texts else _reader(rows)
    # a list is no text, though its name may sound like one
    listed = told and any(isinstance(row.get(first or ""), list) for row in rows)
    if first is None or label is None or listed:
        raise DataError(
            f"Of the columns {', '.join(there)} none looks like the text and another like the "
            f"label; {told or 'name them with --text and --label'}. Nothing was written."
        )
    taken = {*texts, first, label}
    when = _given(time, _time(sheet, taken))
    taken.add(when or "")
    who = _given(customer, _identity(sheet, _WHO, taken))
    taken.add(who or "")
    by = _given(rater, _identity(sheet, _RATERS, taken))
    thread = _thread(sheet, {*taken, by or ""})
    return Columns(first, label, _given(group, who or thread), who, by, when, tuple(texts[1:]))


def customer_columns(
    rows: Sequence[Row], found: Columns, *, now: datetime | None = None
) -> dict[str, int]:
    """Columns without another role that could say whose a row is → how many values they have."""
    there = list(dict.fromkeys(name for row in rows for name in row))
    taken = {found.text, *found.more, found.label, found.time or "", found.rater or ""}
    return could_name_customers(Sheet(rows, there, now), taken)


def _as_there(named: str, there: Sequence[str]) -> str:
    """The only column that is called so but for case, blanks and Unicode form; else as given."""
    alike = [name for name in there if normalise(name) == normalise(named)]
    return alike[0] if named not in there and len(alike) == 1 else named


def _require(there: Sequence[str], named: Sequence[tuple[str, str | None]]) -> None:
    for option, name in named:
        if name is not None and name != NONE and name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{option}: there is no column {name!r}.{hint} The columns are: "
                f"{', '.join(there)}. Nothing was written."
            )


_CONVERSATIONS = ("messages", "conversations")


def _reader(rows: Sequence[Mapping[str, object]]) -> str | None:
    """Which kind of source reads rows that are no table; None where none is known to."""
    kind = None
    if any(isinstance(row.get(name), list) for row in rows for name in _CONVERSATIONS):
        kind, what = "chat", "conversations"
    elif any(_is_argilla(row) for row in rows):
        kind, what = "argilla", "records of Argilla"
    if kind is None:
        return None
    return (
        f"they are {what}, which a source reads: write the use case, then add the file to its "
        f"sources with kind: {kind}"
    )


def _is_argilla(row: Mapping[str, object]) -> bool:
    nested = isinstance(row.get("responses"), dict)
    return nested or any(name.endswith(".responses") for name in row)


def _given(named: str | None, found: str | None) -> str | None:
    if named is None:
        return found
    return None if named == NONE else named


def is_role_name(name: str, role: Literal["text", "label"]) -> bool:
    """Whether a column is called as columns of texts, or of labels, are."""
    names = TEXT_NAMES if role == "text" else LABEL_NAMES
    return name.strip().casefold() in names


def words(name: str) -> list[str]:
    """The words of a column's name, in lower case: of camelCase, of snake_case, of scripts."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]+|[^\W_]+", _split_scripts(apart).casefold())


def _split_scripts(name: str) -> str:
    return re.sub(
        r"(?<=[\u3040-\u9fff])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[\u3040-\u9fff])", " ", name
    )


def _text(sheet: Sheet, kind: Kind, *, but: str | None) -> str | None:
    names = GENERATION_TEXT_NAMES if kind == "text-generation" else TEXT_NAMES
    there = [name for name in sheet.there if name != but]
    found = _by_name(there, names)
    if found is None:
        longest = {name: sheet.length(name) for name in there if sheet.filled(name)}
        for wanted in names:
            able = [n for n in there if wanted in words(n) and _reads_like_text(sheet, n)]
            if able:
                return max(able, key=lambda name: longest[name])
        words_in = {
            name: length for name, length in longest.items() if _reads_like_text(sheet, name)
        }
        longest = words_in or longest
        found = max(longest, key=lambda name: (longest[name], name), default=None)
    return found


def _reads_like_text(sheet: Sheet, name: str) -> bool:
    half = len(sheet.filled(name)) >= 0.5 * sheet.rows
    return half and not sheet.is_number(name) and not sheet.is_time(name) and sheet.values(name) > 2


def _label(sheet: Sheet, kind: Kind, texts: Sequence[str]) -> str | None:
    there = [name for name in sheet.there if name not in texts]
    if kind == "text-generation":
        return _by_name(there, REFERENCE_NAMES)
    found = _by_name(there, LABEL_NAMES)
    if found is not None:
        return found
    few = {name: sheet.values(name) for name in there}
    few = {name: n for name, n in few.items() if 2 <= n <= max(sheet.rows / 3, 2)}
    for wanted in LABEL_NAMES:
        able = [n for n in few if wanted in words(n)]
        if able:
            return min(able, key=lambda name: few[name])
    people = (*_WHO, *_RATERS, *_THREADS)
    few = {n: count for n, count in few.items() if not _named_like(n, people)}
    plain = {n: count for n, count in few.items() if not (sheet.is_number(n) or sheet.is_time(n))}
    text = texts[0] if texts else _text(sheet, kind, but=None)
    told = [n for n in plain if text not in (None, n) and sheet.is_told_by(text or "", n)]
    half = [n for n in plain if 2 * len(sheet.filled(n)) >= sheet.rows]
    return min(told or half or plain or few, key=lambda name: (few[name], name), default=None)


def _by_name(there: Sequence[str], names: Sequence[str]) -> str | None:
    folded = {column.casefold(): column for column in reversed(there)}
    return next((folded[name] for name in names if name in folded), None)


def _time(sheet: Sheet, taken: set[str]) -> str | None:
    there = [name for name in sheet.there if name not in taken]
    for wanted in _TIMES:
        able = [name for name in there if wanted in words(name) and sheet.is_time(name)]
        if able:
            return able[0]
    return next((n for n in there if not sheet.is_number(n) and sheet.is_time(n)), None)


def _identity(sheet: Sheet, names: Sequence[str], taken: set[str]) -> str | None:
    """A column whose name is one of ``names``, alone or with what ids are called."""
    for wanted in names:
        for name in sheet.there:
            if name in taken or wanted not in _name_parts(name) or not _named_like(name, names):
                continue
            if sheet.filled(name) and sheet.length(name) <= 60:
                return name
    return None


def _named_like(name: str, names: Sequence[str]) -> bool:
    """Whether a column's name is of these words only, alone or with what ids are called."""
    parts = _name_parts(name)
    return not parts.isdisjoint(names) and parts <= {*names, *_OF_AN_ID}


def _name_parts(name: str) -> set[str]:
    return {part for word in words(name) for part in _parts(word)}


def _parts(word: str) -> list[str]:
    """A word, or its two halves where the second is what ids are called: kundennummer, userid."""
    for end in sorted(_OF_AN_ID, key=len, reverse=True):
        start = word.removesuffix(end)
        if word != end and start != word and start in (*_WHO, *_RATERS, *_THREADS):
            return [start, end]
    return [word]


def _thread(sheet: Sheet, taken: set[str]) -> str | None:
    """What several rows may share: a thread, a case; not where each row has its own."""
    found = _identity(sheet, _THREADS, taken)
    return found if found and sheet.values(found) < len(sheet.filled(found)) else None
