"""Which version answers: broken ones, going back, shadow and canary, without a model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from flywheel.config import Home, UseCase
from flywheel.errors import NotMeasured
from flywheel.modeling import methods
from flywheel.modeling.methods import Rows, Work
from flywheel.serving.models.engine import Engine, LoadedVersion
from flywheel.serving.models.version_manager import Versions
from flywheel.serving.prometheus import Metrics
from flywheel.store import open_store
from flywheel.store.feedback.predictions import shadows
from flywheel.tracking.registry import CHALLENGER, CHAMPION
from tasks.ingest import ingest_inbox
from tests.engines import OpenModelSource, WordCounter
from tests.services import AT, rows, serving, until

SECRET = "xylophone"

# ---- Versions


def test_a_broken_version_takes_no_traffic(home: Home, use_case: UseCase) -> None:
    def breaks(texts: Sequence[str]) -> None:
        raise RuntimeError(f"cannot read {texts[0]}")

    shelf = OpenModelSource(
        {"1": WordCounter("1", use_case), "2": WordCounter("2", use_case, fault=breaks)}
    )
    with serving(home, use_case, shelf=shelf) as client:
        for number in ("2", "7"):
            shelf.named[CHAMPION] = number
            until(lambda: client.get("/readyz").json()["refused_versions"] == [number])  # noqa: B023
            answer = client.post("/predict", json={"text": f"a {number}"})
            assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
            assert client.get("/readyz").json()["registry_ok"] is False
        assert shelf.loaded == ["1", "2", "7"], "what was refused is not loaded at every look"


def test_a_version_whose_night_has_not_recorded_it_yet_answers_once_it_has(
    home: Home, use_case: UseCase
) -> None:
    class Recorded(OpenModelSource):
        """Knows version 2 from the third look on, as when a night registers it meanwhile."""

        def load(self, version: str, *, beside: Engine | None = None) -> WordCounter:
            if version == "2" and self.loaded.count("2") < 2:
                self.loaded.append(version)
                raise NotMeasured("version 2 was measured by no night of this home")
            return super().load(version, beside=beside)

    shelf = Recorded({number: WordCounter(number, use_case) for number in "12"})
    with serving(home, use_case, shelf=shelf) as client:
        shelf.named[CHAMPION] = "2"
        until(lambda: client.get("/readyz").json()["model_version"] == "2")
    assert shelf.loaded == ["1", "2", "2", "2"]


def test_where_nothing_can_be_answered_yet_the_service_says_so_once(
    use_case: UseCase, caplog: pytest.LogCaptureFixture
) -> None:
    versions = Versions(use_case, OpenModelSource({}, named={}), Metrics())
    with caplog.at_level(logging.WARNING, "flywheel.serving.models.version_manager"):
        for _ in range(3):
            asyncio.run(versions.refresh(None))  # type: ignore[arg-type]
    (said,) = caplog.messages
    assert said.startswith("Nothing can be answered yet (/predict: status 503). The registry names")


def test_going_back_loads_nothing(home: Home, use_case: UseCase) -> None:
    shelf = OpenModelSource({number: WordCounter(number, use_case) for number in "12"})
    with serving(home, use_case, shelf=shelf) as client:
        for number in ("2", "1", "2"):
            shelf.named[CHAMPION] = number
            until(lambda: client.get("/readyz").json()["model_version"] == number)  # noqa: B023
            answer = client.post("/predict", json={"text": "a"}).json()
            assert answer["digest"] == f"digest-{number}", "a cached answer of another version"
    assert shelf.loaded == ["1", "2"]


def test_golden_texts_that_are_right_now_stay_right(home: Home, use_case: UseCase) -> None:
    golden = [{"text": "it works", "label": "neutral"}]
    case = UseCase.model_validate({**use_case.model_dump(), "golden": golden})

    class Pessimist(WordCounter):
        def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return [
                {
                    "negative": 0.9,
                    "neutral": 0.05 - 1 / (50 + len(t)),
                    "positive": 0.05 + 1 / (50 + len(t)),
                }
                for t in texts
            ]

    shelf = OpenModelSource({"1": WordCounter("1", case), "2": Pessimist("2", case)})
    with serving(home, case, shelf=shelf) as client:
        shelf.named[CHAMPION] = "2"
        until(lambda: client.get("/readyz").json()["refused_versions"] == ["2"])


STARS = [
    (f"{words} {thing}", star)
    for star, words in (("5", "I love it perfect"), ("1", "awful it crashes"), ("3", "it is so-so"))
    for thing in ("menu", "login", "sound", "widget")
]
CODES = [(text, f"Q-{star}/B") for text, star in STARS]


@pytest.mark.parametrize("rows", [STARS, CODES], ids=["star ratings", "codes"])
@pytest.mark.parametrize("kept", [True, False], ids=["measured rows", "none kept"])
def test_labels_whose_words_the_model_does_not_know_are_served(
    home: Home, use_case: UseCase, tmp_path: Path, rows: list[tuple[str, str]], kept: bool
) -> None:
    """TF-IDF knows no word of "5" or "Q-5/B": it answers all of them the same."""
    labels = {label: label for label in dict.fromkeys(label for _, label in rows)}
    changes = {"labels": labels, "golden": [], "training": {"method": "tfidf"}}
    gate = {**use_case.gate.model_dump(), "slices": []}
    case = UseCase.model_validate({**use_case.model_dump(), **changes, "gate": gate})
    texts, names = [text for text, _ in rows], list(labels)
    learned = Rows(texts, [[names.index(label)] for _, label in rows], [1.0] * len(rows))
    work = Work(case, None, learned, tmp_path, 64, lambda *_: None)
    answerer = methods.method("tfidf").train(work).answerer
    said = dict(zip(texts, answerer.answer(texts)[0], strict=True))
    version = LoadedVersion("1", "digest-1", case, answerer, {}, said if kept else {})
    with serving(home, case, shelf=OpenModelSource({"1": version})) as client:
        ready = client.get("/readyz").json()
        answers = [client.post("/predict", json={"text": text}).json() for text in texts]
    assert (ready["refused_versions"], ready["registry_ok"]) == ([], True)
    assert [one["label"] for one in answers] == [label for _, label in rows]
    assert all(one["probabilities"][one["label"]] == one["confidence"] for one in answers)


def test_a_version_that_answers_otherwise_than_measured_takes_no_traffic(
    home: Home, use_case: UseCase
) -> None:
    first, second = (WordCounter(number, use_case) for number in "12")
    (said,) = second.answer(["it broke"])
    second.measured = {"it broke": {**said, "negative": said["neutral"], "neutral": 0.0}}
    shelf = OpenModelSource({"1": first, "2": second})
    with serving(home, use_case, shelf=shelf) as client:
        shelf.named[CHAMPION] = "2"
        until(lambda: client.get("/readyz").json()["refused_versions"] == ["2"])
        assert client.post("/predict", json={"text": "a"}).json()["model_version"] == "1"


def test_golden_texts_refuse_nothing_that_answers_as_measured(
    home: Home, use_case: UseCase
) -> None:
    """The gate had the golden texts answered, and a person may have decided against it."""
    golden = [{"text": "it works", "label": "neutral"}]
    case = UseCase.model_validate({**use_case.model_dump(), "golden": golden})

    class Pessimist(WordCounter):
        def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return [{"negative": 0.9, "neutral": 0.05, "positive": 0.05} for _ in texts]

    second = Pessimist("2", case, measured={"it broke": Pessimist("2", case).answer([""])[0]})
    shelf = OpenModelSource({"1": WordCounter("1", case), "2": second})
    with serving(home, case, shelf=shelf) as client:
        shelf.named[CHAMPION] = "2"
        until(lambda: client.get("/readyz").json()["model_version"] == "2")


def test_a_version_that_fails_a_request_says_so_without_its_text(
    home: Home, use_case: UseCase, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(texts: Sequence[str]) -> None:
        if SECRET in " ".join(texts):
            raise RuntimeError(f"cannot read {texts[0]}")

    shelf = OpenModelSource({"1": WordCounter("1", use_case, fault=fails)})
    with serving(home, use_case, shelf=shelf) as client:
        failed = client.post("/predict", json={"text": SECRET})
        assert failed.status_code == 500
        assert SECRET not in failed.text
        assert client.post("/predict", json={"text": "a"}).status_code == 200
    assert SECRET not in caplog.text


# ---- Shadow and canary


def test_the_challenger_answers_in_the_shadow(home: Home, use_case: UseCase) -> None:
    shelf = OpenModelSource({number: WordCounter(number, use_case) for number in "12"})
    shelf.named[CHALLENGER] = "2"
    with serving(home, use_case, shelf=shelf, shadow_share=1) as client:
        until(lambda: client.get("/readyz").json()["challenger_version"] == "2")
        answer = client.post("/predict", json={"text": "it broke"}).json()
        until(lambda: len(rows(home, use_case, "predictions")) == 2)
    assert answer["model_version"] == "1"
    ingest_inbox(use_case, home, at=AT)
    with open_store(home.warehouse, read_only=True) as store:
        (shadow,) = shadows(store, use_case.name)
    assert (shadow.prediction_id, shadow.digest) == (answer["prediction_id"], "digest-2")


def test_a_canary_is_always_the_same_groups_and_both_answer(home: Home, use_case: UseCase) -> None:
    shelf = OpenModelSource({number: WordCounter(number, use_case) for number in "12"})
    shelf.named[CHALLENGER] = "2"
    groups = [f"customer-{n}" for n in range(40)]
    with serving(home, use_case, shelf=shelf, canary_share=0.5, shadow_share=1) as client:
        until(lambda: client.get("/readyz").json()["challenger_version"] == "2")

        def who() -> list[str]:
            inputs = [{"text": "it broke", "group_id": group} for group in groups]
            answers = client.post("/predict", json={"inputs": inputs}).json()["answers"]
            return [answer["model_version"] for answer in answers]

        first = who()
        assert who() == first
        assert first.count("2") in range(8, 33)
        until(lambda: len(rows(home, use_case, "predictions")) == 160)
    ingest_inbox(use_case, home, at=AT)
    query = """
    SELECT count(*) FROM predictions AS p
    JOIN shadow_answers AS s USING (use_case, prediction_id)
    WHERE p.model_version <> s.model_version
    """
    with open_store(home.warehouse, read_only=True) as store:
        assert store.rows(query, []) == [(80,)]


def test_a_canary_that_fails_falls_back(home: Home, use_case: UseCase) -> None:
    def fails(texts: Sequence[str]) -> None:
        if "it broke" in texts:
            raise RuntimeError

    shelf = OpenModelSource(
        {"1": WordCounter("1", use_case), "2": WordCounter("2", use_case, fault=fails)}
    )
    shelf.named[CHALLENGER] = "2"
    with serving(home, use_case, shelf=shelf, canary_share=1) as client:
        until(lambda: client.get("/readyz").json()["challenger_version"] == "2")
        found = [client.post("/predict", json={"text": t}).json() for t in ("a", "it broke")]
    assert [one["model_version"] for one in found] == ["2", "1"]
