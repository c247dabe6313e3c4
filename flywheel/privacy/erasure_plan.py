"""Forgetting a customer: how they are recognised, and the plan of what holds them.

The names of the forgotten are kept as keyed hashes only, so that nobody reads them here and a
file that is ingested again does not bring them back.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from flywheel.ingestion.readers.dialect import SEPARATORS
from flywheel.privacy.person_ids import PERSON_FIELDS, canonical_id, id_in
from flywheel.records import Feedback, Prediction
from flywheel.text.normalize import normalise

Kind = Literal["person", "prediction", "feedback"]

FORGOTTEN = "forgotten"
"""The reason for which a row of theirs is set apart, without what it says."""
EVERYWHERE = "*"
"""The use case under which a person is forgotten in all use cases, also those to come."""
EVIDENCE = "evidence"
EVIDENCE_STAYS = (
    "the night, the source and who was right stays, without text, name and id: what a trial has "
    "bet is spent"
)
_SHOWN = 10
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CELL = re.compile(r"[^\s,;\"'{}\[\]:]+")

# ---- Who is forgotten


def name_hash(key: bytes, kind: Kind, name: str) -> str:
    """Return 64 hex digits: the HMAC-SHA256 of a name, which only this home's key can repeat."""
    return hmac.digest(key, f"{kind}\x1f{name}".encode(), "sha256").hex()


_TEXT = "text:"


def text_hash(key: bytes, text: str) -> str:
    """The keyed hash of a text, the same whatever its case, width and spaces."""
    said = f"text\x1f{normalise(text)}".encode("utf-8", "surrogatepass")
    return _TEXT + hmac.digest(key, said, "sha256").hex()


