"""No caller fills memory or disk, asks without end, or learns what another one asked."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from flywheel.config import Home, ServingConfig, UseCase
from flywheel.ingestion.journal import FEEDBACK, PREDICTIONS, Journal
from flywheel.serving.cache import Cache
from flywheel.serving.http.auth import ANYBODY, TEXTS_PER_S, Allowance, Caller
from tests.engines import OpenModelSource, WordCounter
from tests.services import rows, serving

ANN, BOB = "ann-key-0123456789ab", "bob-key-0123456789ab"
KEYS = f"ann:{ANN},bob:{BOB},a-backend-key-0123456789"
LABELS = {f"label {n}": 1 / 77 for n in range(77)}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


# ---- Memory


def test_kept_answers_are_bounded_by_bytes_and_hold_no_text() -> None:
    cache = Cache(10_000, 200_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(200):
            cache.keep("ann", "d", f"{n} " + "a" * 20_000, dict(LABELS, **{f"own {n}": n / 7}))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0 < cache.size <= 200_000
    assert grown < 400_000, "200 texts alone have 4 MB"
    assert 0 < len(cache) < 200


@pytest.mark.parametrize("most", [0, 3])
def test_kept_answers_are_bounded_by_number(most: int) -> None:
    cache = Cache(most, 10**9)
    for n in range(10):
        cache.keep("ann", "d", str(n), {"a": 1.0})
    assert len(cache) == most
    assert (cache.size == 0) is (most == 0)
    assert [n for n in range(10) if cache.find("ann", "d", str(n))] == list(range(10 - most, 10))


# ---- What another one asked


def test_an_answer_is_known_only_to_who_asked_before(home: Home, use_case: UseCase) -> None:
    version = WordCounter("1", use_case)
    with serving(home, use_case, keys=KEYS, shelf=OpenModelSource({"1": version})) as client:
        version.batches.clear()
        for key in (ANN, ANN, BOB, BOB):
            answered = client.post("/predict", json={"text": "my secret"}, headers=bearer(key))
            assert answered.status_code == 200
    assert [list(batch) for batch in version.batches] == [["my secret"]] * 2


def test_no_two_callers_share_a_kept_answer() -> None:
    cache = Cache(10, 10**6)
    cache.keep("customer a", "d", "text", {"a": 1.0})
    for whose, digest, text in (
        ("customer ad", "", "text"), ("customer", " ad", "text"), ("key a", "d", "text"),
        ("customer a", "dt", "ext"), ("customer b", "d", "text"),
    ):  # fmt: skip
        assert cache.find(whose, digest, text) is None
    assert cache.find("customer a", "d", "text") == {"a": 1.0}


# ---- Disk


def test_the_inbox_is_bounded_and_answers_leave_room_for_feedback(tmp_path: Path) -> None:
    def journal(kind: str) -> Journal:
        return Journal(tmp_path, kind, max_bytes=1_000, max_age_s=60, max_held_bytes=5_000)

    answers, line = journal(PREDICTIONS), b"x" * 999 + b"\n"
    for _ in range(5):
        answers.write([line])
    for writer in (answers, journal(PREDICTIONS)):
        with pytest.raises(OSError, match="inbox_mb"):
            writer.write([line])
    journal(FEEDBACK).write([line])
    next(tmp_path.glob("*.predictions.jsonl")).unlink()
    answers.write([line])


def test_a_full_inbox_is_said_to_who_gives_feedback(home: Home, use_case: UseCase) -> None:
    said = {"kind": "label", "text": "a", "value": "neutral", "rater_id": "ann"}
    bounds = {"inbox_mb": 1e-6, "segment_mb": 1e-6}
    with serving(home, use_case, **bounds) as client:
        first, second = (client.post("/feedback", json=said) for _ in range(2))
        assert (first.status_code, second.status_code) == (202, 503)
        assert client.post("/predict", json={"text": "a"}).json()["recorded"] is True
        assert client.post("/predict", json={"text": "a"}).json()["recorded"] is False
    assert len(rows(home, use_case, "feedback")) == 1


# ---- Requests


def test_each_key_has_a_quota_where_the_use_case_names_none() -> None:
    ann, bob = Caller("ann", "ann"), Caller("key-1")
    allowance = Allowance.of(ServingConfig())
    assert allowance.wait_s(ann, int(10 * TEXTS_PER_S), now=0) == 0
    assert allowance.wait_s(ann, 1, now=0) == 1
    assert allowance.wait_s(bob, 1, now=0) == 0, "another key has its own"
    assert allowance.wait_s(ann, int(TEXTS_PER_S), now=1) == 0
    assert allowance.wait_s(ANYBODY, 10**9, now=0) == 0, "without keys this machine alone asks"


def test_a_quota_that_is_named_holds_for_everybody_and_0_is_none() -> None:
    named, off = (Allowance.of(ServingConfig(texts_per_s=per_s)) for per_s in (1.0, 0.0))
    for caller in (ANYBODY, Caller("ann", "ann")):
        assert named.wait_s(caller, 10, now=0) == 0
        assert named.wait_s(caller, 1, now=0) == 1
        assert [off.wait_s(caller, 10**6, now=0) for _ in range(3)] == [0, 0, 0]
