"""What the tests of the doctor share: its findings by name, and what it is shown."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots, splits
from flywheel.diagnostics import doctor, machine_checks
from flywheel.records import Curated, Example, NightRecord, Snapshot, Split
from flywheel.records.findings import Finding
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.strategies import row

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


class Usage(NamedTuple):
    """What the doctor reads of a disk."""

    free: float


def machine_with_room(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine whose free GB are what a test says, at first more than enough."""
    free = {
        "memory": machine_checks.NEEDED_MEMORY_GB + 1,
        "disk": machine_checks.NEEDED_DISK_GB + 1,
    }
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=free["memory"] * 1e9)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free["disk"] * 1e9))
    return free


def labeled_by_two(home: Home, use_case: UseCase) -> Home:
    """Two people label 60 texts, and agree on 45 of them."""
    labels = use_case.label_names
    rows = [
        row(
            feedback_id=f"{person}-{n}",
            text=f"{number_words(n)} of it",
            value=labels[(n + (person == "bob" and n % 4 == 0)) % 3],
            group_id=f"g{n}",
            rater_id=person,
        )
        for n in range(60)
        for person in ("ann", "bob")
    ]
    bring(home, use_case, "first.jsonl", rows, at=AT)
    commit(home, use_case, AT)
    return home


def found(use_case: UseCase, home: Home) -> dict[str, Finding]:
    """The findings by name, of which each has its own."""
    findings = doctor.examine(use_case, home)
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def wait(home: Home, use_case: UseCase, rows: int) -> None:
    """Bring ``rows`` labels into the warehouse."""
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    labels = [row(feedback_id=f"f{i}", text=f"text {i}", value="neutral") for i in range(rows)]
    (inbox / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in labels))
    ingest_inbox(use_case, home, at=AT)


def easily_examined(use_case: UseCase) -> UseCase:
    """The use case with a holdout of ten rows."""
    gate = use_case.gate.model_copy(update={"min_holdout_examples": 10})
    return use_case.model_copy(update={"gate": gate})


def to_seat(
    use_case: UseCase, *, train: int = 0, validation: int = 0, holdout: int = 0
) -> list[dict[str, Any]]:
    """A label of each of so many groups that the split puts on each side, of every class in turn.

    Those on the holdout's side are gold, the others are not.
    """
    wanted = {"train": train, "validation": validation, "holdout": holdout}
    sides = splits.assign(
        [f"g{i}" for i in range(40 + 20 * sum(wanted.values()))],
        known={},
        salt=use_case.split.salt,
        holdout=use_case.split.holdout,
        validation=use_case.split.validation,
    )
    chosen = [
        (group, side)
        for side, number in wanted.items()
        for group in [one for one in sides if sides[one] == side][:number]
    ]
    labels = use_case.label_names
    return [
        row(
            feedback_id=f"f-{group}",
            text=number_words(i),
            value=labels[i % len(labels)],
            group_id=group,
            source=use_case.curation.gold_sources[0] if side == "holdout" else "desk",
        )
        for i, (group, side) in enumerate(chosen)
    ]


def freeze(
    home: Home, use_case: UseCase, *, train: dict[str, int], holdout: int, day: int = 1
) -> None:
    """A night whose snapshot holds so many examples."""
    sides: list[tuple[Split, str]] = [
        *(("train", label) for label, number in train.items() for _ in range(number)),
        *(("holdout", "neutral") for _ in range(holdout)),
    ]
    examples = tuple(
        Example(f"{day}-{i}", f"text {i}", label, 1.0, f"g{i}", side, (f"f{i}",))
        for i, (side, label) in enumerate(sides)
    )
    snapshot = snapshots.write(Curated(examples, ()), home.snapshots)
    at = AT.replace(day=day)
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                at,
                "rejected",
                [],
                snapshot_id=snapshot.snapshot_id,
                digest=f"d{day}",
                recorded_at=at,
            ),
        )


def number_words(number: int) -> str:
    """A text that is like no other's."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def bring(
    home: Home, use_case: UseCase, name: str, rows: list[dict[str, Any]], *, at: datetime
) -> None:
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(one) + "\n" for one in rows))
    ingest_inbox(use_case, home, at=at)


def commit(
    home: Home, use_case: UseCase, at: datetime, *, outcome: str = "rejected", digest: str = "d1"
) -> Snapshot:
    """A night that curates what came and ends as said."""
    snapshot = curate_snapshot.fn(use_case, home, at=at)
    told = {"train_examples": snapshot.train, "challenger_accuracy": 0.7}
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                at,
                outcome,
                [],
                told,
                snapshot_id=snapshot.snapshot_id,
                digest=digest,
                recorded_at=at,
            ),
        )
    return snapshot


def audit(number: int, *, group: str, day: int) -> dict[str, Any]:
    return row(
        feedback_id=f"audit-{day}-{number}",
        text=f"{number_words(1000 * day + number)} again",
        value="neutral",
        group_id=group,
        source="audit",
        rater_id=f"auditor-{number}",
    )
