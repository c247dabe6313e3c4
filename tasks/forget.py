"""Forget a customer: a plan first, then steps that a kill cannot harm, then a certificate.

The journal in ``forget/`` holds the plan, and the texts to search for, until the certificate is
written. Each step may be repeated; rows leave the warehouse only after all that is found by them.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel import certificate, erasure, forgetting, quotations, report, snapshots
from flywheel.certificate import Searched
from flywheel.config import Home
from flywheel.errors import DataError
from flywheel.exports import record as exports
from flywheel.feedback_files import SUFFIXES
from flywheel.forgetting import EVERYWHERE, FileRows, Marked, Plan, SnapshotRows, TraceRows
from flywheel.images import Images, is_address
from flywheel.personal import redact
from flywheel.records import Curated
from flywheel.service.keys import Marks
from flywheel.store import forgetting as warehouse
from flywheel.store import open_store
from flywheel.store.pictures import named
from flywheel.text import text_id
from flywheel.training import PARTIAL as UNFINISHED
from flywheel.vendors import answers as vendor_answers
from flywheel.vendors import lines as vendor_lines
from flywheel.warm_start import PARENT, with_descendants
from tasks.inbox import PARTIAL, write
from tasks.lock import only_night
from tasks.report import ARTIFACT_FOLDER

if TYPE_CHECKING:
    # MLflow takes seconds to import
    from flywheel.traces import Theirs, Traces

log = logging.getLogger(__name__)

# public files, which no customer gave
_NOT_SEARCHED = ("models", "downloads")
# numbers only, and gigabytes of them
_WEIGHTS = ".safetensors"
_MIN_NAME_CHARS = 6


@dataclass(frozen=True)
class Found:
    """All that a home holds of a person now: the plan, and what it takes to carry it out."""

    plan: Plan
    held: tuple[warehouse.Held, ...]
    quotes: Mapping[str, tuple[str, ...]]
    texts: frozenset[str] = field(repr=False)
    quotable: frozenset[str] = field(repr=False)
    search: tuple[str, ...] = field(repr=False)


def plan(
    home: Home, person: str, *, use_cases: Sequence[str] | None = None, alike: bool = False
) -> Plan:
    """Everything that holds a person, in the use cases named or in all; changes nothing."""
    return _find(home, person, use_cases, alike=alike).plan


def forget(
    home: Home,
    person: str,
    *,
    at: datetime,
    use_cases: Sequence[str] | None = None,
    alike: bool = False,
) -> dict[str, Any]:
    """Forget a person and return the certificate; after a kill, the next run finishes it.

    Raises:
        StoreBusy: a night is running, or the warehouse is held; what was done stays done.
        RegistryUnavailable: versions could not be read or marked; what was done stays done.
    """
    with ExitStack() as locks:
        for name in _scope(home, use_cases):
            locks.enter_context(only_night(home, name))
            if home.vendors(name).is_dir():
                locks.enter_context(vendor_lines.only_writer(home.vendors(name)))
        found = _find(home, person, use_cases, alike=alike)
        journal = _open_journal(home, person, found, at)
        scope = found.plan.use_cases if use_cases is not None else (EVERYWHERE,)
        _remember(home, person, found, journal, scope, at)
        _rewrite_pages(home, person, found)
        _erase_files(home, person, found)
        _rewrite_snapshots(home, found, journal)
        _mark_versions(home, journal)
        for _, traces, theirs in _traces(home, person, found.held):
            traces.delete(theirs)
        _delete_artifacts(home, journal)
        _delete_rows(home, person, found, journal)
        _rewrite_warehouse(home)
        searched = _search(home, person, found, journal)
        content = _certify(home, person, journal, searched, at)
        _journal_path(home, journal.person_hash).unlink()
    log.info("forgot one person: certificate %s", journal.certificate_id)
    return content


def certificate_path(home: Home, certificate_id: str) -> Path:
    """The certificate as a page; beside it lies the same as JSON."""
    return home.forget / f"{certificate_id}.md"


# ---- What holds them


def _scope(home: Home, use_cases: Sequence[str] | None) -> tuple[str, ...]:
    if use_cases is not None:
        return tuple(sorted(set(use_cases)))
    names = {path.name for path in (home.root / "inbox").glob("*") if path.is_dir()}
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            names |= set(warehouse.use_cases(store))
    return tuple(sorted(names))


def _find(home: Home, person: str, use_cases: Sequence[str] | None, *, alike: bool) -> Found:
    if not person.strip():
        raise DataError("The customer's name is blank. Nothing was looked for or changed.")
    held: list[warehouse.Held] = []
    quotes: dict[str, tuple[str, ...]] = {}
    near: dict[str, tuple[str, ...]] = {}
    files: list[FileRows] = []
    texts: set[str] = set()
    remaining: list[str] = []
    learned: dict[str, set[str]] = {}
    for name in _scope(home, use_cases):
        one, others, said, quotes[name], near[name] = _held(home, name, person, alike=alike)
        held.append(one)
        texts |= said
        remaining += others
        files += _files(home, one, person, said, quotes[name])
        learned[name] = _learned_from(home, one)
    shared = _elsewhere(home, texts, use_cases)
    search = quotations.searchable(texts - shared, remaining)
    pictures = _pictures(home, texts - shared - set(remaining))
    quotable = _quotable(home, held, texts)
    made = Plan(
        use_cases=tuple(one.use_case for one in held),
        rows={one.use_case: one.counts for one in held},
        quotes={name: len(ids) for name, ids in quotes.items()},
        alike=near,
        files=tuple(files),
        snapshots=tuple(row for one in held for row in _snapshot_rows(one)),
        versions=_versions(home, learned, person),
        artifacts=tuple(
            str(path.relative_to(home.root))
            for path in (*_artifacts(home, held, search), *pictures)
        ),
        pages=tuple(
            str(path.relative_to(home.root))
            for path in _pages(home)
            if _without(path, quotable, person) is not None
        ),
        traces=tuple(
            TraceRows(name, len(theirs.traces), len(theirs.assessments))
            for name, _, theirs in _traces(home, person, held)
        ),
    )
    return Found(made, tuple(held), quotes, frozenset(texts), quotable, search)


def _held(
    home: Home, use_case: str, person: str, *, alike: bool
) -> tuple[warehouse.Held, list[str], set[str], tuple[str, ...], tuple[str, ...]]:
    """Their rows with those that quote them, others' texts, theirs, quotes, near-duplicates."""
    if not home.warehouse.exists():
        one = warehouse.Held(use_case, (), (), (person,), (), (), {}, frozenset())
        return one, [], _texts_in_files(home, one, person), (), ()
    with open_store(home.warehouse, read_only=True) as store:
        one = warehouse.held(store, use_case, person)
        said = {*one.texts, *_texts_in_files(home, one, person)}
        others = warehouse.other_texts(store, one)
        bare = [text for _, _, text in others]
        quoting = set(quotations.find_quotes(bare, said))
        close = set(quotations.find_alike(bare, said)) - quoting
        chosen = quoting | (close if alike else set())
        if chosen:
            one = warehouse.held(
                store,
                use_case,
                person,
                predictions=sorted({others[i][1] for i in chosen if others[i][0] == "prediction"}),
                feedback=sorted({others[i][1] for i in chosen if others[i][0] == "feedback"}),
            )
            bare = [text for _, _, text in warehouse.other_texts(store, one)]
        quoted = tuple(sorted({others[i][1] for i in chosen}))
        kept = () if alike else tuple(sorted({others[i][1] for i in close} - set(quoted)))
        return one, bare, {*said, *one.texts}, quoted, kept