@dataclass(frozen=True)
class Forgotten:
    """Recognises what names a forgotten person; false when nobody is forgotten."""

    key: bytes = field(repr=False)
    hashes: frozenset[str] = field(repr=False)
    _seen: dict[tuple[Kind, str], bool] = field(default_factory=dict, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def knows(self, kind: Kind, name: str | None) -> bool:
        """Whether this person, prediction or feedback is forgotten."""
        if name is None or not self.hashes:
            return False
        known = self._seen.get((kind, name))
        if known is None:
            names = {name, canonical_id(name)} if kind == "person" else {name}
            known = any(name_hash(self.key, kind, one) in self.hashes for one in names)
            self._seen[kind, name] = known
        return known

    @cached_property
    def has_texts(self) -> bool:
        """Whether rows that quoted somebody went, so that texts must be compared."""
        return any(one.startswith(_TEXT) for one in self.hashes)

    def quoted(self, text: object) -> bool:
        """Whether a text is one that went because it quotes a forgotten person."""
        return self.has_texts and isinstance(text, str) and text_hash(self.key, text) in self.hashes

    def of(self, feedback: Feedback) -> bool:
        """Whether a feedback names a forgotten person, or a prediction made for one."""
        return (
            any(
                self.knows("person", name)
                for name in (feedback.customer_id, feedback.rater_id, feedback.group_id)
            )
            or self.knows("prediction", feedback.prediction_id)
            or self.knows("feedback", feedback.feedback_id)
            or self.quoted(feedback.text)
            or self.quoted(feedback.value)
        )

    def answer(self, prediction: Prediction) -> bool:
        """Whether an answer was given to a forgotten person."""
        return self.knows("person", prediction.customer_id) or self.knows(
            "person", prediction.group_id
        )

    def row(self, fields: Mapping[str, object]) -> bool:
        """The same for a raw row that can be read."""
        return (
            any(self.knows("person", id_in(fields.get(name))) for name in PERSON_FIELDS)
            or self.knows("prediction", _name(fields.get("prediction_id")))
            or self.knows("feedback", _name(fields.get("feedback_id")))
            or self.quoted(fields.get("text"))
            or self.quoted(fields.get("value"))
        )

    def raw(self, raw: str) -> bool:
        """The same for a row that cannot be used: any value in it may be the name."""
        if not self.hashes:
            return False
        kinds: tuple[Kind, ...] = ("person", "prediction", "feedback")
        return any(self.knows(kind, name) for name in names_in(raw) for kind in kinds)

    def theirs(self, fields: Mapping[str, object] | None, raw: str) -> bool:
        """The same for a row of a file, by its fields or, where there are none, as it stands."""
        return self.raw(raw) if fields is None else self.row(fields)


def names_in(raw: str) -> set[str]:
    """Everything in a raw row, broken or not, that could be an identifier."""
    found = {raw.strip()}
    try:
        found |= set(_leaves(json.loads(raw)))
    except (ValueError, RecursionError):
        found |= {_unescaped(text) for text in _QUOTED.findall(raw)}
    found |= {cell.strip().strip('"') for sign in SEPARATORS for cell in raw.split(sign)}
    found |= set(_CELL.findall(raw))
    return found - {""}


def _name(value: object) -> str | None:
    return None if value is None or isinstance(value, (dict, list)) else str(value)


def _leaves(content: object) -> Iterable[str]:
    if isinstance(content, dict):
        for value in content.values():
            yield from _leaves(value)
    elif isinstance(content, list):
        for value in content:
            yield from _leaves(value)
    elif content is not None:
        yield str(content)


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


# ---- What holds them


@dataclass(frozen=True)
class FileRows:
    """A feedback file with rows of theirs. ``path`` is relative to the home, their name hidden."""

    path: str
    rows: int
    others: int
    sha256: str


@dataclass(frozen=True)
class SnapshotRows:
    """A snapshot with examples of theirs, by split."""

    use_case: str
    snapshot_id: str
    train: int
    validation: int
    holdout: int


@dataclass(frozen=True)
class TraceRows:
    """Traces of theirs in MLflow, and assessments of theirs on others' traces."""

    use_case: str
    traces: int
    assessments: int


@dataclass(frozen=True)
class NamedIn:
    """A file that names the person where nothing says that a row is theirs.

    ``rows`` is how many rows name them, None where the file has no rows that can be told apart.
    """

    path: str
    rows: int | None = None


@dataclass(frozen=True)
class Marked:
    """A version that learned from them, the aliases it holds, and where exports of it lie.

    A folder is named as it is, but for the person's name where it stands in it. Where the
    ``newest`` learned from them, a night must train without them.
    """

    use_case: str
    version: str
    digest: str
    snapshot_id: str
    aliases: tuple[str, ...]
    exports: tuple[str, ...] = ()
    newest: bool = True


@dataclass(frozen=True)
class Kept:
    """Others' rows of one use case that hold words of a person, and stay.

    ``gold`` goes for no quote, ``earlier`` ones were given before the person's, ``quotes`` were to
    be kept; ``regrouped`` ones had the person's group, for a text that others gave before.
    """

    gold: int = 0
    earlier: int = 0
    quotes: int = 0
    regrouped: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that holds a person. ``rows`` is use case → table → rows to go.

    Rows of evidence stay, as numbers that name nobody. ``quotes`` are rows by others that go.
    """

    use_cases: tuple[str, ...]
    rows: Mapping[str, Mapping[str, int]]
    quotes: Mapping[str, int]
    alike: Mapping[str, tuple[str, ...]]
    files: tuple[FileRows, ...]
    snapshots: tuple[SnapshotRows, ...]
    versions: tuple[Marked, ...]
    artifacts: tuple[str, ...]
    pages: tuple[str, ...] = ()
    """Reports of nights that quote them: these stay, without what they said."""
    traces: tuple[TraceRows, ...] = ()
    named_in: tuple[NamedIn, ...] = ()
    """Where the name stays, for no row there is theirs; looked for by the dry run only."""
    naming: int | None = 0
    """Texts by others in the warehouse that name them; None: the name is no word to look for."""
    kept: Mapping[str, Kept] = field(default_factory=dict)
    """Use case → what of others' rows stays, in spite of words of theirs."""
    quote_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Use case → the feedback and predictions by others that go."""
    other_case: int = 0
    """Ids in the warehouse that differ from theirs by case alone."""
    waiting_quotes: int = 0
    """Rows by others that go from files which wait for a night."""

    @property
    def by_others(self) -> int:
        """How many rows by others go because they quote the person."""
        return sum(self.quotes.values()) + self.waiting_quotes

    @property
    def retrain(self) -> tuple[str, ...]:
        """Use cases whose newest version learned from them: no training without them was judged."""
        return tuple(sorted({one.use_case for one in self.versions if one.newest}))

    @property
    def is_empty(self) -> bool:
        """Whether nothing here holds the person."""
        tables = (count for tables in self.rows.values() for count in tables.values())
        kept = (self.files, self.snapshots, self.artifacts, self.pages, self.traces)
        return not (any(tables) or any(kept))


def plan_lines(plan: Plan) -> list[str]:
    """What would be deleted, as lines of text; no text and no name of anybody in them."""
    if plan.is_empty:
        if plan.named_in:
            return [
                "No row here is this person's: --yes would erase nothing.",
                *_named_lines(plan),
                *said_of_others(plan),
            ]
        return ["Nothing here holds this person.", *said_of_others(plan)]
    lines = []
    for name, tables in plan.rows.items():
        counts = ", ".join(f"{count} {table}" for table, count in tables.items() if count)
        lines.append(f"{name}: {counts or 'no rows'}")
        if tables.get(EVIDENCE):
            lines.append(f"  of {tables[EVIDENCE]} {EVIDENCE}: {EVIDENCE_STAYS}")
        if plan.quotes.get(name):
            lines.append(f"  of these, {plan.quotes[name]} texts by others that quote them")
            lines.append(f"    {_ids(plan.quote_ids.get(name, ()))}")
        lines += [f"  kept: {said}" for said in kept_lines(plan.kept.get(name, Kept()))]
        if plan.alike.get(name):
            lines.append(
                f"  kept: {len(plan.alike[name])} texts by others almost like theirs "
                "(--alike deletes them too)"
            )
    if plan.waiting_quotes:
        lines.append(f"waiting files: {plan.waiting_quotes} rows by others that quote them")
    for file in plan.files:
        whole = "" if file.others else ", the whole file"
        lines.append(f"file {file.path}: {file.rows} rows{whole}")
    for one in plan.snapshots:
        lines.append(
            f"snapshot {one.snapshot_id[:12]} of {one.use_case}: {one.train} train, "
            f"{one.validation} validation, {one.holdout} holdout examples"
        )
    lines += [f"artifact {place}" for place in plan.artifacts]
    lines += [f"report {place}: what they said is taken out of it" for place in plan.pages]
    lines += [
        f"MLflow: {one.traces} traces of {one.use_case}, {one.assessments} assessments on others'"
        for one in plan.traces
    ]
    for version in plan.versions:
        held = f" ({', '.join(version.aliases)})" if version.aliases else ""
        lines.append(f"learned from them: {version.use_case} version {version.version}{held}")
        lines += [f"  exported: {place}; it stays there" for place in version.exports]
    lines += [*_named_lines(plan), *said_of_others(plan)]
    return [*lines, "Nothing was changed. Add --yes to do it."]


def _ids(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more (--json)" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def kept_lines(kept: Kept) -> list[str]:
    """What of others' rows stays, and why."""
    said = {
        "gold rows that hold words of theirs: gold goes for no quote": kept.gold,
        "texts by others with words that others had given before": kept.earlier,
        "texts by others that quote them, as --quotes keep says": kept.quotes,
        "rows by others on texts that others had given before; only their group was the person's": (
            kept.regrouped
        ),
    }
    return [f"{count} {what}" for what, count in said.items() if count]


def _named_lines(plan: Plan) -> list[str]:
    """Where the name stays in spite of a forgetting, and what helps."""
    if not plan.named_in:
        return []
    return [
        "NOT COMPLETE: the name is found where no customer_id, rater_id or group_id is theirs:",
        *(
            f"  {one.path}{'' if one.rows is None else f': {one.rows} rows'}; it stays there"
            for one in plan.named_in
        ),
        "forget erases rows by these ids only. Take the name out of each of these files, or delete "
        "the file, and run flywheel forget again: until then it ends so, with exit code 1. A use "
        "case made anew, under another name, by flywheel init --customer COLUMN knows whose its "
        "rows are.",
    ]


def said_of_others(plan: Plan) -> list[str]:
    """What is to be said of ids like the person's, and of their name within others' texts."""
    return [*_ids_alike(plan), *_naming(plan)]


def _ids_alike(plan: Plan) -> list[str]:
    if not plan.other_case:
        return []
    ids = "1 id differs" if plan.other_case == 1 else f"{plan.other_case} ids differ"
    return [
        f"{ids} from this one by upper and lower case alone, and may be another person's: nothing "
        "of that was changed. To forget it, name it as it is written."
    ]


def _naming(plan: Plan) -> list[str]:
    if plan.naming is None:
        return [
            "The name is a number or very short: it was looked for as an id and not within texts, "
            "where it may mean anything. Files and tables are searched for it in fields of ids."
        ]
    if not plan.naming:
        return []
    return [
        f"{plan.naming} texts by other people in the warehouse name this person and were kept: "
        "forget erases what is a person's own, and quotes of it."
    ]


def plan_from(content: Mapping[str, Any]) -> Plan:
    """A plan as ``dataclasses.asdict`` and JSON left it."""
    return Plan(
        use_cases=tuple(content["use_cases"]),
        rows=content["rows"],
        quotes=content["quotes"],
        alike={name: tuple(ids) for name, ids in content["alike"].items()},
        files=tuple(FileRows(**one) for one in content["files"]),
        # in this order, for a journal left by 0.1.0 calls the holdout exam
        snapshots=tuple(SnapshotRows(*one.values()) for one in content["snapshots"]),
        versions=tuple(
            Marked(
                **{
                    **one,
                    "aliases": tuple(one["aliases"]),
                    # a journal left by an earlier version has none
                    "exports": tuple(one.get("exports", ())),
                }
            )
            for one in content["versions"]
        ),
        artifacts=tuple(content["artifacts"]),
        # a journal left by an earlier version has none
        pages=tuple(content.get("pages", ())),
        traces=tuple(TraceRows(**one) for one in content.get("traces", ())),
        named_in=tuple(NamedIn(**one) for one in content.get("named_in", ())),
        naming=content.get("naming", 0),
        kept={name: Kept(**one) for name, one in content.get("kept", {}).items()},
        quote_ids={name: tuple(ids) for name, ids in content.get("quote_ids", {}).items()},
        waiting_quotes=content.get("waiting_quotes", 0),
    )


def joined(first: Plan, now: Plan) -> Plan:
    """The plan of a forgetting that was killed, with what has come in since."""
    paths = {one.path for one in first.files}
    snapshots = {(one.use_case, one.snapshot_id) for one in first.snapshots}
    versions = {(one.use_case, one.version) for one in first.versions}
    traced = {one.use_case for one in first.traces}
    return Plan(
        use_cases=tuple(sorted({*first.use_cases, *now.use_cases})),
        rows={**now.rows, **first.rows},
        quotes={**now.quotes, **first.quotes},
        alike={**now.alike, **first.alike},
        files=first.files + tuple(one for one in now.files if one.path not in paths),
        snapshots=first.snapshots
        + tuple(s for s in now.snapshots if (s.use_case, s.snapshot_id) not in snapshots),
        versions=first.versions
        + tuple(v for v in now.versions if (v.use_case, v.version) not in versions),
        artifacts=tuple(sorted({*first.artifacts, *now.artifacts})),
        pages=tuple(sorted({*first.pages, *now.pages})),
        traces=first.traces + tuple(one for one in now.traces if one.use_case not in traced),
        naming=now.naming,
        other_case=now.other_case,
        kept={**now.kept, **first.kept},
        quote_ids={**now.quote_ids, **first.quote_ids},
        waiting_quotes=first.waiting_quotes,
    )
