"""The doctor counts what the newest snapshot holds: classes, holdout rows, raters."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots, splits
from flywheel.diagnostics import doctor, findings
from flywheel.records import Curated, NightRecord, Snapshot
from flywheel.records.findings import Finding
from flywheel.store import erasure, open_store
from flywheel.store.feedback import feedback_counts
from flywheel.store.nights import contender_scores, night_runs
from tests.doctors import (
    AT,
    bring,
    commit,
    found,
    freeze,
    labeled_by_two,
    number_words,
)
from tests.strategies import prediction, row


def test_after_a_night_its_snapshot_is_counted_by_class(home: Home, use_case: UseCase) -> None:
    train = {"negative": 50, "neutral": 20, "positive": 30}
    freeze(home, use_case, train=train, holdout=200)

    findings = found(use_case, home)

    assert "data" not in findings
    assert findings["training data"].ok
    assert "100 examples (30 positive, 20 neutral, 50 negative)" in (
        findings["training data"].detail
    )
    assert findings["holdout"] == Finding("holdout", True, "200 rows; the gate needs 200")


def test_a_label_that_was_renamed_is_named_and_all_else_is_still_looked_at(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train={"negative": 40, "neutral": 40, "mixed": 30}, holdout=200)

    findings = found(use_case, home)

    assert "no longer names mixed" in findings["labels"].detail
    assert "30 rows" in findings["labels"].detail
    assert "80 examples (0 positive" in findings["training data"].detail
    assert not findings["training data"].ok
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
    freeze(home, use_case, train=train, holdout=200)

    findings = found(use_case, home)

    assert not findings["training data"].ok
    assert findings["holdout"].ok


def test_a_holdout_one_row_too_short_is_found(home: Home, use_case: UseCase) -> None:
    train = {"negative": 50, "neutral": 50, "positive": 50}
    freeze(home, use_case, train=train, holdout=use_case.gate.min_holdout_examples - 1)

    findings = found(use_case, home)

    assert not findings["holdout"].ok
    assert findings["training data"].ok


def test_the_newest_snapshot_counts_and_a_night_without_one_does_not(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train={"negative": 10}, holdout=5, day=1)
    freeze(home, use_case, train={"negative": 10}, holdout=7, day=2)
    at = AT.replace(day=3)
    with open_store(home.warehouse) as store:
        night_runs.record(store, use_case.name, NightRecord(at, "failed", [], recorded_at=at))

    assert found(use_case, home)["holdout"].detail.startswith("7 rows")


@pytest.fixture
def lived(home: Home, use_case: UseCase) -> Home:
    """Two people label 60 texts, and agree on 45 of them."""
    return labeled_by_two(home, use_case)


def test_raters_are_counted_by_class_and_their_disagreement_is_seen(
    lived: Home, use_case: UseCase
) -> None:
    with open_store(lived.warehouse) as store:
        (taken,) = (one for (one,) in store.rows("SELECT snapshot_id FROM snapshots", []))
        sides = dict(store.rows("SELECT group_id, split FROM splits", []))
        raters = feedback_counts.raters(store, use_case.name, taken)
        uncertainty = feedback_counts.label_uncertainty(store, use_case.name, taken)
    outside = [n for n in range(60) if sides[f"g{n}"] != "holdout"]

    assert raters == dict.fromkeys(use_case.label_names, 2)
    # those that disagree are tied, and so are no examples: they count all the same
    assert uncertainty.texts == len(outside)
    assert uncertainty.disagreeing == sum(n % 4 == 0 for n in outside)
    assert uncertainty.rows == sum(n % 4 != 0 for n in outside if sides[f"g{n}"] == "train")
    assert uncertainty.single == 0
    assert 0 < uncertainty.unsure < 0.5
    assert uncertainty.reactions == 120

    findings = found(use_case, lived)
    assert f", {len(outside)} texts)" in findings["label noise"].detail
    assert "2 positive, 2 neutral, 2 negative" in findings["raters"].detail
    assert "0% of the examples rest on one reaction" in findings["raters"].detail


def test_people_are_not_counted_where_no_column_says_who_labeled(
    home: Home, use_case: UseCase
) -> None:
    """All rows of such a file were told as those of one person."""
    rows = [
        row(
            feedback_id=f"init-{n}",
            text=f"{number_words(n)} of it",
            value=use_case.label_names[n % 3],
            group_id=f"g{n}",
            rater_id="init" if n % 2 else "init-2",
            source="init",
        )
        for n in range(30)
    ]
    bring(home, use_case, "first.jsonl", rows, at=AT)
    taken = commit(home, use_case, AT).snapshot_id
    with open_store(home.warehouse) as store:
        people = feedback_counts.raters(store, use_case.name, taken)
        uncertainty = feedback_counts.label_uncertainty(store, use_case.name, taken)
    assert people == dict.fromkeys(use_case.label_names, 0)
    told = findings.raters(use_case, people, uncertainty).detail
    assert told.startswith("no row says who labeled (rater_id)")
    mixed = findings.raters(use_case, people | {use_case.label_names[0]: 1}, uncertainty).detail
    assert mixed.startswith(f"people per class: 1 {use_case.label_names[0]}, 0 ")


def test_an_accepted_answer_is_a_vote_for_it(home: Home, use_case: UseCase) -> None:
    answer = replace(prediction("p1", number_words(1)), label="neutral", group_id="g1")
    with open_store(home.warehouse) as store:
        store.add_predictions(use_case.name, [answer])
        sides = splits.assign_by(use_case.split, [f"g{n}" for n in range(100)], known={})
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
        uncertainty = feedback_counts.label_uncertainty(store, use_case.name, snapshot.snapshot_id)
    # of three pairs that name a label two disagree
    assert (uncertainty.texts, uncertainty.disagreeing) == (1, pytest.approx(2 / 3))


def test_disagreement_is_that_of_the_last_comparison(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 10}, holdout=10)
    assumed = found(use_case, home)["disagreement"].detail
    assert assumed == "15% assumed: no two models were compared on this holdout"

    rows = [
        row(feedback_id=f"gold-{n}", text=number_words(n), value="neutral", group_id=f"g{n}",
            source="gold")
        for n in range(60)
    ]  # fmt: skip
    bring(home, use_case, "gold.jsonl", rows, at=AT)
    snapshot = commit(home, use_case, AT.replace(day=2), digest="d2")
    holdout = [
        e.example_id
        for e in snapshots.read(home.snapshots, snapshot.snapshot_id)
        if e.split == "holdout"
    ]
    right, wrong = {"neutral": 0.9, "positive": 0.1}, {"neutral": 0.1, "positive": 0.9}
    with open_store(home.warehouse) as store:
        name = use_case.name
        contender_scores.add(store, name, "d1", dict.fromkeys(holdout, right), 1.0)
        answers = {one: wrong if n < 3 else right for n, one in enumerate(holdout)}
        contender_scores.add(store, name, "d2", answers, 1.0)
        assert feedback_counts.differing(store, name, snapshot.snapshot_id) == (len(holdout), 3)
        contender_scores.add(store, name, "d0", dict.fromkeys(holdout, wrong), 1.0)
        asked = (
            "INSERT INTO questions VALUES (?, ?, 'd1', 'd0', 1, 1, 0.01, 20, 'promote', 0.5, NULL)"
        )
        store.con.execute(asked, [name, AT])
        # what was asked is told before what two nights made
        assert feedback_counts.differing(store, name, snapshot.snapshot_id) == (
            len(holdout),
            len(holdout),
        )
    detail = found(use_case, home)["disagreement"].detail
    assert f"100.0% of {len(holdout)} holdout rows" in detail


def test_a_least_number_for_every_class_is_looked_at(home: Home, use_case: UseCase) -> None:
    freeze(home, use_case, train={"negative": 90, "neutral": 19, "positive": 20}, holdout=200)
    recipe = use_case.training.model_copy(update={"min_per_class": 20})
    strict = use_case.model_copy(update={"training": recipe})
    finding = found(strict, home)["training data"]
    assert not finding.ok
    assert "and 20 of every class" in finding.detail
    assert found(use_case, home)["training data"].ok


def test_what_is_printed_is_aligned_and_no_wider_than_a_page(
    lived: Home, use_case: UseCase
) -> None:
    findings = doctor.examine(use_case, lived)
    printed = doctor.render_text(findings)
    assert max(map(len, printed)) <= doctor.WIDTH
    start = max(len(finding.name) for finding in findings) + len("FAIL  ") + 2
    assert all(line[start - 2 : start] == "  " for line in printed)
    words = " ".join(line[start:] for line in printed).split()
    assert words == " ".join(finding.detail for finding in findings).split()


def test_after_somebody_was_forgotten_the_rewritten_snapshot_is_looked_at(
    home: Home, use_case: UseCase
) -> None:
    freeze(home, use_case, train=dict.fromkeys(use_case.label_names, 40), holdout=300)
    with open_store(home.warehouse) as store:
        (night,) = night_runs.nights(store, use_case.name)
    old = night.snapshot_id
    examples = snapshots.read(home.snapshots, old)
    new = snapshots.write(Curated(examples[1:], ()), home.snapshots)
    shutil.rmtree(home.snapshots / old)
    told = found(use_case, home)["snapshot"]
    assert not told.ok
    assert f"flywheel night -u {use_case.name}" in told.detail

    def rewritten(to: Snapshot | None) -> dict[str, Finding]:
        with open_store(home.warehouse) as store:
            held = erasure.held(store, use_case.name, "nobody")
            erasure.replace_snapshot(store, held, old, to, "c1")
        return found(use_case, home)

    assert "119 examples" in rewritten(new)["training data"].detail
    assert "nobody but people who were forgotten" in rewritten(None)["data"].detail