def _elsewhere(home: Home, texts: set[str], use_cases: Sequence[str] | None) -> set[str]:
    """Pictures among the texts that use cases name where nobody is to be forgotten."""
    addresses = {text for text in texts if is_address(text)}
    if not addresses or not home.warehouse.exists():
        return set()
    with open_store(home.warehouse, read_only=True) as store:
        return named(store, addresses, besides=_scope(home, use_cases))


def _pictures(home: Home, texts: set[str]) -> list[Path]:
    """The files of the pictures among the texts."""
    images = Images(home.images)
    paths = (images.path(text) for text in sorted(texts) if is_address(text))
    return [path for path in paths if path.is_file()]


def _theirs(
    one: warehouse.Held, person: str, texts: set[str], quotes: Sequence[str]
) -> erasure.Theirs:
    """Says of a row of a feedback file whether it is theirs or quotes them."""
    named = {person, *one.predictions, *quotes}
    predictions, quoted = set(one.predictions), set(quotes)
    is_quote = quotations.quoting(texts)
    said_in = quotations.within({t for t in texts if len(t) >= quotations.MIN_QUOTE_CHARS})

    def theirs(fields: Mapping[str, object] | None, raw: str) -> bool:
        if fields is None:
            return not named.isdisjoint(forgetting.names_in(raw)) or bool(said_in(raw))
        said = fields.get("text"), fields.get("value")
        return (
            any(str(fields.get(n)) == person for n in ("customer_id", "rater_id", "group_id"))
            or str(fields.get("prediction_id")) in predictions
            or str(fields.get("feedback_id")) in quoted
            or any(isinstance(text, str) and is_quote(text) for text in said)
        )

    return theirs


