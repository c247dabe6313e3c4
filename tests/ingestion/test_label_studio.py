"""Exports of Label Studio: what one person finished is one label, and nothing else is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flywheel import sources
from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, DataError
from flywheel.ingestion.feedback import parse_feedback

LABELS = ("refund", "delivery")


def result(choice: str | list[str], question: str = "topic", **more: Any) -> dict[str, Any]:
    chosen = [choice] if isinstance(choice, str) else choice
    value = {"choices": chosen}
    return {"type": "choices", "from_name": question, "to_name": "body", "value": value, **more}


def task(number: int, *results: Any, data: dict[str, Any] | None = None, **more: Any) -> Any:
    annotation = {
        "id": 10 + number,
        "completed_by": 7,
        "result": list(results),
        "updated_at": "2026-01-02T10:00:00Z",
        **more,
    }
    return {
        "id": number,
        "data": data or {"text": f"ticket {number}"},
        "annotations": [annotation],
        "drafts": [{"result": [result("refund")]}],
        "predictions": [{"result": [result("refund")]}, 901],
    }


def source(path: Path, content: object, **more: Any) -> SourceConfig:
    path.write_text(json.dumps(content))
    named = {"name": "studio", "kind": "label-studio", "location": str(path)}
    return SourceConfig.model_validate({**named, **more})


def read(one: SourceConfig) -> list[tuple[str | None, str | None]]:
    """The text and the label of each row; no label where it is refused."""
    found = []
    for row in sources.read(one, None, LABELS).rows:
        try:
            feedback = parse_feedback(row, labels=LABELS)
            assert feedback.kind == "label"
            found.append((feedback.text, feedback.value))
        except DataError:
            found.append((row.get("text"), None))
    return found


def test_drafts_predictions_skipped_empty_and_rejected_ones_are_no_labels(tmp_path: Path) -> None:
    tasks = [
        task(1, result("delivery")),
        task(2, result("refund"), was_cancelled=True),
        task(3),
        task(4, result("refund"), reviews=[{"accepted": False}]),
        {"id": 5, "data": {"text": "x"}, "annotations": []},
    ]
    assert read(source(tmp_path / "a.json", tasks)) == [("ticket 1", "delivery")]


def test_of_several_ticked_choices_none_is_the_label(tmp_path: Path) -> None:
    tasks = [task(1, result(["refund", "delivery"])), task(2, result("refund"), result("delivery"))]
    assert read(source(tmp_path / "a.json", tasks)) == [("ticket 1", None), ("ticket 2", None)]


def test_the_answer_to_another_question_is_no_label(tmp_path: Path) -> None:
    tasks = [task(1, result("English", "language"), result("refund")), task(2, result("delivery"))]
    one = source(tmp_path / "a.json", tasks)
    assert read(one) == [("ticket 1", "refund"), ("ticket 2", "delivery")]
    assert "2 questions (language, topic)" in sources.read(one, None, LABELS).notes[0]


def test_of_two_questions_with_the_same_words_one_must_be_named(tmp_path: Path) -> None:
    tasks = [task(1, result("delivery", "second"), result("refund"))]
    assert read(source(tmp_path / "a.json", tasks)) == [("ticket 1", None)]
    one = source(tmp_path / "a.json", tasks, fields={"value": "topic"})
    assert read(one) == [("ticket 1", "refund")]


def test_a_taxonomy_s_leaf_or_path_is_the_label(tmp_path: Path) -> None:
    path = {"value": {"taxonomy": [["Money", "Refund"]]}}
    two = {"value": {"taxonomy": [["Money", "Refund"], ["Parcel", "Delivery"]]}}
    tasks = [task(1, result("x") | path), task(2, result("x") | two)]
    assert read(source(tmp_path / "a.json", tasks)) == [("ticket 1", "refund"), ("ticket 2", None)]


def test_of_several_texts_the_question_s_or_the_named_one_is_taken(tmp_path: Path) -> None:
    data = {"subject": "S", "body": "B", "mail": {"text": "M"}}
    tasks = [task(1, result("refund"), data=data)]
    assert read(source(tmp_path / "a.json", tasks)) == [("B", "refund")]
    named = source(tmp_path / "a.json", tasks, fields={"text": "mail.text"})
    assert read(named) == [("M", "refund")]
    tasks = [task(1, result("refund", to_name="t"), data=data)]
    with pytest.raises(ConfigError, match=r"cannot be told among subject, body, mail; name it"):
        read(source(tmp_path / "a.json", tasks))


def test_json_min_and_csv_are_read_or_the_column_is_asked_for(tmp_path: Path) -> None:
    def flat(number: int, answer: Any) -> dict[str, Any]:
        made = {"annotation_id": 10 + number, "annotator": 7, "created_at": "2026-01-02T10:00:00Z"}
        return {"id": number, "body": f"ticket {number}", "topic": answer, **made}

    rows = [flat(1, "delivery"), flat(2, {"choices": ["refund", "delivery"]}), flat(3, None)]
    expected = [("ticket 1", "delivery"), ("ticket 2", None)]
    assert read(source(tmp_path / "a.json", rows)) == expected
    with (tmp_path / "a.csv").open("w", newline="") as file:
        sheet = csv.DictWriter(file, list(rows[0]))
        sheet.writeheader()
        sheet.writerows({**row, "topic": _cell(row["topic"])} for row in rows)
    one = source(tmp_path / "b.json", []).model_copy(update={"location": str(tmp_path / "a.csv")})
    assert read(one) == expected
    with pytest.raises(ConfigError, match=r"cannot be told among body, topic; name it"):
        sources.read(source(tmp_path / "a.json", [flat(1, "x")]), None, LABELS)


def _cell(answer: Any) -> Any:
    return json.dumps(answer) if isinstance(answer, dict) else answer


def test_annotators_are_each_one_and_a_changed_label_is_another(tmp_path: Path) -> None:
    two = task(1, result("refund"))
    two["annotations"].append({**two["annotations"][0], "id": 99, "completed_by": {"id": 8}})
    before = sources.read(source(tmp_path / "a.json", [two]), None, LABELS)
    assert [row["rater_id"] for row in before.rows] == ["annotator-7", "annotator-8"]
    two["annotations"][0] |= {"result": [result("delivery")], "updated_at": "2026-01-03T10:00:00Z"}
    after = sources.read(source(tmp_path / "a.json", [two]), before.watermark, LABELS)
    assert len({row["feedback_id"] for row in (*before.rows, *after.rows)}) == 3


def test_what_is_no_export_is_said_with_its_fields(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of its 1 entries is a task.*have text, label"):
        read(source(tmp_path / "a.json", [{"text": "x", "label": "refund"}]))


# ---- Argilla


def record(number: int, *responses: tuple[Any, str, str], flat: bool) -> dict[str, Any]:
    """One whose model suggests ``refund``; responses are (value, user, status)."""
    values, users, states = zip(*responses, strict=True)
    made = {"id": number, "updated_at": "2026-01-02T10:00:00Z", "status": "completed"}
    if flat:
        columns = {"topic.responses": values, "topic.responses.users": users}
        asked = {"topic.responses.status": states, "topic.suggestion": "refund"}
        return {**made, "text": f"ticket {number}", **columns, **asked}
    said = [dict(zip(("value", "user_id", "status"), one, strict=True)) for one in responses]
    suggested = {"suggestions": {"topic": {"value": "refund"}}}
    return {
        **made,
        "fields": {"text": f"ticket {number}"},
        "responses": {"topic": said},
        **suggested,
    }


@pytest.mark.parametrize("flat", [True, False])
def test_submitted_responses_of_argilla_are_labels_and_suggestions_are_not(
    tmp_path: Path, flat: bool
) -> None:
    records = [
        record(1, ("delivery", "u1", "submitted"), ("refund", "u2", "draft"), flat=flat),
        record(2, ("delivery", "u1", "discarded"), flat=flat),
        record(3, (["refund", "delivery"], "u1", "submitted"), flat=flat),
        record(4, ("refund", "u1", "submitted"), ("delivery", "u2", "submitted"), flat=flat),
    ]
    one = source(tmp_path / "a.json", records, kind="argilla")
    four = [("ticket 4", "refund"), ("ticket 4", "delivery")]
    assert read(one) == [("ticket 1", "delivery"), ("ticket 3", None), *four]


def test_a_model_s_suggestion_cannot_be_mapped_to_a_label(tmp_path: Path) -> None:
    mapped = {"kind": "files", "fields": {"text": "text", "value": "topic.suggestion"}}
    records = [record(1, ("delivery", "u1", "submitted"), flat=True)]
    with pytest.raises(ConfigError, match="what a model suggested"):
        read(source(tmp_path / "a.json", records, **mapped))
    mapped["fields"] = {"text": "data.body", "value": "data.topics.0"}
    nested = {"data": {"body": "hi", "topics": ["refund"]}}
    constants = {"kind": "label", "rater_id": "u", "given_at": "2026-01-02T10:00:00Z"}
    one = source(tmp_path / "a.json", [nested], **mapped, constants=constants)
    assert read(one) == [("hi", "refund")]
