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
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.errors import DataError, TooManyQuotes
from flywheel.files.json_files import read_json
from flywheel.modeling.artifact import WITHOUT_TEXTS
from flywheel.privacy import certificate, erase_files, erasure_plan
from flywheel.privacy.byte_search import Sought
from flywheel.privacy.certificate import Searched
from flywheel.privacy.erasure_plan import EVERYWHERE, Plan
from flywheel.privacy.own_words import MOST_QUOTES
from flywheel.privacy.person_ids import canonical_id
from flywheel.records import Curated, Example
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.compaction import rewrite_file
from flywheel.vendors import jsonl as vendor_lines
from flywheel.vendors import reply_cache as vendor_answers
from tasks.collect import PARTIAL, write
from tasks.coordination.locks import nights_waiting
from tasks.erasure import locations, registered, rows_of_person

if TYPE_CHECKING:
    # MLflow takes seconds to import
    pass

Quotes = Literal["ask", "keep", "delete"]
log = logging.getLogger(__name__)


def plan(
    home: Home,
    person: str,
    *,
    use_cases: Sequence[str] | None = None,
    alike: bool = False,
    quotes: Quotes = "ask",
) -> Plan:
    """Everything that holds a person, in the use cases named or in all; changes nothing."""
    found = locations.find(home, person, use_cases, alike=alike, quotes=quotes != "keep")
    return replace(found.plan, named_in=tuple(locations.named_in(home, found)))


def forget(
    home: Home,
    person: str,
    *,
    at: datetime,
    use_cases: Sequence[str] | None = None,
    alike: bool = False,
    quotes: Quotes = "ask",
) -> dict[str, Any]:
    """Forget a person and return the certificate; after a kill, the next run finishes it.

    Args:
        home: Where.
        person: A customer_id, rater_id or group_id.
        at: Now.
        use_cases: Only these.
        alike: Whether others' texts almost like theirs go.
        quotes: Whether rows by others that quote them go; by default few go, and many stop it.

    Raises:
        TooManyQuotes: more than `MOST_QUOTES` rows by others would go; nothing was changed.
        StoreBusy: a night is running, or the warehouse is held; what was done stays done.
        RegistryUnavailable: versions could not be read or marked; what was done stays done.
    """
    with ExitStack() as locks:
        for name in locations.scope(home, use_cases):
            locks.enter_context(nights_waiting(home, name, instead="nobody was forgotten"))
            if home.vendors(name).is_dir():
                locks.enter_context(vendor_lines.only_writer(home.vendors(name)))
        quotes = _begun_with(home, person) or quotes
        found = locations.find(home, person, use_cases, alike=alike, quotes=quotes != "keep")
        if quotes == "ask":
            _refuse_many(found.plan)
        journal = _open_journal(home, person, found, at, quotes)
        scope = found.plan.use_cases if use_cases is not None else (EVERYWHERE,)
        _remember(home, found, journal, scope, at)
        _rewrite_pages(home, found)
        _erase_files(home, found)
        _rewrite_snapshots(home, found, journal)
        _mark_versions(home, journal)
        for _, traces, theirs in registered.traces(home, found.person, found.held):
            traces.delete(theirs)
        _delete_artifacts(home, journal)
        _delete_rows(home, person, found, journal)
        _rewrite_warehouse(home)
        searched = _search(home, found, journal)
        content = _certify(home, found, journal, searched, at)
        _journal_path(home, journal.person_hash).unlink()
    log.info("forgot one person: certificate %s", journal.certificate_id)
    return content


def certificate_path(home: Home, certificate_id: str) -> Path:
    """The certificate as a page; beside it lies the same as JSON."""
    return home.forget / f"{certificate_id}.md"


def _refuse_many(plan: Plan) -> None:
    if plan.by_others > MOST_QUOTES:
        shown = [f"{name}: {count}" for name, count in plan.quotes.items() if count]
        if plan.waiting_quotes:
            shown.append(f"waiting files: {plan.waiting_quotes}")
        raise TooManyQuotes(
            f"{plan.by_others} rows by other people quote this person ({', '.join(shown)}); at "
            f"most {MOST_QUOTES} go without a question, for a stranger could send others' words "
            "and ask to be forgotten. Nothing was changed. See them with flywheel forget CUSTOMER "
            "--json; then add --quotes keep, and only the person's own rows go, or --quotes "
            "delete, and these go with them.",
            quotes=plan.by_others,
        )


