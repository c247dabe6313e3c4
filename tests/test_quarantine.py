"""What was set apart comes back once what it broke is mended, and is counted once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flows.cli.quarantine import quarantine as command
from flywheel.config import Home, UseCase
from flywheel.store import open_store
from flywheel.store.feedback import quarantine
from tasks.ingest import ingest_inbox
from tasks.quarantine import retry

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
