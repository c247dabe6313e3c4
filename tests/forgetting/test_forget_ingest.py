"""Whoever was forgotten is not brought back by anything that comes later."""

from __future__ import annotations

import json

import pytest

from flywheel.config import Home
from flywheel.errors import DataError
from flywheel.store import open_store
from tasks.erasure.erase import forget
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import (
    AT,
    CANARY,
    JOB,
    WHO,
    drop,
    files_of_first_day,
    json_lines,
    other,
    places,
    predicted,
    tables,
    theirs,
)


def test_the_same_files_do_not_bring_the_person_back(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    before = tables(home)["feedback"]
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    counts = ingest_inbox(JOB, home, at=AT)
    assert counts.ingested == 0
    assert tables(home)["feedback"] == before
    assert places(home, CANARY) == set()
    assert places(home, WHO) == {"names"}, "the name of a file that somebody else chose"


def test_a_changed_file_does_not_bring_the_person_back_and_every_row_is_counted(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    quote = f'He told me: "{theirs(1)["text"]}", and I agree'
    rows = [
        theirs(1, given_at="2026-01-05T00:00:00Z"),
        theirs(50),
        theirs(51, customer_id=None),
        theirs(52, rater_id="clerk"),
        theirs(53, value="nonsense"),
        other(21, text=quote),
        other(54, text=f"{CANARY}", prediction_id="p-theirs"),
        other(55),
    ]
    drop(home, "again.jsonl", json_lines(*rows) + json.dumps(theirs(56)).encode()[:-9] + b"\n")
    counts = ingest_inbox(JOB, home, at=AT)
    assert (counts.read, counts.ingested, counts.quarantined) == (9, 1, 8)
    assert counts.read == (counts.ingested + counts.duplicate + counts.quarantined + counts.parked)
    refused = [row for row in tables(home)["quarantine"] if row[1] == "again.jsonl"]
    assert {(row[4], row[5]) for row in refused} == {("forgotten", "")}
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()


def test_an_answer_to_the_person_is_not_kept(home: Home) -> None:
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name, [predicted("p3", WHO, CANARY), predicted("p4", "customer-9", "hello")]
        )
    assert places(home, CANARY) == set()
    assert {row[1] for row in tables(home)["predictions"]} == {"p-other", "p4"}


def test_a_use_case_that_comes_later_forgets_too_unless_one_was_named(home: Home) -> None:
    forget(home, WHO, at=AT, use_cases=[JOB.name])
    with open_store(home.warehouse) as store:
        assert not store.forgotten("later").knows("person", WHO)
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        assert store.forgotten("later").knows("person", WHO)
        assert not store.forgotten("later").knows("person", "customer-1001")


def test_without_the_key_nothing_is_taken_in(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.forget / "key").unlink()
    with pytest.raises(DataError, match="the key that recognises"):
        ingest_inbox(JOB, home, at=AT)