def _feedback_files(home: Home, use_case: str) -> list[Path]:
    """Complete feedback files, waiting and done."""
    return sorted(
        path
        for path in home.inbox(use_case).rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)
    )


def _texts_in_files(home: Home, one: warehouse.Held, person: str) -> set[str]:
    theirs = _theirs(one, person, set(), ())
    return {
        text
        for path in _feedback_files(home, one.use_case)
        for text in erasure.texts_of(path, theirs)
    }


def _files(
    home: Home, one: warehouse.Held, person: str, texts: set[str], quotes: Sequence[str]
) -> list[FileRows]:
    theirs = _theirs(one, person, texts, quotes)
    found = []
    for path in _feedback_files(home, one.use_case):
        gone, others = erasure.count_rows(path, theirs)
        shown = path.with_name(warehouse.hidden(path.name, person))
        if gone or shown != path:
            place = str(shown.relative_to(home.root))
            found.append(FileRows(place, gone, others, erasure.file_sha256(path)))
    bought = _answers_to(one, texts)
    for path in vendor_answers.paths(home.vendors(one.use_case)):
        gone, others = erasure.count_rows(path, bought)
        if gone:
            place = str(path.relative_to(home.root))
            found.append(FileRows(place, gone, others, erasure.file_sha256(path)))
    return found


def _answers_to(one: warehouse.Held, texts: Iterable[str]) -> erasure.Theirs:
    """Says of a vendor's recorded answer whether it was given to a text of theirs."""
    ids = {*(example for _, example, _ in one.examples), *map(text_id, texts)}
    return lambda fields, _raw: fields is not None and fields.get("text_id") in ids


def _snapshot_rows(one: warehouse.Held) -> Iterator[SnapshotRows]:
    for name in sorted({snapshot for snapshot, _, _ in one.examples}):
        sides = Counter(split for snapshot, _, split in one.examples if snapshot == name)
        yield SnapshotRows(one.use_case, name, sides["train"], sides["validation"], sides["exam"])


def _learned_from(home: Home, one: warehouse.Held) -> set[str]:
    """Snapshots, by the id that versions know them by, whose training rows held the person."""
    trained = {snapshot for snapshot, _, split in one.examples if split == "train"}
    if not trained:
        return trained
    with open_store(home.warehouse, read_only=True) as store:
        before = warehouse.rewrites(store, one.use_case)
    return trained | {old for old, new in before.items() if new in trained}


