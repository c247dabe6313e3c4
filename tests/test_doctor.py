"""The doctor says whether a night can run here, and whether there is enough to learn from."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from flywheel import doctor, snapshots, splits
from flywheel.config import Home, UseCase
from flywheel.findings import on_trial
from flywheel.records import Curated, Example, FreshRow, Snapshot, Split, Trial
from flywheel.store import contenders, diary, facts, forgetting, open_store, trials
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.nights import drop_rows
from tests.strategies import prediction, row

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


class Usage(NamedTuple):
    """What the doctor reads of a disk."""

    free: float


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine whose free GB are what a test says, at first more than enough."""
    free = {"memory": doctor.NEEDED_MEMORY_GB + 1, "disk": doctor.NEEDED_DISK_GB + 1}
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=free["memory"] * 1e9)
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free["disk"] * 1e9))
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
        diary.record(
            store, use_case.name, at, "rejected", [], {}, snapshot.snapshot_id, f"d{day}", at
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
        "100 examples (30 positive, 20 neutral, 50 negative)"
        in (findings["training data"]["detail"])
    )
    assert findings["exam"] == {
        "name": "exam",
        "ok": True,
        "detail": "200 rows; the gate needs 200",
    }


def test_a_label_that_was_renamed_is_named_and_all_else_is_still_looked_at(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train={"negative": 40, "neutral": 40, "mixed": 30}, exam=200)

    findings = found(use_case, home)

    assert "no longer names mixed" in findings["labels"]["detail"]
    assert "30 rows" in findings["labels"]["detail"]
    assert "80 examples (0 positive" in findings["training data"]["detail"]
    assert not findings["training data"]["ok"]
    assert "recommendation" in findings


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
        diary.record(store, use_case.name, at, "failed", [], {}, None, None, at)

    assert found(use_case, home)["exam"]["detail"].startswith("7 rows")


def test_what_came_since_the_last_night_is_told(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 10}, exam=5)
    wait(home, use_case, 3)

    assert found(use_case, home)["new feedback"]["detail"] == "3 reactions wait"
    early = row(feedback_id="early", kind="accept", value=None, text=None, prediction_id="p9")
    (home.inbox(use_case.name) / "b.jsonl").write_text(json.dumps(early))
    ingest_inbox(use_case, home, at=AT)
    assert found(use_case, home)["new feedback"]["detail"] == (
        "3 reactions wait; 1 are parked: about an answer that has not arrived yet"
    )


# ---- What the store tells of a snapshot that a night committed


@pytest.fixture
def lived(home: Home, use_case: UseCase) -> Home:
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
        diary.record(store, use_case.name, at, outcome, [], told, snapshot.snapshot_id, digest, at)
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


def test_raters_are_counted_by_class_and_their_disagreement_is_seen(
    lived: Home, use_case: UseCase
) -> None:
    with open_store(lived.warehouse) as store:
        (taken,) = (one for (one,) in store.rows("SELECT snapshot_id FROM snapshots", []))
        sides = dict(store.rows("SELECT group_id, split FROM splits", []))
        raters = facts.raters(store, use_case.name, taken)
        doubt = facts.doubt(store, use_case.name, taken)
    outside = [n for n in range(60) if sides[f"g{n}"] != "exam"]

    assert raters == dict.fromkeys(use_case.label_names, 2)
    # those that disagree are tied, and so are no examples: they count all the same
    assert doubt.texts == len(outside)
    assert doubt.disagreeing == sum(n % 4 == 0 for n in outside)
    assert doubt.rows == sum(n % 4 != 0 for n in outside if sides[f"g{n}"] == "train")
    assert doubt.single == 0
    assert 0 < doubt.unsure < 0.5
    assert doubt.reactions == 120

    findings = found(use_case, lived)
    assert f", {len(outside)} texts)" in findings["label noise"]["detail"]
    assert "2 positive, 2 neutral, 2 negative" in findings["raters"]["detail"]
    assert "0% of the examples rest on one reaction" in findings["raters"]["detail"]


