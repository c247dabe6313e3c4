"""A night's record: the JSON that commands print and homes hold is that of earlier releases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from flywheel.config import Home
from flywheel.records import NightRecord, Reason
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tests.home.test_upgrades import HOMES, unpack

AT = datetime(2026, 1, 2, 2, 30, tzinfo=UTC)
PRINTED = (
    '{"use_case": "support", "as_of": "2026-01-02T02:30:00+00:00", "outcome": "undecided", '
    '"reasons": [{"rule": "golden", "passed": null, "detail": "no rows", "on": false}], '
    '"snapshot_id": "s1", "train_examples": 12, "baselines": {"majority": 0.5}}'
)
"""As 0.1.0 printed it."""
ROWS = "SELECT as_of, outcome, reasons, facts, snapshot_id, digest, recorded_at FROM nights"


def test_a_night_is_printed_as_before() -> None:
    facts = {"snapshot_id": "s1", "train_examples": 12, "baselines": {"majority": 0.5}}
    night = NightRecord(
        AT, "undecided", (Reason("golden", None, "no rows", on=False),), facts, snapshot_id="s1"
    )
    assert json.dumps(night.as_json("support")) == PRINTED
    lived = NightRecord(AT, "skipped", (), recorded_at=AT)
    assert list(lived.as_json("support")) == [
        "use_case",
        "as_of",
        "outcome",
        "reasons",
        "recorded_at",
    ]


def test_nights_of_an_earlier_release_are_kept_byte_for_byte(tmp_path: Path) -> None:
    home, _ = unpack(HOMES / "0.1.0.tar.xz", tmp_path)
    assert isinstance(home, Home)
    with open_store(home.warehouse) as store:
        before = store.rows(f"{ROWS} ORDER BY as_of", {})
        found = night_runs.nights(store, "deliveries")
        for night in found:
            night_runs.record(store, "deliveries", night)
        assert store.rows(f"{ROWS} ORDER BY as_of", {}) == before
    assert [night.outcome for night in found] == ["promoted", "undecided"]
    assert [json.dumps([vars(reason) for reason in night.reasons]) for night in found] == [
        reasons for _, _, reasons, *_ in before
    ]


def test_a_rule_is_found_by_what_it_came_to() -> None:
    night = NightRecord(AT, "rejected", (Reason("brake", None, ""), Reason("golden", False, "")))
    assert night.holds("golden", passed=False)
    assert not night.holds("brake", passed=False)
    assert not night.failed
