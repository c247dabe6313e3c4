"""Where a person's words lie: tables, files, snapshots, traces, versions, artifacts, reports.

Looks and counts; changes nothing. `tasks.erasure.erase` goes by it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import reports as report
from flywheel.config import Home
from flywheel.config.home import COMPILED
from flywheel.dataset import snapshots
from flywheel.dataset.images import Images, is_address
from flywheel.errors import DataError
from flywheel.ingestion.feedback import text_group
from flywheel.modeling.artifact import WITHOUT_TEXTS
from flywheel.privacy import erase_files
from flywheel.privacy.byte_search import Sought
from flywheel.privacy.clues import clues
from flywheel.privacy.erasure_plan import FileRows, NamedIn, Plan, SnapshotRows, TraceRows
from flywheel.privacy.person_ids import Person, person_of
from flywheel.privacy.personal_texts import forms
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.feedback.named_texts import named
from flywheel.store.rows_of_person import ids_in_another_case
from flywheel.text import quotations
from flywheel.text.normalize import text_id
from flywheel.text.pii import redact
from flywheel.training.adapter_folder import PARTIAL as UNFINISHED
from flywheel.vendors import reply_cache as vendor_answers
from tasks.erasure import rows_of_person
from tasks.erasure.registered import learned_from, traces, versions
from tasks.erasure.rows_of_person import (
    QuotesInFiles,
    feedback_files,
    in_files,
    quotes_in_files,
)
from tasks.erasure.rows_of_person import Theirs as Rows
from tasks.report import ARTIFACT_FOLDER

if TYPE_CHECKING:
    # MLflow takes seconds to import
    pass

log = logging.getLogger(__name__)

# numbers only, and gigabytes of them
WEIGHTS = ".safetensors"
# public files, which no customer gave, and weights as OpenVINO has them
_NOT_SEARCHED = ("models", "downloads", COMPILED)


@dataclass(frozen=True)
class Found:
    """All that a home holds of a person now: the plan, and what it takes to carry it out."""

    plan: Plan
    person: Person = field(repr=False)
    held: tuple[warehouse.Held, ...]
    theirs: Mapping[str, Rows]
    texts: frozenset[str] = field(repr=False)
    quotable: frozenset[str] = field(repr=False)
    search: tuple[str, ...] = field(repr=False)
    in_files: Mapping[str, QuotesInFiles] = field(default_factory=dict, repr=False)


def searched(home: Home) -> Iterator[Path]:
    """Every file of the home in which a person could stand, in order."""
    for path in sorted(home.root.rglob("*")):
        public = path.relative_to(home.root).parts[0] in _NOT_SEARCHED
        if not public and path.suffix != WEIGHTS and path.is_file():
            yield path


def named_in(home: Home, found: Found) -> Iterator[NamedIn]:
    """Where the name would stand when all that was found of the person were gone."""
    going = {home.root / place for place in (*found.plan.artifacts, *found.plan.pages)}
    theirs = _by_file(home, found)
    sought = Sought(names=found.person.words, values=found.person.values)
    for path in searched(home):
        # a forgetting that was killed left a journal; the next one deletes it
        passed = path in (home.warehouse, home.forget / "key") or path.suffix == ".journal"
        if passed or not going.isdisjoint((path, *path.parents)):
            continue
        if not holds_person(path, sought):
            continue
        rows = None
        if path in theirs:
            rows = _rows_naming(path, theirs[path], found.person)
            if not rows:
                continue
        yield NamedIn(found.person.hidden(str(path.relative_to(home.root))), rows)


def holds_person(path: Path, sought: Sought) -> bool:
    """Whether a file holds what is sought; of a sheet's cells, each column has its name."""
    return erase_files.holds_any(path, sought) or (
        bool(sought.values) and ".csv" in path.suffixes and erase_files.has_id(path, sought.values)
    )


