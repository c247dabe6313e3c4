"""Where answers are written any text may be wanted: taken in, started from a file, asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home, load_use_case
from flywheel.errors import DataError
from flywheel.ingestion import labeling_queue
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.feedback import parse_feedback
from flywheel.ingestion.labeled_rows import Labeled, feedback_rows
from flywheel.onboarding import generation
from flywheel.onboarding.draft import Draft
from flywheel.records import Prediction
from flywheel.store import open_store
from flywheel.store.nights import fresh_rows
from tasks.ingest import ingest_inbox
from tasks.use_case.labeling import import_labels, make_queue
from tasks.use_case.onboard import Answers, onboard
from tests.strategies import row, written
from tests.writers import talk, written_case

AT = datetime(2026, 1, 1, tzinfo=UTC)
CASE = written_case()


def drop(home: Home, *rows: dict[str, Any]) -> None:
    home.inbox(CASE.name).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (home.inbox(CASE.name) / f"{len(lines)}.jsonl").write_text(lines)


@given(value=written)
def test_any_text_may_be_wanted_and_none_may_be_missing(value: str) -> None:
    assert parse_feedback(row(value=value), labels=()).value == value
    with pytest.raises(DataError, match="value of label is missing"):
        parse_feedback(row(value=None), labels=())


def test_the_warehouse_takes_what_the_contract_takes(home: Home) -> None:
    drop(
        home,
        row(feedback_id="long", value='He said: "no".\nShe said: yes.'),
        row(feedback_id="none", value=None),
        row(feedback_id="odd", value="no", rater_id=None),
    )
    done = ingest_inbox(CASE, home, at=AT)
    assert (done.ingested, done.quarantined, done.parked) == (1, 2, 0)
    with open_store(home.warehouse) as store:
        (found,) = store.reactions(CASE.name)
    assert found.value == 'He said: "no".\nShe said: yes.'


def test_only_what_was_written_without_an_answer_in_sight_can_be_evidence(home: Home) -> None:
    drop(
        home,
        row(feedback_id="label", value="written"),
        row(feedback_id="edit", kind="correct", value="edited"),
        row(feedback_id="seen", value="written of an answer", prediction_id="p1"),
        row(feedback_id="yes", kind="accept", value=None, prediction_id="p1"),
    )
    ingest_inbox(CASE, home, at=AT)
    with open_store(home.warehouse) as store:
        found = fresh_rows.about_answers(store, CASE.name, ["label", "edit", "seen", "yes", "gone"])
    assert found == {"edit", "seen", "yes"}


# ---- From a file


def a_file(folder: Path, rows: int = 60) -> Path:
    path = folder / "talks.jsonl"
    talks = [talk(number) for number in range(rows)]
    lines = [
        {"id": str(n), "dialogue": text, "topic": "order", "summary": reference}
        for n, (text, reference) in enumerate(talks)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_file_of_texts_and_summaries_becomes_a_use_case(home: Home, tmp_path: Path) -> None:
    done = onboard(
        "talks",
        a_file(tmp_path),
        home,
        answers=Answers(kind="text-generation"),
        folder=tmp_path / "usecases",
    )
    assert (done["text"], done["label"], done["labels"]) == ("dialogue", "summary", {})
    case = load_use_case("talks", folder=tmp_path / "usecases")
    assert case.is_generation
    # a GPU would keep to it
    assert case.training.max_tokens_per_pass is None
    # "ann says the order 1 broke" shares "ann" with "ann wants a repair .", and little more
    assert 0 < (case.gate.min_rouge_l or 0) < 0.5
    taken = ingest_inbox(case, home, at=AT)
    assert (taken.ingested, taken.quarantined) == (60, 0)


def test_texts_taken_for_labels_are_refused_with_the_kind_that_is_meant(
    home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "replies.jsonl"
    rows = [{"text": f"question {n}", "reply": f"answer {n}"} for n in range(300)]
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    with pytest.raises(DataError, match="--kind text-generation"):
        onboard("replies", path, home, answers=Answers(label="reply"), folder=tmp_path)


@given(reference=written, text=written, column=st.text(max_size=8))
def test_whatever_the_columns_and_texts_the_yaml_loads(
    reference: str, text: str, column: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [Labeled(n, f"{text} {n}", reference) for n in range(5)]
    columns = Columns(f"t{column}", f"l{column}")
    feedback = feedback_rows(rows, given_at=AT)
    proposal = generation.propose(Draft("x", "#", columns, rows, feedback))
    path = tmp_path_factory.mktemp("usecases") / "x.yaml"
    path.write_text(proposal.yaml, encoding="utf-8")
    assert load_use_case(str(path)).is_generation


# ---- Asked for


def test_who_is_asked_to_write_does_not_see_the_answer(home: Home, tmp_path: Path) -> None:
    with open_store(home.warehouse) as store:
        store.add_predictions(
            CASE.name,
            [
                Prediction(
                    prediction_id=f"p{number}",
                    text=talk(number)[0],
                    group_id=f"customer-{number}",
                    customer_id=None,
                    label="an answer",
                    probabilities={"an answer": 1.0},
                    model_version="1",
                    digest="d",
                    predicted_at=AT,
                )
                for number in range(4)
            ],
        )
    items = make_queue(CASE, home, size=4, audit_share=1.0, at=AT)
    assert len(items) == 4
    sheet = labeling_queue.as_csv(items)
    assert "an answer" not in sheet
    path = tmp_path / "queue.csv"
    path.write_text(labeling_queue.as_csv(items).replace(",,,audit", ",a summary,,audit"))
    assert import_labels(CASE, home, path, rater="ann", at=AT).audits == 4


def test_label_studio_asks_for_a_text_and_gives_it_back() -> None:
    assert "<TextArea" in labeling_queue.label_studio_config(())
    exported = [
        {
            "data": {"text": "a talk"},
            "meta": {"item_id": "i", "reason": "audit"},
            "annotations": [{"result": [{"value": {"text": ["a summary"]}}]}],
        }
    ]
    (found,) = labeling_queue.labeled_rows(
        "x.json", json.dumps(exported), rater="ann", given_at=AT, labels=()
    ).rows
    assert found["value"] == "a summary"