def test_an_accepted_answer_is_a_vote_for_it(home: Home, use_case: UseCase) -> None:
    answer = replace(prediction("p1", number_words(1)), label="neutral", group_id="g1")
    with open_store(home.warehouse) as store:
        store.add_predictions(use_case.name, [answer])
        sides = splits.assign(
            [f"g{n}" for n in range(100)],
            known={},
            salt=use_case.split.salt,
            exam=use_case.split.exam,
            validation=use_case.split.validation,
        )
    assert sides["g1"] == "train"
    reacted = {"prediction_id": "p1", "text": None, "group_id": None, "source": "app"}
    rows = [
        row(feedback_id="1", kind="accept", value=None, rater_id="ann", **reacted),
        row(feedback_id="2", kind="correct", value="neutral", rater_id="bob", **reacted),
        row(feedback_id="3", kind="correct", value="positive", rater_id="eve", **reacted),
        row(feedback_id="4", kind="reject", value=None, rater_id="joe", **reacted),
    ]
    bring(home, use_case, "a.jsonl", rows, at=AT)
    snapshot = commit(home, use_case, AT)
    with open_store(home.warehouse) as store:
        doubt = facts.doubt(store, use_case.name, snapshot.snapshot_id)
    # of three pairs that name a label two disagree
    assert (doubt.texts, doubt.disagreeing) == (1, pytest.approx(2 / 3))


def test_fresh_evidence_is_counted_by_the_gates_unit_and_night_from_sources_that_are_evidence(
    lived: Home, use_case: UseCase
) -> None:
    nobody = use_case.gate.model_copy(update={"evidence_sources": [], "unit": "group"})
    use_case = use_case.model_copy(update={"gate": nobody})
    assert found(use_case, lived)["fresh evidence"]["detail"] == "unknown before a second night"
    for day in (2, 3):
        rows = [
            *(audit(n, group=f"a{n // 2}", day=day) for n in range(6)),
            {**audit(9, group="other", day=day), "source": "app"},
            {**audit(8, group="talk", day=day), "kind": "comment", "value": "so so"},
        ]
        bring(lived, use_case, f"{day}.jsonl", rows, at=AT.replace(day=day))
        commit(lived, use_case, AT.replace(day=day), digest=f"d{day}")

    findings = found(use_case, lived)

    assert "3.0 groups a night in the last 2 nights" in findings["fresh evidence"]["detail"]
    assert {"visible in 2 nights", "visible in 4 nights", "visible in 7 nights"} <= set(findings)
    named = use_case.gate.model_copy(update={"evidence_sources": ["app"]})
    more = found(use_case.model_copy(update={"gate": named}), lived)
    assert "4.0 groups a night" in more["fresh evidence"]["detail"]
    # and where rows of a group go right or wrong on their own, each of them counts
    apart = use_case.gate.model_copy(update={"unit": "row"})
    rows = found(use_case.model_copy(update={"gate": apart}), lived)
    assert "6.0 rows a night in the last 2 nights" in rows["fresh evidence"]["detail"]
    assert "24 fresh rows" in rows["visible in 4 nights"]["detail"]
    assert "12 fresh groups" in findings["visible in 4 nights"]["detail"]


def test_where_a_use_case_stands_is_read_from_the_store(lived: Home, use_case: UseCase) -> None:
    name = use_case.name
    with open_store(lived.warehouse) as store:
        (taken,) = (one for (one,) in store.rows("SELECT snapshot_id FROM snapshots", []))
        before = facts.standing(store, use_case, taken)
        other = facts.standing(store, use_case, "another")
        diary.record(
            store,
            name,
            AT.replace(day=2),
            "promoted",
            [],
            {"train_examples": 77},
            "other",
            "d2",
            AT,
        )
        store.con.execute(
            "INSERT INTO questions VALUES (?, ?, 'd1', NULL, 0, 0, NULL, 20, 'promote'), "
            "(?, ?, 'd2', 'd1', 1, 1, 0.01, 20, 'reject'), "
            "(?, ?, 'd3', 'd1', 2, 2, 0.01, 20, NULL)",
            [name, AT, name, AT.replace(day=2), name, AT.replace(day=3)],
        )
        trial = [name, AT, AT, name, AT]
        store.con.execute(
            "INSERT INTO trials VALUES "
            "(?, 'challenge', 'd1', 'd0', 1, 0.015, 's', 'a', 9, ?, ?, 'gave_way', NULL), "
            "(?, 'challenge', 'd2', 'd0', 2, 0.004, 's', 'a', 9, ?, NULL, NULL, NULL)",
            trial,
        )
        after = facts.standing(store, use_case, taken)

    assert (before.judged, before.champion, before.champion_rows) == (AT, False, None)
    assert (before.questions, before.told, before.trials, before.open_alpha) == (0, 0, 0, None)
    assert sum(before.classes.values()) > 20
    assert (other.judged, other.classes) == (None, {})
    assert (after.champion, after.champion_rows) == (True, 77)
    # a trial stood beside the second verdict, which told more than that
    assert (after.questions, after.told, after.trials, after.open_alpha) == (2, 3, 2, 0.004)


