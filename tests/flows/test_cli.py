"""The command line as its user meets it: help, exit codes, one JSON document, no texts in logs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flows.cli.main import cli
from flywheel.config import Home
from flywheel.records import NightRecord, Reason
from flywheel.store import open_store
from flywheel.store.nights import night_runs

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(cli.commands)
SECRET = "xylophone"


@pytest.fixture(autouse=True)
def in_the_project(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in the project's folder, each test with a home of its own."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def program(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def reaction(**fields: str) -> dict[str, str]:
    row = {
        "kind": "label",
        "text": "the battery died",
        "value": "negative",
        "group_id": "g1",
        "rater_id": "ann",
        "source": "seed",
        "given_at": "2026-01-01T09:00:00Z",
    }
    return {**row, **fields}


def feedback_file(folder: Path, *rows: dict[str, str], extra: str = "") -> Path:
    file = folder / "feedback.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + extra)
    return file


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = call(command, "--help")

    assert result.exit_code == 0
    assert f"Example: flywheel {command}" in result.output


def test_help_answers_without_the_heavy_libraries() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['flywheel', '--help']\n"
        "try: runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'mlflow', 'prefect', 'duckdb', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert "Usage: flywheel" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "words", [["nosuch"], ["night", "--nosuch"], ["predict"], ["night", "--as-of", "yesterday"]]
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    assert call(*words).exit_code == 2


def test_an_unknown_use_case_exits_with_2_and_names_the_known() -> None:
    done = program("status", "-u", "nosuch")

    assert done.returncode == 2
    assert "product-reviews" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_exits_with_2_and_names_the_nearest(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "usecases/product-reviews.yaml").read_text())
    content["training"]["epoch"] = 3
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))

    done = program("status", "-u", str(tmp_path / "mine.yaml"))

    assert done.returncode == 2
    assert "did you mean 'epochs'" in done.stderr


def test_an_error_on_purpose_is_one_plain_paragraph(tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "it works"}\n')

    done = program("predict", str(asked))

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("flywheel: product-reviews has no champion yet")
    assert "Traceback" not in done.stderr


def test_ingest_counts_every_row(tmp_path: Path) -> None:
    file = feedback_file(tmp_path, reaction(), reaction(), extra="not json\n")

    first, second = call("ingest", "--json", str(file)), call("ingest", "--json", str(file))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert json.loads(first.stdout) == {
        "read": 3,
        "ingested": 1,
        "duplicate": 1,
        "quarantined": 1,
        "parked": 0,
        "queue_labels": {"audits": 0, "undrawn": 0, "chosen": 0},
    }
    assert json.loads(second.stdout)["ingested"] == 0


def table_of_own_columns(folder: Path, *, first: int = 0) -> Path:
    file = folder / f"export-{first}.csv"
    rows = [
        f"{first + n},parcel {first + n} did its work,{'Positive' if n % 2 else 'negative'}"
        for n in range(6)
    ]
    file.write_text("\n".join(["nr,tresc,kategoria", *rows]) + "\n")
    return file


def test_a_file_that_is_no_feedback_says_why_and_fails(tmp_path: Path) -> None:
    file = table_of_own_columns(tmp_path)
    done = call("ingest", str(file))
    assert done.exit_code == 1
    assert "quarantined: 6 rows: kind is missing or empty" in done.stderr
    assert "this is not a feedback file" in done.stderr
    assert "--text COLUMN --label COLUMN FILE" in done.stderr
    assert "quarantined: 6 rows: kind is missing or empty" in call("status").stdout


def test_a_later_export_with_columns_of_its_own_comes_in_by_naming_them(tmp_path: Path) -> None:
    for first in (0, 100):
        file = table_of_own_columns(tmp_path, first=first)
        done = call("ingest", "--text", "tresc", "--label", "kategoria", "--json", str(file))
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["ingested"] == 6
    again = call("ingest", "--text", "tresc", "--label", "kategoria", "--json", str(file))
    assert (again.exit_code, json.loads(again.stdout)["ingested"]) == (0, 0)
    assert "was ingested before" in again.stderr


def test_of_tables_of_which_one_is_bad_nothing_waits(tmp_path: Path) -> None:
    good, bad = table_of_own_columns(tmp_path), tmp_path / "bad.csv"
    bad.write_text("nr,tresc\n1,no label here\n")
    done = call("ingest", "--text", "tresc", "--label", "kategoria", str(good), str(bad))
    assert done.exit_code == 1
    inbox = Home().inbox("product-reviews")
    assert not inbox.exists() or not [path for path in inbox.rglob("*") if path.is_file()]


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    file = feedback_file(tmp_path)
    done = call("ingest", str(file))
    assert done.exit_code == 1
    assert f"{file} holds no row;" in done.stderr
    file.write_text("\n \n\n")
    done = call("ingest", str(file))
    assert done.exit_code == 1
    assert f"{file} holds no row, only blank lines (3); nothing was taken" in done.stderr


def test_a_queue_as_csv_opens_in_a_spreadsheet(tmp_path: Path) -> None:
    file = tmp_path / "todo.csv"
    assert call("queue", "--csv", str(file)).exit_code == 0
    assert file.read_bytes().startswith(b"\xef\xbb\xbfitem_id,")


def test_a_port_that_cannot_be_is_wrong_usage() -> None:
    done = call("serve", "--port", "80000")
    assert done.exit_code == 2
    assert "0<=x<=65535" in done.stderr


def test_ingest_of_an_unknown_format_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "feedback.docx").write_text("x")

    done = call("ingest", str(tmp_path / "feedback.docx"))

    assert done.exit_code == 1
    assert ".jsonl" in str(done.exception)


def test_customers_texts_are_not_in_the_talk(tmp_path: Path) -> None:
    file = feedback_file(
        tmp_path,
        reaction(text=f"a good {SECRET}"),
        reaction(text=f"a bad {SECRET}", value=SECRET),
        reaction(kind="comment", value=f"an orphan {SECRET}", prediction_id="p9", text=""),
        extra=f"broken {SECRET}\n",
    )

    done = program("ingest", str(file))

    assert done.returncode == 0
    assert "4 rows" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_status_of_an_empty_home_has_every_key() -> None:
    done = call("status", "--json")

    facts = json.loads(done.stdout)
    assert facts == {
        "use_case": "product-reviews",
        "champion": None,
        "awaiting_approval": [],
        "exports": {},
        "promotions": [],
        "nights": [],
        "live": [],
        "feedback": {"ingested": 0, "quarantined": 0, "parked": 0, "waiting": 0},
        "queue_labels": {"audits": 0, "undrawn": 0, "chosen": 0, "line": ""},
        "quarantine": {},
        "backlog": [],
        "inbox": {"files": 0, "rows": 0, "being_written": 0, "unread": {}},
        "running": [],
    }
    shown = call("status").stdout
    assert "no champion yet" in shown
    assert "inbox" not in shown


def test_status_says_what_the_next_night_will_read(home: Home) -> None:
    inbox = home.inbox("product-reviews")
    inbox.mkdir(parents=True)
    for name in ("a.jsonl", "B.CSV.GZ", "c.jsonl.open", ".d.jsonl", "photo.png", "notes.txt"):
        (inbox / name).touch()
    (inbox / "done").mkdir()
    (inbox / "a.jsonl").write_text("{}\n{}\n")
    (inbox / "B.CSV.GZ").unlink()
    (inbox / "B.CSV").write_text("kind,value\nlabel,neutral\n")
    told = "inbox: 2 files (3 rows) for the next night, 1 still being written"
    assert told in call("status").stdout


def test_status_shows_each_night(home: Home) -> None:
    facts: dict[str, Any] = {
        "train_examples": 300,
        "train_seconds": 58.0,
        "peak_memory_mb": 1900.0,
        "challenger_accuracy": 0.7,
        "champion_accuracy": None,
        "baselines": {"majority": 0.5},
    }
    at = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
    reasons = [Reason("min_accuracy", False, "accuracy 0.7")]
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            "product-reviews",
            NightRecord(
                at, "rejected", reasons, facts, snapshot_id="s", digest="d", recorded_at=at
            ),
        )

    (night,) = json.loads(call("status", "--json").stdout)["nights"]

    shown = [{"rule": "min_accuracy", "passed": False, "detail": "accuracy 0.7", "on": True}]
    assert night == {"as_of": at.isoformat(), "outcome": "rejected", "reasons": shown, **facts}
    assert "2026-01-01T02:30  rejected" in call("status").stdout


def test_doctor_fails_while_there_is_too_little_data(tmp_path: Path) -> None:
    result = call("doctor", "--json")

    found = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert found["libraries"]["ok"]
    assert not found["data"]["ok"]
    assert "flywheel night -u product-reviews" in found["data"]["detail"]


def test_doctor_counts_what_waits(tmp_path: Path) -> None:
    rows = [reaction(text=f"battery {i}", group_id=f"g{i}") for i in range(100)]
    call("ingest", str(feedback_file(tmp_path, *rows)))

    found = {f["name"]: f for f in json.loads(call("doctor", "--json").stdout)}

    # some are held out, and some are for validation
    assert not found["data"]["ok"]
    assert "100 reactions wait: about" in found["data"]["detail"]
    assert "training needs 100 texts" in found["data"]["detail"]


def test_a_queue_without_requests_says_how_texts_come_in() -> None:
    done = call("queue", "-u", "product-reviews")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "flywheel ingest -u product-reviews FILE" in done.stderr
