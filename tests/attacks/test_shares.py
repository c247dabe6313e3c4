"""No key fills what all keys share: the queue before the model, the inbox, the kept pictures."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images, probes
from flywheel.ingestion.journal import FEEDBACK
from flywheel.serving.models.batching import Batcher, Overloaded
from flywheel.serving.models.fair_queue import Turns
from flywheel.serving.prometheus import Metrics
from flywheel.serving.quotas import InboxShares, PictureShares, may_have
from tests.attacks.test_bounds import ANN, BOB, KEYS, bearer
from tests.engines import WordCounter
from tests.services import serving


@given(st.integers(1, 30), st.integers(0, 400))
def test_however_many_keys_want_everything_the_next_finds_room(keys: int, rounds: int) -> None:
    held = [0] * keys
    for turn in range(rounds):
        who = turn % keys
        if may_have(held[who] + 1, sum(held) + 1, 512):
            held[who] += 1
    assert sum(held) <= 512
    assert may_have(1, sum(held) + 1, 512)


# ---- The queue


def test_callers_are_served_in_turn_and_each_in_its_order() -> None:
    turns: Turns[str] = Turns()
    turns.add("ann", [f"ann {n}" for n in range(5)])
    turns.add("bob", ["bob 0", "bob 1"])
    assert (turns.held("ann"), turns.held("bob"), len(turns)) == (5, 2, 7)
    assert turns.take(3) == ["ann 0", "bob 0", "ann 1"]
    assert turns.take(9) == ["bob 1", "ann 2", "ann 3", "ann 4"]
    assert (turns.take(1), len(turns), turns.held("ann")) == ([], 0, 0)


def waiting(use_case: UseCase, asked: list[tuple[str, int]]) -> list[Any]:
    """What becomes of each request while nobody is answered; None: it waits."""

    async def main() -> list[Any]:
        engine = WordCounter("1", use_case)
        batcher = Batcher(lambda: engine, Metrics(), max_waiting=16, max_tokens=64)
        tasks = []
        for who, texts in asked:
            tasks.append(asyncio.create_task(batcher.answer(["a"] * texts, who=who)))
            await asyncio.sleep(0)
        found = [task.exception() if task.done() else None for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    return asyncio.run(main())


def test_a_key_that_fills_the_queue_leaves_room_for_the_others(use_case: UseCase) -> None:
    flood = [("mallory", 1)] * 20
    found = waiting(use_case, [("ann", 1), *flood, ("ann", 1), ("bob", 1)])
    assert (found[0], found[-2], found[-1]) == (None, None, None)
    refused = [one for one in found[1:21] if isinstance(one, Overloaded)]
    assert len(refused) == 9
    assert "a share of it of each key" in str(refused[0])


@pytest.mark.parametrize("who", ["anybody", "key-1"])
def test_the_only_key_there_is_has_the_whole_queue(use_case: UseCase, who: str) -> None:
    found = waiting(use_case, [(who, 8), ("", 2), (who, 6), (who, 1)])
    assert found[:3] == [None, None, None], "what nobody asked, shadows, is no other key"
    assert isinstance(found[3], Overloaded)


# ---- The inbox


def test_a_key_that_fills_the_inbox_leaves_room_until_a_night_takes_it(tmp_path: Path) -> None:
    shares, now = InboxShares(tmp_path, FEEDBACK, 1_000), 0.0
    file = tmp_path / "served-1.feedback.jsonl.open"

    def write(who: str, size: int) -> None:
        shares.require(who, size, now=now)
        file.write_bytes(file.read_bytes() + b"x" * size if file.exists() else b"x" * size)
        shares.wrote(file.name, {who: size})

    write("ann", 10)
    write("mallory", 700)
    now += 2
    with pytest.raises(OSError, match="inbox_mb") as refused:
        write("mallory", 60)
    assert refused.value.errno == errno.EDQUOT
    write("ann", 100)
    write("bob", 100)
    file.rename(tmp_path / "served-1.feedback.jsonl")
    (tmp_path / "served-1.feedback.jsonl").unlink()
    now += 2
    write("mallory", 700)


def test_over_http_another_key_s_feedback_is_still_taken(home: Home, use_case: UseCase) -> None:
    def told(n: int) -> dict[str, str]:
        return {"kind": "label", "text": f"a {n} " + "b" * 300, "value": "neutral"}

    with serving(home, use_case, keys=KEYS, inbox_mb=0.01) as client:
        assert client.post("/feedback", json=told(0), headers=bearer(BOB)).status_code == 202
        flood = [
            client.post("/feedback", json=told(n), headers=bearer(ANN)).status_code
            for n in range(1, 25)
        ]
        assert flood.count(202) in range(8, 16)
        assert flood[-1] == 503
        assert client.post("/feedback", json=told(99), headers=bearer(BOB)).status_code == 202
        assert client.get("/readyz").status_code == 200


# ---- Pictures


class Full(Exception):
    pass


def test_kept_pictures_are_bounded_and_no_key_fills_what_is_left(tmp_path: Path) -> None:
    shares = PictureShares(tmp_path, 1_000, Full)
    shares.take("ann", 10)
    shares.take("mallory", 700)
    with pytest.raises(Full, match="pictures_mb"):
        shares.take("mallory", 60)
    shares.take("bob", 100)
    alone = PictureShares(tmp_path, 1_000, Full)
    alone.take("anybody", 1_000)
    with pytest.raises(Full):
        alone.take("anybody", 1)


def test_a_picture_without_room_is_not_written_and_one_that_is_kept_costs_nothing(
    tmp_path: Path,
) -> None:
    first, second, _ = probes()
    shares = PictureShares(tmp_path, 300, Full)
    images = Images(tmp_path, room=lambda size: shares.take("ann", size))
    address = images.sent(first)
    kept = images.path(address).stat().st_size
    assert kept < 300 < 2 * kept
    assert images.sent(first) == address
    with pytest.raises(Full):
        images.sent(second)
    assert len([*tmp_path.rglob("*.png")]) == 1