def _versions(home: Home, learned: Mapping[str, set[str]], person: str) -> tuple[Marked, ...]:
    if not any(learned.values()) or not _has_registry(home):
        return ()
    from flywheel.registry import Registry

    registry = Registry(home)
    found = []
    for name, ids in sorted(learned.items()):
        listed = [one for one in registry.versions(name) if "snapshot_id" in one.tags]
        theirs = {o.tags.get("digest", "") for o in listed if o.tags["snapshot_id"] in ids}
        parents = {one.tags.get("digest", ""): one.tags.get(PARENT) for one in listed}
        # what went on from weights that learned from them has learned from them
        marked = with_descendants(theirs if ids else (), parents)
        found += [
            Marked(
                use_case=name,
                version=one.version,
                digest=one.tags.get("digest", ""),
                snapshot_id=one.tags["snapshot_id"],
                aliases=one.aliases,
                exports=_exports(one.tags, person),
            )
            for one in listed
            if one.tags.get("digest", "") in marked or one.tags["snapshot_id"] in ids
        ]
    return tuple(found)


def _traces(
    home: Home, person: str, held: Sequence[warehouse.Held]
) -> Iterator[tuple[str, Traces, Theirs]]:
    """What MLflow's traces hold of them, where a service ran that could have written any."""
    if not Marks.path(home.serving).exists() or not _has_registry(home):
        return
    from flywheel.traces import Traces

    people = {Marks.of(home.serving).pseudonym(person)}
    for one in held:
        traces = Traces(home, one.use_case)
        theirs = traces.of(people, one.predictions)
        if theirs:
            yield one.use_case, traces, theirs


def _exports(tags: Mapping[str, str], person: str) -> tuple[str, ...]:
    return tuple(warehouse.hidden(place, person) for place in exports.places(tags))


def _exported_since(home: Home, marked: Sequence[Marked], person: str) -> tuple[Marked, ...]:
    """The same versions with all their exports: one that was under way is refused or known now."""
    if not marked:
        return ()
    from flywheel.registry import Registry

    registry = Registry(home)
    tags = {
        (name, one.version): one.tags
        for name in sorted({one.use_case for one in marked})
        for one in registry.versions(name)
    }
    return tuple(
        replace(one, exports=_exports(tags.get((one.use_case, one.version), {}), person))
        for one in marked
    )


def _has_registry(home: Home) -> bool:
    """Whether there is a registry to ask; asking creates a file where there is none."""
    return (
        home.mlflow_uri != f"sqlite:///{home.root / 'mlflow.db'}"
        or (home.root / "mlflow.db").exists()
    )


def _artifacts(home: Home, held: Sequence[warehouse.Held], search: Sequence[str]) -> Iterator[Path]:
    """Files with a text of theirs that nothing depends on, and snapshots that nobody committed.

    And every training, and cell of a benchmark, that has not ended: what it reached may come from
    them, and it starts anew.
    """
    yield from sorted(home.adapters.glob(f"{UNFINISHED}*"))
    yield from sorted(home.root.glob(f"bench/*/{UNFINISHED}*"))
    pages = set(_pages(home))
    for root in (home.mlflow_artifacts, home.adapters, home.prefect / "storage"):
        for path in sorted(root.rglob("*")):
            if path in pages:
                continue
            if path.suffix != _WEIGHTS and path.is_file() and erasure.holds(path, search):
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


def _pages(home: Home, *, ending: str = "") -> list[Path]:
    """Reports of nights, at home and among the artifacts of runs."""
    kept = (home.root / "reports").rglob(f"*.html{ending}")
    return sorted((*kept, *home.mlflow_artifacts.rglob(f"{ARTIFACT_FOLDER}/*.html{ending}")))


def _quotable(home: Home, held: Sequence[warehouse.Held], texts: Collection[str]) -> frozenset[str]:
    """Everything by which a report may quote them: texts as given and as learned from, ids."""
    said = {*texts, *(redact(text).text for text in texts)}
    for one in held:
        said |= {*one.predictions, *one.feedback}
        for snapshot in sorted({snapshot for snapshot, _, _ in one.examples}):
            names = {example for name, example, _ in one.examples if name == snapshot}
            try:
                examples = snapshots.read(home.snapshots, snapshot)
            except DataError as error:
                log.warning("snapshot %s was not looked into: %s", snapshot, error)
                continue
            said |= {example.text for example in examples if example.example_id in names}
    return frozenset(said)


