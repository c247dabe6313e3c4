"""One customer's key decides neither what others' labels are nor which of their texts train."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel.config import CurationConfig, Home, UseCase
from flywheel.curation import curate
from flywheel.dataset import snapshots
from flywheel.diagnostics import findings
from flywheel.influence.speakers import speaker
from flywheel.ingestion.feedback import parse_feedback
from flywheel.records import Curated, FeedbackKind, Reaction, Snapshot, Split
from flywheel.store import open_store
from flywheel.store.feedback import feedback_counts
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import JOB, drop, json_lines
from tests.erasure_fixtures import other as other_row
from tests.services import configured, rows, serving

ANN, MALLORY, BACKEND = "ann-key-0123456789ab", "mallory-key-01234567", "a-backend-key-0123456789"
KEYS = f"ann:{ANN},mallory:{MALLORY},{BACKEND}"
LABELS = ("good", "bad", "ugly")
RULES = CurationConfig(gold_sources=["gold"], near_duplicates=1)
SPLITS: dict[str, Split] = {"t": "train", "v": "validation", "e": "holdout"}
AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TEXTS = 40


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def said(number: int, by: str, label: str | None, **given: Any) -> Reaction:
    """A label of text ``number`` that came without a key."""
    usual: dict[str, Any] = {
        "feedback_id": f"{by}-{number}-{label}",
        "kind": "label",
        "value": label,
        "text": f"text {number}",
        "group_id": "t",
        "rater_id": by,
        "source": "app",
        "given_at": AT,
    }
    return Reaction(**{**usual, **given})


def keyed(number: int, customer: str, name: str, label: str, **given: Any) -> Reaction:
    """As the service writes what comes with a customer's key."""
    below = f"{customer}/{name}"
    identity = f"{below}-{number}-{label}"
    who = {"feedback_id": identity, "rater_id": below, "customer_id": customer}
    return said(number, below, label, **{**who, **given})


def honest(raters: int = 12) -> list[Reaction]:
    """One label of each text, by many people."""
    rng = random.Random(0)
    return [said(n, f"r{n % raters}", rng.choice(LABELS)) for n in range(TEXTS)]


def curated(*reactions: Reaction, **rules: Any) -> Curated:
    config = RULES.model_copy(update=rules)
    return curate(reactions, splits=SPLITS, labels=LABELS, rules=config)


def learned(found: Curated) -> dict[str, tuple[str | None, Split]]:
    """Text → label and side."""
    return {one.text: (one.label, one.split) for one in found.examples}


def asked_for(reactions: Sequence[Reaction]) -> dict[str, tuple[str | None, Split]]:
    return {one.text: (one.value, "train") for one in reactions}


def other(label: str | None) -> str:
    return LABELS[(LABELS.index(label or "") + 1) % len(LABELS)]


# ---- Who speaks


def test_whoever_holds_a_key_is_one_speaker_whatever_names_they_give(
    home: Home, use_case: UseCase
) -> None:
    given = {"kind": "label", "text": "it broke", "value": "negative"}
    with serving(home, use_case, keys=KEYS) as client:
        for key, names in ((MALLORY, ("a", "b", "ann")), (ANN, ("a",)), (BACKEND, ("ann", "bob"))):
            for name in names:
                sent = client.post(
                    "/feedback", json={**given, "rater_id": name}, headers=bearer(key)
                )
                assert sent.status_code == 202
        assert client.post("/feedback", json=given, headers=bearer(MALLORY)).status_code == 202
    kept = [reaction_of(row) for row in rows(home, use_case, "feedback")]
    assert [one.rater_id for one in kept] == [
        "mallory/a", "mallory/b", "mallory/ann", "ann/a", "ann", "bob", "mallory",
    ]  # fmt: skip
    speakers = [speaker(one) for one in kept]
    assert speakers[0] == speakers[1] == speakers[2] == speakers[6]
    assert len(set(speakers)) == 4, "a backend is believed whom it speaks for"


def reaction_of(row: dict[str, Any]) -> Reaction:
    one = parse_feedback(row, labels=())
    return Reaction(
        feedback_id=one.feedback_id,
        kind=one.kind,
        value=one.value,
        text=one.text or "",
        group_id=one.group_id or "",
        rater_id=one.rater_id,
        source=one.source,
        given_at=one.given_at,
        customer_id=one.customer_id,
    )


