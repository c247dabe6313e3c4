"""What the documents say of training is what was measured last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training_arms
from benchmarks.training_report import page
from flywheel.config import UseCase

ROOT = Path(__file__).resolve().parents[2]
FOUND = json.loads((ROOT / "benchmarks" / "training.json").read_text())


def test_the_page_is_made_from_the_figures() -> None:
    assert (ROOT / "docs" / "benchmarks" / "training.md").read_text() == page(FOUND)


def test_the_table_in_the_docs_has_the_same_figures() -> None:
    whole = (ROOT / "docs" / "concepts" / "training.md").read_text()
    shown = whole.partition("# What training takes")[2].partition("\n## ")[0]
    for who, name in (("ours", "**flywheel**"), ("stock", "stock: Transformers' Trainer")):
        (line,) = [row for row in shown.splitlines() if row.startswith(f"| {name}")]
        memory = FOUND["peak_memory_mb" if who == "ours" else "stock_peak_memory_mb"]
        told = [cell.strip() for cell in line.strip("|").split("|")[1:]]
        assert told == [
            f"{FOUND[f'{who}_rows_per_s']:.1f}",
            f"{memory:,}",
            f"{FOUND[f'{who}_accuracy']:.3f}",
        ]


@pytest.mark.model
def test_the_limit_can_be_measured(use_case: UseCase, tiny_base: Path) -> None:
    assert training_arms._matrix_limit(use_case, tiny_base)["tokens_per_s"] > 0
