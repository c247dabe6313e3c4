"""A dry run says what a night would do, and writes nothing into the home."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import night
from flows.cli.main import cli
from flywheel.config import Home, UseCase
from tasks.dry_run import dry_run, render_text
from tasks.ingest import ingest_inbox
from tests.doctors import AT, easily_examined, to_seat
from tests.nights import ROOT, drop_rows


def hashes(root: Path) -> dict[str, str]:
    """Every file and folder of a home, with its content's hash."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "a folder"
        for path in root.rglob("*")
    }


def test_a_dry_run_says_what_a_night_would_do_and_writes_nothing(
    home: Home, use_case: UseCase, tmp_path: Path
) -> None:
    export = tmp_path / "export.jsonl"
    export.write_text(json.dumps({"text": "a late one", "value": "card", "rater_id": "eve"}) + "\n")
    source = {"name": "desk", "kind": "files", "location": str(export)}
    case = easily_examined(use_case)
    case = UseCase.model_validate({**case.model_dump(), "sources": [source]})
    rows = to_seat(case, train=case.training.min_examples, holdout=10)
    drop_rows(home, case, "a.jsonl", rows[:5])
    ingest_inbox(case, home, at=AT)
    drop_rows(home, case, "b.jsonl", rows[5:])
    before = hashes(home.root)

    found = dry_run(case, home, at=AT)

    assert hashes(home.root) == before
    assert found["pulled"] == {"desk": 1}
    assert found["ingested"]["read"] == len(rows) - 5 + 1
    assert found["curated"]["train"] >= 1
    said = "\n".join(render_text(found))
    assert "would pull: 1 new rows from desk" in said
    if found["why_not"]:
        assert "would train nothing" in said
    else:
        assert found["asks"] == {"holdout_rows": found["curated"]["holdout"]}


def test_where_there_is_no_home_a_dry_run_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "none"))
    done = CliRunner().invoke(cli, ["night", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["trains"] == []
    assert found["why_not"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "said", ["2026-01-02T02:30:00", "2026-01-02T02:30:00Z", "2026-01-02T04:30:00+0200"]
)
def test_a_night_has_its_time_in_utc_or_with_an_offset(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(night, "_dry_run", lambda case, at, as_json: asked.append(at))
    done = CliRunner().invoke(cli, ["night", "--dry-run", "--as-of", said])
    assert done.exit_code == 0, done.output
    assert asked == [datetime(2026, 1, 2, 2, 30, tzinfo=UTC)]
