"""Forgetting a customer: how they are recognised, what quotes them, and what is written down.

The names of the forgotten are kept as keyed hashes only, so that nobody reads them here and a
file that is ingested again does not bring them back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flywheel.records import Feedback, Prediction
from flywheel.text import normalise

Kind = Literal["person", "prediction", "feedback"]

FORGOTTEN = "forgotten"
"""The reason for which a row of theirs is set apart, without what it says."""
EVERYWHERE = "*"
"""The use case under which a person is forgotten in all use cases, also those to come."""
MIN_QUOTE_CHARS = 32
"""A text that holds a shorter one of theirs need not be a quote: many people write "it broke"."""
MIN_SEARCHED_CHARS = 16
MAX_SEARCHED = 200
"""More texts of one person are not looked for in every file: the search is a check."""
_FEW = 32
_PERSON_FIELDS = ("customer_id", "rater_id", "group_id")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CELL = re.compile(r"[^\s,;\"'{}\[\]:]+")

# ---- Who is forgotten


def name_hash(key: bytes, kind: Kind, name: str) -> str:
    """Return 64 hex digits: the HMAC-SHA256 of a name, which only this home's key can repeat."""
    return hmac.digest(key, f"{kind}\x1f{name}".encode(), "sha256").hex()


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
            known = name_hash(self.key, kind, name) in self.hashes
            self._seen[kind, name] = known
        return known

    def of(self, feedback: Feedback) -> bool:
        """Whether a feedback names a forgotten person, or a prediction made for one."""
        return (
            any(
                self.knows("person", name)
                for name in (feedback.customer_id, feedback.rater_id, feedback.group_id)
            )
            or self.knows("prediction", feedback.prediction_id)
            or self.knows("feedback", feedback.feedback_id)
        )

    def answer(self, prediction: Prediction) -> bool:
        """Whether an answer was given to a forgotten person."""
        return self.knows("person", prediction.customer_id) or self.knows(
            "person", prediction.group_id
        )

    def row(self, fields: Mapping[str, object]) -> bool:
        """The same for a raw row that can be read."""
        return (
            any(self.knows("person", _name(fields.get(name))) for name in _PERSON_FIELDS)
            or self.knows("prediction", _name(fields.get("prediction_id")))
            or self.knows("feedback", _name(fields.get("feedback_id")))
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
    found |= {cell.strip().strip('"') for cell in raw.split(",")}
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


# ---- What quotes them


def within(wanted: Collection[str]) -> Callable[[str], set[str]]:
    """Says which of ``wanted`` stand in a text, as words of their own.

    The work for one text hardly grows with the number wanted: each is looked up by how it begins.
    """
    if not wanted:
        return lambda text: set()
    size = min(map(len, wanted))
    begins: dict[str, list[str]] = defaultdict(list)
    for one in wanted:
        begins[one[:size]].append(one)

    def found(text: str) -> set[str]:
        if len(wanted) <= _FEW:
            return {one for one in wanted if one in text and _has_words(text, one)}
        starts = (text[at : at + size] for at in range(len(text) - size + 1))
        near = {one for start in starts if start in begins for one in begins[start]}
        return {one for one in near if one in text and _has_words(text, one)}

    return found


def _has_words(text: str, part: str) -> bool:
    """Whether ``part`` stands in ``text`` and is not cut out of longer words."""
    at = text.find(part)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(part) : at + len(part) + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (
            after.isalnum() and part[-1].isalnum()
        ):
            return True
        at = text.find(part, at + 1)
    return False


def quoting(held: Iterable[str]) -> Callable[[str], bool]:
    """Says of a text whether it holds a whole text of theirs, and something more.

    Case, width and spaces do not matter. Texts under `MIN_QUOTE_CHARS` are not looked for. A text
    that is equal to one of theirs is somebody else's own words, and no quote.
    """
    wanted = {text for text in map(normalise, held) if len(text) >= MIN_QUOTE_CHARS}
    found = within(wanted)

    def is_quote(text: str) -> bool:
        if not wanted or len(text) < MIN_QUOTE_CHARS:
            return False
        plain = normalise(text)
        return plain not in wanted and bool(found(plain))

    return is_quote


def find_quotes(texts: Sequence[str], held: Iterable[str]) -> list[int]:
    """Row numbers of the texts that quote one of theirs: see `quoting`."""
    is_quote = quoting(held)
    return [row for row, text in enumerate(texts) if is_quote(text)]


def find_alike(texts: Sequence[str], held: Iterable[str]) -> list[int]:
    """Row numbers of the texts that are almost, but not quite, a text of theirs."""
    wanted = sorted({text for text in held if len(normalise(text)) >= MIN_QUOTE_CHARS})
    if not wanted:
        return []
    from flywheel import duplicates

    words = {word for text in wanted for word in normalise(text).split()}
    same = {normalise(text) for text in wanted}
    # a text that shares few words with theirs is not like them, and there may be a million
    rows = [row for row, text in enumerate(texts) if _shares(text, words)]
    numbers = duplicates.clusters([*wanted, *(texts[row] for row in rows)], threshold=0.7)
    near = set(numbers[: len(wanted)])
    return [
        row
        for row, number in zip(rows, numbers[len(wanted) :], strict=True)
        if number in near and normalise(texts[row]) not in same
    ]


def _shares(text: str, words: set[str]) -> bool:
    said = set(text.casefold().split())
    return 3 * len(said & words) >= len(said)


def searchable(held: Iterable[str], remaining: Iterable[str]) -> tuple[str, ...]:
    """The texts of theirs that must be nowhere afterwards, at most `MAX_SEARCHED`.

    Long enough to be theirs alone, and in no text that others keep.
    """
    wanted = {text for text in held if len(text) >= MIN_SEARCHED_CHARS}
    found = within(wanted)
    shared: set[str] = set()
    for other in remaining:
        shared |= found(other)
    left = sorted(wanted - shared, key=lambda text: hashlib.sha256(text.encode()).digest())
    return tuple(sorted(left[:MAX_SEARCHED]))


# ---- What is written down


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
    exam: int


@dataclass(frozen=True)
class Marked:
    """A version that learned from them, and the aliases it holds."""

    use_case: str
    version: str
    digest: str
    snapshot_id: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that holds a person. ``rows`` is use case → table → rows to go."""

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

    @property
    def is_empty(self) -> bool:
        """Whether nothing here holds the person."""
        tables = (count for tables in self.rows.values() for count in tables.values())
        return not (any(tables) or self.files or self.snapshots or self.artifacts or self.pages)


def plan_lines(plan: Plan) -> list[str]:
    """What would be deleted, as lines of text; no text and no name of anybody in them."""
    if plan.is_empty:
        return ["Nothing here holds this person."]
    lines = []
    for name, tables in plan.rows.items():
        counts = ", ".join(f"{count} {table}" for table, count in tables.items() if count)
        lines.append(f"{name}: {counts or 'no rows'}")
        if plan.quotes.get(name):
            lines.append(f"  of these, {plan.quotes[name]} texts by others that quote them")
        if plan.alike.get(name):
            lines.append(
                f"  kept: {len(plan.alike[name])} texts by others almost like theirs "
                "(--alike deletes them too)"
            )
    for file in plan.files:
        whole = "" if file.others else ", the whole file"
        lines.append(f"file {file.path}: {file.rows} rows{whole}")
    for one in plan.snapshots:
        lines.append(
            f"snapshot {one.snapshot_id[:12]} of {one.use_case}: {one.train} train, "
            f"{one.validation} validation, {one.exam} exam examples"
        )
    lines += [f"artifact {place}" for place in plan.artifacts]
    lines += [f"report {place}: what they said is taken out of it" for place in plan.pages]
    for version in plan.versions:
        held = f" ({', '.join(version.aliases)})" if version.aliases else ""
        lines.append(f"learned from them: {version.use_case} version {version.version}{held}")
    return [*lines, "Nothing was changed. Add --yes to do it."]


def plan_from(content: Mapping[str, Any]) -> Plan:
    """A plan as ``dataclasses.asdict`` and JSON left it."""
    return Plan(
        use_cases=tuple(content["use_cases"]),
        rows=content["rows"],
        quotes=content["quotes"],
        alike={name: tuple(ids) for name, ids in content["alike"].items()},
        files=tuple(FileRows(**one) for one in content["files"]),
        snapshots=tuple(SnapshotRows(**one) for one in content["snapshots"]),
        versions=tuple(
            Marked(**{**one, "aliases": tuple(one["aliases"])}) for one in content["versions"]
        ),
        artifacts=tuple(content["artifacts"]),
        # a journal left by an earlier version has none
        pages=tuple(content.get("pages", ())),
    )


def joined(first: Plan, now: Plan) -> Plan:
    """The plan of a forgetting that was killed, with what has come in since."""
    paths = {one.path for one in first.files}
    snapshots = {(one.use_case, one.snapshot_id) for one in first.snapshots}
    versions = {(one.use_case, one.version) for one in first.versions}
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
    )


@dataclass(frozen=True)
class Searched:
    """What the search of the whole home afterwards looked at, and where it still found them."""

    files: int
    tables: int
    texts: int
    found: tuple[str, ...]


def certificate(
    plan: Plan,
    *,
    certificate_id: str,
    person_hash: str,
    requested_at: str,
    finished_at: str,
    files_after: Mapping[str, str | None],
    snapshots_after: Mapping[str, str | None],
    warehouse: Mapping[str, str],
    searched: Searched,
) -> dict[str, Any]:
    """What was held, what became of it, and what is not undone; the person as a hash only."""
    exam_rows = sum(one.exam for one in plan.snapshots)
    serving = [v for v in plan.versions if "champion" in v.aliases]
    return {
        "certificate_id": certificate_id,
        "person_hash": person_hash,
        "requested_at": requested_at,
        "finished_at": finished_at,
        "use_cases": list(plan.use_cases),
        "complete": not searched.found,
        "rows_deleted": {name: dict(tables) for name, tables in plan.rows.items()},
        "of_these_quotes_by_others": dict(plan.quotes),
        "near_duplicates_by_others_kept": {name: len(ids) for name, ids in plan.alike.items()},
        "files": [
            {
                "path": one.path,
                "rows_removed": one.rows,
                "sha256_before": one.sha256,
                "sha256_after": files_after.get(one.path),
            }
            for one in plan.files
        ],
        "snapshots": [
            {
                "use_case": one.use_case,
                "snapshot_id_before": one.snapshot_id,
                "snapshot_id_after": snapshots_after.get(one.snapshot_id),
                "train_removed": one.train,
                "validation_removed": one.validation,
                "exam_removed": one.exam,
            }
            for one in plan.snapshots
        ],
        "exam_changed": exam_rows > 0,
        "artifacts_deleted": list(plan.artifacts),
        "reports_rewritten": list(plan.pages),
        "versions_marked": [
            {
                "use_case": one.use_case,
                "version": one.version,
                "digest": one.digest,
                "aliases": list(one.aliases),
            }
            for one in plan.versions
        ],
        "retrain_requested": sorted({one.use_case for one in plan.versions}),
        "warehouse": dict(warehouse),
        "searched_afterwards": {
            "files": searched.files,
            "tables": searched.tables,
            "texts": searched.texts,
            "found": list(searched.found),
        },
        "not_undone": _not_undone(plan, serving, exam_rows),
    }


def _not_undone(plan: Plan, serving: Sequence[Marked], exam_rows: int) -> list[str]:
    said = []
    if plan.versions:
        numbers = ", ".join(f"{v.use_case} {v.version}" for v in plan.versions)
        said.append(
            f"Weights: versions {numbers} learned from the person. What they learned stays in "
            "their weights. The next night trains without the person."
        )
    said += [
        f"{v.use_case} version {v.version} is champion and answers until a version that was "
        "trained without the person is promoted."
        for v in serving
    ]
    if exam_rows:
        said.append(
            "The exam lost rows: figures measured on it before cannot be measured again exactly."
        )
    kept = sum(len(ids) for ids in plan.alike.values())
    if kept:
        said.append(
            f"{kept} texts by other people are almost like one of the person's and were kept; "
            "forget with --alike deletes such texts too."
        )
    return [
        *said,
        "Texts that other people gave in the same words stay as theirs.",
        "Copies outside the flywheel home: backups, a remote MLflow or Prefect server, the systems "
        "that wrote the feedback, blocks that the file system has freed but not overwritten.",
        "models/ and downloads/ hold public files, .safetensors numbers: they were not searched.",
    ]


def markdown(content: Mapping[str, Any]) -> str:
    """A certificate as one page."""
    tables = "".join(
        f"| {name} | {table} | {count} |\n"
        for name, counts in content["rows_deleted"].items()
        for table, count in counts.items()
    )
    files = "".join(
        f"| {one['path']} | {one['rows_removed']} | {one['sha256_before'][:12]} | "
        f"{one['sha256_after'][:12] if one['sha256_after'] else 'deleted'} |\n"
        for one in content["files"]
    )
    snapshots = "".join(
        f"| {one['use_case']} | {one['snapshot_id_before'][:12]} | "
        f"{one['snapshot_id_after'][:12] if one['snapshot_id_after'] else 'deleted'} | "
        f"{one['train_removed']} | {one['validation_removed']} | {one['exam_removed']} |\n"
        for one in content["snapshots"]
    )
    versions = "".join(
        f"- {one['use_case']} version {one['version']}"
        f"{' (' + ', '.join(one['aliases']) + ')' if one['aliases'] else ''}\n"
        for one in content["versions_marked"]
    )
    reports = "".join(f"- {place}\n" for place in content["reports_rewritten"])
    search = content["searched_afterwards"]
    found = "".join(f"- still found in {place}\n" for place in search["found"])
    open_points = "".join(f"- {said}\n" for said in content["not_undone"])
    return (
        f"# Certificate {content['certificate_id']}\n\n"
        f"A person was forgotten in {', '.join(content['use_cases'])}.\n"
        f"Requested {content['requested_at']}, finished {content['finished_at']}.\n"
        f"Keyed hash of the person: `{content['person_hash']}`\n\n"
        f"## Rows deleted\n\n| use case | table | rows |\n|---|---|---|\n{tables}\n"
        f"## Files rewritten\n\n| file | rows | sha256 before | after |\n|---|---|---|---|\n"
        f"{files}\n"
        "## Snapshots rewritten\n\n| use case | before | after | train | validation | exam |\n"
        f"|---|---|---|---|---|---|\n{snapshots}\n"
        f"The exam {'changed' if content['exam_changed'] else 'did not change'}.\n\n"
        f"## Reports without what they said\n\n{reports or 'None.'}\n\n"
        f"## Versions that learned from the person\n\n{versions or 'None.'}\n\n"
        f"## Searched afterwards\n\n{search['files']} files and {search['tables']} tables were "
        f"searched for the person and {search['texts']} texts: "
        f"{'nothing was found' if not search['found'] else 'NOT COMPLETE'}.\n{found}\n"
        f"## What is not undone\n\n{open_points}"
    )
