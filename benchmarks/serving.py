"""Requests per second and latency of `flywheel serve`, by torch and by OpenVINO, beside `mlflow
models serve`, which answers by torch.

    flywheel turn && python -m benchmarks.serving --json

The same champion, rows (texts that the champion's snapshot holds, one in a request, none twice in
a cell while they last) and machine; one server at a time; each client asks again as soon as it is
answered, over a connection that it keeps. The service's cache is off, and every answer is on the
disk before it is given, which MLflow's is not.

What it does not cover: GPUs, longer texts, requests with many texts, clients on another machine
(these share the cores with the server).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

from flywheel.config import Home, UseCase, load_use_case
from flywheel.dataset import snapshots
from flywheel.tracking.registry import CHAMPION, Registry

CLIENTS = (1, 8, 64)
START_S = 180
WARM_UP_S = 3.0

Body = Callable[[str], dict[str, Any]]


def texts_of(use_case: UseCase, home: Home, *, seed: int) -> list[str]:
    """Texts that the champion's snapshot holds, shuffled."""
    champion = Registry(home).by_alias(use_case.name, CHAMPION)
    assert champion is not None, "run flywheel turn first"
    texts = sorted({one.text for one in snapshots.read(home.snapshots, champion.snapshot_id)})
    random.Random(seed).shuffle(texts)
    return texts


@contextmanager
def ours(use_case: UseCase, home: Home, **serving: Any) -> Iterator[tuple[str, int, Body]]:
    """Run `flywheel serve` without its cache, with an inbox of its own; path, port, how to ask."""
    config = use_case.serving.model_copy(update={"cached_answers": 0, **serving})
    case = use_case.model_copy(update={"serving": config}).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{use_case.name}.yaml"
        path.write_text(yaml.safe_dump(case, sort_keys=False))
        apart = Path(folder) / "home"
        apart.mkdir()
        (apart / "models").symlink_to(home.models)
        # what nights measured, without which nothing is served
        shutil.copy(home.warehouse, apart)
        shutil.copytree(home.measured, Home(apart).measured)
        port = free_port()
        command = ["-m", "flows", "serve", "-u", str(path), "--port", str(port)]
        with running(command, port, "/readyz", FLYWHEEL_HOME=str(apart)):
            yield "/predict", port, lambda text: {"text": text}


@contextmanager
def mlflow(use_case: UseCase, home: Home) -> Iterator[tuple[str, int, Body]]:
    """Run `mlflow models serve`; path, port and how to ask."""
    port = free_port()
    uri = f"models:/{use_case.name}@{CHAMPION}"
    command = ["-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    with running(
        [*command, "--host", "127.0.0.1", "-p", str(port)],
        port,
        "/ping",
        FLYWHEEL_HOME=str(home.root),
        FLYWHEEL_RUNTIME="torch",
    ):
        yield "/invocations", port, lambda text: {"inputs": [text]}


@contextmanager
def running(command: Sequence[str], port: int, ready: str, **settings: str) -> Iterator[None]:
    """A server as a process of its own, from when it is ready."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PATH": path, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_S
        while asyncio.run(status_of(port, ready)) != 200:
            assert server.poll() is None, f"{command} ended with {server.returncode}"
            assert time.monotonic() < deadline, f"{command} was not ready in {START_S} s"
            time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


async def status_of(port: int, path: str) -> int:
    """The status of a GET, 0 when nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        return await request(reader, writer, path, None)
    except (OSError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()


async def request(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    body: dict[str, Any] | None,
) -> int:
    """Send one request and read its answer; returns the status."""
    content = b"" if body is None else json.dumps(body).encode()
    writer.write(
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode()
        + content
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split()[1])


async def load(
    port: int, path: str, bodies: Iterator[dict[str, Any]], *, clients: int, seconds: float
) -> dict[str, float]:
    """Ask with so many clients for so long; what came of it."""
    latencies: list[float] = []
    errors = 0

    async def client(until: float) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < until:
            try:
                status = await request(reader, writer, path, next(bodies))
            except (OSError, asyncio.IncompleteReadError):
                status = 0
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if status == 200:
                latencies.append(time.perf_counter() - begun)
            else:
                errors += 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(begun + seconds) for _ in range(clients)))
    took_s = time.perf_counter() - begun
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [0.0] * 99
    return {
        "requests_per_s": len(latencies) / took_s,
        "p50_ms": 1_000 * cuts[49],
        "p95_ms": 1_000 * cuts[94],
        "errors": errors,
    }


def measure(use_case: UseCase, home: Home, *, seconds: float, seed: int) -> dict[str, Any]:
    """Server → number of clients → figures."""
    texts = texts_of(use_case, home, seed=seed)
    result: dict[str, Any] = {}
    for name, server in servers().items():
        with server(use_case, home) as (path, port, body):
            bodies = map(body, itertools.cycle(texts))
            asyncio.run(load(port, path, bodies, clients=max(CLIENTS), seconds=WARM_UP_S))
            result[name] = {
                str(clients): asyncio.run(
                    load(port, path, bodies, clients=clients, seconds=seconds)
                )
                for clients in CLIENTS
            }
    return result


def servers() -> dict[str, Any]:
    """Name → what runs it; OpenVINO where it is installed."""
    found: dict[str, Any] = {"ours, torch": partial(ours, runtime="torch")}
    if find_spec("openvino") is not None:
        found["ours, openvino"] = partial(ours, runtime="openvino")
    return {**found, "mlflow": mlflow}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| clients | server | requests per s | p50, ms | p95, ms | errors |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for clients in map(str, CLIENTS):
        for name, cells in result.items():
            cell = cells[clients]
            lines.append(
                f"| {clients} | {name} | {cell['requests_per_s']:.1f} | {cell['p50_ms']:.0f} "
                f"| {cell['p95_ms']:.0f} | {cell['errors']} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-u", "--use-case", default="product-reviews")
    parser.add_argument("--seconds", type=float, default=15, help="of each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    home = Home()
    os.environ["MLFLOW_TRACKING_URI"] = home.mlflow_uri
    result = measure(load_use_case(asked.use_case), home, seconds=asked.seconds, seed=asked.seed)
    print(json.dumps(result) if asked.json else table(result))


if __name__ == "__main__":
    main()
