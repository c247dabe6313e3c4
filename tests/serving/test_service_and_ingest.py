"""What the service takes, ingest takes: of all that was acknowledged nothing is quarantined."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.ingestion.readers import MAX_ROW_BYTES
from flywheel.records import FEEDBACK_KINDS
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tests.engines import OpenModelSource, WordCounter
from tests.examples import examples
from tests.services import AT, rows, serving
from tests.strategies import any_text
from tests.writers import written_case

WRITES = written_case()
ODD = ["", " ", "\u00a0", "\u200b", "\ufeff", "\u2028", "\r\n", "\0", "a\0b", "x" * 513, "N/A", "é"]
words = any_text | st.sampled_from(ODD)
TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2026-01-01T10:00:00,5+01:00", "now"]
asked = st.fixed_dictionaries({"text": words}, optional={"group_id": words, "customer_id": words})
told = st.fixed_dictionaries(
    {"kind": st.sampled_from(FEEDBACK_KINDS), "rater_id": words},
    optional={
        "value": words | st.sampled_from(["negative", "4.5", "1e400"]),
        "text": words,
        "group_id": words,
        "customer_id": words,
        "feedback_id": words,
        "given_at": st.sampled_from(TIMES),
    },
)


@dataclass(eq=False)
class Says(WordCounter):
    """Writes what it was told to, whatever it is asked; or is as sure as it was told to be."""

    texts: list[str] = field(default_factory=list)
    sure: float = 1.0

    def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
        if self.use_case.is_generation:
            return [{self.texts[len(text) % len(self.texts)]: 1.0} for text in texts]
        first, *others = self.use_case.label_names
        return [{first: self.sure, **dict.fromkeys(others, 0.0)} for _ in texts]


def talk(client: TestClient, inputs: Sequence[Any], reactions: Sequence[Any]) -> tuple[int, int]:
    """Ask, and react to each answer that was given; how many answers and reactions it took."""
    found = [client.post("/predict", json=one) for one in inputs]
    answers = [one.json() for one in found if one.status_code == 200]
    ids = [one["prediction_id"] for one in answers if one["recorded"]] or [None]
    sent = [
        {**one, **({"prediction_id": ids[i % len(ids)]} if "text" not in one else {})}
        for i, one in enumerate(reactions)
    ]
    heard = [client.post("/feedback", json=one) for one in sent]
    assert all(one.status_code < 500 for one in (*found, *heard))
    taken = {one.json()["feedback_id"] for one in heard if one.status_code == 202}
    return len(answers), len(taken)


def require_all_in(home: Home, case: UseCase, answers: int, reactions: int) -> None:
    counts = ingest_inbox(case, home, at=AT)
    assert (counts.ingested, counts.duplicate, counts.quarantined) == (reactions, 0, 0)
    with open_store(home.warehouse) as store:
        assert store.rows("SELECT reason FROM quarantine", []) == []
        assert store.rows("SELECT count(*) FROM predictions", []) == [(answers,)]


@pytest.mark.parametrize("kind", ["labels", "written"])
@examples(5, suppress=[HealthCheck.function_scoped_fixture])
@given(
    inputs=st.lists(asked, min_size=1, max_size=12),
    reactions=st.lists(told, max_size=16),
    said=st.lists(any_text.map(lambda t: t.replace("\0", "")), min_size=1, max_size=4),
    sure=st.sampled_from([1.0, 1 + 2**-52]),
)
def test_what_was_acknowledged_is_ingested(
    use_case: UseCase, kind: str, inputs: list[Any], reactions: list[Any], said: list[str],
    sure: float,
) -> None:  # fmt: skip
    case = WRITES if kind == "written" else use_case
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        shelf = OpenModelSource({"1": Says("1", case, texts=said, sure=sure)})
        with serving(home, case, shelf=shelf) as client:
            taken = talk(client, inputs, reactions)
        require_all_in(home, case, *taken)


def test_feedback_that_is_longer_than_ingest_reads_is_refused(home: Home) -> None:
    told = {"kind": "comment", "rater_id": "ann", "prediction_id": "p"}
    shelf = OpenModelSource({"1": Says("1", WRITES, texts=["a"])})
    with serving(home, WRITES, shelf=shelf, max_body_bytes=2 * MAX_ROW_BYTES) as client:
        refused = client.post("/feedback", json={**told, "value": "é" * (MAX_ROW_BYTES // 2)})
    assert refused.status_code == 422
    assert f"at most {MAX_ROW_BYTES} are allowed" in refused.json()["detail"]
    assert rows(home, WRITES, "feedback") == []