def test_disagreement_is_that_of_the_last_comparison(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 10}, exam=10)
    assumed = found(use_case, home)["disagreement"]["detail"]
    assert assumed == "15% assumed: no two models were compared on this exam"

    rows = [
        row(feedback_id=f"gold-{n}", text=number_words(n), value="neutral", group_id=f"g{n}",
            source="gold")
        for n in range(60)
    ]  # fmt: skip
    bring(home, use_case, "gold.jsonl", rows, at=AT)
    snapshot = commit(home, use_case, AT.replace(day=2), digest="d2")
    exam = [
        e.example_id
        for e in snapshots.read(home.snapshots, snapshot.snapshot_id)
        if e.split == "exam"
    ]
    right, wrong = {"neutral": 0.9, "positive": 0.1}, {"neutral": 0.1, "positive": 0.9}
    with open_store(home.warehouse) as store:
        name = use_case.name
        contenders.add(store, name, "d1", dict.fromkeys(exam, right), 1.0)
        answers = {one: wrong if n < 3 else right for n, one in enumerate(exam)}
        contenders.add(store, name, "d2", answers, 1.0)
        assert facts.differing(store, name, snapshot.snapshot_id) == (len(exam), 3)
        contenders.add(store, name, "d0", dict.fromkeys(exam, wrong), 1.0)
        asked = "INSERT INTO questions VALUES (?, ?, 'd1', 'd0', 1, 1, 0.01, 20, 'promote')"
        store.con.execute(asked, [name, AT])
        # what was asked is told before what two nights made
        assert facts.differing(store, name, snapshot.snapshot_id) == (len(exam), len(exam))
    detail = found(use_case, home)["disagreement"]["detail"]
    assert f"100.0% of {len(exam)} exam rows" in detail


def test_the_doctor_ends_in_a_recommendation(home: Home, use_case: UseCase) -> None:
    assert "label: 100 more" in doctor.examine(use_case, home)[-1]["detail"]
    wait(home, use_case, use_case.training.min_examples)
    assert doctor.examine(use_case, home)[-1]["detail"].startswith("train: 100 reactions wait")
    train = {"negative": 50, "neutral": 50, "positive": 50}
    freeze(home, use_case, train=train, exam=use_case.gate.min_exam_examples)
    last = doctor.examine(use_case, home)[-1]
    assert (last["name"], last["ok"]) == ("recommendation", True)
    assert last["detail"].startswith("train: there is no champion yet")


def test_a_least_number_for_every_class_is_looked_at(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 90, "neutral": 19, "positive": 20}, exam=200)
    recipe = use_case.training.model_copy(update={"min_per_class": 20})
    strict = use_case.model_copy(update={"training": recipe})
    finding = found(strict, home)["training data"]
    assert not finding["ok"]
    assert "and 20 of every class" in finding["detail"]
    assert found(use_case, home)["training data"]["ok"]


def test_what_is_printed_is_aligned_and_no_wider_than_a_page(
    lived: Home, use_case: UseCase
) -> None:
    findings = doctor.examine(use_case, lived)
    printed = doctor.lines(findings)
    assert max(map(len, printed)) <= doctor.WIDTH
    start = max(len(finding["name"]) for finding in findings) + len("FAIL  ") + 2
    assert all(line[start - 2 : start] == "  " for line in printed)
    words = " ".join(line[start:] for line in printed).split()
    assert words == " ".join(finding["detail"] for finding in findings).split()


def test_a_home_that_was_never_used_is_examined_all_the_same(home: Home, use_case: UseCase) -> None:
    finding = found(use_case, home)["data"]

    assert not finding["ok"]
    assert "0 reactions wait" in finding["detail"]


# ---- What is there, before and beside what can be proven


def test_rows_in_the_inbox_wait_too(home: Home, use_case: UseCase) -> None:
    rows = [row(feedback_id=f"f{i}", text=f"text {i}", value="neutral") for i in range(120)]
    drop_rows(home, use_case, "a.jsonl", rows)
    drop_rows(home, use_case, "served-a.predictions.jsonl", [{"no": "feedback"}])

    findings = found(use_case, home)

    assert findings["data"]["ok"]
    assert "120 reactions wait" in findings["data"]["detail"]
    assert "120 rows in 2 files of the inbox" in findings["new feedback"]["detail"]
    assert "120 reactions wait for a first night" in findings["recommendation"]["detail"]


