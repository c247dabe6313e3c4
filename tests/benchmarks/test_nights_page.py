"""What the documents say of nights is what was measured last, and what is measured adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import nights
from benchmarks.nights_arms import RATIO, STEP
from benchmarks.nights_report import DRAWS, LIMIT, page, summary, verdict
from flywheel.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
FOUND = json.loads((ROOT / "benchmarks" / "nights.json").read_text())


def test_both_pages_are_made_from_the_figures() -> None:
    assert (ROOT / "docs" / "benchmarks" / "nights.md").read_text() == page(FOUND)
    page_of_starts = (ROOT / "docs" / "concepts" / "warm-start.md").read_text()
    assert f"\n\n{verdict(FOUND)} (`python -m benchmarks.nights`" in page_of_starts


def test_the_figures_are_made_from_the_cells() -> None:
    made = {"step": STEP, "replay": RATIO, **summary(FOUND["cells"])}
    assert json.loads(json.dumps(made)) == {k: v for k, v in FOUND.items() if k != "cells"}


def test_the_default_is_the_one_that_was_measured() -> None:
    fields = TrainingConfig.model_fields
    assert fields["start_from"].default == FOUND["default"]
    assert fields["replay"].default == FOUND["replay"]


def cell(arm: str, history: int, right: str, *, seed: int = 0, replayed: int = 1) -> dict[str, Any]:
    seconds = dict.fromkeys(("cpu_s", "wall_s", "steps_cpu_s"), 1.0)
    told = {"seed": seed, "arm": arm, "history": history, "asked": True, "rows": 2, "new": 1}
    return {**told, **seconds, "replayed": replayed, "right": right}


def test_the_first_night_is_of_both_and_no_evidence() -> None:
    found = summary([cell("champion", 100, "1010", replayed=0)])
    assert found["nights"][0]["base"] == found["nights"][0]["champion"]
    assert "gain" not in found


def test_a_night_counts_once_both_have_lived_it() -> None:
    alone = cell("champion", 200, "1111")
    assert summary([alone])["nights"] == []
    (night,) = summary([alone, cell("base", 200, "1100", replayed=0)])["nights"]
    assert night["gain"][0] == 0.5


@pytest.mark.parametrize(
    ("draws", "theirs", "default"),
    [
        (DRAWS, "1" * 1_000, "champion"),
        (DRAWS - 1, "1" * 1_000, "base"),
        (DRAWS, "0" * 100 + "1" * 900, "base"),
    ],
)
def test_the_default_changes_only_by_the_rule(draws: int, theirs: str, default: str) -> None:
    cells = [
        made
        for seed in range(draws)
        for made in (
            cell("base", 200, "1" * 1_000, seed=seed, replayed=0),
            cell("champion", 200, theirs, seed=seed),
        )
    ]
    found = summary(cells)
    assert found["default"] == default
    assert (found["gain"][1] > LIMIT) == (theirs == "1" * 1_000)


def test_cells_come_seed_by_seed_and_every_night_after_the_one_before() -> None:
    lived: dict[int, int] = {}
    seen = []
    for one in nights.cells(4, nights.HISTORIES):
        seen.append(one.seed)
        if one.arm == "champion" and one.history > lived.get(one.seed, 0):
            assert one.history == lived.get(one.seed, 0) + STEP
            lived[one.seed] = one.history
    assert set(lived.values()) == {nights.HISTORIES[-1]}
    changes = [seed for seed, before in zip(seen[1:], seen, strict=False) if seed != before]
    assert changes == [1, 0, 1, 2, 3, 2, 3]


def test_a_half_written_cell_is_measured_again(tmp_path: Path) -> None:
    whole = json.dumps(cell("base", 200, "1"))
    (tmp_path / "cells.jsonl").write_text(f"{whole}\n{whole[:20]}\n{whole}\n{whole[:-1]}")
    assert nights.read(tmp_path) == [json.loads(whole)] * 2
