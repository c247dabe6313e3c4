"""Which rows are a person's, and which rows of others quote them, in warehouse and feedback files.

Looks and counts; changes nothing. `tasks.erasure.locations` puts it together with all the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError
from flywheel.ingestion.predictions import SUFFIX as ANSWERS
from flywheel.ingestion.readers import SUFFIXES
from flywheel.privacy import erase_files, erasure_plan
from flywheel.privacy.byte_search import stands_in
from flywheel.privacy.clues import Clues, clues
from flywheel.privacy.erasure_plan import Kept
from flywheel.privacy.own_words import Other, Quoted, quoted
from flywheel.privacy.person_ids import PERSON_FIELDS, Person, person_of
from flywheel.privacy.personal_texts import said_in_row, written
from flywheel.store import Store, open_store
from flywheel.store import erasure as warehouse
from flywheel.store.anonymous_evidence import Hanging
from flywheel.store.feedback import arrivals
from flywheel.store.rows_of_person import ids_of
from flywheel.text import quotations

_NOW = sys.maxsize
"""When a row comes that still waits in the inbox: after all that is in the warehouse."""


@dataclass(frozen=True)
class Theirs:
    """What one use case holds of a person, and of others who quote them.

    ``quotes`` are the ids of others' rows that go, ``alike`` of those almost like theirs that stay.
    ``quoting`` are the texts of these rows. ``texts`` are all that they said, ``own`` what nobody
    had said before, ``remaining`` what others said that stays, where it may hold any of it, and
    ``naming`` how many of others' texts name the person. ``others`` are the ids of feedback that
    stays, and ``gold`` are the sources whose rows are never deleted for a quote.
    """

    held: warehouse.Held
    person: Person
    quotes: tuple[str, ...] = ()
    quoting: frozenset[str] = field(default=frozenset(), repr=False)
    alike: tuple[str, ...] = ()
    kept: Kept = field(default_factory=Kept)
    texts: frozenset[str] = field(default=frozenset(), repr=False)
    own: frozenset[str] = field(default=frozenset(), repr=False)
    remaining: tuple[str, ...] = field(default=(), repr=False)
    naming: int = 0
    others: frozenset[str] = field(default=frozenset(), repr=False)
    gold: frozenset[str] = frozenset()
    keeps_quotes: bool = False


def find(home: Home, use_case: str, name: str, *, alike: bool, quotes: bool) -> Theirs:
    """Their rows, and with ``quotes`` the rows by others that quote them.

    With ``alike`` others' near-identical texts go, too. Gold goes for neither.
    """
    gold, labels = _gold_sources(use_case), _labels(use_case)
    person = _person(home, use_case, name)
    waiting = tuple(sorted(_answers_in_files(home, use_case, person)))
    if not home.warehouse.exists():
        hanging = Hanging((name,), ())
        one = warehouse.Held(
            use_case, waiting, (), (name,), hanging, (), (), {}, frozenset(), people=person.ids
        )
        words = frozenset(written(_said_in_files(home, one, person, {}), labels))
        return Theirs(one, person, texts=words, own=words, gold=gold, keeps_quotes=not quotes)
    asked: dict[str, Any] = {"waiting": waiting, "labels": labels}
    with open_store(home.warehouse, read_only=True) as store:
        gold |= arrivals.examined_sources(store, use_case)
        one = warehouse.held(store, use_case, name, **asked)
        said = _said(home, store, one, person, labels)
        looked_for: dict[str, Any] = {"texts": {*said, *one.answers}, "labels": labels}
        others = arrivals.others(store, one, gold, **looked_for)
        found = quoted(others, said)
        near = _near(others, said, found)
        going = [*(found.rows if quotes else ()), *(near if alike else ())]
        if going:
            one = _with(store, one, name, [others[row] for row in going], **asked)
        one = _without_regrouped(store, one, found)
        left = arrivals.others(store, one, gold, **looked_for) if going or one.regrouped else others
        own = found.own | (one.texts - said.keys())
        remaining = {other.text for other in left}
        same = arrivals.same_answers(store, one)
        one = replace(one, shared=frozenset(one.texts & remaining), answers=one.answers - same)
        one = _with_quarantined(
            store, one, person, {t: said.get(t, _NOW) for t in own}, quotes=quotes
        )
        naming = arrivals.naming(store, one, person.words)
    kept = Kept(
        gold=len({others[row].name for row in found.gold}),
        earlier=len({others[row].name for row in found.earlier}),
        quotes=0 if quotes else len({others[row].name for row in found.rows}),
        regrouped=len(one.regrouped),
    )
    return Theirs(
        held=one,
        person=person,
        quotes=tuple(sorted({others[row].name for row in going})),
        quoting=frozenset(others[row].text for row in going),
        alike=() if alike else tuple(sorted({others[row].name for row in near})),
        kept=kept,
        texts=frozenset({*said, *one.texts}),
        own=own,
        remaining=tuple(other.text for other in left),
        naming=sum(any(stands_in(text, word) for word in person.words) for text in naming),
        others=frozenset(o.name for o in left if o.table == "feedback"),
        gold=frozenset(gold),
        keeps_quotes=not quotes,
    )


def _person(home: Home, use_case: str, name: str) -> Person:
    """Who is meant, with all spellings of their id that the warehouse has."""
    if not home.warehouse.exists():
        return person_of(name)
    with open_store(home.warehouse, read_only=True) as store:
        return person_of(name, found=ids_of(store, use_case, name))


def _labels(use_case: str) -> frozenset[str]:
    """The names of classes, which are nobody's words; none where any text may be the answer."""
    try:
        return frozenset(load_use_case(use_case).label_names)
    except ConfigError:
        return frozenset()


