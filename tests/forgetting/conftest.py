"""A home with two nights behind it, in which somebody is everywhere, to be forgotten in a copy."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flywheel import reports
from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.records import Curated, Example, NightRecord
from flywheel.store import open_store
from flywheel.store.nights import contender_scores, night_runs
from flywheel.tracking.registry import CHAMPION
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tasks.report import ARTIFACT_FOLDER, ARTIFACT_NAME, write_page
from tests.erasure_fixtures import (
    ASKED,
    AT,
    JOB,
    WHO,
    drop,
    files_of_first_day,
    json_lines,
    other,
    predicted,
    report_page,
    theirs,
)


@cache
def _template(root: Path) -> Home:
    """Two nights, two versions, the second champion; and a file that still waits."""
    home = Home(root / "home")
    home.root.mkdir(parents=True)
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name,
            [
                predicted("p-theirs", WHO, ASKED),
                predicted("p-other", "customer-1001", "asked by another"),
            ],
        )
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    ingest_inbox(JOB, home, at=AT)
    first = curate_snapshot.fn(JOB, home, at=AT)
    drop(home, "h.jsonl", json_lines(theirs(11), other(40), other(41)))
    ingest_inbox(JOB, home, at=AT)
    second = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=1))
    assert first != second
    # not home.mlflow_uri, which follows what an earlier test left in the environment
    client = MlflowClient(f"sqlite:///{home.root / 'mlflow.db'}")
    client.create_registered_model(JOB.name)
    with open_store(home.warehouse) as store:
        for number, snapshot in enumerate((first, second), start=1):
            digest = f"d{number}"
            holdout = [e for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
            contender_scores.add(
                store, JOB.name, digest, {e.example_id: {"card": 1.0} for e in holdout}, 1.0
            )
            folder = home.mlflow_artifacts / JOB.name / str(number) / "adapter"
            folder.mkdir(parents=True)
            (folder / "adapter_model.safetensors").write_bytes(b"weights")
            tags = {"digest": digest, "snapshot_id": snapshot.snapshot_id}
            client.create_model_version(JOB.name, folder.as_uri(), tags=tags)
            night_runs.record(
                store,
                JOB.name,
                NightRecord(
                    AT + timedelta(days=number),
                    "promoted",
                    [],
                    {"version": str(number)},
                    snapshot_id=snapshot.snapshot_id,
                    digest=digest,
                    recorded_at=AT,
                ),
            )
    client.set_registered_model_alias(JOB.name, CHAMPION, "2")
    note = home.mlflow_artifacts / JOB.name / "2" / "worst.json"
    note.write_text(json.dumps({"text": theirs(2)["text"]}))
    html = report_page()
    write_page(home, JOB.name, AT, html)
    (home.reports(JOB.name) / "20260101T0000Z.html.open").write_text(html[: len(html) // 2])
    artifact = home.mlflow_artifacts / "3" / "run" / "artifacts" / ARTIFACT_FOLDER / ARTIFACT_NAME
    artifact.parent.mkdir(parents=True)
    artifact.write_text(html)
    write_page(home, JOB.name, AT + timedelta(days=1), reports.page({"use_case": JOB.name}))
    uncommitted = Example("1", theirs(1)["text"], "card", 1.0, WHO, "train", ("theirs-1",))
    snapshots.write(Curated((uncommitted,), ()), home.snapshots)
    drop(home, "waits.jsonl", json_lines(theirs(12), other(42)))
    return home


@pytest.fixture
def home(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Home:
    """A copy that commands find; what it is copied from is made once a run."""
    template = _template(tmp_path_factory.getbasetemp() / "forgettable")
    shutil.copytree(template.root, tmp_path / "home")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return Home()