# ---- The journal


@dataclass(frozen=True)
class _Journal:
    certificate_id: str
    person_hash: str
    requested_at: str
    plan: Plan
    warehouse_sha256: str | None
    search: tuple[str, ...] = field(repr=False)
    quotes: Quotes = "delete"
    """What was decided of others' rows that quote the person."""


def _journal_path(home: Home, person_hash: str) -> Path:
    return home.forget / f"{person_hash[:16]}.journal"


def _begun_with(home: Home, person: str) -> Quotes | None:
    """What a killed run had decided of quotes; None where none was killed."""
    if not (home.forget / "key").exists():
        return None
    path = _journal_path(home, _person_hash(home, person))
    # a journal of an earlier version has no such line, and all quotes went
    return _journal(path).get("quotes", "delete") if path.exists() else None


def _journal(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(
        path,
        so="The forgetting is not finished, and nothing more was deleted. Put the file back from a "
        "backup, or delete it and run the same command again: it forgets what is left, and its "
        "certificate names that only.",
    )
    return content


def _open_journal(
    home: Home, person: str, found: locations.Found, at: datetime, quotes: Quotes
) -> _Journal:
    """Begin a journal, or go on with the one that a killed run left."""
    person_hash = _person_hash(home, person)
    path = _journal_path(home, person_hash)
    if path.exists():
        content = _journal(path)
        journal = _Journal(
            certificate_id=content["certificate_id"],
            person_hash=person_hash,
            requested_at=content["requested_at"],
            plan=erasure_plan.joined(erasure_plan.plan_from(content["plan"]), found.plan),
            warehouse_sha256=content["warehouse_sha256"],
            search=tuple(sorted({*content["search"], *found.search})),
            quotes=quotes,
        )
    else:
        before = erase_files.file_sha256(home.warehouse) if home.warehouse.exists() else None
        journal = _Journal(
            certificate_id=f"{at:%Y%m%dT%H%M%SZ}-{person_hash[:8]}",
            person_hash=person_hash,
            requested_at=at.isoformat(),
            plan=found.plan,
            warehouse_sha256=before,
            search=found.search,
            # what was asked and found to be few is decided
            quotes="delete" if quotes == "ask" else quotes,
        )
    _write(path, json.dumps(asdict(journal)))
    return journal


def _person_hash(home: Home, person: str) -> str:
    return erasure_plan.name_hash(_key(home), "person", canonical_id(person))


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
    found: locations.Found,
    journal: _Journal,
    scope: Sequence[str],
    at: datetime,
) -> None:
    """From here on, nothing of theirs comes in again, and nothing that went for a quote."""
    key = _key(home)
    with open_store(home.warehouse) as store:
        for name in scope:
            warehouse.remember(store, name, [journal.person_hash], journal.certificate_id, at)
        for one in found.held:
            rows, sent = found.theirs[one.use_case], found.in_files[one.use_case]
            names = [erasure_plan.name_hash(key, "prediction", p) for p in one.predictions]
            ids = {*rows.quotes, *sent.ids}
            names += [erasure_plan.name_hash(key, "feedback", f) for f in sorted(ids)]
            texts = {*rows.quoting, *sent.texts}
            names += [erasure_plan.text_hash(key, text) for text in sorted(texts)]
            warehouse.remember(store, one.use_case, names, journal.certificate_id, at)


def _rewrite_pages(home: Home, found: locations.Found) -> None:
    """Before anything else goes: what they said in a report is known from all that is left."""
    for leftover in locations.pages(home, ending=PARTIAL):
        leftover.unlink()
    for path in locations.pages(home):
        left = locations.without(path, found.quotable, found.person)
        if left is not None:
            write(path, left)


def _erase_files(home: Home, found: locations.Found) -> None:
    for one in found.held:
        # texts that a killed night left on their way to another worker
        shutil.rmtree(home.scoring / one.use_case, ignore_errors=True)
        # copies of what may have learned from them; those that stay are made anew from the registry
        shutil.rmtree(home.compiled(one.use_case), ignore_errors=True)
        for leftover in home.inbox(one.use_case).rglob(f"{erase_files.PARTIAL}*"):
            leftover.unlink()
        rows = found.theirs[one.use_case]
        theirs, clues = rows_of_person.in_files(rows), rows_of_person.clues_of(rows)
        paths = rows_of_person.feedback_files(home, one.use_case)
        for path, name in locations.hidden_names(paths, found.person).items():
            erase_files.erase_rows(path, theirs, name=name, clues=clues)
        for leftover in home.vendors(one.use_case).glob(f"{erase_files.PARTIAL}*"):
            leftover.unlink()
        bought = locations.answers_to(one, found.texts)
        for path in vendor_answers.paths(home.vendors(one.use_case)):
            erase_files.erase_rows(path, bought)