def _by_file(home: Home, found: Found) -> dict[Path, erase_files.Theirs]:
    """Each file that is erased by row, and what says of a row of it that it goes."""
    by_file: dict[Path, erase_files.Theirs] = {}
    for one in found.held:
        theirs = in_files(found.theirs[one.use_case])
        by_file |= dict.fromkeys(feedback_files(home, one.use_case), theirs)
        for snapshot in {snapshot for snapshot, _, _ in one.examples}:
            gone = _examples_gone(one, snapshot)
            by_file |= dict.fromkeys((home.snapshots / snapshot).rglob("*.parquet"), gone)
    return by_file


def _examples_gone(one: warehouse.Held, snapshot: str) -> erase_files.Theirs:
    ids = {example for name, example, _ in one.examples if name == snapshot}
    return lambda fields, _raw: fields is not None and fields.get("example_id") in ids


def _rows_naming(path: Path, theirs: erase_files.Theirs, person: Person) -> int:
    """Rows that are not theirs and name them as a word of its own."""
    sought = Sought(names=person.words, values=person.values)

    def naming(fields: Mapping[str, object] | None, raw: str) -> bool:
        said = raw if fields is None else json.dumps(fields, default=str, ensure_ascii=False)
        return not theirs(fields, raw) and sought.is_in(said.encode("utf-8", "backslashreplace"))

    return erase_files.count_rows(path, naming, clues=clues(person.ids))[0]


def scope(home: Home, use_cases: Sequence[str] | None) -> tuple[str, ...]:
    """The use cases named; without any, all that this home knows."""
    if use_cases is not None:
        return tuple(sorted(set(use_cases)))
    folders = (home.inbox("x"), home.vendors("x"), home.reports("x"))
    names = {path.name for one in folders for path in one.parent.glob("*") if path.is_dir()}
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            names |= set(warehouse.use_cases(store))
    return tuple(sorted(names))


def find(
    home: Home, person: str, use_cases: Sequence[str] | None, *, alike: bool, quotes: bool = True
) -> Found:
    """Everything that holds a person, with ``quotes`` others' rows that quote them, too.

    With ``alike`` others' near-identical texts, too.

    Raises:
        DataError: the name is blank.
    """
    if not person.strip():
        raise DataError("The customer's name is blank. Nothing was looked for or changed.")
    found = {
        name: rows_of_person.find(home, name, person, alike=alike, quotes=quotes)
        for name in scope(home, use_cases)
    }
    known = person_of(person, found=(one for rows in found.values() for one in rows.person.ids))
    held = [rows.held for rows in found.values()]
    learned = {name: learned_from(home, rows.held) for name, rows in found.items()}
    in_files = {name: quotes_in_files(home, rows) for name, rows in found.items()}
    files = [
        file for name, rows in found.items() for file in _files(home, rows, in_files[name].counts)
    ]
    texts = {text for rows in found.values() for text in rows.texts}
    remaining = _remaining(found.values(), texts)
    shared = _elsewhere(home, texts, use_cases)
    said = _forms(home, held, texts) - forms(shared) - set(remaining)
    search = (*quotations.searchable(said, remaining), *_ids_gone(held, [*remaining, *shared]))
    pictures = _pictures(home, texts - shared - set(remaining))
    quotable = frozenset(
        said | {name for one in held for name in (*one.predictions, *one.feedback)}
    )
    made = Plan(
        use_cases=tuple(one.use_case for one in held),
        rows={one.use_case: one.counts for one in held},
        quotes={name: len(rows.quotes) for name, rows in found.items()},
        alike={name: rows.alike for name, rows in found.items()},
        kept={name: rows.kept for name, rows in found.items()},
        quote_ids={name: rows.quotes for name, rows in found.items()},
        other_case=len(_in_another_case(home, person, use_cases)),
        waiting_quotes=sum(one.waiting for one in in_files.values()),
        files=tuple(files),
        snapshots=tuple(row for one in held for row in _snapshot_rows(one)),
        versions=versions(home, learned, known),
        artifacts=tuple(
            str(path.relative_to(home.root))
            for path in (*_artifacts(home, held, search), *pictures)
        ),
        pages=tuple(
            str(path.relative_to(home.root))
            for path in pages(home)
            if without(path, quotable, known) is not None
        ),
        naming=sum(rows.naming for rows in found.values()) if known.is_word else None,
        traces=tuple(
            TraceRows(name, len(theirs.traces), len(theirs.assessments))
            for name, _, theirs in traces(home, known, held)
        ),
    )
    return Found(made, known, tuple(held), found, frozenset(texts), quotable, search, in_files)


