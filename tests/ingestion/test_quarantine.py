"""What was set apart comes back once what it broke is mended, and is counted once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.quarantine import quarantine as command
from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.ingestion.predictions import prediction_row
from flywheel.privacy.erase_files import erase_rows
from flywheel.store import open_store
from flywheel.store.feedback import quarantine
from flywheel.store.feedback.quarantine import Retried
from tasks.ingest import ingest_inbox
from tasks.quarantine import retry
from tests.strategies import prediction

AT = datetime(2026, 1, 3, tzinfo=UTC)


def row(number: int, value: str) -> dict[str, Any]:
    return {
        "feedback_id": f"f{number}",
        "kind": "label",
        "value": value,
        "text": f"text {number}",
        "rater_id": "ann",
        "source": "desk",
        "given_at": "2026-01-01T00:00:00Z",
    }


def drop(home: Home, use_case: UseCase, name: str, *rows: dict[str, Any]) -> Path:
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    path = inbox / name
    if name.endswith(".csv"):
        cells = [",".join(rows[0]), *(",".join(one.values()) for one in rows)]
        path.write_text("\n".join(cells) + "\n")
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def with_label(use_case: UseCase, label: str) -> UseCase:
    return use_case.model_copy(update={"labels": {**use_case.labels, label: "new"}})


def held(home: Home, use_case: UseCase) -> tuple[dict[str, int], list[str | None], int]:
    """The counts, the values learned, and how many rows of all files were taken in."""
    with open_store(home.warehouse) as store:
        ((taken, apart),) = store.rows(
            "SELECT sum(ingested + parked), sum(quarantined) FROM ingested_files", []
        )
        counts = store.counts(use_case.name)
        values = [one.value for one in store.reactions(use_case.name)]
        assert apart == counts["quarantined"]
        return counts, values, taken


def test_a_label_that_the_use_case_gets_later_brings_its_rows_back(
    use_case: UseCase, home: Home
) -> None:
    drop(home, use_case, "a.jsonl", row(1, "positive"), row(2, "mixed"), row(3, "what"))
    drop(home, use_case, "b.csv", row(4, "mixed"), row(1, "positive"))
    first = ingest_inbox(use_case, home, at=AT)
    assert (first.ingested, first.duplicate, first.quarantined) == (1, 1, 3)
    assert ingest_inbox(use_case, home, at=AT).read == 0

    more = with_label(use_case, "mixed")
    ingest_inbox(more, home, at=AT + timedelta(days=1))
    counts, values, taken = held(home, more)
    assert values == ["positive", "mixed", "mixed"]
    assert (counts["ingested"], counts["quarantined"], taken) == (3, 1, 3)
    with open_store(home.warehouse) as store:
        (left,) = quarantine.rows(store, more.name)
        assert left.reason.endswith("mixed"), "it names the labels of today"
        assert quarantine.outdated(store, more.name, more.label_names) == []


def test_a_row_that_came_again_meanwhile_is_known(use_case: UseCase, home: Home) -> None:
    drop(home, use_case, "a.jsonl", row(1, "mixed"))
    ingest_inbox(use_case, home, at=AT)
    more = with_label(use_case, "mixed")
    drop(home, use_case, "b.jsonl", row(1, "mixed"), row(2, "positive"))
    ingest_inbox(use_case, home, at=AT)
    drop(home, use_case, "c.jsonl", {**row(1, "positive")})
    ingest_inbox(use_case, home, at=AT)
    done = retry(more, home, at=AT, everything=True)
    assert (done.ingested, done.duplicate, done.kept) == (0, 2, 0)
    assert held(home, more)[0]["quarantined"] == 0


def answer(prediction_id: str, **changes: Any) -> dict[str, Any]:
    found = prediction_row(replace(prediction(prediction_id), label="positive"))
    return {**found, "probabilities": {"positive": 1.0}, **changes}


def test_a_row_comes_in_once_when_both_its_label_and_its_answer_came_later(
    use_case: UseCase, home: Home
) -> None:
    about = {**row(1, "mixed"), "kind": "correct", "prediction_id": "p1"}
    drop(home, use_case, "a.jsonl", {k: v for k, v in about.items() if k != "text"})
    ingest_inbox(use_case, home, at=AT)
    more = with_label(use_case, "mixed")
    ingest_inbox(more, home, at=AT + timedelta(days=1))
    counts, values, _ = held(home, more)
    assert (counts["quarantined"], counts["parked"], values) == (0, 1, [])
    drop(home, use_case, "b.predictions.jsonl", answer("p1"))
    for day in (2, 3):
        ingest_inbox(more, home, at=AT + timedelta(days=day))
        counts, values, taken = held(home, more)
        assert (counts["ingested"], counts["parked"], values) == (1, 0, ["mixed"])
    assert taken == 2, "the answer and the row"


def test_what_an_earlier_contract_refused_is_judged_by_the_one_of_today(
    use_case: UseCase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("value must be a string, found bool", field="value")

    more = with_label(use_case, "true")
    drop(home, use_case, "a.jsonl", {**row(1, ""), "value": True})
    with monkeypatch.context() as earlier:
        earlier.setattr("flywheel.ingestion.readers.parse_feedback", refuse)
        ingest_inbox(more, home, at=AT)
    assert retry(more, home, at=AT) == Retried(), "this contract has judged it"
    with open_store(home.warehouse) as store:
        # as migrations leave it
        store.con.execute("UPDATE quarantine SET edition = NULL")
    for day in (1, 2):
        ingest_inbox(more, home, at=AT + timedelta(days=day))
        counts, values, taken = held(home, more)
        assert (counts["quarantined"], values, taken) == (0, ["true"], 1)


def test_a_row_is_found_in_its_file_though_somebody_before_it_was_forgotten(
    use_case: UseCase, home: Home
) -> None:
    rows = [row(1, "positive"), row(2, "mixed"), row(3, "negative")]
    drop(home, use_case, "a.csv", *rows)
    ingest_inbox(use_case, home, at=AT)
    (done,) = (home.inbox(use_case.name) / "done").iterdir()
    erase_rows(done, lambda fields, _: fields is not None and fields["feedback_id"] == "f1")
    more = with_label(use_case, "mixed")
    ingest_inbox(more, home, at=AT + timedelta(days=1))
    counts, values, _ = held(home, more)
    assert (sorted(map(str, values)), counts["quarantined"]) == (
        ["mixed", "negative", "positive"],
        0,
    )


def test_a_row_whose_id_was_taken_in_since_is_known(use_case: UseCase, home: Home) -> None:
    """As where a client mended what was refused and sent it again."""
    drop(home, use_case, "a.jsonl", row(1, "mixd"), row(2, "mixd"))
    ingest_inbox(use_case, home, at=AT)
    drop(home, use_case, "b.jsonl", row(1, "positive"))
    for day in (1, 2):
        ingest_inbox(use_case, home, at=AT + timedelta(days=day))
    counts, values, taken = held(home, use_case)
    assert (counts["quarantined"], values, taken) == (1, ["positive"], 1)


def test_an_answer_in_quarantine_is_judged_as_an_answer(
    use_case: UseCase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**row(1, "neutral"), "kind": "correct", "prediction_id": "p1"}
    drop(home, use_case, "a.jsonl", {k: v for k, v in given.items() if k != "text"})
    off = answer("p1", probabilities={"positive": 0.99})
    drop(home, use_case, "b.predictions.jsonl", off, answer("p2", predicted_at="soon"))
    ingest_inbox(use_case, home, at=AT)
    assert retry(use_case, home, at=AT, everything=True).kept == 2
    with open_store(home.warehouse) as store:
        reasons = [one.reason for one in quarantine.rows(store, use_case.name)]
    assert reasons == [
        "probabilities must sum to 1",
        "predicted_at is not an ISO-8601 date and time",
    ]
    monkeypatch.setattr("flywheel.ingestion.predictions.MAX_DRIFT", 0.1)
    assert retry(use_case, home, at=AT, everything=True).ingested == 1
    counts, values, _ = held(home, use_case)
    assert (counts["quarantined"], counts["parked"], values) == (1, 0, ["neutral"])


def test_the_command_says_why_and_where_and_brings_back(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    drop(home, use_case, "a.jsonl", {**row(1, "positive"), "text": "\ud800"}, row(2, "mixed"))
    ingest_inbox(use_case, home, at=AT)
    call = CliRunner().invoke
    said = call(command, ["-u", use_case.name]).stdout
    assert "1 rows: value of label must be one of" in said
    assert "a.jsonl row 2" in said
    export = tmp_path / "apart.jsonl"
    call(command, ["-u", use_case.name, "--export", str(export)])
    rows = [json.loads(line) for line in export.read_text().splitlines()]
    assert [one["row"] for one in rows] == [1, 2]
    assert json.loads(rows[1]["raw"])["value"] == "mixed"
    assert export.stat().st_mode & 0o077 == 0
    again = json.loads(call(command, ["-u", use_case.name, "--retry", "--json"]).stdout)
    assert again == {"ingested": 0, "parked": 0, "duplicate": 0, "kept": 2}
