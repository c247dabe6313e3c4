"""The wheel turns for written answers: two nights, and what people edit in between."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from flows.retrain import flywheel
from flywheel.config import Home
from flywheel.dataset import snapshots, splits
from flywheel.errors import ServedDiffers
from flywheel.evaluation import rouge
from flywheel.records import Prediction
from flywheel.reports.console import night_lines
from flywheel.tracking.registry import CHAMPION, Registry
from tasks.outputs.predict import predict
from tasks.verify import check_served, holdout_sample
from tests import nights
from tests.nights import AS_OF, DAY, SECRET
from tests.tasks.test_night import Logged
from tests.writers import TOPICS, make_tiny_writer, talk, written_case

pytestmark = [pytest.mark.prefect, pytest.mark.model]

CASE = written_case()
CUSTOMERS = 100


@dataclass
class Life:
    """A home, the nights that it lived, and what was answered in between."""

    home: Home
    log: Logged
    nights: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Prediction] = field(default_factory=list)


def customers(side: str) -> list[int]:
    names = {f"customer-{number}": number for number in range(CUSTOMERS)}
    sides = splits.assign(names, known={}, salt=CASE.split.salt, holdout=0.4, validation=0)
    return [number for name, number in names.items() if sides[name] == side]


def label(number: int, topic: int, *, source: str) -> dict[str, Any]:
    text, reference = talk(number, topic)
    return {
        "feedback_id": f"{source}-{topic}-{number}",
        "kind": "label",
        "text": text,
        "value": reference,
        "group_id": f"customer-{number}",
        "rater_id": f"rater-{number}",
        "source": source,
        "given_at": AS_OF.isoformat(),
    }


def edited(answer: Prediction, number: int) -> dict[str, Any]:
    """What its customer says of an answer: as it is, or as it should have been."""
    _, wanted = talk(number, 1)
    told = {"kind": "accept"} if answer.label == wanted else {"kind": "correct", "value": wanted}
    return {
        **told,
        "prediction_id": answer.prediction_id,
        "rater_id": f"rater-{number}",
        "source": "app",
        "given_at": (AS_OF + DAY / 2).isoformat(),
    }


def drop(home: Home, name: str, rows: list[dict[str, Any]]) -> None:
    inbox = home.inbox(CASE.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> None:
    nights.prefect_server()


@pytest.fixture(autouse=True)
def of_that_home(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow loads looks for its base there; each test begins without a home."""
    monkeypatch.setenv("FLYWHEEL_HOME", str(life.home.root))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    home = Home(tmp_path_factory.mktemp("life") / "home")
    make_tiny_writer(home.models / "tiny")
    root, log = logging.getLogger(), Logged()
    loggers = [logging.getLogger(name) for name in ("flywheel", "tasks", "flows")]
    root.addHandler(log)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    lived = Life(home, log)
    gold = [label(n, topic, source="gold") for n in customers("holdout") for topic in (0, 1)]
    seed = [label(n, 0, source="app") for n in customers("train")]
    with nights.living_in(home), nights.training_here():
        drop(home, "first.jsonl", gold + seed)
        lived.nights.append(flywheel(CASE, AS_OF))
        asked = [(f"customer-{n}", talk(n, 1)[0]) for n in customers("train")]
        lived.answers = predict.fn(CASE, home, asked, at=AS_OF + DAY / 3)
        told = [edited(a, n) for a, n in zip(lived.answers, customers("train"), strict=True)]
        drop(home, "second.jsonl", told)
        lived.nights.append(flywheel(CASE, AS_OF + DAY))
        yield lived
    root.removeHandler(log)
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def test_a_first_model_is_promoted_by_its_floor(life: Life) -> None:
    first = life.nights[0]
    assert first["outcome"] == "promoted", first["reasons"]
    assert first["challenger_rouge_l"] > first["baselines"]["zero_shot"]
    assert set(first["baselines"]) == {"first_sentence", "lead_3", "zero_shot"}
    rules = {reason["rule"]: reason for reason in first["reasons"]}
    assert rules["min_rouge_l"]["passed"] is True
    assert "min_accuracy" not in rules
    assert "  ROUGE-L on" in "\n".join(night_lines(first))


def test_edits_of_its_answers_make_a_better_one(life: Life) -> None:
    second = life.nights[1]
    assert second["outcome"] == "promoted", [r["detail"] for r in second["reasons"] if r["on"]]
    assert second["challenger_rouge_l"] > second["champion_rouge_l"]
    (better,) = (r for r in second["reasons"] if r["rule"] == "better_than_champion")
    assert better["passed"] is True
    examples = snapshots.read(life.home.snapshots, second["snapshot_id"])
    learned = {e.text: e.label for e in examples if e.split == "train"}
    for number in customers("train"):
        text, reference = talk(number, 1)
        assert learned[text] == reference


def test_an_answer_is_stored_as_the_text_that_it_is(life: Life) -> None:
    assert all(dict(a.probabilities) == {a.label: 1.0} for a in life.answers)
    assert {a.label for a in life.answers} & set(TOPICS[0].values())


def test_no_customers_words_are_logged(life: Life) -> None:
    assert len(life.log.lines) >= 15
    for line in life.log.lines:
        assert SECRET not in line
        assert "wants a repair" not in line


def test_the_page_speaks_of_rouge_and_not_of_right_answers(life: Life) -> None:
    for page in (life.home.root / "reports" / CASE.name).glob("*Z.html"):
        content = page.read_text()
        assert "ROUGE-L" in content
        assert "Macro-F1" not in content
        assert "no labels to mix up" in content
        assert "texts rightly" not in content


def test_the_headlines_say_what_was_measured(life: Life) -> None:
    first, second = sorted((life.home.root / "reports" / CASE.name).glob("*Z.html"))
    assert "is the first model: it answers texts with a ROUGE-L of 0." in first.read_text()
    assert "more of 100 texts better than worse" in second.read_text()


def test_what_is_served_must_write_what_was_measured(life: Life) -> None:
    champion = Registry(life.home).by_alias(CASE.name, CHAMPION)
    assert champion is not None
    expected = holdout_sample(CASE, life.home, champion)
    check_served(CASE, life.home, champion, expected)
    other = {text: {"something else": 1.0} for text in expected}
    with pytest.raises(ServedDiffers) as refused:
        check_served(CASE, life.home, champion, other)
    assert "wants" not in str(refused.value)


def test_mlflow_serves_the_text(life: Life) -> None:
    registry = Registry(life.home)
    champion = registry.by_alias(CASE.name, CHAMPION)
    assert champion is not None
    text, reference = talk(1, 0)
    (answer,) = champion.answer_as_served([text])
    assert rouge.share(answer["label"], [reference]).rouge_l > 0.5
