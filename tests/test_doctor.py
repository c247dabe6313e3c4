"""The doctor says whether a night can run here, and whether there is enough to learn from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from flywheel import doctor, snapshots
from flywheel.config import Home, UseCase
from flywheel.records import Curated, Example, Split
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tests.strategies import row

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


class Usage(NamedTuple):
    """What the doctor reads of a disk."""

    free: float


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine whose free GB are what a test says, at first more than enough."""
    free = {"memory": doctor.NEEDED_MEMORY_GB + 1, "disk": doctor.NEEDED_DISK_GB + 1}
    pages = {"SC_AVPHYS_PAGES": lambda: free["memory"] * 1e9 / 4096, "SC_PAGE_SIZE": lambda: 4096}
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: pages[name]())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(free["disk"] * 1e9))
    return free


def found(use_case: UseCase, home: Home) -> dict[str, dict[str, Any]]:
    """The findings by name; each has a name, a verdict and a detail."""
    findings = doctor.examine(use_case, home)
    assert all(set(finding) == {"name", "ok", "detail"} for finding in findings)
    assert len({finding["name"] for finding in findings}) == len(findings)
    return {finding["name"]: finding for finding in findings}


def wait(home: Home, use_case: UseCase, rows: int) -> None:
    """Bring ``rows`` labels into the warehouse."""
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    labels = [row(feedback_id=f"f{i}", text=f"text {i}", value="neutral") for i in range(rows)]
    (inbox / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in labels))
    ingest_inbox(use_case, home, at=AT)


def freeze(
    home: Home, use_case: UseCase, *, train: dict[str, int], exam: int, day: int = 1
) -> None:
    """A night whose snapshot holds so many examples."""
    sides: list[tuple[Split, str]] = [
        *(("train", label) for label, number in train.items() for _ in range(number)),
        *(("exam", "neutral") for _ in range(exam)),
    ]
    examples = tuple(
        Example(f"{day}-{i}", f"text {i}", label, 1.0, f"g{i}", side, (f"f{i}",))
        for i, (side, label) in enumerate(sides)
    )
    snapshot = snapshots.write(Curated(examples, ()), home.snapshots)
    at = AT.replace(day=day)
    with open_store(home.warehouse) as store:
        store.record_night(
            use_case.name, at, "rejected", [], {}, snapshot.snapshot_id, f"d{day}", at
        )


def test_a_machine_with_everything_passes(home: Home, use_case: UseCase) -> None:
    wait(home, use_case, use_case.training.min_examples)

    assert all(finding["ok"] for finding in doctor.examine(use_case, home))


@pytest.mark.parametrize(
    ("what", "needed"), [("memory", doctor.NEEDED_MEMORY_GB), ("disk", doctor.NEEDED_DISK_GB)]
)
def test_too_little_room_is_found_with_both_numbers(
    home: Home, use_case: UseCase, machine: dict[str, float], what: str, needed: float
) -> None:
    machine[what] = needed + 0.01
    assert found(use_case, home)[what]["ok"]

    machine[what] = needed - 0.4
    findings = found(use_case, home)

    assert not findings[what]["ok"]
    assert f"{needed - 0.4:.1f} GB free" in findings[what]["detail"]
    assert f"needs {needed:.0f} GB" in findings[what]["detail"]
    assert [name for name in ("libraries", "memory", "disk") if not findings[name]["ok"]] == [what]


def test_a_missing_library_is_named_with_what_to_do(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", (*doctor.LIBRARIES, "no-such-library"))

    finding = found(use_case, home)["libraries"]

    assert not finding["ok"]
    assert finding["detail"] == "missing no-such-library; run make install"


@pytest.mark.parametrize("missing", [0, 1])
def test_before_the_first_night_what_waits_must_be_enough(
    home: Home, use_case: UseCase, missing: int
) -> None:
    rows = use_case.training.min_examples - missing
    wait(home, use_case, rows)

    finding = found(use_case, home)["data"]

    assert finding["ok"] is (missing == 0)
    assert f"{rows} reactions wait" in finding["detail"]
    assert f"flywheel night -u {use_case.name}" in finding["detail"]


def test_after_a_night_its_snapshot_is_counted_by_class(home: Home, use_case: UseCase) -> None:
    train = {"negative": 50, "neutral": 20, "positive": 30}
    freeze(home, use_case, train=train, exam=200)

    findings = found(use_case, home)

    assert "data" not in findings
    assert findings["training data"]["ok"]
    assert (
        "100 examples (50 negative, 20 neutral, 30 positive)"
        in (findings["training data"]["detail"])
    )
    assert findings["exam"] == {
        "name": "exam",
        "ok": True,
        "detail": "200 rows; the gate needs 200",
    }


@pytest.mark.parametrize(
    "train",
    [
        {"negative": 50, "neutral": 20, "positive": 29},
        {"negative": 500, "neutral": 0, "positive": 500},
    ],
    ids=["too few", "a class is missing"],
)
def test_training_data_needs_enough_and_every_class(
    home: Home, use_case: UseCase, train: dict[str, int]
) -> None:
    freeze(home, use_case, train=train, exam=200)

    findings = found(use_case, home)

    assert not findings["training data"]["ok"]
    assert findings["exam"]["ok"]


def test_an_exam_one_row_too_short_is_found(home: Home, use_case: UseCase) -> None:
    train = {"negative": 50, "neutral": 50, "positive": 50}
    freeze(home, use_case, train=train, exam=use_case.gate.min_exam_examples - 1)

    findings = found(use_case, home)

    assert not findings["exam"]["ok"]
    assert findings["training data"]["ok"]


def test_the_newest_snapshot_counts_and_a_night_without_one_does_not(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train={"negative": 10}, exam=5, day=1)
    freeze(home, use_case, train={"negative": 10}, exam=7, day=2)
    at = AT.replace(day=3)
    with open_store(home.warehouse) as store:
        store.record_night(use_case.name, at, "failed", [], {}, None, None, at)

    assert found(use_case, home)["exam"]["detail"].startswith("7 rows")


def test_what_came_since_the_last_night_is_told(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 10}, exam=5)
    wait(home, use_case, 3)

    assert found(use_case, home)["new feedback"]["detail"] == "3 reactions wait"


def test_a_home_that_was_never_used_is_examined_all_the_same(home: Home, use_case: UseCase) -> None:
    finding = found(use_case, home)["data"]

    assert not finding["ok"]
    assert "0 reactions wait" in finding["detail"]
