"""Versions of customers and segments beside the champion, without a model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flywheel.config import Home, UseCase
from flywheel.errors import RegistryUnavailable
from flywheel.serving.models.engine import Engine
from flywheel.tracking.registry import CHALLENGER, CHAMPION
from flywheel.tracking.version_tags import FORGOTTEN_DATA
from tests.engines import OpenModelSource, WordCounter
from tests.services import rows, serving, until

ANN, BACKEND = "ann-key-0123456789", "backend-key-0123456789"
KEYS = f"ann:{ANN}, {BACKEND}"
BY_CUSTOMER = {"field": "customer_id"}


def shelf_of(use_case: UseCase, *segments: str, **named: str) -> OpenModelSource:
    """Version 1 is champion; each segment has the next version, by alias."""
    numbers = [str(number) for number in range(1, 2 + len(segments))]
    aliases = {f"champion-{name}": n for name, n in zip(segments, numbers[1:], strict=True)}
    return OpenModelSource(
        {number: WordCounter(number, use_case) for number in numbers},
        named={CHAMPION: "1", **aliases, **named},
    )


def ask(client: TestClient, customer: str | None = None, **more: Any) -> dict[str, Any]:
    asked = {"text": "it works", **({"customer_id": customer} if customer else {}), **more}
    answer = client.post("/predict", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def who(client: TestClient, customer: str | None = None, **more: Any) -> str:
    return str(ask(client, customer, **more)["model_version"])


def told(client: TestClient, metric: str) -> float:
    """A metric's value; 0 when it has none yet."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(x.rpartition(" ")[2]) for x in lines if x.startswith(f"{metric} ")), 0)


def fallbacks(client: TestClient, why: str) -> float:
    return told(client, f'flywheel_fallbacks_total{{why="{why}"}}')


# ---- Who answers


def test_each_customer_is_answered_by_their_version_others_by_the_champion(
    home: Home, use_case: UseCase
) -> None:
    shelf = shelf_of(use_case, "acme", "globex")
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        answers = [ask(client, name) for name in ("acme", "globex", "initech", None)]
        assert told(client, "flywheel_adapters") == 2
    told_by = [(one["model_version"], one["digest"]) for one in answers]
    assert told_by == [(n, f"digest-{n}") for n in ("2", "3", "1", "1")]
    kept = [(row["model_version"], row["digest"]) for row in rows(home, use_case, "predictions")]
    assert kept == told_by, "what is recorded is who answered"


def test_without_a_field_nobody_has_a_version_of_their_own(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, shelf=shelf_of(use_case, "acme")) as client:
        assert who(client, "acme") == "1"
        refused = client.post("/predict", json={"text": "a", "segment": "acme"})
    assert refused.status_code == 422


@pytest.mark.parametrize("field", ["group_id", "segment"])
def test_the_use_case_names_the_field(home: Home, use_case: UseCase, field: str) -> None:
    shelf = shelf_of(use_case, "acme")
    with serving(home, use_case, shelf=shelf, adapters={"field": field}) as client:
        assert who(client, **{field: "acme"}) == "2"
        assert who(client, "acme") == "1"


def test_a_map_names_versions_by_number_or_alias(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "retail", "globex")
    named = {"acme.com": 3, "initech": "champion-retail", "umbrella": "champion-retail"}
    adapters = {**BY_CUSTOMER, "versions": named}
    with serving(home, use_case, shelf=shelf, adapters=adapters) as client:
        assert [who(client, name) for name in named] == ["3", "2", "2"]
        assert shelf.loaded == ["1", "3", "2"], "two customers of one segment load it once"


@pytest.mark.parametrize("field", ["customer_id", "segment"])
def test_a_customer_s_key_chooses_that_customer_whatever_the_body_says(
    home: Home, use_case: UseCase, field: str
) -> None:
    shelf = shelf_of(use_case, "ann", "bob")
    with serving(home, use_case, shelf=shelf, keys=KEYS, adapters={"field": field}) as client:

        def by(key: str, **asked: str) -> str:
            headers = {"Authorization": f"Bearer {key}"}
            answer = client.post("/predict", json={"text": "a", **asked}, headers=headers)
            return str(answer.json()["model_version"])

        assert by(ANN, **{field: "bob"}) == "2"
        assert by(ANN) == "2"
        assert by(BACKEND, **{field: "bob"}) == "3"


