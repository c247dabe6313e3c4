"""What a thumb or a score says, whoever wrote it and however: never is praise a rejection."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flywheel import sources
from flywheel.config import SourceConfig
from flywheel.errors import ConfigError, DataError
from flywheel.ingestion.feedback import parse_feedback
from flywheel.sources.ratings import are_thumbs, reaction

LABELS = ("refund", "delivery", "yes")
UP = [
    "ja",
    "Oui",
    "Sí",
    "はい",
    "up",
    "Thumbs_Up",
    "thumbsUp",
    ":thumbsup:",
    "👍",
    "👍🏽",
    "👍👍",
    "like",
    "Positive",
    "true",
]
DOWN = [
    "Nein",
    "non",
    "いいえ",
    "down",
    "thumbs-down",
    "thumbsDown",
    "👎🏿",
    "dislike",
    "negative",
    "False",
    "no",
]


def source(kind: str, path: Path, **more: Any) -> SourceConfig:
    return SourceConfig.model_validate({"name": "app", "kind": kind, "location": str(path), **more})


def written(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in entries))
    return path


def said(one: SourceConfig, labels: tuple[str, ...] = LABELS) -> list[tuple[str, str | None]]:
    """The kind and value of each row, or why it is refused."""
    found = []
    for row in sources.read(one, None, labels).rows:
        try:
            feedback = parse_feedback(row, labels=labels)
            found.append((feedback.kind, feedback.value))
        except DataError as refused:
            found.append(("refused", refused.message))
    return found


# ---- The table


@pytest.mark.parametrize("value", [*UP, True, 1, 1.0, "1", "1.0", "+1", Decimal(1)])
def test_a_happy_customer_accepts(value: object) -> None:
    assert reaction(value) == {"kind": "accept"}


@pytest.mark.parametrize("value", [*DOWN, False, 0, -1, "0", "-1", "-1.0"])
def test_an_unhappy_customer_rejects(value: object) -> None:
    assert reaction(value) == {"kind": "reject"}


@pytest.mark.parametrize(
    ("value", "rating"),
    [(5, "5"), ("4", "4"), ("4,5", "4.5"), (0.85, "0.85"), ("1 of 5", "1"), ("1/5", "1"),
     ("★★★☆☆", "3"), ("2 stars", "2"), ("80%", "80"), ("80,5 %", "80.5")],
)  # fmt: skip
def test_any_other_number_is_a_rating(value: object, rating: str) -> None:
    assert reaction(value) == {"kind": "rate", "value": rating}


@pytest.mark.parametrize("value", [None, "", " ", "none", "N/A", math.nan, "Offered"])
def test_nothing_written_is_no_feedback(value: object) -> None:
    assert reaction(value) is None


@pytest.mark.parametrize("value", ["meh", "🤷", ["up"], {"rating": 1}, "yes and no"])
def test_what_is_not_known_is_refused(value: object) -> None:
    assert reaction(value) == {"refused": "rating"}


def test_one_beside_other_stars_is_a_star_and_beside_minus_one_a_thumb() -> None:
    assert not are_thumbs([1, 4, "5", None])
    assert not are_thumbs([0.0, 0.4, 1.0])
    assert are_thumbs([1, -1, 9])
    assert are_thumbs(["1", 0, "up"])


def test_a_table_s_column_of_ratings_is_read_by_the_same_table(tmp_path: Path) -> None:
    rows = [{"text": "t", "thumb": thumb} for thumb in ("👍", "thumbsDown", "", "meh")]
    one = source(
        "files",
        written(tmp_path / "a.jsonl", *rows),
        fields={"text": "text", "rating": "thumb"},
        constants={"rater_id": "u", "given_at": "2026-01-01T09:00:00Z"},
    )
    assert [kind for kind, _ in said(one)] == ["accept", "reject", "refused"]


def test_a_rating_and_its_time_may_lie_within_others(tmp_path: Path) -> None:
    stats = [{"user_score": {"avg": 1.0}}, {"user_score": {"avg": 0.0}}, {}]
    rows = [{"in": {"q": "t"}, "stats": one, "run": {"end": "2026-01-02 09:00"}} for one in stats]
    one = source(
        "files",
        written(tmp_path / "a.jsonl", *rows),
        fields={"text": "in.q", "rating": "stats.user_score.avg", "given_at": "run.end"},
        constants={"rater_id": "u"},
    )
    assert [kind for kind, _ in said(one)] == ["accept", "reject"]


def test_a_table_in_which_nobody_rated_says_so(tmp_path: Path) -> None:
    one = source(
        "files",
        written(tmp_path / "a.jsonl", {"text": "t", "thumb": ""}, {"text": "u", "thumb": None}),
        fields={"text": "text", "rating": "thumb"},
    )
    found = sources.read(one, None)
    assert not found.rows
    assert "none of its 2 rows is rated: 'thumb'" in found.notes[0]


def test_beside_a_rating_a_value_corrects(tmp_path: Path) -> None:
    cells = [("👎", "refund"), ("", "delivery"), (4, None), ("👍", math.nan), ("", "")]
    rows = [{"text": "t", "thumb": thumb, "right": right} for thumb, right in cells]
    one = source(
        "files",
        written(tmp_path / "a.jsonl", *rows),
        fields={"text": "text", "rating": "thumb", "value": "right"},
        constants={"rater_id": "u", "given_at": "2026-01-01T09:00:00Z"},
    )
    assert said(one) == [
        ("correct", "refund"), ("correct", "delivery"), ("rate", "4"), ("accept", None),
    ]  # fmt: skip


# ---- Chats


def chat(rating: object, **more: Any) -> dict[str, Any]:
    asked = [{"role": "user", "content": "where is it"}, {"role": "assistant", "content": "yes"}]
    made = {"created_at": "2026-01-01T09:00:00Z", "user": "u1"}
    return {"messages": asked, "rating": rating, **made, **more}


def test_the_ratings_of_chats_are_read_by_the_table(tmp_path: Path) -> None:
    ratings = ["👍", "thumbs_down", "", "none", "meh", -1, 9, True]
    path = written(tmp_path / "a.jsonl", *(chat(r, id=str(n)) for n, r in enumerate(ratings)))
    found = said(source("chat", path))
    assert [kind for kind, _ in found] == [
        "accept",
        "reject",
        "refused",
        "reject",
        "rate",
        "accept",
    ]
    assert "values: rating" in str(found[2][1])
    told = {"values": {"rating": {"meh": "down"}}, "ratings": "numbers"}
    kinds = [kind for kind, _ in said(source("chat", path, **told))]
    assert kinds == ["accept", "reject", "reject", "rate", "rate", "accept"]


def test_a_star_of_five_is_never_an_acceptance(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", *(chat(stars, id=stars) for stars in (1, 3, 5, 1)))
    assert said(source("chat", path)) == [
        ("rate", "1"),
        ("rate", "3"),
        ("rate", "5"),
        ("rate", "1"),
    ]


def test_parts_tools_and_conversations_are_read_and_nothing_goes_in_without_its_text(
    tmp_path: Path,
) -> None:
    parts = [{"type": "text", "text": "late"}, {"type": "image_url", "image_url": {"url": "x"}}]
    tools = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "tool", "content": "not yet"},
        {"role": "assistant", "content": [{"type": "text", "text": "delivery"}]},
    ]
    shares = [{"from": "human", "value": "money back"}, {"from": "gpt", "value": "refund"}]
    unanswered = [{"role": "user", "content": "hello?"}, {"role": "assistant", "content": None}]
    path = written(
        tmp_path / "a.jsonl",
        chat("up", id="a", messages=tools),
        {**chat("up", id="b"), "messages": None, "conversations": shares},
        chat("up", id="c", messages=unanswered),
    )
    one = source("chat", path)
    found = sources.read(one, None, LABELS)
    texts = [(answer.text, answer.label) for answer in found.answers]
    assert texts == [("late", "delivery"), ("money back", "refund")]
    assert [kind for kind, _ in said(one)] == ["accept", "accept", "refused"]


def test_each_rated_turn_counts_and_so_does_a_later_rating(tmp_path: Path) -> None:
    more = [{"role": "user", "content": "thanks"}, {"role": "assistant", "content": "refund"}]
    first = chat("up", id="c1")
    second = chat("down", id="c1", messages=[*first["messages"], *more])
    one = source("chat", written(tmp_path / "a.jsonl", first, chat(None, id="c2")))
    before = sources.read(one, None, LABELS)
    assert sources.read(one, before.watermark, LABELS).rows == ()
    written(tmp_path / "a.jsonl", first, second, chat("down", id="c2"), chat("down", id="c1"))
    found = sources.read(one, before.watermark, LABELS).rows
    assert [row["kind"] for row in found] == ["accept", "reject", "reject", "reject"]
    assert found[0] == before.rows[0]
    assert len({row["feedback_id"] for row in found}) == 4
    assert len({row["prediction_id"] for row in found}) == 3


def test_one_odd_chat_or_trace_does_not_stop_a_file(tmp_path: Path) -> None:
    times = ["soon", 1e300, True, [], 1_767_258_000_000, "2026-01-01T09:00:00"]
    chats = [chat("up", id=str(n), created_at=time) for n, time in enumerate(times)]
    inner = {"id": "w", "chat": {"messages": chats[0]["messages"]}, "rating": 1, "date": 1e9}
    found = said(source("chat", written(tmp_path / "a.jsonl", *chats, inner, {"messages": [1]})))
    assert [kind for kind, _ in found] == ["refused"] * 4 + ["accept"] * 3
    traces = [trace("t", score("BOOLEAN", 1), timestamp=time) for time in (None, "soon")]
    one = source("langfuse", written(tmp_path / "b.jsonl", *traces, {"id": "u", "scores": None}))
    assert [kind for kind, _ in said(one)] == ["accept", "accept"]


def test_what_is_no_chat_is_said_with_the_fields_that_are_there(tmp_path: Path) -> None:
    one = source("chat", written(tmp_path / "a.jsonl", {"prompt": "x", "completion": "y"}))
    with pytest.raises(
        ConfigError, match=r"none of its 1 entries has messages.*prompt, completion"
    ):
        sources.read(one, None, LABELS)
    one = source("chat", written(tmp_path / "a.jsonl", chat(None)))
    assert sources.read(one, None, LABELS).notes == ("none of its 1 chats is rated",)


# ---- Scores


def trace(identity: str, *scores: object, **more: Any) -> dict[str, Any]:
    asked = {
        "messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "hi"}]
    }
    answered = {"choices": [{"message": {"role": "assistant", "content": "refund"}}]}
    made = {"timestamp": "2026-01-01T09:00:00Z", "userId": "u1", "scores": scores}
    return {"id": identity, "input": asked, "output": answered, **made, **more}


def score(kind: str, value: object, said: str | None = None, **more: Any) -> dict[str, Any]:
    made = {"id": "1", "timestamp": "2026-01-01T10:00:00Z", "source": "API", "name": "x"}
    return {**made, "dataType": kind, "value": value, "stringValue": said, **more}


@pytest.mark.parametrize(
    ("scored", "expected"),
    [
        (score("NUMERIC", 1, name="stars"), [("rate", "1")]),
        (score("NUMERIC", 1.0, name="hallucination", source="EVAL", comment="made up"), []),
        (score("BOOLEAN", 1, "True", name="latency_ok", source="EVAL"), []),
        (score("BOOLEAN", 1, "True", name="thumbs"), [("accept", None)]),
        (score("BOOLEAN", 0, "False", name="thumbs"), [("reject", None)]),
        (score("CORRECTION", 0, "delivery", name="output"), [("correct", "delivery")]),
        (score("TEXT", None, "in German, please"), [("comment", "in German, please")]),
        (score("CATEGORICAL", 0, "Delivery", name="topic"), [("correct", "delivery")]),
        (score("CATEGORICAL", 0, "yes", name="user-feedback"), [("accept", None)]),
        (score("CATEGORICAL", 0, "yes", name="topic"), [("correct", "yes")]),
    ],
)
def test_type_source_and_name_of_a_score_decide(
    tmp_path: Path, scored: dict[str, Any], expected: list[tuple[str, str | None]]
) -> None:
    path = written(tmp_path / "a.jsonl", trace("t", scored))
    assert said(source("langfuse", path)) == expected


def test_a_score_that_may_mean_its_opposite_or_no_label_needs_a_setting(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        trace("a", score("BOOLEAN", 1, name="is_toxic", source="ANNOTATION")),
        trace("b", score("CATEGORICAL", 0, "formal", name="tone", source="ANNOTATION")),
        trace("c", score("NUMERIC", 1, name="judge", source="EVAL", comment="fine")),
    )
    found = said(source("langfuse", path))
    assert [kind for kind, _ in found] == ["refused", "refused"]
    assert "scores" in str(found[0][1])
    named = {"scores": {"is_toxic": "none", "tone": "comment", "judge": "thumb"}}
    rows = sources.read(source("langfuse", path, **named), None, LABELS).rows
    assert [row["kind"] for row in rows] == ["comment", "accept", "comment"]
    assert [row["rater_id"] for row in rows[1:]] == ["judge-judge", "judge-judge"]
    notes = sources.read(source("langfuse", path), None, LABELS).notes
    assert "1 scores by judges or checks (judge)" in notes[0]


def test_a_written_answer_is_no_category(tmp_path: Path) -> None:
    scored = score("CATEGORICAL", 0, "formal", name="tone")
    path = written(tmp_path / "a.jsonl", trace("t", scored))
    assert [kind for kind, _ in said(source("langfuse", path), labels=())] == ["refused"]


def test_texts_of_traces_are_the_customers_and_can_be_named(tmp_path: Path) -> None:
    thumbs = score("BOOLEAN", 1)
    nested = {"ticket": {"body": "it broke"}, "lang": "en"}
    one = source(
        "langfuse",
        written(tmp_path / "a.jsonl", trace("t", thumbs), trace("u", thumbs, input=nested)),
    )
    found = sources.read(one, None, LABELS)
    assert [(a.text, a.label) for a in found.answers] == [("hi", "refund")]
    assert [row.get("refused") for row in found.rows] == [None, "turn"]
    one = one.model_copy(update={"fields": {"text": "input.ticket.body"}})
    assert [a.text for a in sources.read(one, None, LABELS).answers] == ["it broke"]


def test_ids_of_scores_are_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [trace("t", "s-1", "s-2")]}))
    with pytest.raises(ConfigError, match="the ids of 2 scores, and not the scores"):
        sources.read(source("langfuse", path), None, LABELS)


def test_two_sources_may_number_alike_and_a_changed_score_is_another(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", trace("1", score("BOOLEAN", 1)))
    one = source("langfuse", path)
    other = one.model_copy(update={"name": "other"})
    rows = [sources.read(each, None, LABELS).rows[0] for each in (one, other)]
    changed = score("BOOLEAN", 0, updatedAt="2026-01-02T10:00:00Z")
    written(path, trace("1", changed))
    rows += sources.read(one, None, LABELS).rows
    assert len({row["feedback_id"] for row in rows}) == 3
    assert len({row["prediction_id"] for row in rows}) == 2


def test_scores_without_their_traces_say_what_to_export(tmp_path: Path) -> None:
    score = {"id": "s1", "traceId": "t1", "name": "ok", "dataType": "BOOLEAN", "value": 1}
    path = written(tmp_path / "scores.jsonl", score)
    with pytest.raises(ConfigError, match="they are scores alone; export the traces with their"):
        sources.read(source("langfuse", path), None, LABELS)