def _without(path: Path, said: Collection[str], person: str) -> str | None:
    """A report without them; None when it does not hold them."""
    page = path.read_bytes().decode("utf-8", "replace")
    left = report.forget(page, said, names=_names(person))
    return None if left == page else left


def _names(person: str) -> list[str]:
    """The person's name, where it is so long that it names nobody and nothing else."""
    return [person] if len(person) >= _MIN_NAME_CHARS and not person.isdigit() else []


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
        elif path.is_file() and erasure.holds(path, search):
            return True
    return False


# ---- The journal


@dataclass(frozen=True)
class _Journal:
    certificate_id: str
    person_hash: str
    requested_at: str
    plan: Plan
    warehouse_sha256: str | None
    search: tuple[str, ...] = field(repr=False)


def _journal_path(home: Home, person_hash: str) -> Path:
    return home.forget / f"{person_hash[:16]}.journal"


def _open_journal(home: Home, person: str, found: Found, at: datetime) -> _Journal:
    """Begin a journal, or go on with the one that a killed run left."""
    person_hash = forgetting.name_hash(_key(home), "person", person)
    path = _journal_path(home, person_hash)
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        journal = _Journal(
            certificate_id=content["certificate_id"],
            person_hash=person_hash,
            requested_at=content["requested_at"],
            plan=forgetting.joined(forgetting.plan_from(content["plan"]), found.plan),
            warehouse_sha256=content["warehouse_sha256"],
            search=tuple(sorted({*content["search"], *found.search})),
        )
    else:
        before = erasure.file_sha256(home.warehouse) if home.warehouse.exists() else None
        journal = _Journal(
            certificate_id=f"{at:%Y%m%dT%H%M%SZ}-{person_hash[:8]}",
            person_hash=person_hash,
            requested_at=at.isoformat(),
            plan=found.plan,
            warehouse_sha256=before,
            search=found.search,
        )
    _write(path, json.dumps(asdict(journal)))
    return journal


def _key(home: Home) -> bytes:
    """The key of this home's hashes, made once."""
    path = home.forget / "key"
    if not path.exists():
        _write(path, secrets.token_hex(32))
    return path.read_bytes()