def test_one_request_may_hold_many_segments_and_known_texts_stay_their_own(
    home: Home, use_case: UseCase
) -> None:
    names = ["a", "b", "c", "nobody"]
    shelf = shelf_of(use_case, "a", "b", "c")
    inputs = [{"text": "same", "customer_id": name} for name in names * 2]
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        for _ in range(2):
            answers = client.post("/predict", json={"inputs": inputs}).json()["answers"]
            assert [one["digest"] for one in answers] == [f"digest-{n}" for n in "2341"] * 2
    for engine in shelf.versions.values():
        assert engine.batches.count(["same", "same"]) == 1, "then it is known"


def test_twenty_segments_under_load_each_have_their_own_answers(
    home: Home, use_case: UseCase
) -> None:
    names = [f"segment-{number}" for number in range(20)]
    shelf = shelf_of(use_case, *names)
    expected = {name: str(number) for number, name in enumerate(names, start=2)}
    adapters = {**BY_CUSTOMER, "most_loaded": 3}
    with serving(home, use_case, shelf=shelf, adapters=adapters, cached_answers=0) as client:

        def one(number: int) -> tuple[str, str]:
            name = names[number * 7 % len(names)]
            return name, who(client, name, text=f"text {number}")

        with ThreadPoolExecutor(8) as clients:
            found = list(clients.map(one, range(100)))
        assert told(client, "flywheel_adapters") <= 3
    assert {(name, expected[name]) for name in names} == set(found)


# ---- What is in memory


def test_the_one_asked_least_recently_is_unloaded(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "a", "b", "c")
    adapters = {**BY_CUSTOMER, "most_loaded": 2}
    with serving(home, use_case, shelf=shelf, adapters=adapters) as client:
        for name in ("a", "b", "a", "c"):
            who(client, name)
        assert client.get("/readyz").json()["adapter_versions"] == ["2", "4"]
        before = list(shelf.versions["3"].batches)
        assert who(client, "b") == "3"
        assert shelf.versions["3"].batches == before, "checked and asked once, for it is the same"
        assert client.get("/readyz").json()["adapter_versions"] == ["4", "3"]
    assert shelf.loaded == ["1", "2", "3", "4", "3"]


def test_the_same_bytes_are_loaded_once(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "a", "b")
    shelf.tags["3"] = {"digest": "digest-2"}
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert [who(client, name) for name in "ab"] == ["2", "2"]
    assert shelf.loaded == ["1", "2"]


def test_a_segment_whose_alias_moves_is_answered_by_the_new_version(
    home: Home, use_case: UseCase
) -> None:
    shelf = shelf_of(use_case, "a", "b")
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert ask(client, "a")["digest"] == "digest-2"
        shelf.named["champion-a"] = "3"
        until(lambda: who(client, "a") == "3")
        assert ask(client, "a")["digest"] == "digest-3"


def test_the_champion_s_own_version_is_not_loaded_again(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case)
    shelf.named["champion-a"] = "1"
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "a") == "1"
    assert shelf.loaded == ["1"]


# ---- The champion stands in


def breaks(texts: Sequence[str]) -> None:
    raise RuntimeError(f"cannot read {texts[0]}")


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("other base", "refused"),
        ("broken", "refused"),
        ("gone", "refused"),
        ("forgotten", "forgotten"),
        ("unknown", "missing"),
    ],
)
def test_what_cannot_be_loaded_is_answered_by_the_champion_and_counted(
    home: Home, use_case: UseCase, case: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = shelf_of(use_case, "acme")
    shelf.versions["2"].base_signature = {"base": "b1" if case != "other base" else "b2"}
    adapters: dict[str, Any] = BY_CUSTOMER
    if case == "broken":
        shelf.versions["2"].fault = breaks
    elif case == "gone":
        shelf.missing.add("2")
    elif case == "forgotten":
        shelf.tags["2"] = {FORGOTTEN_DATA: "true"}
    elif case == "unknown":
        adapters = {**BY_CUSTOMER, "versions": {"acme": "nosuch"}}
    with serving(home, use_case, shelf=shelf, adapters=adapters) as client:
        for number in range(3):
            assert who(client, "acme", text=f"text {number}") == "1"
        assert fallbacks(client, why) == 3
        assert shelf.loaded.count("2") == (why == "refused"), "refused once, not tried each time"
        assert client.get("/readyz").json()["refused_versions"] == ["2"] * (why == "refused")
    assert "cannot read" not in caplog.text


def test_a_refused_version_is_tried_beside_another_champion(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "acme", "other")
    for number in "23":
        shelf.versions[number].base_signature = {"base": "b2"}
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "acme") == "1"
        shelf.named[CHAMPION] = "3"
        until(lambda: who(client, "acme") == "2")


