"""Prometheus hears of nights, and the dashboard asks for nothing that nobody says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from flywheel.config import Home
from flywheel.errors import NightOutOfOrder
from flywheel.records import NightRecord
from flywheel.reports import night_metrics
from flywheel.serving.prometheus import Metrics
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.night_metrics import measured
from tests.nights import CASE, ROOT

FIRST = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
SECOND = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
DASHBOARD = json.loads((ROOT / "deploy/grafana/flywheel.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())


def record(home: Home, at: datetime, outcome: str, facts: dict[str, Any]) -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(store, CASE.name, NightRecord(at, outcome, [], facts, recorded_at=at))


def told(home: Home) -> dict[tuple[str, ...], float]:
    """Name and values of the labels but the use case → value."""
    text = home.night_metrics(CASE.name).read_text()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("use_case") == CASE.name
            found[(sample.name, *labels.values())] = sample.value
    return found


def test_nights_are_told_however_they_end(home: Home) -> None:
    facts = {"feedback_read": 7, "feedback_quarantined": 1, "train_examples": 5}
    with measured(CASE, home):
        record(home, FIRST, "promoted", {**facts, "holdout_examples": 2})
    record(home, SECOND, "failed", {})
    with pytest.raises(ValueError, match="odd"), measured(CASE, home):
        raise ValueError("odd")

    found = told(home)
    assert found["flywheel_nights", "promoted"] == found["flywheel_nights", "failed"] == 1
    assert found["flywheel_nights", "rejected"] == 0
    assert found["flywheel_night_timestamp_seconds", "promoted"] == FIRST.timestamp()
    assert found["flywheel_night_timestamp_seconds", "failed"] == SECOND.timestamp()
    assert ("flywheel_night_timestamp_seconds", "rejected") not in found
    rows = {name[1]: value for name, value in found.items() if name[0] == "flywheel_night_rows"}
    assert rows == {"read": 7, "quarantined": 1, "training": 5, "holdout": 2}
    assert found["flywheel_night_waiting_rows",] == 0
    assert found["flywheel_night_duration_seconds",] >= 0


def test_what_was_no_night_changes_nothing(home: Home) -> None:
    with measured(CASE, home) as lived:
        lived.anew = False
    with pytest.raises(NightOutOfOrder), measured(CASE, home):
        raise NightOutOfOrder("before what is on record")
    assert not home.night_metrics(CASE.name).exists()


def test_metrics_that_cannot_be_written_cost_no_night(home: Home) -> None:
    (home.root / "metrics").write_text("in the way")
    with measured(CASE, home):
        record(home, FIRST, "promoted", {})


# ---- The dashboard


def said() -> set[str]:
    """Every name that the service or a night tells."""
    found = set()
    nights = [
        NightRecord(FIRST, "promoted", [], dict.fromkeys(sum(ROWS, ()), 1)),
    ]
    pages = Metrics().page() + night_metrics.page("x", nights, waiting=0, seconds=0)
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", pages.decode(), re.MULTILINE):
        ends = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {name + end for end in ends}
    return found


ROWS = list(night_metrics.ROWS.values())


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    for one in DASHBOARD["templating"]["list"]:
        if one["type"] == "query":
            yield one["query"]["query"]
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])
    for group in RULES["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_dashboard_and_alerts_ask_only_for_what_is_said() -> None:
    asked = [set(re.findall(r"\bflywheel_\w+", one)) for one in expressions()]

    assert len(asked) > 15
    assert all(asked), "an expression asks for nothing of ours"
    assert set().union(*asked) <= said()


def test_every_metric_of_nights_is_on_the_dashboard() -> None:
    asked = set(re.findall(r"\bflywheel_\w+", " ".join(expressions())))
    assert {name for name in said() if name.startswith("flywheel_night")} <= asked


def test_panels_lie_beside_each_other() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine
