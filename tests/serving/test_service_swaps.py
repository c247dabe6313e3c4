"""Real versions swapped under load: no request fails, and each answer is its version's own."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flywheel.config import Home
from flywheel.modeling import methods
from flywheel.serving.http.app import build_app
from flywheel.serving.http.auth import Keys
from flywheel.serving.service import Service
from flywheel.tracking.registry import Registry
from tests import champions, nights
from tests.nights import CASE
from tests.services import configured

pytestmark = pytest.mark.model

CLIENTS, PAUSE_S = 4, 0.02
# to one that must be loaded, back to the one before, and on
NAMES = ["2", "1", "2", "3"] * 2
TEXTS = ["it works", "the screen broke", "fine", "bad bad bad it broke", "good screen it works"]


async def answers_over_swaps(
    home: Home, names: list[str], segments: tuple[str | None, ...] = (None,)
) -> dict[str, list[dict[str, Any]]]:
    """Ask without a pause while the champion becomes each of ``names``; version → answers."""
    adapters = {"field": "segment"}
    case = configured(CASE, cached_answers=0, max_batch_tokens=64, adapters=adapters)
    service = Service(case, home)
    app = build_app(service, Keys.parse(""))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    over = asyncio.Event()

    async def ask(client: httpx2.AsyncClient) -> None:
        for text, segment in itertools.cycle(itertools.product(TEXTS, segments)):
            asked = {"text": text, "segment": segment}
            answer = await client.post("/predict", json=asked)
            assert answer.status_code == 200, answer.text
            found[answer.json()["model_version"]].append({**asked, **answer.json()})
            if over.is_set():
                return
            await asyncio.sleep(PAUSE_S)

    async def answered(number: str) -> None:
        before = len(found[number])
        while len(found[number]) == before:
            await asyncio.sleep(0.005)

    async def serves(number: str) -> None:
        while (version := service.versions.serving) is None or version.version != number:
            assert not service.versions.refused
            await asyncio.sleep(0.005)

    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        await serves("1")
        asking = [asyncio.create_task(ask(client)) for _ in range(CLIENTS)]
        for number in names:
            champions.by_hand(home, number)
            await serves(number)
            await answered(number)
        over.set()
        await asyncio.gather(*asking)
    return found


@pytest.mark.slow
def test_swaps_under_load_fail_no_request(tmp_path: Path) -> None:
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        found = asyncio.run(answers_over_swaps(home, NAMES))
        assert set(found) == set(champions.MEASURED)
        for number, answers in found.items():
            version = champions.version(home, number)
            base = home.models / CASE.training.base
            reader = methods.load_on(CASE, base, version.adapter_dir)
            expected = dict(zip(TEXTS, reader.answer(TEXTS)[0], strict=True))
            for answer in answers:
                assert answer["digest"] == version.digest
                assert answer["probabilities"] == pytest.approx(expected[answer["text"]], abs=0.02)


def test_swaps_leave_segments_to_their_own_version(tmp_path: Path) -> None:
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        client = Registry(home).client
        client.set_registered_model_alias(CASE.name, "champion-north", "3")
        found = asyncio.run(answers_over_swaps(home, ["2", "1"] * 3, (None, "north")))
    segments = {number: {one["segment"] for one in answers} for number, answers in found.items()}
    assert segments == {"1": {None}, "2": {None}, "3": {"north"}}


def test_a_tampered_champion_takes_no_traffic(tmp_path: Path) -> None:
    home = champions.copy(tmp_path / "home")

    async def main() -> tuple[dict[str, str], str]:
        service = Service(configured(CASE), home)
        await service.start()
        while service.versions.serving is None:
            await asyncio.sleep(0.01)
        champions.by_hand(home, "2")
        while not service.versions.refused:
            await asyncio.sleep(0.01)
        refused, serving = service.versions.refused, service.versions.serving.version
        await service.stop()
        return refused, serving

    with nights.living_in(home):
        champions.tamper(home, "2")
        refused, serving = asyncio.run(main())
    assert serving == "1"
    assert "adapter: measured" in refused["2"]