def _rewrite_snapshots(home: Home, found: locations.Found, journal: _Journal) -> None:
    for one in found.held:
        gone = set(one.feedback)
        with open_store(home.warehouse, read_only=True) as store:
            clustered = warehouse.clustered(store, one)
        for old in sorted({snapshot for snapshot, _, _ in one.examples} | clustered):
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
            clusters = _clusters(kept, one.gone)
            kept = tuple(
                replace(e, cluster_id=clusters.get(e.cluster_id, e.cluster_id)) for e in kept
            )
            new = snapshots.write(Curated(kept, ()), home.snapshots) if kept else None
            with open_store(home.warehouse) as store:
                warehouse.replace_snapshot(
                    store, one, old, new, journal.certificate_id, clusters=clusters
                )
                known = warehouse.known_snapshots(store)
            if old not in known:
                shutil.rmtree(home.snapshots / old, ignore_errors=True)


def _clusters(kept: Sequence[Example], gone: Collection[str]) -> dict[str, str]:
    """What each cluster is named by, as a night would, where a text that is gone named it."""
    names: dict[str, str] = {}
    for one in kept:
        if one.cluster_id in gone:
            names[one.cluster_id] = min(names.get(one.cluster_id, one.example_id), one.example_id)
    return names


def _mark_versions(home: Home, journal: _Journal) -> None:
    if journal.plan.versions:
        from flywheel.tracking.registry import Registry

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


def _delete_rows(home: Home, person: str, found: locations.Found, journal: _Journal) -> None:
    with open_store(home.warehouse) as store:
        warehouse.delete_rows(
            store,
            found.held,
            person,
            retrain=journal.plan.retrain,
            certificate_id=journal.certificate_id,
        )


def _rewrite_warehouse(home: Home) -> None:
    with open_store(home.warehouse) as store:
        rewrite_file(store)


def _search(home: Home, found_before: locations.Found, journal: _Journal) -> Searched:
    """Look for them in every file, every table and every trace that is left."""
    person = found_before.person
    pages = set(locations.pages(home))
    own = {home.forget / "key", _journal_path(home, journal.person_hash)}
    found = []
    looked = 0
    everything = Sought(journal.search, person.words, person.values)
    # what somebody wrote may be a word of a vocabulary or of a configuration
    without_texts = Sought((), person.words, person.values)
    # in a database file a name has no bounds; its tables are asked below
    in_warehouse = Sought(journal.search)
    for path in locations.searched(home):
        if path in own:
            continue
        place = path.relative_to(home.root)
        looked += 1
        sought = without_texts if path.name in WITHOUT_TEXTS else everything
        if locations.holds_person(path, in_warehouse if path == home.warehouse else sought) or (
            path in pages and locations.without(path, journal.search, person) is not None
        ):
            found.append(person.hidden(str(place)))
    with open_store(home.warehouse, read_only=True) as store:
        tables, columns = warehouse.mentions(
            store, journal.search, person.ids, in_ids=not person.is_word
        )
    found += [f"{home.warehouse.name}: {column}" for column in columns]
    left = registered.traces(home, person, found_before.held)
    found += [f"traces of {name} in MLflow" for name, _, _ in left]
    return Searched(
        files=looked,
        tables=tables,
        texts=len(journal.search),
        found=tuple(found),
        ids=len(person.ids),
        is_word=person.is_word,
    )


def _certify(
    home: Home, found: locations.Found, journal: _Journal, searched: Searched, at: datetime
) -> dict[str, Any]:
    marked = registered.exported_since(home, journal.plan.versions, found.person)
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
            name: erase_files.file_sha256(path) if path.exists() else None
            for name, path in paths.items()
        },
        snapshots_after=after,
        warehouse={
            "sha256_before": journal.warehouse_sha256 or "none",
            "sha256_after": erase_files.file_sha256(home.warehouse),
        },
        searched=searched,
    )
    page = certificate_path(home, journal.certificate_id)
    _write(page.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
    _write(page, certificate.markdown(content))
    return content
