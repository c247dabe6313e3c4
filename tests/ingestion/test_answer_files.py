"""Served answers in the inbox: each is kept once, whatever else is in its file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import Home, UseCase
from flywheel.ingestion.journal import OPEN, PREFIX
from flywheel.ingestion.predictions import SUFFIX, prediction_row, shadow_row
from flywheel.records import Prediction, Shadow
from flywheel.store import open_store
from flywheel.store.feedback.predictions import shadows
from tasks.erasure.erase import forget
from tasks.ingest import ingest_inbox

AT = datetime(2026, 1, 3, tzinfo=UTC)
TEXT = "the battery lasted for two whole days of hiking in the snow"


def prediction(number: int, **fields: Any) -> Prediction:
    given = {
        "prediction_id": f"p{number}",
        "text": f"{TEXT} {number}",
        "group_id": f"g{number}",
        "customer_id": f"c{number}",
        "label": "positive",
        "probabilities": {"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        "model_version": "1",
        "digest": "d1",
        "predicted_at": AT,
    }
    return Prediction(**{**given, **fields})


def shadow(number: int) -> Shadow:
    return Shadow(f"p{number}", "neutral", {"neutral": 0.6, "positive": 0.4}, "2", "d2", AT)


def drop(home: Home, use_case: UseCase, name: str, *rows: dict[str, Any], extra: str = "") -> Path:
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows) + extra)
    return inbox / name


def kept(home: Home, use_case: UseCase) -> tuple[list[tuple[Any, ...]], list[Shadow]]:
    query = "SELECT prediction_id, text, label, customer_id FROM predictions ORDER BY ALL"
    with open_store(home.warehouse, read_only=True) as store:
        return store.rows(query, []), shadows(store, use_case.name)


def test_answers_and_shadows_are_kept_once(home: Home, use_case: UseCase) -> None:
    rows = [prediction_row(prediction(n)) for n in (1, 2)] + [shadow_row(shadow(1))]
    drop(home, use_case, f"a{SUFFIX}", *rows)
    drop(home, use_case, f"b{SUFFIX}", *rows, prediction_row(prediction(3)))
    ingest_inbox(use_case, home, at=AT)
    drop(home, use_case, f"c{SUFFIX}", *rows)
    ingest_inbox(use_case, home, at=AT)

    found, unseen = kept(home, use_case)
    assert found == [(f"p{n}", f"{TEXT} {n}", "positive", f"c{n}") for n in (1, 2, 3)]
    assert unseen == [shadow(1)]
    assert [p for p in home.inbox(use_case.name).iterdir() if p.is_file()] == []
    query = 'SELECT "read", ingested, duplicate, quarantined FROM ingested_files ORDER BY ALL'
    with open_store(home.warehouse, read_only=True) as store:
        assert store.rows(query, []) == [(3, 3, 0, 0), (4, 1, 3, 0)]


def test_answers_come_before_the_feedback_on_them(home: Home, use_case: UseCase) -> None:
    drop(
        home,
        use_case,
        "a.jsonl",
        {
            "kind": "accept",
            "prediction_id": "p1",
            "rater_id": "ann",
            "source": "app",
            "given_at": AT.isoformat(),
        },
    )
    drop(home, use_case, f"b{SUFFIX}", prediction_row(prediction(1)))
    assert ingest_inbox(use_case, home, at=AT).parked == 0


def test_a_row_that_is_no_answer_is_set_apart(home: Home, use_case: UseCase) -> None:
    good = prediction_row(prediction(1))
    bad = [
        {**good, "label": "nosuch"},
        {**good, "probabilities": {"positive": 1.5}},
        {**good, "probabilities": {"positive": 0.5}},
        {**good, "text": ""},
        {**good, "predicted_at": "2026-01-01T00:00:00"},
        {**good, "digest": 7},
        {**good, "label": "a\0", "probabilities": {"a\0": 1.0}},
    ]
    drop(home, use_case, f"a{SUFFIX}", *bad, good, extra='{"torn\n[]\n')
    ingest_inbox(use_case, home, at=AT)

    assert [row[0] for row in kept(home, use_case)[0]] == ["p1"]
    with open_store(home.warehouse, read_only=True) as store:
        reasons = store.rows("SELECT row_number, reason FROM quarantine ORDER BY row_number", [])
    assert reasons == [
        (1, "label has no probability"),
        (2, "probabilities must be label → [0, 1]"),
        (3, "probabilities must sum to 1"),
        (4, "text must be a string that is not empty"),
        (5, "predicted_at has no time zone"),
        (6, "digest must be a string that is not empty"),
        (7, "label must be a string without NUL bytes"),
        (9, "the row is not valid JSON"),
        (10, "the row must be a JSON object, found list"),
    ]


def test_what_a_dead_service_left_open_is_taken_in(home: Home, use_case: UseCase) -> None:
    row = prediction_row(prediction(1))
    drop(home, use_case, f"{PREFIX}x{SUFFIX}{OPEN}", row, extra='{"prediction_id": "p2", "te')
    ingest_inbox(use_case, home, at=AT)
    assert [row[0] for row in kept(home, use_case)[0]] == ["p1"]


@pytest.mark.parametrize("first", ["forgotten", "ingested"])
def test_answers_to_the_forgotten_stay_nowhere(home: Home, use_case: UseCase, first: str) -> None:
    rows = [prediction_row(prediction(n)) for n in (1, 2)] + [shadow_row(shadow(n)) for n in (1, 2)]
    if first == "forgotten":
        drop(home, use_case, f"early{SUFFIX}", prediction_row(prediction(9, customer_id="c1")))
        ingest_inbox(use_case, home, at=AT)
        forget(home, "c1", at=AT)
    drop(home, use_case, f"a{SUFFIX}", *rows)
    ingest_inbox(use_case, home, at=AT)
    if first == "ingested":
        forget(home, "c1", at=AT)

    found, unseen = kept(home, use_case)
    assert [row[0] for row in found] == ["p2"]
    assert unseen == [shadow(2)]
    for path in home.inbox(use_case.name).rglob("*"):
        assert path.is_dir() or f"{TEXT} 1" not in path.read_text()
