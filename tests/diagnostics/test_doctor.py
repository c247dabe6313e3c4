"""The doctor says whether a night can run here, and what waits for it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flywheel.config import Home, UseCase
from flywheel.diagnostics import data_checks, doctor, machine_checks
from flywheel.gate.cold_start import to_seat as to_seat_by_chance
from flywheel.records import NightRecord
from flywheel.records.findings import Finding
from flywheel.store import open_store
from flywheel.store.feedback import feedback_counts
from flywheel.store.nights import night_runs
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.ingest import ingest_inbox
from tests.doctors import (
    AT,
    bring,
    easily_examined,
    found,
    freeze,
    to_seat,
    wait,
)
from tests.nights import drop_rows
from tests.strategies import row


def test_a_machine_with_everything_passes(home: Home, use_case: UseCase) -> None:
    case = easily_examined(use_case)
    rows = to_seat(case, train=case.training.min_examples, holdout=10)
    bring(home, case, "a.jsonl", rows, at=AT)

    assert all(finding.ok for finding in doctor.examine(case, home))


@pytest.mark.parametrize(
    ("what", "needed"),
    [("memory", machine_checks.NEEDED_MEMORY_GB), ("disk", machine_checks.NEEDED_DISK_GB)],
)
def test_too_little_room_is_found_with_both_numbers(
    home: Home, use_case: UseCase, machine: dict[str, float], what: str, needed: float
) -> None:
    machine[what] = needed + 0.01
    assert found(use_case, home)[what].ok

    machine[what] = needed - 0.4
    findings = found(use_case, home)

    assert not findings[what].ok
    assert f"{needed - 0.4:.1f} GB free" in findings[what].detail
    assert f"needs {needed:.0f} GB" in findings[what].detail
    assert [name for name in ("libraries", "memory", "disk") if not findings[name].ok] == [what]


def test_a_missing_library_is_named_with_what_to_do(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_checks, "LIBRARIES", (*machine_checks.LIBRARIES, "no-such-library"))

    finding = found(use_case, home)["libraries"]

    assert not finding.ok
    assert finding.detail == "missing no-such-library; run make install"


@pytest.mark.parametrize("missing", [0, 1])
def test_before_the_first_night_what_waits_must_be_enough(
    home: Home, use_case: UseCase, missing: int
) -> None:
    train = use_case.training.min_examples - missing
    bring(home, use_case, "a.jsonl", to_seat(use_case, train=train, validation=5, holdout=7), at=AT)

    finding = found(use_case, home)["data"]

    assert finding.ok is (missing == 0)
    assert (
        f"{train + 12} reactions wait: about {train} texts will train, 5 are for validation and 7 "
        "are held out; training needs 100 texts"
    ) in finding.detail
    assert f"flywheel night -u {use_case.name}" in finding.detail


def test_a_class_without_a_row_to_train_on_stops_a_first_night_too(
    home: Home, use_case: UseCase
) -> None:
    first, *others = use_case.label_names
    case = use_case.model_copy(update={"labels": {name: name for name in others}})
    rows = to_seat(case, train=110, holdout=7)
    drop_rows(home, use_case, "a.jsonl", rows)

    findings = found(use_case, home)

    assert not findings["data"].ok
    assert f"1 of every class (training.min_per_class), and there are 0 {first}" in (
        findings["data"].detail
    )
    assert f"of {first}, for a night needs" in findings["recommendation"].detail
    ingest_inbox(use_case, home, at=AT)
    reason = reason_to_skip(use_case, home, curate_snapshot.fn(use_case, home, at=AT))
    assert reason is not None
    assert reason.rule == "every_class"


@pytest.mark.parametrize("ingested", [True, False])
def test_what_the_doctor_seats_before_a_first_night_is_what_the_night_seats(
    home: Home, use_case: UseCase, ingested: bool
) -> None:
    case = easily_examined(use_case)
    rows = to_seat(case, train=30, validation=4, holdout=9)
    about = row(feedback_id="about", kind="accept", value=None, text=None, prediction_id="p9")
    unknown = row(feedback_id="unknown", text="a text", value="neutral", kind="praise")
    drop_rows(home, case, "a.jsonl", [*rows, rows[0], about, unknown])
    if ingested:
        ingest_inbox(case, home, at=AT)

    findings = found(case, home)

    said = findings["data"].detail
    assert "about 30 texts will train, 4 are for validation and 9 are held out" in said
    assert ("1 more are about answers" in said) is not ingested
    assert ("1 rows cannot be used" in said) is not ingested
    more = to_seat_by_chance(1, case.split.holdout)
    assert findings["holdout"] == Finding(
        "holdout",
        False,
        f"9 rows; the gate needs 10: label about {more} more texts, so that 1 of them are held out",
    )
    ingest_inbox(case, home, at=AT)
    snapshot = curate_snapshot.fn(case, home, at=AT)
    assert (snapshot.train, snapshot.validation, snapshot.holdout) == (30, 4, 9)


def test_classes_that_the_holdout_cannot_judge_are_named(home: Home, use_case: UseCase) -> None:
    rows = to_seat(use_case, holdout=14)
    bring(home, use_case, "a.jsonl", rows, at=AT)
    few = use_case.label_names[2]

    detail = found(use_case, home)["holdout by class"].detail

    # five of the first class and of the second, four of the third
    assert f"fewer than 5 holdout rows: {few} 4. " in detail
    assert f"up to {to_seat_by_chance(1, use_case.split.holdout)} more of each" in detail
    more = [{**row, "feedback_id": f"again-{row['feedback_id']}"} for row in rows]
    bring(home, use_case, "b.jsonl", more, at=AT)
    assert f"{few} 4. " in found(use_case, home)["holdout by class"].detail, "the same texts"


def test_more_than_can_be_seated_at_once_is_left_to_a_night(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_checks, "_MOST_LOOKED_AT", 2)
    wait(home, use_case, 3)

    findings = found(use_case, home)

    assert "3 reactions wait; only a night says how many train" in findings["data"].detail
    assert "holdout" not in findings
    assert findings["recommendation"].detail.startswith("label: 97 more")


def test_what_came_since_the_last_night_is_told(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 10}, holdout=5)
    wait(home, use_case, 3)

    assert found(use_case, home)["new feedback"].detail == "3 reactions wait"
    early = row(feedback_id="early", kind="accept", value=None, text=None, prediction_id="p9")
    (home.inbox(use_case.name) / "b.jsonl").write_text(json.dumps(early))
    ingest_inbox(use_case, home, at=AT)
    assert found(use_case, home)["new feedback"].detail == (
        "3 reactions wait; 1 are parked: about an answer that has not arrived yet"
    )


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_a_night_of_a_time_to_come_is_named_with_what_goes_on(
    home: Home, use_case: UseCase, outcome: str
) -> None:
    """A clock that went ahead once would else stop all scheduled nights, unsaid."""
    with open_store(home.warehouse) as store:
        night_runs.record(store, use_case.name, NightRecord(AT, outcome, [], recorded_at=AT))
    for now, faults in ((AT, 0), (AT - timedelta(seconds=1), 1)):
        found = [f for f in doctor.examine(use_case, home, now=now) if f.name == "clock"]
        assert [one.ok for one in found] == [False] * faults
    assert "scheduled nights are refused until then" in found[0].detail
    assert f"flywheel night -u {use_case.name} takes an --as-of after it" in found[0].detail


def test_the_doctor_ends_in_a_recommendation(home: Home, use_case: UseCase) -> None:
    use_case = easily_examined(use_case)
    # seven of ten labels train
    assert "label: 143 more" in doctor.examine(use_case, home)[-1].detail
    bring(home, use_case, "a.jsonl", to_seat(use_case, train=100), at=AT)
    last = doctor.examine(use_case, home)[-1].detail
    assert last.startswith("label: about")
    assert "so that 10 of them are held out: the holdout will have 0 rows" in last
    bring(home, use_case, "b.jsonl", to_seat(use_case, train=100, holdout=10)[100:], at=AT)
    last = doctor.examine(use_case, home)[-1].detail
    assert last.startswith("train: 110 reactions wait for a first night; about 100 texts train")
    train = {"negative": 50, "neutral": 50, "positive": 50}
    freeze(home, use_case, train=train, holdout=use_case.gate.min_holdout_examples)
    advised = doctor.examine(use_case, home)[-1]
    assert (advised.name, advised.ok) == ("recommendation", True)
    assert advised.detail.startswith("train: there is no champion yet")


def test_a_home_that_was_never_used_is_examined_all_the_same(home: Home, use_case: UseCase) -> None:
    finding = found(use_case, home)["data"]

    assert not finding.ok
    assert "0 reactions wait" in finding.detail


# ---- What is there, before and beside what can be proven


def test_rows_in_the_inbox_wait_too(home: Home, use_case: UseCase) -> None:
    use_case = easily_examined(use_case)
    rows = to_seat(use_case, train=110, holdout=10)
    drop_rows(home, use_case, "a.jsonl", rows)
    drop_rows(home, use_case, "served-a.predictions.jsonl", [{"no": "feedback"}])

    findings = found(use_case, home)

    assert findings["data"].ok
    assert "120 reactions wait" in findings["data"].detail
    assert "120 rows in 2 files of the inbox" in findings["new feedback"].detail
    assert "120 reactions wait for a first night" in findings["recommendation"].detail


def test_a_base_that_there_is_none_of_is_named(home: Home, use_case: UseCase) -> None:
    recipe = use_case.training.model_copy(update={"base": "smollm3"})
    finding = found(use_case.model_copy(update={"training": recipe}), home)["base"]

    assert not finding.ok
    assert "No base model 'smollm3'. Known: " in finding.detail


def test_a_source_that_nothing_came_from_is_named_with_the_nearest(
    home: Home, use_case: UseCase
) -> None:
    wait(home, use_case, 3)
    came = str(row()["source"])
    gate = use_case.gate.model_copy(update={"evidence_sources": [f"{came}x"]})
    told = found(use_case.model_copy(update={"gate": gate}), home)["sources"].detail

    assert f"3 from {came}" in told
    assert f"gate.evidence_sources names '{came}x', from which nothing was taken in yet" in told
    assert f"did you mean '{came}'?" in told


def test_what_the_cap_on_rows_leaves_out_is_said(home: Home, use_case: UseCase) -> None:
    rows = [
        row(feedback_id=f"f{i}", text=f"the {word} number {i}", value=label, group_id=f"g{i}")
        for i in range(30)
        for word, label in [(("fine", "positive"), ("poor", "negative"), ("so", "neutral"))[i % 3]]
    ]
    drop_rows(home, use_case, "a.jsonl", rows)
    capped = use_case.curation.model_copy(update={"max_examples": 9, "near_duplicates": 1.0})
    case = use_case.model_copy(update={"curation": capped})
    ingest_inbox(case, home, at=AT)
    snapshot = curate_snapshot.fn(case, home, at=AT)
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            case.name,
            NightRecord(AT, "skipped", [], snapshot_id=snapshot.snapshot_id, recorded_at=AT),
        )
        left_out = feedback_counts.over_limit(store, case.name, snapshot.snapshot_id)
    assert left_out > 0
    told = found(case, home)["training data"].detail
    assert "9 examples" in told
    assert f"{left_out} further reactions are left out by curation.max_examples: 9" in told
