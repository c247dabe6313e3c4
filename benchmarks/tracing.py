"""What `serving.tracing: mlflow` costs a request: the same service with and without it.

    flywheel turn && python -m benchmarks.tracing --json

Two services with the same champion stand beside each other, one with tracing. They are asked in
turns, each cell as `benchmarks.serving` asks, so that other work on the machine falls on both. The
cost is the median over the rounds of on / off - 1. CPU time is the server's, per answer: it says
what tracing takes where latencies on a busy machine do not. Traces go into a copy of the registry
(SQLite).

What it does not cover: a tracking server on another machine, feedback, GPUs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.serving import CLIENTS, WARM_UP_S, load, ours, texts_of
from flywheel.config import Home, UseCase, load_use_case
from flywheel.serving.tracing import LINGER_S

MEASURES = ("requests_per_s", "p50_ms", "p95_ms", "cpu_ms")
SETTLE_S = 120


def measure(
    use_case: UseCase, home: Home, *, rounds: int, seconds: float, seed: int
) -> dict[str, Any]:
    """Clients → figures with and without, and the cost; and what became of the traces."""
    texts = itertools.cycle(texts_of(use_case, home, seed=seed))
    cells: dict[tuple[int, str], list[dict[str, float]]] = {}
    with (
        ours(use_case, home, tracing="off") as (path, off, body),
        ours(use_case, home, tracing="mlflow") as (_, on, _),
    ):
        ports = {"off": off, "on": on}

        def cell(name: str, clients: int, length_s: float) -> dict[str, float]:
            server, begun = _server(ports[name]), time.monotonic()
            before = sum(server.cpu_times()[:2])
            found = asyncio.run(
                load(ports[name], path, map(body, texts), clients=clients, seconds=length_s)
            )
            answers = found["requests_per_s"] * (time.monotonic() - begun)
            # what is told of the last answers is theirs too
            time.sleep(LINGER_S)
            spent_s = sum(server.cpu_times()[:2]) - before
            return {**found, "cpu_ms": 1_000 * spent_s / max(answers, 1)}

        for name in ports:
            cell(name, max(CLIENTS), WARM_UP_S)
        for number in range(rounds):
            for clients in CLIENTS:
                # who is asked first takes turns, too
                for name in sorted(ports, reverse=bool(number % 2)):
                    cells.setdefault((clients, name), []).append(cell(name, clients, seconds))
        traces = settled(on)
    return {
        "clients": {str(clients): _compared(cells, clients) for clients in CLIENTS},
        "traces": traces,
    }


def _server(port: int) -> psutil.Process:
    """The service that was started for a port."""
    return next(c for c in psutil.Process().children() if str(port) in c.cmdline())


def _compared(cells: dict[tuple[int, str], list[dict[str, float]]], clients: int) -> dict[str, Any]:
    off, on = cells[clients, "off"], cells[clients, "on"]
    return {
        **{
            name: {measure: median(cell[measure] for cell in found) for measure in MEASURES}
            | {"errors": sum(cell["errors"] for cell in found)}
            for name, found in (("off", off), ("on", on))
        },
        "cost": {
            measure: median(b[measure] / a[measure] - 1 for a, b in zip(off, on, strict=True))
            for measure in MEASURES
        },
    }


def settled(port: int) -> dict[str, float]:
    """What became of the traces, once no more of them is written."""
    deadline, before = time.monotonic() + SETTLE_S, None
    while (found := _traces(port)) != before and time.monotonic() < deadline:
        before = found
        time.sleep(3)
    return found


def _traces(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    counted = (line for line in lines if line.startswith("flywheel_traces_total{"))
    return {line.split('result="')[1].split('"')[0]: float(line.split()[-1]) for line in counted}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| clients | tracing | requests per s | p50, ms | p95, ms | CPU per answer, ms | errors |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for clients, found in result["clients"].items():
        for name in ("off", "on"):
            cell = found[name]
            lines.append(
                f"| {clients} | {name} | {cell['requests_per_s']:.1f} | {cell['p50_ms']:.0f} "
                f"| {cell['p95_ms']:.0f} | {cell['cpu_ms']:.1f} | {cell['errors']} |"
            )
        cost = found["cost"]
        lines.append(
            f"| {clients} | cost | {cost['requests_per_s']:+.1%} | {cost['p50_ms']:+.1%} "
            f"| {cost['p95_ms']:+.1%} | {cost['cpu_ms']:+.1%} | |"
        )
    said = ", ".join(f"{count:.0f} {result}" for result, count in result["traces"].items())
    return "\n".join([*lines, "", f"traces: {said}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-u", "--use-case", default="product-reviews")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    home = Home()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(home.root / "mlflow.db", folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        result = measure(
            load_use_case(asked.use_case),
            home,
            rounds=asked.rounds,
            seconds=asked.seconds,
            seed=asked.seed,
        )
    print(json.dumps(result) if asked.json else table(result))


if __name__ == "__main__":
    main()
