"""What other programs import: small, without Prefect, and as its page shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

import flywheel
from flywheel import api
from flywheel.errors import DataError, NotEnoughData

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/guides/python.md"
NOTEBOOK = ROOT / "docs/guides/python.ipynb"


def test_the_example_of_the_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(code, str(PAGE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "20 rows, 1 refused"
    assert said[2] == "promote"


def test_the_notebook_runs_and_is_kept_without_outputs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    written = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert written["nbformat"] == 4
    cells = [cell for cell in written["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name} {cell['id']}", "exec"), names)
    assert (names["verdict"].decision, names["again"].decision) == ("promote", "reject")
    assert "540 rows, 1 refused" in capsys.readouterr().out
    (poison,) = [step for step in names["curated"].steps if step.rule == "poison"]
    assert poison.dropped > 100, "as the page says of Eve"


def test_every_name_is_there_and_none_loads_a_heavy_library() -> None:
    assert set(flywheel.__all__) == set(api.__all__)
    script = (
        "import sys, flywheel\n"
        "[getattr(flywheel, name) for name in flywheel.__all__]\n"
        "print(sorted({'torch', 'mlflow', 'prefect', 'duckdb', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_frame_and_a_file_say_the_same(tmp_path: Path) -> None:
    case = flywheel.load_use_case(str(ROOT / "usecases/product-reviews.yaml"))
    row: dict[str, Any] = {
        "kind": "label", "text": "it works", "value": "positive", "rater_id": "ann",
        "source": "seed", "given_at": "2026-01-01T09:00:00Z", "customer_id": None,
    }  # fmt: skip
    frame = pandas.DataFrame([row, {**row, "value": "nonsense"}])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    by_frame = flywheel.read_feedback(frame, use_case=case)
    by_file = flywheel.read_feedback(tmp_path / "rows.csv", use_case=case)
    assert by_frame.feedback == by_file.feedback
    assert [why for _, why in by_frame.refused] == [why for _, why in by_file.refused]


def test_equal_score_tables_promote_nobody() -> None:
    gold = {str(n): "ab"[n % 2] for n in range(200)}
    right = {n: {"a": float(y == "a"), "b": float(y == "b")} for n, y in gold.items()}
    limits = flywheel.GateConfig(min_accuracy=0.5, min_holdout_examples=100)
    same = flywheel.run_gate(gold, right, dict(right), labels=["a", "b"], limits=limits)
    assert same.decision == "reject"
    first = flywheel.run_gate(gold, right, None, labels=["a", "b"], limits=limits)
    assert first.decision == "promote"
    timed = flywheel.GateConfig(min_accuracy=0.5, min_holdout_examples=100, max_latency_ms=5)
    with pytest.raises(DataError, match="no latency_ms was given"):
        flywheel.run_gate(gold, right, None, labels=["a", "b"], limits=timed)


def test_where_there_is_no_champion_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="has no champion"):
        flywheel.load_champion("support", home=tmp_path / "none")
