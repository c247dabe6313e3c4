"""Which rows are a person's, and which rows of others quote them, in warehouse and feedback files.

Looks and counts; changes nothing. `tasks.erasure.locations` puts it together with all the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError
from flywheel.ingestion.readers import SUFFIXES
from flywheel.privacy import erase_files, erasure_plan
from flywheel.privacy.erasure_plan import Kept
from flywheel.privacy.own_words import Other, Quoted, quoted
from flywheel.store import Store, open_store
from flywheel.store import erasure as warehouse
from flywheel.store.anonymous_evidence import Hanging
from flywheel.store.feedback import arrivals
from flywheel.text import quotations

_NOW = sys.maxsize
"""When a row comes that still waits in the inbox: after all that is in the warehouse."""


@dataclass(frozen=True)
class Theirs:
    """What one use case holds of a person, and of others who quote them.

    ``quotes`` are the ids of others' rows that go, ``alike`` of those almost like theirs that stay.
    ``texts`` are all that they said, ``own`` what nobody had said before, ``remaining`` what others
    said that stays. ``others`` are the ids of feedback that stays, and ``gold`` are the sources
    whose rows are never deleted for a quote.
    """

    held: warehouse.Held
    quotes: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    kept: Kept = field(default_factory=Kept)
    texts: frozenset[str] = field(default=frozenset(), repr=False)
    own: frozenset[str] = field(default=frozenset(), repr=False)
    remaining: tuple[str, ...] = field(default=(), repr=False)
    others: frozenset[str] = field(default=frozenset(), repr=False)
    gold: frozenset[str] = frozenset()
    keeps_quotes: bool = False


def find(home: Home, use_case: str, person: str, *, alike: bool, quotes: bool) -> Theirs:
    """Their rows, and with ``quotes`` the rows by others that quote them.

    With ``alike`` others' near-identical texts go, too. Gold goes for neither.
    """
    gold = _gold_sources(use_case)
    if not home.warehouse.exists():
        nothing = Hanging((person,), ())
        one = warehouse.Held(use_case, (), (), (person,), nothing, (), (), {}, frozenset())
        waiting = frozenset(_said_in_files(home, one, person, {}))
        return Theirs(one, texts=waiting, own=waiting, gold=gold, keeps_quotes=not quotes)
    with open_store(home.warehouse, read_only=True) as store:
        gold |= arrivals.examined_sources(store, use_case)
        one = warehouse.held(store, use_case, person)
        said = _said(home, store, one, person)
        others = arrivals.others(store, one, gold)
        found = quoted(others, said)
        near = _near(others, said, found)
        going = [*(found.rows if quotes else ()), *(near if alike else ())]
        if going:
            one = _with(store, one, person, [others[row] for row in going])
        one = _without_regrouped(store, one, person, found)
        left = arrivals.others(store, one, gold) if going or one.regrouped else others
        own = found.own | (one.texts - said.keys())
        remaining = {other.text for other in left}
        one = replace(one, shared=frozenset(one.texts & remaining))
        one = _with_quarantined(store, one, person, {t: said.get(t, _NOW) for t in own}, quotes)
    kept = Kept(
        gold=len({others[row].name for row in found.gold}),
        earlier=len({others[row].name for row in found.earlier}),
        quotes=0 if quotes else len({others[row].name for row in found.rows}),
        regrouped=len(one.regrouped),
    )
    return Theirs(
        held=one,
        quotes=tuple(sorted({others[row].name for row in going})),
        alike=() if alike else tuple(sorted({others[row].name for row in near})),
        kept=kept,
        texts=frozenset({*said, *one.texts}),
        own=own,
        remaining=tuple(other.text for other in left),
        others=frozenset(o.name for o in left if o.table == "feedback"),
        gold=frozenset(gold),
        keeps_quotes=not quotes,
    )


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


def _with(store: Store, one: warehouse.Held, person: str, going: Iterable[Other]) -> warehouse.Held:
    names = {"prediction": set[str](), "feedback": set[str]()}
    for other in going:
        names[other.table].add(other.name)
    return warehouse.held(
        store,
        one.use_case,
        person,
        predictions=sorted(names["prediction"]),
        feedback=sorted(names["feedback"]),
    )


def _without_regrouped(
    store: Store, one: warehouse.Held, person: str, found: Quoted
) -> warehouse.Held:
    """The same without others' feedback that is in the person's group by their repetition only."""
    regrouped = arrivals.by_group_alone(store, one, person, found.known)
    kept = {feedback_id for feedback_id, _ in regrouped}
    feedback = tuple(name for name in one.feedback if name not in kept)
    counts = one.counts | {"feedback": len(feedback)}
    return replace(one, feedback=feedback, regrouped=regrouped, counts=counts)


def _with_quarantined(
    store: Store, one: warehouse.Held, person: str, own: Mapping[str, int], quotes: bool
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


def _names_another(raw: str, person: str) -> bool:
    """Whether a row that can be read says that it is somebody else's."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict):
        return False
    return fields.get("customer_id") not in (None, "", person)


# ---- Feedback files


def feedback_files(home: Home, use_case: str) -> list[Path]:
    """Complete feedback files, waiting and done."""
    return sorted(
        path
        for path in home.inbox(use_case).rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)
    )


def in_files(found: Theirs, person: str) -> erase_files.Theirs:
    """Says of a row of a feedback file whether it is theirs, or quotes them and goes."""
    named = _named(found.held, person, found.quotes)
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


def _named(one: warehouse.Held, person: str, quotes: Collection[str]) -> erase_files.Theirs:
    """Says of a row whether it names them, an answer given to them, or a row that goes."""
    names = {person, *one.predictions, *quotes}
    predictions, quoted = set(one.predictions), set(quotes)

    def naming(fields: Mapping[str, object] | None, raw: str) -> bool:
        if fields is None:
            return not names.isdisjoint(erasure_plan.names_in(raw))
        return (
            any(str(fields.get(n)) == person for n in ("customer_id", "rater_id", "group_id"))
            or str(fields.get("prediction_id")) in predictions
            or str(fields.get("feedback_id")) in quoted
        )

    return naming


def waiting_quotes(home: Home, found: Theirs, person: str) -> int:
    """Rows by others that go from files which no night has taken in yet."""
    theirs, named = in_files(found, person), _named(found.held, person, found.quotes)
    inbox = home.inbox(found.held.use_case)

    def is_quote(fields: Mapping[str, object] | None, raw: str) -> bool:
        return fields is not None and theirs(fields, raw) and not named(fields, raw)

    files = feedback_files(home, found.held.use_case)
    return sum(erase_files.count_rows(p, is_quote)[0] for p in files if p.parent == inbox)


def _said(home: Home, store: Store, one: warehouse.Held, person: str) -> dict[str, int]:
    """Each text of theirs, in the warehouse and in files, and when it came first."""
    said = arrivals.theirs(store, one)
    in_files = _said_in_files(home, one, person, arrivals.files(store, one.use_case))
    return {text: min(said.get(text, _NOW), in_files.get(text, _NOW)) for text in said | in_files}


def _said_in_files(
    home: Home, one: warehouse.Held, person: str, came: Mapping[str, int]
) -> dict[str, int]:
    named = _named(one, person, ())
    said: dict[str, int] = {}
    for path in feedback_files(home, one.use_case):
        at = came.get(path.name, _NOW)
        for text in erase_files.texts_of(path, named):
            said[text] = min(at, said.get(text, _NOW))
    return said
