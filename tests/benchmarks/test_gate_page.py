"""What the benchmark of the gate found is what its page and docs/concepts/gate.md say it found."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import gate_report
from benchmarks.gate import KEPT, LIVES, NIGHTS
from benchmarks.lives import SCENARIOS
from benchmarks.policies import ALPHA, POLICIES

ROOT = Path(__file__).resolve().parents[2]
FOUND = json.loads(KEPT.read_text(encoding="utf-8"))


def test_what_is_kept_is_a_whole_run_of_every_policy_scenario_and_setting() -> None:
    kept = {(row["setting"], row["scenario"], row["policy"]) for row in FOUND["results"]}
    assert kept == {(s, c, p) for s in ("rows", "groups") for c in SCENARIOS for p in POLICIES}
    assert {row["lives"] for row in FOUND["results"]} == {LIVES}
    assert FOUND["nights"] == NIGHTS


def test_the_page_is_made_of_what_is_kept() -> None:
    page = (ROOT / "docs" / "benchmarks" / "gate.md").read_text(encoding="utf-8")
    assert page == gate_report.page(FOUND), "python -m benchmarks.gate --redraw"


def test_the_table_in_the_docs_is_made_of_what_is_kept() -> None:
    shown = (ROOT / "docs" / "concepts" / "gate.md").read_text(encoding="utf-8")
    table = gate_report.summary(FOUND["results"])
    assert f"\n\n{table}\n\n" in shown, (
        f"The table of the gate in docs/concepts/gate.md is to be:\n{table}"
    )


def test_ours_keeps_the_promise_in_what_is_kept() -> None:
    ours = [row for row in FOUND["results"] if row["policy"] == "flywheel"]
    assert max(row["wrong_95"][1] for row in ours) <= ALPHA == FOUND["alpha"]
