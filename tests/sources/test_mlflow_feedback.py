"""A real MLflow server whose assessments are the feedback, given as its page gives them.

The page of a trace talks to ``/ajax-api``; so does this test, over HTTP.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import Home, SourceConfig, UseCase
from flywheel.errors import FlywheelError
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tasks.pull import pull
from tests.services import mlflow_serving

pytestmark = pytest.mark.slow

AT = datetime(2026, 12, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
# in a process of its own: tracing leaves its settings behind
APP = """
import json
import mlflow

mlflow.set_experiment("support")

@mlflow.trace
def classify(text):
    return "negative"

traces = []
for number in range(5):
    classify(f"asked {number}")
    traces.append(mlflow.get_last_active_trace_id())
mlflow.flush_trace_async_logging()
print(json.dumps(traces))
"""


class Page:
    """What the page of a trace does in the browser of somebody."""

    def __init__(self, url: str) -> None:
        self.url = url

    def says(self, trace: str, name: str, value: object, **more: Any) -> str:
        """Give an assessment; its id."""
        kind = more.pop("kind", "feedback")
        who = more.pop("who", "ann@example.org")
        source = {"source_type": more.pop("by", "HUMAN"), "source_id": who}
        told = {"assessment_name": name, "trace_id": trace, "source": source, **more}
        body = {"assessment": {**told, kind: {"value": value}}}
        found = self._send("POST", f"{trace}/assessments", body)
        return str(found["assessment"]["assessment_id"])

    def changes(self, trace: str, assessment: str, value: object) -> None:
        told = {"trace_id": trace, "assessment_id": assessment, "feedback": {"value": value}}
        body = {"assessment": told, "update_mask": "feedback"}
        self._send("PATCH", f"{trace}/assessments/{assessment}", body)

    def deletes(self, trace: str, assessment: str) -> None:
        self._send("DELETE", f"{trace}/assessments/{assessment}", {})

    def _send(self, verb: str, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}/ajax-api/3.0/mlflow/traces/{path}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
            method=verb,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def night(case: UseCase, home: Home, at: datetime) -> int:
    pulled = pull.fn(case, home, at=at)["app"]
    counts = ingest_inbox(case, home, at=at)
    assert (counts.read, counts.quarantined, counts.duplicate) == (pulled, 0, 0)
    return pulled


def taken(case: UseCase, home: Home) -> list[tuple[str, str | None, str]]:
    """Kind, value and rater of each feedback whose answer is known, by text, in order."""
    with open_store(home.warehouse) as store:
        return list(
            store.rows(
                "SELECT p.text, f.kind, f.value, f.rater_id FROM feedback AS f "
                "JOIN predictions AS p USING (use_case, prediction_id) "
                "WHERE f.use_case = ? ORDER BY p.text, f.seq",
                [case.name],
            )
        )


def test_what_people_say_on_the_pages_of_traces_is_learned_once(
    home: Home, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SourceConfig(name="app", kind="mlflow", location="support")
    case = use_case.model_copy(update={"sources": [source]})
    ann, bob = "ann@example.org", "bob@example.org"
    with mlflow_serving(home, tmp_path / "server.log") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        app = subprocess.run(
            [sys.executable, "-c", APP], check=True, capture_output=True, text=True, cwd=tmp_path
        )
        traces = json.loads(app.stdout.splitlines()[-1])
        page = Page(url)
        up = page.says(traces[0], "ok", True)
        page.says(traces[1], "ok", False, rationale="it is a praise")
        expected = page.says(traces[2], "label", "positive", kind="expectation")
        page.says(traces[3], "ok", True, by="LLM_JUDGE", who="gpt")
        page.says(traces[4], "stars", 4)
        assert night(case, home, AT) == 5
        first = [
            ("asked 0", "accept", None, ann),
            ("asked 1", "reject", None, ann),
            ("asked 1", "comment", "it is a praise", ann),
            ("asked 2", "correct", "positive", ann),
            ("asked 4", "rate", "4", ann),
        ]
        assert sorted(map(str, taken(case, home))) == sorted(map(str, first))
        assert night(case, home, AT + DAY) == 0

        # somebody thinks again, and somebody else looks at what only a judge had seen
        page.changes(traces[0], up, False)
        page.says(traces[3], "ok", True, who=bob)
        assert night(case, home, AT + 2 * DAY) == 2

        page.deletes(traces[2], expected)
        assert night(case, home, AT + 3 * DAY) == 1
        assert night(case, home, AT + 4 * DAY) == 0
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(FlywheelError, match="MLflow did not answer"):
        pull.fn(case, home, at=AT + 5 * DAY)
    # a server keeps its own files, and is not told of another
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with mlflow_serving(home, tmp_path / "again.log") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert night(case, home, AT + 5 * DAY) == 0
    later = [
        ("asked 0", "reject", None, ann),
        ("asked 2", "withdraw", None, ann),
        ("asked 3", "accept", None, bob),
    ]
    assert sorted(map(str, taken(case, home))) == sorted(map(str, [*first, *later]))
