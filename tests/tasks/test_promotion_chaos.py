"""Whatever happens around the champion, there is one, it was measured, and the log names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import promotion_chaos

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The homes that runs start from."""
    place = tmp_path_factory.mktemp("homes")
    promotion_chaos.build(place)
    return place


def chaos(runs: int, *, seed: int, homes: Path) -> list[dict[str, Any]]:
    """What `tests.promotion_chaos` tells of each run, in a process that may fork."""
    drawn = (f"--runs={runs}", f"--seed={seed}", f"--homes={homes}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.promotion_chaos", *drawn],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    *told, summed = [json.loads(line) for line in done.stdout.splitlines()]
    assert summed["runs"] == len(told) == runs
    return told


def assert_one_champion(told: list[dict[str, Any]]) -> None:
    assert [run for run in told if run["wrong"]] == []
    assert {len(run["champion"]) for run in told} == {1}


@pytest.mark.slow
def test_twice_chaos_leaves_one_champion(homes: Path) -> None:
    assert_one_champion(chaos(2, seed=1, homes=homes))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_two_hundred_times_chaos_leaves_one_champion(homes: Path) -> None:
    told = chaos(200, seed=0, homes=homes)
    assert_one_champion(told)
    ends = {end for run in told for end in run["ends"]}
    assert {0, 3, -9} <= ends, "some were done, some refused, some killed"
    actions = {step.split()[0] for run in told for step in run["story"]}
    assert actions == {"promoted", "approved", "moved_by_hand", "rolled_back", "restored"}