def _gold_sources(use_case: str) -> frozenset[str]:
    """The sources of gold that the use case's file names; none where there is no file any more."""
    try:
        return frozenset(load_use_case(use_case).curation.gold_sources)
    except ConfigError:
        return frozenset()


def _near(others: list[Other], said: Mapping[str, int], found: Quoted) -> list[int]:
    """Rows by others almost like theirs: none that quotes them, and no gold."""
    passed = {*found.rows, *found.gold, *found.earlier}
    near = quotations.find_alike([other.text for other in others], said)
    return [row for row in near if row not in passed and not others[row].is_gold]


def _with(
    store: Store, one: warehouse.Held, name: str, going: Iterable[Other], **asked: Any
) -> warehouse.Held:
    names = {"prediction": set[str](), "feedback": set[str]()}
    for other in going:
        names[other.table].add(other.name)
    return warehouse.held(
        store,
        one.use_case,
        name,
        predictions=sorted(names["prediction"]),
        feedback=sorted(names["feedback"]),
        **asked,
    )


def _without_regrouped(store: Store, one: warehouse.Held, found: Quoted) -> warehouse.Held:
    """The same without others' feedback that is in the person's group by their repetition only."""
    regrouped = arrivals.by_group_alone(store, one, found.known)
    kept = {feedback_id for feedback_id, _ in regrouped}
    feedback = tuple(name for name in one.feedback if name not in kept)
    counts = one.counts | {"feedback": len(feedback)}
    return replace(one, feedback=feedback, regrouped=regrouped, counts=counts)


def _with_quarantined(
    store: Store, one: warehouse.Held, person: Person, own: Mapping[str, int], *, quotes: bool
) -> warehouse.Held:
    """The same with rows in quarantine that hold their own words and came no earlier than these."""
    long = {text for text in own if len(text) >= quotations.MIN_SEARCHED_CHARS}
    found = quotations.within(long)
    rows = set(one.quarantine)
    for file_sha256, number, raw, at in arrivals.quarantined(store, one.use_case):
        hits = [t for t in found(raw) if at is None or at >= own[t] or own[t] == _NOW]
        if _names_another(raw, person):
            hits = [t for t in hits if quotes and len(t) >= quotations.MIN_QUOTE_CHARS]
        if hits:
            rows.add((file_sha256, number))
    counts = one.counts | {"quarantine": len(rows)}
    return replace(one, quarantine=tuple(sorted(rows)), counts=counts)


