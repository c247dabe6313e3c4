"""Memory and loading time of several adapters on one loaded base, beside one base for each.

    flywheel turn && python -m benchmarks.adapters --json

The newest adapter of the home is loaded as often as there are customers, as `flywheel serve` loads
adapters, and each answers a few texts; every arm is a process of its own. Their weights are the
same, which changes neither memory nor time: nothing is shared but the base.

What it does not cover: GPUs, and how long a pass takes, which is that of one adapter.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from flywheel.config import Home, UseCase, load_use_case
from flywheel.home.environment import prepare_serving
from flywheel.modeling import artifact, methods
from flywheel.modeling.base_cache import Bases

ARMS = ((1, True), (5, True), (5, False))
TEXTS = ("it works", "the screen broke after a week", "fine for the price")


@dataclass(frozen=True)
class Arm:
    """``memory_mb`` is resident memory when all have answered, beyond that of the bare libraries.

    ``load_s`` is the median of loading one after the first.
    """

    adapters: int
    shared: bool
    memory_mb: float
    first_load_s: float
    load_s: float | None


def measure(use_case: UseCase, home: Home, *, adapters: int, shared: bool) -> Arm:
    """Load and ask, in this process."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    folder = max((p.parent for p in home.adapters.glob(f"*/{artifact.WEIGHTS}")), key=_made)
    base = artifact.base_folder(use_case, home, folder)
    process, bases = psutil.Process(), Bases()
    before = process.memory_info().rss
    answerers, took_s = [], []
    for _ in range(adapters):
        begun = time.perf_counter()
        with bases.shared() if shared else contextlib.nullcontext():
            answerers.append(methods.load_on(use_case, base, folder))
        took_s.append(time.perf_counter() - begun)
    answers = [one.answer(TEXTS)[0] for one in answerers]
    assert all(one == answers[0] for one in answers)
    gc.collect()
    held = process.memory_info().rss - before
    rest = median(took_s[1:]) if adapters > 1 else None
    return Arm(adapters, shared, held / 1e6, took_s[0], rest)


def _made(folder: Path) -> float:
    return folder.stat().st_mtime


def main() -> None:
    """Measure every arm, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-u", "--use-case", default="product-reviews")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--arm", nargs=2, metavar=("ADAPTERS", "SHARED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        prepare_serving()
        adapters, shared = given.arm
        use_case = load_use_case(given.use_case)
        arm = measure(use_case, Home(), adapters=int(adapters), shared=shared == "True")
        print(json.dumps(vars(arm)))
        return
    arms = []
    for adapters, shared in ARMS:
        command = ["-m", "benchmarks.adapters", "-u", given.use_case, "--arm"]
        command += [str(adapters), str(shared)]
        told = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
        arms.append(Arm(**json.loads(told.stdout.splitlines()[-1])))
    if given.json:
        print(json.dumps([vars(arm) for arm in arms], indent=2))
        return
    print("| adapters | base | memory, MB | loading the first, s | each further one, s |")
    print("|--:|---|--:|--:|--:|")
    for arm in arms:
        further = "-" if arm.load_s is None else f"{arm.load_s:.2f}"
        whose = "shared" if arm.shared else "one each"
        times = f"{arm.first_load_s:.1f} | {further}"
        print(f"| {arm.adapters} | {whose} | {arm.memory_mb:,.0f} | {times} |")


if __name__ == "__main__":
    main()