def test_a_registry_that_does_not_answer_is_asked_again(home: Home, use_case: UseCase) -> None:
    class Shaky(OpenModelSource):
        troubled = True

        def load(self, version: str, *, beside: Engine | None = None) -> WordCounter:
            if version == "2" and self.troubled:
                raise RegistryUnavailable("not now")
            return super().load(version, beside=beside)

    made = shelf_of(use_case, "acme")
    shelf = Shaky(made.versions, made.named)
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "acme") == "1"
        shelf.troubled = False
        until(lambda: who(client, "acme") == "2")


def test_a_version_is_left_when_somebody_it_learned_from_is_forgotten(
    home: Home, use_case: UseCase
) -> None:
    shelf = shelf_of(use_case, "acme")
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "acme") == "2"
        shelf.tags["2"] = {FORGOTTEN_DATA: "true"}
        until(lambda: who(client, "acme") == "1")
        until(lambda: client.get("/readyz").json()["adapter_versions"] == [])


def test_a_version_that_fails_a_text_leaves_it_to_the_champion(
    home: Home, use_case: UseCase
) -> None:
    def fails(texts: Sequence[str]) -> None:
        if "odd" in texts:
            raise RuntimeError

    shelf = shelf_of(use_case, "acme")
    shelf.versions["2"].fault = fails
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert [who(client, "acme", text=text) for text in ("even", "odd")] == ["2", "1"]
        assert fallbacks(client, "failed") == 1


def test_a_request_does_not_wait_for_ever(home: Home, use_case: UseCase) -> None:
    loading = threading.Event()

    class Slow(OpenModelSource):
        def load(self, version: str, *, beside: Engine | None = None) -> WordCounter:
            if version == "2":
                loading.wait()
            return super().load(version, beside=beside)

    made = shelf_of(use_case, "acme")
    shelf = Slow(made.versions, made.named)
    adapters = {**BY_CUSTOMER, "load_s": 0.01}
    with serving(home, use_case, shelf=shelf, adapters=adapters) as client:
        assert who(client, "acme") == "1"
        assert fallbacks(client, "slow") == 1
        loading.set()
        until(lambda: who(client, "acme") == "2")


# ---- Beside swaps, canary and shadow


def test_the_champion_swaps_and_segments_keep_their_versions(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "acme", "other")
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "acme") == "2"
        shelf.named[CHAMPION] = "3"
        until(lambda: who(client) == "3")
        assert who(client, "acme") == "2"
    assert shelf.loaded == ["1", "2", "3"]


def test_a_champion_on_another_base_answers_all(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "acme", "other")
    shelf.versions["3"].base_signature = {"base": "b2"}
    with serving(home, use_case, shelf=shelf, adapters=BY_CUSTOMER) as client:
        assert who(client, "acme") == "2"
        shelf.named[CHAMPION] = "3"
        until(lambda: who(client) == "3")
        assert who(client, "acme") == "3"
        until(lambda: client.get("/readyz").json()["adapter_versions"] == [])


def test_canary_and_shadow_leave_segments_alone(home: Home, use_case: UseCase) -> None:
    shelf = shelf_of(use_case, "acme", "other")
    shelf.named[CHALLENGER] = "3"
    with serving(
        home, use_case, shelf=shelf, adapters=BY_CUSTOMER, canary_share=1, shadow_share=1
    ) as client:
        until(lambda: client.get("/readyz").json()["challenger_version"] == "3")
        assert [who(client, name, text=name) for name in ("acme", "nobody")] == ["2", "3"]
        until(lambda: len(rows(home, use_case, "predictions")) == 3)
    kept = [(row.get("text"), row["model_version"]) for row in rows(home, use_case, "predictions")]
    assert kept == [("acme", "2"), ("nobody", "3"), (None, "1")]
