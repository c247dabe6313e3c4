"""How served answers fared, counted from the store and said in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel.config import Home, UseCase
from flywheel.evaluation import live_acceptance
from flywheel.evaluation.live_acceptance import Live
from flywheel.ingestion.predictions import prediction_row
from flywheel.records import NightRecord, Prediction
from flywheel.stats.paired_tests import wilson_interval
from flywheel.store import open_store
from flywheel.store.nights import live_acceptance as live_store
from flywheel.store.nights import night_runs
from tasks.ingest import ingest_inbox
from tests.nights import drop_rows

NIGHT = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
BEFORE = NIGHT - timedelta(days=1)
NOON = NIGHT - timedelta(hours=14)


def answered(name: str, text: str, label: str = "positive", version: str = "1") -> dict[str, Any]:
    one = Prediction(
        prediction_id=name,
        text=text,
        group_id=f"g-{name}",
        customer_id=None,
        label=label,
        probabilities={"negative": 0.1, "neutral": 0.1, "positive": 0.8},
        model_version=version,
        digest=f"digest-{version}",
        predicted_at=NOON,
    )
    return dict(prediction_row(one))


def reaction(name: str, kind: str, about: str, **more: Any) -> dict[str, Any]:
    return {
        "feedback_id": name,
        "kind": kind,
        "prediction_id": about,
        "rater_id": "r",
        "source": "app",
        "given_at": (NOON + timedelta(minutes=len(name))).isoformat(),
        **more,
    }


def counted(home: Home, use_case: UseCase, *, until: datetime = NIGHT) -> list[Live]:
    with open_store(home.warehouse) as store:
        return live_store.by_night(store, use_case.name, until=until)


@pytest.fixture
def served(home: Home, use_case: UseCase) -> Home:
    """A night before, five answers of the day between, and what came of them."""
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            use_case.name,
            NightRecord(BEFORE, "promoted", [], snapshot_id="s", digest="d", recorded_at=BEFORE),
        )
    answers = [answered(f"p{n}", f"text number {n}") for n in range(6)]
    drop_rows(home, use_case, "served-a.predictions.jsonl", answers)
    audit: dict[str, Any] = {"source": "audit", "prediction_id": None}
    reactions = [
        reaction("a", "accept", "p0"),
        reaction("b", "correct", "p1", value="negative"),
        # a correction to what was answered accepts it
        reaction("c", "correct", "p2", value="positive"),
        reaction("d", "accept", "p3"),
        # the later one counts
        reaction("later", "reject", "p3"),
        {**reaction("e", "label", "", value="positive", text="text number 4"), **audit},
        {**reaction("ff", "label", "", value="neutral", text="text number 5"), **audit},
    ]
    drop_rows(home, use_case, "reactions.jsonl", reactions)
    ingest_inbox(use_case, home, at=NIGHT)
    return home


def test_every_answer_counts_once_by_its_last_reaction(served: Home, use_case: UseCase) -> None:
    (night,) = counted(served, use_case)
    assert night == Live(NIGHT, 6, accepted=2, corrected=1, rejected=1, audited=2, audited_right=1)


def test_what_came_after_a_night_is_not_counted_in_it(served: Home, use_case: UseCase) -> None:
    assert counted(served, use_case, until=BEFORE) == []


def test_shares_have_their_intervals_and_audits_speak_for_all() -> None:
    night = Live(NIGHT, 10, accepted=6, corrected=1, rejected=1, audited=4, audited_right=3)
    found = live_acceptance.shares(night)
    assert found["accepted"] == (6 / 8, *wilson_interval(6, 8))
    assert found["audited_right"] == (3 / 4, *wilson_interval(3, 4))
    assert "8 of 10 answers got a reaction: accepted 75%" in live_acceptance.line(night)
    assert "of 4 answers drawn for an audit 75% were right" in live_acceptance.line(night)
    assert live_acceptance.metrics(night)["live_accepted"] == 0.75


def test_nothing_is_said_of_shares_that_nobody_reacted_to() -> None:
    assert live_acceptance.shares(Live(NIGHT, 10)) == {}
    assert live_acceptance.line(Live(NIGHT, 10)) == "0 of 10 answers got a reaction"


def test_reactions_to_answers_of_other_nights_are_no_share_of_tonight_s(
    served: Home, use_case: UseCase
) -> None:
    nights = [NIGHT, NIGHT + timedelta(days=1), NIGHT + timedelta(days=2)]
    with open_store(served.warehouse) as store:
        for night in nights[:2]:
            night_runs.record(
                store,
                use_case.name,
                NightRecord(night, "undecided", [], snapshot_id="s", digest="d", recorded_at=night),
            )
    answers = [
        {**answered(f"q{n}", f"new text {n}"), "predicted_at": (nights[0] + hour).isoformat()}
        for n, hour in enumerate([timedelta(hours=1)] * 3)
    ]
    drop_rows(served, use_case, "served-b.predictions.jsonl", answers)
    early = [reaction("g", "accept", "p4"), reaction("h", "accept", "p5")]
    drop_rows(served, use_case, "late.jsonl", [*early, reaction("i", "accept", "q0")])
    ingest_inbox(use_case, served, at=nights[1])
    drop_rows(served, use_case, "later.jsonl", [reaction("j", "reject", "q1")])
    ingest_inbox(use_case, served, at=nights[2])
    _, second, third = counted(served, use_case, until=nights[2])
    assert second == Live(nights[1], 3, accepted=3, of_other_nights=2)
    assert live_acceptance.line(second).startswith(
        "1 of 3 answers got a reaction, and 2 answers of other nights got a reaction now: accepted "
    )
    assert third == Live(nights[2], 0, rejected=1, of_other_nights=1)
    assert live_acceptance.line(third).startswith(
        "no answers were given, 1 answers of other nights got a reaction: accepted 0%"
    )