def _names_another(raw: str, person: Person) -> bool:
    """Whether a row that can be read says that it is somebody else's."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict):
        return False
    name = fields.get("customer_id")
    return name not in (None, "") and not person.is_in(name)


# ---- Feedback files


def feedback_files(home: Home, use_case: str) -> list[Path]:
    """Complete feedback files, waiting and done."""
    return sorted(
        path
        for path in home.inbox(use_case).rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)
    )


def clues_of(found: Theirs) -> Clues:
    """Clues to the rows of `in_files`."""
    one = found.held
    return clues({*found.person.ids, *one.predictions, *found.quotes}, found.own)


def in_files(found: Theirs) -> erase_files.Theirs:
    """Says of a row of a feedback file whether it is theirs, or quotes them and goes."""
    named = _named(found.held, found.person, found.quotes)
    own = frozenset() if found.keeps_quotes else found.own
    is_quote = quotations.quoting(own)
    said_in = quotations.within({t for t in found.own if len(t) >= quotations.MIN_QUOTE_CHARS})

    def theirs(fields: Mapping[str, object] | None, raw: str) -> bool:
        if fields is None:
            return named(fields, raw) or bool(said_in(raw))
        if named(fields, raw):
            return True
        if str(fields.get("feedback_id")) in found.others or fields.get("source") in found.gold:
            return False
        said = fields.get("text"), fields.get("value")
        return any(isinstance(text, str) and is_quote(text) for text in said)

    return theirs


def _named(one: warehouse.Held, person: Person, quotes: Collection[str]) -> erase_files.Theirs:
    """Says of a row whether it names them, an answer given to them, or a row that goes."""
    names = {*person.ids, *one.predictions, *quotes}
    predictions, quoted = set(one.predictions), set(quotes)

    def naming(fields: Mapping[str, object] | None, raw: str) -> bool:
        if fields is None:
            found = erasure_plan.names_in(raw)
            return not names.isdisjoint(found) or any(map(person.is_in, found))
        return (
            any(person.is_in(fields.get(name)) for name in PERSON_FIELDS)
            or str(fields.get("prediction_id")) in predictions
            or str(fields.get("feedback_id")) in quoted
        )

    return naming


@dataclass(frozen=True)
class QuotesInFiles:
    """Rows by others that go from files: ids, texts, and how many of them wait for a night.

    ``counts`` is file → rows that go, whoever's they are, and rows that stay.
    """

    waiting: int
    ids: frozenset[str]
    texts: frozenset[str] = field(repr=False)
    counts: Mapping[Path, tuple[int, int]]


def quotes_in_files(home: Home, found: Theirs) -> QuotesInFiles:
    """What goes from files, waiting and done, and which of it others sent."""
    theirs, named = in_files(found), _named(found.held, found.person, found.quotes)
    inbox = home.inbox(found.held.use_case)
    rows: list[Mapping[str, object]] = []

    def note(fields: Mapping[str, object]) -> None:
        if not named(fields, ""):
            rows.append(fields)

    waiting = 0
    counts: dict[Path, tuple[int, int]] = {}
    for path in feedback_files(home, found.held.use_case):
        before = len(rows)
        counts[path] = erase_files.look_through(path, theirs, note, clues=clues_of(found))
        waiting += len(rows) - before if path.parent == inbox else 0
    return QuotesInFiles(
        waiting,
        ids=frozenset(str(row["feedback_id"]) for row in rows if row.get("feedback_id")),
        texts=frozenset(text for row in rows for text in said_in_row(row)),
        counts=counts,
    )


def _said(
    home: Home, store: Store, one: warehouse.Held, person: Person, labels: frozenset[str]
) -> dict[str, int]:
    """Each text of theirs, in the warehouse and in files, and when it came first."""
    said = arrivals.theirs(store, one, labels)
    in_files = _said_in_files(home, one, person, arrivals.files(store, one.use_case))
    return {
        text: min(said.get(text, _NOW), in_files.get(text, _NOW))
        for text in written({*said, *in_files}, labels)
    }


def _said_in_files(
    home: Home, one: warehouse.Held, person: Person, came: Mapping[str, int]
) -> dict[str, int]:
    named = _named(one, person, ())
    said: dict[str, int] = {}
    for path in feedback_files(home, one.use_case):
        at = came.get(path.name, _NOW)
        rows: list[Mapping[str, object]] = []
        ids = clues({*person.ids, *one.predictions})
        erase_files.look_through(path, named, rows.append, clues=ids)
        for text in (text for row in rows for text in said_in_row(row)):
            said[text] = min(at, said.get(text, _NOW))
    return said


def _answers_in_files(home: Home, use_case: str, person: Person) -> set[str]:
    """The ids of answers given to them that lie in files, taken in or not."""
    rows: list[Mapping[str, object]] = []

    def given(fields: Mapping[str, object] | None, _raw: str) -> bool:
        return fields is not None and any(person.is_in(fields.get(n)) for n in PERSON_FIELDS)

    for path in feedback_files(home, use_case):
        if path.name.endswith(ANSWERS):
            erase_files.look_through(path, given, rows.append, clues=clues(person.ids))
    return {str(row["prediction_id"]) for row in rows if row.get("prediction_id")}