def test_a_base_that_there_is_none_of_is_named(home: Home, use_case: UseCase) -> None:
    recipe = use_case.training.model_copy(update={"base": "smollm3"})
    finding = found(use_case.model_copy(update={"training": recipe}), home)["base"]

    assert not finding["ok"]
    assert "No base model 'smollm3'. Known: " in finding["detail"]


def test_a_source_that_nothing_came_from_is_named_with_the_nearest(
    home: Home, use_case: UseCase
) -> None:
    wait(home, use_case, 3)
    came = str(row()["source"])
    gate = use_case.gate.model_copy(update={"evidence_sources": [f"{came}x"]})
    told = found(use_case.model_copy(update={"gate": gate}), home)["sources"]["detail"]

    assert f"3 from {came}" in told
    assert f"gate.evidence_sources names '{came}x', from which nothing came" in told
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
        diary.record(store, case.name, AT, "skipped", [], {}, snapshot.snapshot_id, None, AT)
        left_out = facts.over_limit(store, case.name, snapshot.snapshot_id)
    assert left_out > 0
    told = found(case, home)["training data"]["detail"]
    assert "9 examples" in told
    assert f"{left_out} further reactions are left out by curation.max_examples: 9" in told


def measured_night(home: Home, use_case: UseCase, *, accuracy: float) -> None:
    """The newest snapshot was judged, and its challenger became champion with ``accuracy``."""
    with open_store(home.warehouse) as store:
        (night,) = diary.nights(store, use_case.name)
        snapshot, told = night["snapshot_id"], {"challenger_accuracy": accuracy}
        diary.record(store, use_case.name, AT, "promoted", [], told, snapshot, "d1", AT)


def test_an_exam_that_can_prove_no_gain_any_more_says_so(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), exam=300)
    measured_night(home, use_case, accuracy=0.7)
    assert "no gain" not in found(use_case, home)["visible tonight"]["detail"]

    measured_night(home, use_case, accuracy=0.99)
    findings = found(use_case, home)
    assert "no gain that there can be" in findings["visible tonight"]["detail"]
    assert "the champion leaves 1.0 to gain" in findings["visible tonight"]["detail"]


def test_a_trial_without_evidence_says_what_would_be_evidence(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), exam=300)
    with open_store(home.warehouse) as store:
        trials.start(
            store,
            use_case.name,
            kind="challenge",
            as_of=AT - timedelta(hours=1),
            digest="new",
            champion_digest="old",
            snapshot_id="s",
            adapter="a",
            train_examples=120,
            rules=use_case.gate,
        )
    told = found(use_case, home)["trial"]["detail"]
    assert "learned from 120 examples, 0 fresh rows in 1 nights" in told
    assert "gate.evidence_sources" in told


@pytest.mark.parametrize(
    ("right", "says"),
    [
        (9, "further rows would prove it at its pace, and it ends after 14 nights"),
        (2, "they show no gain so far, and it ends after 14 nights"),
    ],
)
def test_a_trial_that_goes_on_says_what_ends_it(use_case: UseCase, right: int, says: str) -> None:
    rows = [FreshRow(AT, f"row {n}", f"group {n}", "app", n < right, n >= right) for n in range(10)]
    told = on_trial(use_case, Trial.of(1, 0.01, rows), examples=120, nights=1)["detail"]
    assert told.startswith(
        "trial 1: a challenger that learned from 120 examples, 10 fresh rows in 1 nights; "
    )
    assert says in told
    assert "(gate.max_trial_nights)" in told


def test_after_somebody_was_forgotten_the_rewritten_snapshot_is_looked_at(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), exam=300)
    with open_store(home.warehouse) as store:
        (night,) = diary.nights(store, use_case.name)
    old = night["snapshot_id"]
    examples = snapshots.read(home.snapshots, old)
    new = snapshots.write(Curated(examples[1:], ()), home.snapshots)
    shutil.rmtree(home.snapshots / old)
    told = found(use_case, home)["snapshot"]
    assert not told["ok"]
    assert f"flywheel night -u {use_case.name}" in told["detail"]

    def rewritten(to: Snapshot | None) -> dict[str, dict[str, Any]]:
        with open_store(home.warehouse) as store:
            held = forgetting.held(store, use_case.name, "nobody")
            forgetting.replace_snapshot(store, held, old, to, "c1")
        return found(use_case, home)

    assert "119 examples" in rewritten(new)["training data"]["detail"]
    assert "nobody but people who were forgotten" in rewritten(None)["data"]["detail"]