def test_three_names_under_one_key_flip_no_label() -> None:
    ours = honest()
    theirs = [
        keyed(n, "mallory", name, other(one.value)) for n, one in enumerate(ours) for name in "abc"
    ]
    found = curated(*ours, *theirs)
    flipped = {
        text for text, (label, _) in learned(found).items() if label != asked_for(ours)[text][0]
    }
    assert not flipped
    assert len(found.examples) >= 0.9 * TEXTS
    dropped = {one.feedback_id: one.reason for one in found.drops}
    assert "campaign" not in {dropped.get(one.feedback_id) for one in ours}
    superseded = [reason for reason in dropped.values() if reason == "superseded"]
    assert len(superseded) == 2 * TEXTS, "one vote for each text and key"


def test_invented_raters_who_contradict_each_other_cost_nobody_a_label() -> None:
    ours = honest()
    theirs = [
        said(1_000 + n, f"invented-{n}-{label}", label) for n in range(50) for label in LABELS[:2]
    ]
    found = learned(curated(*ours, *theirs))
    assert found == asked_for(ours)


def lost_of(count: int, *theirs: Reaction, labels: Sequence[str] = LABELS) -> tuple[int, int]:
    """Of an app's only rater's labels: how many are learned no more, and how many otherwise."""
    ours = [said(n, "app", labels[n % len(labels)]) for n in range(count)]
    found, wanted = learned(curated(*ours, *theirs)), asked_for(ours)
    kept = {text: label for text, (label, _) in found.items() if text in wanted}
    return count - len(kept), sum(wanted[text][0] != label for text, label in kept.items())


@pytest.mark.parametrize("contradictions", [10, 30])
def test_one_key_that_contradicts_a_rater_costs_no_text_that_it_does_not_speak_of(
    contradictions: int,
) -> None:
    """20 to 30 put all of an unproven rater's labels in dispute, and the night failed."""
    theirs = [keyed(n, "mallory", "m", other(LABELS[n % 3])) for n in range(contradictions)]
    assert lost_of(150, *theirs) == (contradictions, 0)


def test_one_key_that_names_the_commonest_label_turns_no_text() -> None:
    common = ["good"] * 9 + ["bad"]
    theirs = [keyed(n, "mallory", "m", "good") for n in range(9, 100, 10)]
    assert lost_of(100, *theirs, labels=common) == (10, 0)


def test_two_people_who_contradict_a_rater_are_believed_about_that_rater() -> None:
    theirs = [said(n, name, other(LABELS[n % 3])) for n in range(20) for name in ("ann", "bob")]
    lost, turned = lost_of(150, *theirs)
    assert (turned, lost) == (20, 130)


def test_who_uses_the_annotator_s_name_is_not_believed_for_it() -> None:
    gold = [said(n, "annotator", "good", source="gold", group_id="e") for n in range(40)]
    ours = [said(n, f"r{n}", "good") for n in range(100, 140)]
    theirs = [said(n, "annotator", "bad") for n in range(100, 140)]
    found = learned(curated(*gold, *ours, *theirs))
    assert "bad" not in {label for label, _ in found.values()}


def test_the_doctor_counts_who_holds_a_key_once(home: Home) -> None:
    names = [f"mallory/{name}" for name in "abcdefgh"]
    given = [
        other_row(n, source="app", value="card", customer_id="mallory", group_id=f"mallory/{n}")
        | {"feedback_id": f"{name}-{n}", "rater_id": name, "text": f"thing no. {n}"}
        for n, name in enumerate(names)
    ]
    drop(home, "a.jsonl", json_lines(*given, other_row(9, source="app", value="card")))
    ingest_inbox(JOB, home, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT)
    assert snapshot.train > 2
    with open_store(home.warehouse) as store:
        assert feedback_counts.raters(store, JOB.name, snapshot.snapshot_id)["card"] <= 2


@pytest.mark.parametrize("source", ["gold", "app"])
def test_the_doctor_says_where_everybody_is_trusted(use_case: UseCase, source: str) -> None:
    case = configured(use_case, source=source)
    trusted = "whoever may give the service feedback is believed like your own people"
    assert (trusted in findings.sources(case, {}).detail) is (source == "gold")


def test_a_feed_cannot_take_back_what_came_with_a_key() -> None:
    ours = keyed(1, "ann", "eve", "good")
    later = {"kind": "withdraw", "value": None, "source": "tickets", "given_at": AT + DAY}
    forged = keyed(1, "ann", "eve", "", **later)
    assert learned(curated(ours, forged)) == {"text 1": ("good", "train")}