def _write(path: Path, content: str) -> None:
    """Put a whole file in place, readable for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


# ---- The steps, in order; each may be repeated


def _remember(
    home: Home,
    person: str,
    found: Found,
    journal: _Journal,
    scope: Sequence[str],
    at: datetime,
) -> None:
    """From here on, nothing of theirs comes in again."""
    key = _key(home)
    with open_store(home.warehouse) as store:
        for name in scope:
            warehouse.remember(store, name, [journal.person_hash], journal.certificate_id, at)
        for one in found.held:
            names = [forgetting.name_hash(key, "prediction", p) for p in one.predictions]
            names += [forgetting.name_hash(key, "feedback", f) for f in found.quotes[one.use_case]]
            warehouse.remember(store, one.use_case, names, journal.certificate_id, at)


def _rewrite_pages(home: Home, person: str, found: Found) -> None:
    """Before anything else goes: what they said in a report is known from all that is left."""
    for leftover in _pages(home, ending=PARTIAL):
        leftover.unlink()
    for path in _pages(home):
        left = _without(path, found.quotable, person)
        if left is not None:
            write(path, left)


def _erase_files(home: Home, person: str, found: Found) -> None:
    for one in found.held:
        for leftover in home.inbox(one.use_case).rglob(f"{erasure.PARTIAL}*"):
            leftover.unlink()
        theirs = _theirs(one, person, set(found.texts), found.quotes[one.use_case])
        for path in _feedback_files(home, one.use_case):
            erasure.erase_rows(path, theirs, name=warehouse.hidden(path.name, person))
        for leftover in home.vendors(one.use_case).glob(f"{erasure.PARTIAL}*"):
            leftover.unlink()
        bought = _answers_to(one, found.texts)
        for path in vendor_answers.paths(home.vendors(one.use_case)):
            erasure.erase_rows(path, bought)


def _rewrite_snapshots(home: Home, found: Found, journal: _Journal) -> None:
    for one in found.held:
        gone = set(one.feedback)
        for old in sorted({snapshot for snapshot, _, _ in one.examples}):
            names = {example for snapshot, example, _ in one.examples if snapshot == old}
            try:
                examples = snapshots.read(home.snapshots, old)
            except DataError as error:
                # what cannot be read cannot be rewritten; the next night makes it anew
                log.warning("snapshot %s is deleted and not rewritten: %s", old, error)
                examples = ()
            kept = tuple(
                e for e in examples if e.example_id not in names and gone.isdisjoint(e.feedback_ids)
            )
            new = snapshots.write(Curated(kept, ()), home.snapshots) if kept else None
            with open_store(home.warehouse) as store:
                warehouse.replace_snapshot(store, one, old, new, journal.certificate_id)
                known = warehouse.known_snapshots(store)
            if old not in known:
                shutil.rmtree(home.snapshots / old, ignore_errors=True)


def _mark_versions(home: Home, journal: _Journal) -> None:
    if journal.plan.versions:
        from flywheel.registry import Registry

        registry = Registry(home)
        for one in journal.plan.versions:
            registry.mark_forgotten(one.use_case, one.version, journal.certificate_id)


def _delete_artifacts(home: Home, journal: _Journal) -> None:
    for place in journal.plan.artifacts:
        path = home.root / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _delete_rows(home: Home, person: str, found: Found, journal: _Journal) -> None:
    retrain = sorted({one.use_case for one in journal.plan.versions})
    with open_store(home.warehouse) as store:
        warehouse.delete_rows(
            store, found.held, person, retrain=retrain, certificate_id=journal.certificate_id
        )


def _rewrite_warehouse(home: Home) -> None:
    with open_store(home.warehouse) as store:
        warehouse.rewrite_file(store)


def _search(home: Home, person: str, found_before: Found, journal: _Journal) -> Searched:
    """Look for them in every file, every table and every trace that is left."""
    names = _names(person)
    pages = set(_pages(home))
    own = {home.forget / "key", _journal_path(home, journal.person_hash)}
    found = []
    looked = 0
    for path in sorted(home.root.rglob("*")):
        place = path.relative_to(home.root)
        passed = place.parts[0] in _NOT_SEARCHED or path in own or path.suffix == _WEIGHTS
        if passed or not path.is_file():
            continue
        looked += 1
        # in a database file a name has no bounds; its tables are asked below
        words = [] if path == home.warehouse else names
        if erasure.holds(path, journal.search, names=words) or (
            path in pages and _without(path, journal.search, person) is not None
        ):
            found.append(warehouse.hidden(str(place), person))
    with open_store(home.warehouse, read_only=True) as store:
        tables, columns = warehouse.mentions(store, journal.search, [person])
    found += [f"{home.warehouse.name}: {column}" for column in columns]
    left = _traces(home, person, found_before.held)
    found += [f"traces of {name} in MLflow" for name, _, _ in left]
    return Searched(files=looked, tables=tables, texts=len(journal.search), found=tuple(found))


def _certify(
    home: Home, person: str, journal: _Journal, searched: Searched, at: datetime
) -> dict[str, Any]:
    marked = _exported_since(home, journal.plan.versions, person)
    with open_store(home.warehouse, read_only=True) as store:
        after = warehouse.rewritten_by(store, journal.certificate_id)
    paths = {one.path: home.root / one.path for one in journal.plan.files}
    content = certificate.issue(
        replace(journal.plan, versions=marked),
        certificate_id=journal.certificate_id,
        person_hash=journal.person_hash,
        requested_at=journal.requested_at,
        finished_at=at.isoformat(),
        files_after={
            name: erasure.file_sha256(path) if path.exists() else None
            for name, path in paths.items()
        },
        snapshots_after=after,
        warehouse={
            "sha256_before": journal.warehouse_sha256 or "none",
            "sha256_after": erasure.file_sha256(home.warehouse),
        },
        searched=searched,
    )
    page = certificate_path(home, journal.certificate_id)
    _write(page.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
    _write(page, certificate.markdown(content))
    return content
