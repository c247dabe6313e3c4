"""One contract of a feedback record: a file and ``POST /feedback`` take and refuse the same rows.

A row goes by three roads: judged alone, judged set-wise by SQL, and sent to a running service.
"""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import fields
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.ingestion.contract import ABSENT, FIELDS, IDENTIFIERS, MAX_ID_CHARS, RULES, VALUES
from flywheel.ingestion.feedback import parse_feedback
from flywheel.ingestion.readers import chunks
from flywheel.records import FEEDBACK_KINDS, Feedback, FeedbackKind
from flywheel.serving.http.schemas import FeedbackRequest
from flywheel.store import Store, open_store
from flywheel.store.feedback.ingest import FEW_ROWS
from tasks.ingest import ingest_inbox
from tests.examples import examples
from tests.ingestion.test_intake import edge_rows
from tests.services import AT, serving
from tests.strategies import LABELS, row

SOURCE = "app"
numbers = itertools.count()
values = st.sampled_from(
    [True, False, 0, 1, 1.0, -4, 4.5, 10**30, 1e300, [4], "4", " card", "CARD", "", "\u00a0", None]
)
kinds = st.sampled_from([*FEEDBACK_KINDS, None, "", " ", 3, True, "Accept", "accept "])


@st.composite
def sent_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row as a program sends it, to the service or in a file: anything that JSON has."""
    raw = draw(edge_rows())
    if draw(st.booleans()):
        raw["value"] = draw(values)
    if draw(st.booleans()):
        raw["kind"] = draw(kinds)
    sent = {name: value for name, value in raw.items() if name in FIELDS}
    return {**sent, "source": SOURCE}


def in_a_file(store: Store, raw: dict[str, Any], *, few_rows: int) -> tuple[str | None, list[Any]]:
    """Why a file's only row was refused, None where it was taken; and what was kept."""
    job, content = f"job-{next(numbers)}", json.dumps(raw).encode()
    store.ingest_file(
        job,
        file="a.jsonl",
        sha256="s",
        chunks=lambda: chunks("a.jsonl", io.BytesIO(content)),
        labels=LABELS,
        at=AT,
        few_rows=few_rows,
    )
    asked = "SELECT reason FROM quarantine WHERE use_case = ?"
    reason = store.con.execute(asked, [job]).fetchone()
    kept = f"SELECT {', '.join(FIELDS)} FROM feedback WHERE use_case = ?"
    return (reason[0] if reason else None), store.con.execute(kept, [job]).fetchall()


def alone(raw: dict[str, Any]) -> tuple[str | None, list[Any]]:
    try:
        feedback = parse_feedback(raw, labels=LABELS)
    except DataError as error:
        return error.message, []
    return None, [_kept(feedback)]


def _kept(feedback: Feedback) -> tuple[Any, ...]:
    return tuple(getattr(feedback, name) for name in FIELDS)


def over_http(client: TestClient, raw: dict[str, Any]) -> str | None:
    """Why the service refused a row; None where it took it."""
    body = {name: value for name, value in raw.items() if name != "source"}
    answer = client.post(
        "/feedback", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    # another row of this test has its id: it kept the contract
    if answer.status_code == 409:
        return None
    assert answer.status_code in (202, 422), answer.text
    return None if answer.status_code == 202 else str(answer.json()["detail"])


def filled(raw: dict[str, Any]) -> dict[str, Any]:
    """A row with what the service fills in where a client leaves it out."""
    given_at = raw.get("given_at")
    missing = given_at is None or (isinstance(given_at, str) and not given_at.strip())
    return {**raw, "given_at": AT.isoformat()} if missing else raw


def test_a_row_is_taken_or_refused_for_one_reason_whatever_its_road(
    home: Home, use_case: UseCase
) -> None:
    case = use_case.model_copy(update={"labels": {name: name for name in LABELS}, "golden": []})
    with serving(home, case, source=SOURCE) as client, open_store(home.warehouse) as store:

        @examples(10)
        @given(sent_rows())
        @example(row(source=SOURCE, kind="withdraw", value="no more"))
        @example(row(source=SOURCE, kind="withdraw", value=None))
        @example(row(source=SOURCE, kind="rate", value=4))
        @example(row(source=SOURCE, kind="label", value=True))
        @example(row(source=SOURCE, kind="correct", value="Card "))
        @example(row(source=SOURCE, feedback_id=" "))
        @example(row(source=SOURCE, customer_id=48213))
        @example(row(source=SOURCE, rater_id=float("nan")))
        def same(raw: dict[str, Any]) -> None:
            raw = filled(raw)
            reason, kept = alone(raw)
            assert in_a_file(store, raw, few_rows=0) == (reason, kept), "set-wise"
            assert in_a_file(store, raw, few_rows=FEW_ROWS) == (reason, kept), "one by one"
            assert over_http(client, raw) == reason

        same()


@pytest.mark.parametrize("value", [4, 4.5, True, "4"])
def test_what_the_service_took_is_what_a_night_takes_from_its_inbox(
    home: Home, use_case: UseCase, value: object
) -> None:
    labels = ("4", "4.5", "true")
    case = use_case.model_copy(update={"labels": {name: name for name in labels}, "golden": []})
    said = {"kind": "label", "text": "a", "value": value, "rater_id": "ann"}
    with serving(home, case) as client:
        assert client.post("/feedback", json=said).status_code == 202
    counts = ingest_inbox(case, home, at=AT)
    assert (counts.ingested, counts.quarantined) == (1, 0)
    with open_store(home.warehouse) as store:
        kept = store.con.execute("SELECT value FROM feedback").fetchall()
    assert kept == [(parse_feedback(row(value=value), labels=labels).value,)]


# ---- What is built on the contract has all of it


def test_every_field_and_kind_has_a_rule() -> None:
    assert set(FIELDS) == {field.name for field in fields(Feedback)}
    assert set(VALUES) == set(FEEDBACK_KINDS) == set(get_args(FeedbackKind))


def test_the_schema_of_the_service_says_what_the_contract_says() -> None:
    """All fields but ``source``, which the service sets."""
    schema = FeedbackRequest.model_json_schema()
    assert set(schema["properties"]) == set(FIELDS) - {"source"}
    assert schema["required"] == ["kind"]
    for rule in RULES:
        told = schema["properties"].get(rule.name, {})
        limits = [one["maxLength"] for one in told.get("anyOf", ()) if "maxLength" in one]
        assert limits == [MAX_ID_CHARS] * (rule.form == "identifier" and bool(told))
    assert schema["properties"]["kind"]["enum"] == [*FEEDBACK_KINDS]
    sent = {one["type"] for one in schema["properties"]["value"]["anyOf"]}
    assert sent == {"string", "number", "boolean", "null"}


@pytest.mark.parametrize("word", ABSENT)
def test_a_word_for_a_missing_identifier_is_none_by_every_road(home: Home, word: str) -> None:
    said = {"kind": "label", "value": LABELS[0], "text": "t", "given_at": "2026-01-01T00:00:00Z"}
    with open_store(home.warehouse) as store:
        for name in IDENTIFIERS:
            raw = said | {"rater_id": "ann", "source": SOURCE} | {name: word}
            whole = {of: cell for of, cell in raw.items() if of != name}
            assert in_a_file(store, raw, few_rows=0) == in_a_file(store, whole, few_rows=0)
            assert alone(raw) == alone(whole)
            assert in_a_file(store, raw, few_rows=FEW_ROWS) == alone(raw)
