"""The doctor says where a use case stands: fresh evidence, trials, what can be proven."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flywheel.config import Home, UseCase
from flywheel.diagnostics.gain_findings import on_trial
from flywheel.records import FreshRow, NightRecord, Trial
from flywheel.stats.alpha_budget import Told
from flywheel.store import open_store
from flywheel.store.feedback import feedback_counts
from flywheel.store.nights import fresh_units, night_runs
from tests.challengers import go_on_trial
from tests.doctors import (
    AT,
    audit,
    bring,
    commit,
    found,
    freeze,
    labeled_by_two,
)


@pytest.fixture
def lived(home: Home, use_case: UseCase) -> Home:
    """Two people label 60 texts, and agree on 45 of them."""
    return labeled_by_two(home, use_case)


def test_fresh_evidence_is_counted_by_the_gates_unit_and_night_from_sources_that_are_evidence(
    lived: Home, use_case: UseCase
) -> None:
    nobody = use_case.gate.model_copy(update={"evidence_sources": [], "unit": "group"})
    use_case = use_case.model_copy(update={"gate": nobody})
    assert found(use_case, lived)["fresh evidence"].detail == "unknown before a second night"
    for day in (2, 3):
        rows = [
            *(audit(n, group=f"a{n // 2}", day=day) for n in range(6)),
            {**audit(9, group="other", day=day), "source": "app", "customer_id": "one"},
            {**audit(8, group="talk", day=day), "kind": "comment", "value": "so so"},
        ]
        bring(lived, use_case, f"{day}.jsonl", rows, at=AT.replace(day=day))
        commit(lived, use_case, AT.replace(day=day), digest=f"d{day}")

    findings = found(use_case, lived)

    assert "3.0 groups a night in the last 2 nights" in findings["fresh evidence"].detail
    assert {"visible in 2 nights", "visible in 4 nights", "visible in 7 nights"} <= set(findings)
    named = use_case.gate.model_copy(update={"evidence_sources": ["app"]})
    more = found(use_case.model_copy(update={"gate": named}), lived)
    assert "4.0 groups a night" in more["fresh evidence"].detail
    assert "3.0 a night can speak for a gain, the others are of 1 customer" in (
        more["fresh evidence"].detail
    )
    # and where rows of a group go right or wrong on their own, each of them counts
    apart = use_case.gate.model_copy(update={"unit": "row"})
    rows = found(use_case.model_copy(update={"gate": apart}), lived)
    assert "6.0 rows a night in the last 2 nights" in rows["fresh evidence"].detail
    assert "24 fresh rows" in rows["visible in 4 nights"].detail
    assert "12 fresh groups" in findings["visible in 4 nights"].detail


def test_rows_that_can_prove_nothing_are_no_fresh_evidence(lived: Home, use_case: UseCase) -> None:
    """A night trained where what came could not have decided anything."""
    by_row = use_case.gate.model_copy(update={"unit": "row"})
    use_case = use_case.model_copy(update={"gate": by_row})
    rows = [audit(n, group=f"a{n}", day=2) for n in range(6)]
    rows[4]["value"] = "negative"
    back = {**rows[5], "feedback_id": "back", "kind": "withdraw", "value": None}
    back["given_at"] = "2026-01-02T04:04:05Z"
    bring(lived, use_case, "2.jsonl", [*rows, back], at=AT.replace(day=2))
    labels = {name: said for name, said in use_case.labels.items() if name != "negative"}
    fewer = use_case.model_copy(update={"labels": labels})
    commit(lived, fewer, AT.replace(day=2), digest="d2")

    with open_store(lived.warehouse) as store:
        assert fresh_units.count(store, fewer).units == 4
        writes = fewer.model_copy(update={"kind": "text-generation", "labels": {}})
        assert fresh_units.count(store, writes).units == 4
        store.con.execute("UPDATE feedback SET prediction_id = 'p' WHERE source = 'audit'")
        assert fresh_units.count(store, writes).units == 0, "an edited answer is near the answer"


def test_where_a_use_case_stands_is_read_from_the_store(lived: Home, use_case: UseCase) -> None:
    name = use_case.name
    with open_store(lived.warehouse) as store:
        (taken,) = (one for (one,) in store.rows("SELECT snapshot_id FROM snapshots", []))
        before = feedback_counts.standing(store, use_case, taken)
        other = feedback_counts.standing(store, use_case, "another")
        night_runs.record(
            store,
            name,
            NightRecord(
                AT.replace(day=2),
                "promoted",
                [],
                {"train_examples": 77},
                snapshot_id="other",
                digest="d2",
                recorded_at=AT,
            ),
        )
        store.con.execute(
            "INSERT INTO questions VALUES "
            "(?, ?, 'd1', NULL, 0, 0, NULL, 20, 'promote', NULL, NULL), "
            "(?, ?, 'd2', 'd1', 1, 1, 0.01, 20, 'reject', 0.5, FALSE), "
            "(?, ?, 'd3', 'd1', 2, 2, 0.01, 20, NULL, 0.25, NULL)",
            [name, AT, name, AT.replace(day=2), name, AT.replace(day=3)],
        )
        trial = [name, AT, AT, name, AT]
        store.con.execute(
            "INSERT INTO trials VALUES "
            "(?, 'challenge', 'd1', 'd0', 1, 0.015, 's', 'a', 9, ?, ?, 'gave_way', NULL, NULL), "
            "(?, 'challenge', 'd2', 'd0', 2, 0.004, 's', 'a', 9, ?, NULL, NULL, NULL, TRUE)",
            trial,
        )
        after = feedback_counts.standing(store, use_case, taken)

    assert (before.judged, before.champion, before.champion_rows) == (AT, False, None)
    assert (before.questions, before.unspent, before.trials, before.open_alpha) == (0, 1, 0, None)
    assert before.told == Told()
    assert sum(before.classes.values()) > 20
    assert (other.judged, other.classes) == (None, {})
    assert (after.champion, after.champion_rows) == (True, 77)
    assert (after.questions, after.unspent, after.trials, after.open_alpha) == (
        2,
        0.25,
        2,
        pytest.approx(0.004),
    )
    # a trial stood beside the last two verdicts, which told more than those
    assert after.told == Told((True, True, False), refuted=(False, False), kept=(False,))


def measured_night(home: Home, use_case: UseCase, *, accuracy: float) -> None:
    """The newest snapshot was judged, and its challenger became champion with ``accuracy``."""
    with open_store(home.warehouse) as store:
        (night,) = night_runs.nights(store, use_case.name)
        snapshot, told = night.snapshot_id, {"challenger_accuracy": accuracy}
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                AT, "promoted", [], told, snapshot_id=snapshot, digest="d1", recorded_at=AT
            ),
        )


def test_a_holdout_that_can_prove_no_gain_any_more_says_so(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), holdout=300)
    measured_night(home, use_case, accuracy=0.7)
    assert "no gain" not in found(use_case, home)["visible tonight"].detail

    measured_night(home, use_case, accuracy=0.99)
    findings = found(use_case, home)
    assert "no possible gain" in findings["visible tonight"].detail
    assert "the champion leaves 1.0 to gain" in findings["visible tonight"].detail


def test_a_trial_without_evidence_says_what_would_be_evidence(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), holdout=300)
    with open_store(home.warehouse) as store:
        rules, as_of = use_case.gate, AT - timedelta(hours=1)
        go_on_trial(store, use_case.name, rules, as_of=as_of, train_examples=120)
    told = found(use_case, home)["trial"].detail
    assert "learned from 120 examples, 0 fresh rows in 1 nights" in told
    assert "gate.evidence_sources" in told


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (9, "further rows would prove it at its pace; it ends when a newer challenger waits, or"),
        (2, "they show no gain so far; it ends when a newer challenger waits, or after 14 nights"),
    ],
)
def test_a_trial_that_goes_on_says_what_ends_it(use_case: UseCase, right: int, says: str) -> None:
    rows = [FreshRow(AT, f"row {n}", f"group {n}", "app", n < right, n >= right) for n in range(10)]
    told = on_trial(use_case, Trial.of(1, 0.01, rows), examples=120, nights=1).detail
    assert told.startswith(
        "trial 1: a challenger that learned from 120 examples, 10 fresh rows in 1 nights; "
    )
    assert says in told
    assert "(gate.max_trial_nights)" in told