def _in_another_case(home: Home, person: str, use_cases: Sequence[str] | None) -> set[str]:
    """Ids that differ from the person's by case alone."""
    if not home.warehouse.exists():
        return set()
    with open_store(home.warehouse, read_only=True) as store:
        names = tuple(warehouse.use_cases(store)) if use_cases is None else use_cases
        return {one for name in names for one in ids_in_another_case(store, name, person)}


def _remaining(found: Iterable[Rows], texts: Collection[str]) -> list[str]:
    """What others said that stays, as they said it and as it is learned from."""
    remaining = [text for rows in found for text in rows.remaining]
    if all(redact(text).text == text for text in texts):
        return remaining
    # without personal data two texts may be the same that were not
    return [form for text in remaining for form in dict.fromkeys((text, redact(text).text))]


def _forms(home: Home, held: Sequence[warehouse.Held], texts: Collection[str]) -> set[str]:
    """All that they said and were said to, in every form in which it may lie somewhere."""
    said = forms(texts)
    for one in held:
        said |= one.answers
        said |= _texts_learned(home, one) - forms(one.shared)
    return said


def _texts_learned(home: Home, one: warehouse.Held) -> set[str]:
    """The texts and references of their examples, as snapshots have them."""
    found: set[str] = set()
    for snapshot in sorted({snapshot for snapshot, _, _ in one.examples}):
        names = {example for name, example, _ in one.examples if name == snapshot}
        try:
            rows = snapshots.named(home.snapshots, snapshot, names)
        except DataError as error:
            log.warning("snapshot %s was not looked into: %s", snapshot, error)
            continue
        found |= {text for text, _ in rows}
    return found


def _ids_gone(held: Iterable[warehouse.Held], remaining: Iterable[str]) -> tuple[str, ...]:
    """Hashes by which texts are known that nobody has any more."""
    kept = {text_id(text) for text in remaining}
    gone = {
        name
        for one in held
        for text in forms(one.texts - one.shared)
        for name in (text_id(text), text_group(text))
        if text_id(text) not in kept
    }
    return tuple(sorted(gone))


def _elsewhere(home: Home, texts: set[str], use_cases: Sequence[str] | None) -> set[str]:
    """Texts, and addresses of pictures, of use cases in which nobody is to be forgotten."""
    if not texts or not home.warehouse.exists():
        return set()
    with open_store(home.warehouse, read_only=True) as store:
        return named(store, texts, besides=scope(home, use_cases))


def _pictures(home: Home, texts: set[str]) -> list[Path]:
    """The files of the pictures among the texts."""
    images = Images(home.images)
    paths = (images.path(text) for text in sorted(texts) if is_address(text))
    return [path for path in paths if path.is_file()]


def _files(home: Home, rows: Rows, counts: Mapping[Path, tuple[int, int]]) -> list[FileRows]:
    """``counts`` is feedback file → rows that go and rows that stay."""
    one, found = rows.held, []
    paths = feedback_files(home, one.use_case)
    names = hidden_names(paths, rows.person)
    for path in paths:
        # one that came meanwhile is looked through when it is erased
        gone, others = counts.get(path, (0, 0))
        shown = path.with_name(names[path])
        if gone or shown != path:
            place = str(shown.relative_to(home.root))
            found.append(FileRows(place, gone, others, erase_files.file_sha256(path)))
    bought = answers_to(one, rows.texts)
    for path in vendor_answers.paths(home.vendors(one.use_case)):
        gone, others = erase_files.count_rows(path, bought)
        if gone:
            place = str(path.relative_to(home.root))
            found.append(FileRows(place, gone, others, erase_files.file_sha256(path)))
    return found