@pytest.mark.parametrize("keys", [KEYS, ""])
def test_over_http_no_label_is_turned_and_no_text_taken_away(home: Home, keys: str) -> None:
    case = JOB.model_copy(
        update={"curation": JOB.curation.model_copy(update={"poison": True, "max_change": 1})}
    )
    count = 20
    ours = [
        other_row(n, source="app", text=f"thing no. {n}", value="card", rater_id=f"r{n % 5}")
        for n in range(count)
    ]
    drop(home, "a.jsonl", json_lines(*ours))
    ingest_inbox(case, home, at=AT)
    before = learned_in(home, curate_snapshot.fn(case, home, at=AT))

    vote = {"kind": "label", "value": "cash", "group_id": "group-of-nobody"}
    sent = [
        # without keys whoever is on this machine is believed, so that each name has its vote
        vote | {"text": f"thing no. {n}", "rater_id": f"invented-{name}"}
        for n in range(count)
        for name in ("abc" if keys else "")
    ]
    sent += [
        {
            **vote,
            "kind": "rate",
            "value": "5",
            "text": f"thing no. {n}",
            "rater_id": f"invented-{n}",
        }
        for n in range(count)
    ]
    sent += [
        {**vote, "text": f"new no. {n}", "value": value, "rater_id": f"invented-{n}-{value}"}
        for n in range(count)
        for value in ("cash", "other")
    ]
    with serving(home, case, keys=keys) as client:
        for one in sent:
            assert client.post("/feedback", json=one, headers=bearer(MALLORY)).status_code == 202
    ingest_inbox(case, home, at=AT + DAY)
    after = learned_in(home, curate_snapshot.fn(case, home, at=AT + DAY))
    assert len(before) > 5
    assert before.items() <= after.items()


def learned_in(home: Home, snapshot: Snapshot) -> dict[str, tuple[str | None, Split]]:
    """Text → label and side, of a snapshot."""
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    return {one.text: (one.label, one.split) for one in examples}


# ---- Which texts train


def test_a_customer_names_groups_below_their_own_only(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=KEYS) as client:
        for key in (MALLORY, BACKEND):
            for group in ("ann", "mallory"):
                asked = {"text": "it broke", "group_id": group}
                label = {**asked, "kind": "label", "value": "negative", "rater_id": "a"}
                for path, body in (("/predict", asked), ("/feedback", label)):
                    sent = client.post(path, json=body, headers=bearer(key))
                    assert sent.status_code in (200, 202)
        kinds = ("predictions", "feedback")
        named = [[row["group_id"] for row in rows(home, use_case, kind)] for kind in kinds]
    assert named == [["mallory/ann", "mallory", "ann", "mallory"]] * 2


@pytest.mark.parametrize("group", ["e", "v"])
@pytest.mark.parametrize("kind", ["rate", "comment", "withdraw", "reject", "accept", "label"])
def test_no_stranger_takes_a_text_out_of_training(kind: FeedbackKind, group: str) -> None:
    ours = honest()
    theirs = [
        said(
            n,
            "mallory",
            one.value if kind == "label" else None,
            kind=kind,
            group_id=group,
            predicted_label=one.value if kind == "accept" else None,
        )
        for n, one in enumerate(ours)
    ]
    assert learned(curated(*ours, *theirs)) == asked_for(ours)


@pytest.mark.parametrize("kind", ["rate", "comment", "withdraw"])
def test_what_names_no_label_joins_no_texts(kind: FeedbackKind) -> None:
    # each almost alike to the next, the first and the last are not
    words = [f"word{n}" for n in range(24)]
    chain = [" ".join(words[n : n + 12]) for n in range(13)]
    first = said(0, "gold", "good", text=chain[0], source="gold", group_id="e")
    last = said(12, "ann", "bad", text=chain[-1])
    between = [said(n, "mallory", None, text=chain[n], kind=kind) for n in range(1, 12)]
    found = learned(curated(first, last, *between, near_duplicates=0.7))
    assert found[chain[-1]] == ("bad", "train")


@pytest.mark.parametrize("source", ["gold", "audit"])
def test_gold_and_audits_of_the_holdout_still_keep_a_text_out_of_training(source: str) -> None:
    ours = said(0, "auditor", "good", source=source, group_id="e")
    found = curated(ours, said(0, "ann", "bad"))
    assert {one.feedback_id: one.reason for one in found.drops}["ann-0-bad"] == "contaminated"


# ---- Whom it must not hurt


@pytest.mark.parametrize("customers", [0, 1, 3])
def test_a_small_company_learns_from_all_that_it_said(customers: int) -> None:
    rng = random.Random(1)
    ours = [
        said(n, f"c{n % customers}" if customers else "app", rng.choice(LABELS))
        if customers < 2
        else keyed(n, f"c{n % customers}", rng.choice("xy"), rng.choice(LABELS))
        for n in range(TEXTS)
    ]
    assert learned(curated(*ours)) == asked_for(ours)


def test_people_of_several_customers_still_outvote_one() -> None:
    votes = [keyed(0, customer, "x", "good") for customer in ("a", "b")]
    votes.append(keyed(0, "c", "x", "bad"))
    assert learned(curated(*votes)) == {"text 0": ("good", "train")}
