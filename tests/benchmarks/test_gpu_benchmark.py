"""The benchmark for a GPU: the same steps on a tiny base, and honest where there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_from_the_figures_or_says_not_measured() -> None:
    figures = ROOT / "benchmarks" / gpu.RESULT
    found = json.loads(figures.read_text()) if figures.is_file() else None
    assert (ROOT / "docs" / "benchmarks" / gpu.PAGE).read_text() == gpu.page(found)
    assert "Not measured" in gpu.page(None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--out", str(tmp_path)])
    assert ended.value.code == "not measured: torch finds no CUDA device"
    assert not list(tmp_path.iterdir())


@pytest.mark.model
def test_both_ways_are_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu.main(["--device", "cpu", "--quick", "--rows", "12", "--out", str(tmp_path)])
    found = json.loads((tmp_path / gpu.RESULT).read_text())
    assert set(found["arms"]) == {"ours", "stock"}
    for cell in found["arms"].values():
        assert cell["rows_per_s"] > 0
        assert cell["holdout_rows"] == 12
    assert found["arms"]["ours"]["planned_mb"] > 0
    page = (tmp_path / gpu.PAGE).read_text()
    assert page == gpu.page(found)
    assert "not run, for want of a GPU" in page


def test_figures_of_a_tiny_base_do_not_become_the_page() -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu", "--quick", "--write"])
    assert ended.value.code == 2


def test_what_is_missing_is_said_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit, match=r"python -m benchmarks\.gpu --fetch"):
        gpu.main(["--device", "cpu"])


def reporter(folder: Path, suite: str) -> list[str]:
    """A command that leaves a report as pytest does."""
    script = folder / "reports.py"
    script.write_text(
        "import sys\n"
        "path = sys.argv[-1].partition('=')[2]\n"
        f"open(path, 'w').write('<testsuites><testsuite {suite}/></testsuites>')\n"
    )
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("suite", "passed"),
    [
        ('tests="8" failures="0" errors="0" skipped="0"', True),
        ('tests="8" failures="1" errors="0" skipped="0"', False),
        ('tests="8" failures="0" errors="1" skipped="0"', False),
        ('tests="8" failures="0" errors="0" skipped="8"', False),
        ('tests="0" failures="0" errors="0" skipped="0"', False),
    ],
)
def test_tests_count_as_passed_only_where_all_of_them_ran(
    suite: str, passed: bool, tmp_path: Path
) -> None:
    found = gpu.run_tests(seconds=60, command=reporter(tmp_path, suite))
    assert gpu._passed(found) == passed


def test_tests_that_left_no_report_did_not_pass() -> None:
    found = gpu.run_tests(seconds=60, command=[sys.executable, "-c", "raise SystemExit(3)"])
    assert not gpu._passed(found)
    assert "exit code 3" in gpu._in_words(found)
