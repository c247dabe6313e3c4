"""Real versions of segments over HTTP: each answers as it does alone, on one loaded base."""

from __future__ import annotations

import gc
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flywheel.config import Home, UseCase
from flywheel.modeling import artifact, methods
from flywheel.modeling.base_cache import Bases
from flywheel.serving.models.engine import Engine, LoadedVersion, RegistryModelSource
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from flywheel.tracking.versions import Listed
from tests import champions, nights
from tests.nights import CASE
from tests.services import configured, listening, until
from tests.tiny import make_tiny_base

pytestmark = pytest.mark.model

TEXTS = ["it works", "the screen broke", "fine", "bad bad bad it broke", "good screen it works"]
SEGMENTS = 12
TOLERANCE = 0.02
"""Of a probability: the texts beside it in a pass move it a little, as for a champion."""


def by_segment(**adapters: Any) -> UseCase:
    given = {"field": "segment", **adapters}
    return configured(CASE, adapters=given, cached_answers=0, max_batch_tokens=64)


def call(url: str, content: dict[str, Any] | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        body = response.read().decode()
    return body if url.endswith("/metrics") else json.loads(body)


def serves(url: str, version: str = "1") -> None:
    def ready() -> bool:
        try:
            return bool(call(f"{url}/readyz")["model_version"] == version)
        except urllib.error.HTTPError:
            return False

    until(ready)


def alone(home: Home, folder: Path) -> dict[str, dict[str, float]]:
    """What an adapter answers that has a base to itself."""
    reader = methods.load_on(CASE, home.models / CASE.training.base, folder)
    return dict(zip(TEXTS, reader.answer(TEXTS)[0], strict=True))


# ---- From the registry


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        yield home


def name_segment(home: Home, segment: str, version: str) -> None:
    """What a person does in MLflow: give a version the alias of a segment."""
    client = Registry(home).client
    client.set_registered_model_alias(CASE.name, f"champion-{segment}", version)


def test_segments_are_answered_by_their_registered_versions(home: Home) -> None:
    name_segment(home, "north", "2")
    name_segment(home, "south", "3")
    with listening(home, by_segment()) as url:
        serves(url)
        for segment, version in (("north", "2"), ("south", "3"), ("west", "1")):
            found = champions.version(home, version)
            expected = alone(home, found.adapter_dir)
            inputs = [{"text": text, "segment": segment} for text in TEXTS]
            for answer, text in zip(
                call(f"{url}/predict", {"inputs": inputs})["answers"], TEXTS, strict=True
            ):
                assert (answer["model_version"], answer["digest"]) == (version, found.digest)
                assert answer["probabilities"] == pytest.approx(expected[text], abs=TOLERANCE)
        champions.by_hand(home, "3")
        serves(url, "3")
        answer = call(f"{url}/predict", {"text": "fine", "segment": "north"})
        assert answer["model_version"] == "2", "it stays loaded over a swap"


def test_another_base_another_prompt_and_a_tampered_adapter_are_refused(
    home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_tiny_base(home.models / "other", labels=CASE.label_names, seed=7)
    on_other = {**CASE.training.model_dump(), "base": "other"}
    registered = []
    for name, changes in (
        ("base", {"training": on_other}),
        ("prompt", {"prompt": "{text}\nSentiment:"}),
    ):
        case = UseCase.model_validate({**CASE.model_dump(), **changes})
        digest = nights.make_adapter(home, tmp_path / name, seed=9, case=case)
        registered.append(nights.register(home, tmp_path / name, digest, case=case).version)
    champions.tamper(home, "2")
    for segment, version in zip(("base", "prompt", "tampered"), (*registered, "2"), strict=True):
        name_segment(home, segment, version)
    with listening(home, by_segment()) as url:
        serves(url)
        for segment in ("base", "prompt", "tampered"):
            answer = call(f"{url}/predict", {"text": "fine", "segment": segment})
            assert answer["model_version"] == "1"
        assert call(f"{url}/readyz")["refused_versions"] == sorted(["2", *registered])
        assert 'flywheel_fallbacks_total{why="refused"} 3.0' in call(f"{url}/metrics")
    first, second = registered
    assert f"version {first} cannot stand beside the champion, version 1: base " in caplog.text
    assert f"version {second} cannot stand beside the champion, version 1: prompt " in caplog.text
    assert "version 2 is not what was measured: adapter: measured" in caplog.text


def test_a_canary_and_a_segment_answer_side_by_side(home: Home) -> None:
    name_segment(home, "north", "2")
    Registry(home).client.set_registered_model_alias(CASE.name, CHALLENGER, "3")
    case = configured(by_segment(), canary_share=1)
    with listening(home, case) as url:
        serves(url)
        until(lambda: call(f"{url}/readyz")["challenger_version"] == "3")
        inputs = [{"text": "fine", "segment": "north"}, {"text": "fine"}]
        answers = call(f"{url}/predict", {"inputs": inputs})["answers"]
    assert [answer["model_version"] for answer in answers] == ["2", "3"]


def test_versions_of_one_registry_share_their_base(home: Home) -> None:
    shelf = RegistryModelSource(home, CASE.name)
    one = shelf.load("1")
    base = home.models / CASE.training.base
    assert shelf.bases.holds(base)
    other = shelf.load("2", beside=one)
    assert one.base_signature == other.base_signature
    del one, other
    gc.collect()
    assert not shelf.bases.holds(base), "and leave nothing behind"


# ---- Twenty at once


@dataclass
class Folders:
    """Adapters in folders named by their number, the first one's champion."""

    home: Home
    bases: Bases = field(default_factory=Bases)

    def aliases(self) -> Mapping[str, str]:
        return {alias: one.version for one in self.listed() for alias in one.aliases}

    def listed(self) -> Sequence[Listed]:
        return [
            Listed(
                version=str(number),
                tags={"digest": f"digest-{number}"},
                aliases=(f"champion-segment-{number}", *([CHAMPION] * (number == 0))),
            )
            for number in range(SEGMENTS + 1)
        ]

    def load(self, version: str, *, beside: Engine | None = None) -> LoadedVersion:
        with self.bases.shared():
            base = artifact.base_folder(CASE, self.home, None)
            answerer = methods.load_on(CASE, base, self.home.adapters / version)
        return LoadedVersion(version, f"digest-{version}", CASE, answerer, {"base": "tiny"})


def redrawn(folder: Path, source: Path, *, seed: int) -> Path:
    """An adapter like ``source``, with other random weights."""
    shutil.copytree(source, folder)
    drawn = torch.Generator().manual_seed(seed)
    path = folder / artifact.WEIGHTS
    save_file(
        {
            name: (0.3 * torch.randn(part.shape, generator=drawn)).to(part.dtype)
            for name, part in sorted(load_file(path).items())
        },
        path,
        {"format": "pt"},
    )
    return folder


@pytest.mark.slow
def test_interleaved_segments_each_get_their_own_adapter_s_answers(tmp_path: Path) -> None:
    home = nights.make_home(tmp_path / "home")
    nights.make_adapter(home, home.adapters / "0")
    expected = {"0": alone(home, home.adapters / "0")}
    for number in range(1, SEGMENTS + 1):
        folder = redrawn(home.adapters / str(number), home.adapters / "0", seed=number)
        expected[folder.name] = alone(home, folder)
    firsts = [round(one["fine"]["positive"], 2) for one in expected.values()]
    assert len(set(firsts)) > SEGMENTS // 2, "adapters that answer alike would prove nothing"
    asked = [
        (str(1 + number * 7 % SEGMENTS), TEXTS[number % len(TEXTS)])
        for number in range(2 * SEGMENTS)
    ]
    with listening(home, by_segment(most_loaded=8, load_s=60), Folders(home)) as url:
        serves(url, "0")

        def ask(segment: str, text: str) -> dict[str, Any]:
            found: dict[str, Any] = call(
                f"{url}/predict", {"text": text, "segment": f"segment-{segment}"}
            )
            return found

        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(ask, *zip(*asked, strict=True)))
        assert "flywheel_adapters 8.0" in call(f"{url}/metrics")
    for (segment, text), answer in zip(asked, answers, strict=True):
        assert answer["model_version"] == segment
        assert answer["probabilities"] == pytest.approx(expected[segment][text], abs=TOLERANCE)
