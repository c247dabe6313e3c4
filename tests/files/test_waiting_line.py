"""Who came first has the warehouse, or the GPU, first; and everybody can see who waits for whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home, UseCase
from flywheel.errors import StoreBusy
from flywheel.files import waiting_line
from flywheel.files.waiting_line import FRESH_S, GONE_S, Place, waiters
from flywheel.store import open_store, waiting
from flywheel.store.waiting import WAREHOUSE
from tasks.coordination.locks import gpu_turn, only_night
from tests import nights

# opens the warehouse as a night does, and writes down when it had it
CHILD = """
import sys
from pathlib import Path
from flywheel.config import Home
from flywheel.store import open_store
from flywheel.store.waiting import patient
from tasks.coordination.locks import only_night
home, name = Home(), sys.argv[1]
with only_night(home, name), patient(60, who=f"the night of {name}"), open_store(home.warehouse):
    with Path(sys.argv[2]).open("a") as file:
        file.write(f"{name}\\n")
"""


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for one in found:
        one.kill()
        one.wait()


def until(true: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def begin(name: str, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, name, str(out)], cwd=nights.ROOT)


def test_the_warehouse_goes_to_who_came_first(
    home: Home, tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    out = tmp_path / "order"
    with open_store(home.warehouse):
        for number, name in enumerate(("first", "second", "third"), 1):
            children.append(begin(name, out))
            until(lambda number=number: len(waiters(home.root, WAREHOUSE)) == number)
        until(lambda: waiters(home.root)[0].held_by == os.getpid())

        shown = CliRunner().invoke(cli, ["ps"]).stdout.splitlines()
        told = json.loads(CliRunner().invoke(cli, ["ps", "--json"]).stdout)
        # who has it open gets on with it, whoever waits
        with open_store(home.warehouse, wait_s=0.0) as store:
            assert store.waiting("x") == 0
    # who lets it go and comes again stands behind them
    with open_store(home.warehouse, wait_s=60), out.open("a") as file:
        file.write("again\n")

    assert out.read_text().split() == ["first", "second", "third", "again"]
    assert [line.partition(" runs since")[0] for line in shown] == [
        "the night of first",
        "the night of second",
        "the night of third",
    ]
    assert f"waits for the warehouse, which PID {os.getpid()} holds (place 2, for" in shown[1]
    assert [one["position"] for one in told["waits"]] == [1, 2, 3]
    for one in children:
        assert one.wait(60) == 0
    assert CliRunner().invoke(cli, ["ps"]).stdout == "No night runs, and nobody waits.\n"
    assert waiters(home.root) == []


def test_who_waits_names_whose_night_has_it(
    home: Home, tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    with only_night(home, "support"), open_store(home.warehouse):
        children.append(begin("reviews", tmp_path / "order"))
        until(lambda: any(one.held_by for one in waiters(home.root)))
        shown = CliRunner().invoke(cli, ["ps"]).stdout
    assert "which the night of support holds (place 1, for" in shown
    assert "the night of support runs since " in shown


def test_one_that_is_stopped_or_killed_is_passed_over(
    home: Home,
    tmp_path: Path,
    children: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_store(home.warehouse):
        children += [begin("stopped", tmp_path / "a")]
        until(lambda: len(waiters(home.root)) == 1)
        children[0].send_signal(signal.SIGSTOP)
        monkeypatch.setattr(waiting_line, "FRESH_S", 0.3)
        until(lambda: waiters(home.root) == [])
    with open_store(home.warehouse, wait_s=20):
        pass
    children[0].kill()
    (left,) = home.root.glob("waits-*")
    os.utime(left, (0, time.time() - GONE_S - 1))
    assert waiters(home.root) == []
    assert not left.exists()


def test_who_finds_others_in_line_says_how_many(home: Home) -> None:
    ahead = Place(home.root, who="the night of support", what=WAREHOUSE)
    with (
        pytest.raises(StoreBusy, match="another process, with 1 in line before this one for 0 s"),
        open_store(home.warehouse, wait_s=0.0),
    ):
        pass
    ahead.leave()
    Place(home.root, who="the night of support", what="the GPU")
    with open_store(home.warehouse, wait_s=0.0):
        pass


def test_a_home_that_cannot_be_written_to_has_no_line(tmp_path: Path) -> None:
    place = Place(tmp_path / "none", who="x", what=WAREHOUSE)
    assert place.ahead() == []
    place.held_by(3)
    place.leave()
    assert waiters(tmp_path / "none") == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"who": 1}'])
def test_a_place_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "waits-1-1-aa.lock").write_text(content)
    assert waiters(tmp_path) == []


# ---- The GPU


def test_the_gpu_goes_to_who_came_first(home: Home) -> None:
    order: list[str] = []

    def train(name: str) -> None:
        with gpu_turn(home, who=name, wait_s=60):
            order.append(name)

    threads = [threading.Thread(target=train, args=(name,)) for name in ("a", "b", "c")]
    with gpu_turn(home, who="first"):
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: len(waiters(home.root, "the GPU")) == number)
        with (
            pytest.raises(StoreBusy, match="was used by others for"),
            gpu_turn(home, who="late", wait_s=0),
        ):
            pass
        assert order == []
    for thread in threads:
        thread.join(60)
    assert order == ["a", "b", "c"]
    assert FRESH_S > 4 * 0.5, "who waits for the GPU looks every half second"


def test_only_what_fills_this_machines_gpu_waits_for_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from flywheel.modeling import model_loading
    from tasks.coordination import gpu

    taken: list[str] = []
    monkeypatch.setattr(gpu, "gpu_turn", lambda _, *, who: taken.append(who))
    with gpu.turn_of(nights.CASE, home):
        pass
    monkeypatch.setattr(model_loading, "device", lambda: torch.device("cuda"))
    pool = nights.CASE.training.model_copy(update={"where": "pool"})
    gpu.turn_of(nights.CASE.model_copy(update={"training": pool}), home)
    light = {"method": "tfidf", "min_examples": 20}
    gpu.turn_of(UseCase.model_validate(nights.CASE.model_dump() | {"training": light}), home)
    assert taken == []
    with waiting.patient(1, who="the night of support"):
        gpu.turn_of(nights.CASE, home)
    assert taken == ["the night of support"]
