"""The service with written answers: they are served, recorded, edited, and swapped with care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from flywheel.config import Home, UseCase
from flywheel.curation import curate
from flywheel.store import open_store
from flywheel.tracking.registry import CHAMPION
from tasks.ingest import ingest_inbox
from tests.engines import OpenModelSource, WordCounter
from tests.services import AT, serving, until
from tests.writers import written_case

CASE = written_case()


@dataclass(eq=False)
class Echo(WordCounter):
    """Writes the first words of a text, or nothing at all."""

    words: int = 2

    def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.batches.append(list(texts))
        return [{" ".join(text.split()[: self.words]): 1.0} for text in texts]


def shelf(case: UseCase = CASE, **words: int) -> OpenModelSource:
    return OpenModelSource(
        {v: Echo(v, case, words=many) for v, many in (words or {"1": 2}).items()}
    )


def test_an_answer_and_its_edit_reach_the_warehouse(home: Home) -> None:
    with serving(home, CASE, shelf=shelf()) as client:
        answer = client.post("/predict", json={"text": "ann says it broke"}).json()
        assert answer["label"] == "ann says"
        assert answer["probabilities"] == {"ann says": 1.0}
        assert answer["abstained"] is False
        told = {
            "kind": "correct",
            "prediction_id": answer["prediction_id"],
            "value": "ann wants a repair .",
            "rater_id": "ann",
        }
        assert client.post("/feedback", json=told).status_code < 300
    ingest_inbox(CASE, home, at=AT)
    with open_store(home.warehouse) as store:
        (reaction,) = store.reactions(CASE.name, gold_sources=["gold"], newest=10, replay=[])
    assert (reaction.predicted_label, reaction.value) == ("ann says", "ann wants a repair .")


def test_an_empty_answer_is_taken_in_and_its_correction_is_learned_from(home: Home) -> None:
    with serving(home, CASE, shelf=shelf(**{"1": 0})) as client:
        answer = client.post("/predict", json={"text": "ann says it broke"}).json()
        assert (answer["label"], answer["recorded"]) == ("", True)
        told = {
            "kind": "correct",
            "prediction_id": answer["prediction_id"],
            "value": "ann wants a repair .",
            "rater_id": "ann",
        }
        assert client.post("/feedback", json=told).status_code == 202
    counts = ingest_inbox(CASE, home, at=AT)
    assert (counts.ingested, counts.quarantined, counts.parked) == (1, 0, 0)
    with open_store(home.warehouse) as store:
        (reaction,) = store.reactions(CASE.name, gold_sources=["gold"], newest=10, replay=[])
    assert (reaction.predicted_label, reaction.value) == ("", "ann wants a repair .")
    accepted = replace(reaction, kind="accept", value=None, feedback_id="f2")
    curated = curate(
        [reaction, accepted],
        splits={reaction.group_id: "train"},
        labels=CASE.label_names,
        rules=CASE.curation,
    )
    assert [one.label for one in curated.examples] == ["ann wants a repair ."]
    assert [drop.reason for drop in curated.drops] == ["no_label"]


@pytest.mark.parametrize(
    ("words", "measured", "serves"),
    [(2, "ann says", True), (0, "ann says", False), (0, "", True), (0, None, True)],
)
def test_a_version_serves_that_writes_what_it_was_measured_to_write(
    home: Home, words: int, measured: str | None, serves: bool
) -> None:
    """Also where that is nothing, or where nothing is known of it."""
    found = shelf(**{"1": 2, "2": words})
    if measured is not None:
        found.versions["2"].measured = {"ann says it": {measured: 1.0}}
    with serving(home, CASE, shelf=found) as client:
        found.named = {CHAMPION: "2"}

        def settled() -> bool:
            ready = client.get("/readyz").json()
            return ready["model_version"] == "2" or ready["refused_versions"] == ["2"]

        until(settled)
        answer = client.post("/predict", json={"text": "ann says it"}).json()
    assert answer["model_version"] == ("2" if serves else "1")


# ---- In OpenAI's form


def chat(*turns: str, **changes: object) -> dict[str, object]:
    roles = ("user", "assistant")
    said = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return {"model": CASE.name, "messages": said, **changes}


def test_a_chat_is_answered_and_its_id_takes_feedback(home: Home) -> None:
    with serving(home, CASE, shelf=shelf()) as client:
        found = client.post("/v1/chat/completions", json=chat("ann says it broke", user="ann"))
        assert found.status_code == 200, found.text
        done = found.json()
        (choice,) = done["choices"]
        assert choice["message"] == {"role": "assistant", "content": "ann says"}
        assert choice["finish_reason"] == "stop"
        assert (done["object"], done["model"]) == ("chat.completion", CASE.name)
        told = {"kind": "accept", "prediction_id": done["id"], "rater_id": "ann"}
        assert client.post("/feedback", json=told).status_code == 202
    ingest_inbox(CASE, home, at=AT)
    with open_store(home.warehouse) as store:
        (reaction,) = store.reactions(CASE.name)
    assert (reaction.text, reaction.predicted_label) == ("ann says it broke", "ann says")
    assert reaction.kind == "accept"


def test_of_a_longer_talk_every_turn_is_read(home: Home) -> None:
    with serving(home, CASE, shelf=shelf(**{"1": 9})) as client:
        done = client.post("/v1/chat/completions", json=chat("hello", "yes", "it broke")).json()
    assert done["choices"][0]["message"]["content"] == "user: hello assistant: yes user: it broke"


@pytest.mark.parametrize(
    "asked",
    [
        chat("it broke", model="gpt"),
        chat("it broke", "yes"),
        chat(),
        chat("it broke", stream=True),
        chat("it broke", temperature=0.7),
        chat("it broke", max_tokens=5),
        {"model": CASE.name, "messages": [{"role": "system", "content": "be kind"}]},
    ],
)
def test_what_would_be_another_answer_is_refused(home: Home, asked: dict[str, object]) -> None:
    with serving(home, CASE, shelf=shelf()) as client:
        assert client.post("/v1/chat/completions", json=asked).status_code == 422


def test_who_chooses_labels_has_no_chat(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case) as client:
        asked = {**chat("it broke"), "model": use_case.name}
        found = client.post("/v1/chat/completions", json=asked)
    assert found.status_code == 404