def hidden_names(paths: Iterable[Path], person: Person) -> dict[Path, str]:
    """What each file is called without the person's name; no two in a folder alike."""
    taken = set(paths)
    names = {}
    for path in sorted(taken):
        name = person.hidden(path.name)
        stem, dot, rest = name.partition(".")
        number = 1
        while name != path.name and (
            path.with_name(name) in taken or path.with_name(name).exists()
        ):
            number += 1
            name = f"{stem}-{number}{dot}{rest}"
        taken.add(path.with_name(name))
        names[path] = name
    return names


def answers_to(one: warehouse.Held, texts: Iterable[str]) -> erase_files.Theirs:
    """Says of a vendor's recorded answer whether it was given to a text of theirs alone."""
    ids = {*(example for _, example, _ in one.examples), *map(text_id, texts)}
    ids -= {text_id(form) for text in one.shared for form in (text, redact(text).text)}
    return lambda fields, _raw: fields is not None and fields.get("text_id") in ids


def _snapshot_rows(one: warehouse.Held) -> Iterator[SnapshotRows]:
    for name in sorted({snapshot for snapshot, _, _ in one.examples}):
        sides = Counter(split for snapshot, _, split in one.examples if snapshot == name)
        yield SnapshotRows(
            one.use_case, name, sides["train"], sides["validation"], sides["holdout"]
        )


def _artifacts(home: Home, held: Sequence[warehouse.Held], search: Sequence[str]) -> Iterator[Path]:
    """Files with a text of theirs that nothing depends on, and snapshots that nobody committed.

    And every training, and cell of a benchmark, that has not ended: what it reached may come from
    them, and it starts anew.
    """
    yield from sorted(home.adapters.glob(f"{UNFINISHED}*"))
    yield from sorted(home.root.glob(f"bench/*/{UNFINISHED}*"))
    reports, sought = set(pages(home)), Sought(tuple(search))
    for root in (home.mlflow_artifacts, home.adapters, home.prefect / "storage", home.measured):
        for path in sorted(root.rglob("*")):
            if path in reports or path.name in WITHOUT_TEXTS:
                continue
            if path.suffix != WEIGHTS and path.is_file() and erase_files.holds_any(path, sought):
                yield path
    if not home.snapshots.is_dir():
        return
    known: set[str] = set()
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            known = warehouse.known_snapshots(store)
    ids = {feedback_id for one in held for feedback_id in one.feedback}
    for folder in sorted(home.snapshots.iterdir()):
        if folder.is_dir() and folder.name not in known and _holds_any(folder, ids, search):
            yield folder


def pages(home: Home, *, ending: str = "") -> list[Path]:
    """Reports of nights, at home and among the artifacts of runs."""
    kept = (home.root / "reports").rglob(f"*.html{ending}")
    return sorted((*kept, *home.mlflow_artifacts.rglob(f"{ARTIFACT_FOLDER}/*.html{ending}")))


def without(path: Path, said: Collection[str], person: Person) -> str | None:
    """A report without them; None when it does not hold them."""
    page = path.read_bytes().decode("utf-8", "replace")
    left = report.forget(page, said, names=person.words)
    return None if page == left else left


def _holds_any(folder: Path, ids: set[str], search: Sequence[str]) -> bool:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            try:
                column = pq.read_table(path, columns=["feedback_ids"])["feedback_ids"]
            except (pa.ArrowException, OSError):
                # half-written by a night that was killed: nobody can read it, us included
                return True
            if not ids.isdisjoint(one for row in column.to_pylist() for one in row or ()):
                return True
        elif path.is_file() and erase_files.holds(path, search):
            return True
    return False
