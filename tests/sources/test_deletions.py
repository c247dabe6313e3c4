"""What was deleted where it was said is withdrawn, once, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home, SourceConfig, UseCase
from flywheel.records import Reaction
from flywheel.sources.base import key
from flywheel.sources.deletions import deleted
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tasks.pull import pull
from tests.examples import examples

AT = datetime(2026, 2, 1, tzinfo=UTC)
APP = SourceConfig(name="app", kind="langfuse", location="traces.json")
Said = tuple[int, bool]
"""When it was said (an hour of the day), and whether it still stands."""


def score(name: str, value: int, hour: int) -> dict[str, Any]:
    given = f"2026-01-02T{hour:02}:00:00Z"
    return {"id": name, "name": "ok", "dataType": "BOOLEAN", "value": value, "timestamp": given,
            "source": "ANNOTATION", "authorUserId": "ann"}  # fmt: skip


def traces(path: Path, **scores: list[dict[str, Any]]) -> None:
    made = {"input": "asked", "output": "negative", "timestamp": "2026-01-02T00:00:00Z"}
    path.write_text(json.dumps([{"id": name, **made, "scores": s} for name, s in scores.items()]))


def lived(case: UseCase, home: Home, at: datetime) -> list[tuple[str, str | None]]:
    """Kind and trace of what a night took in, in the order of time."""
    with open_store(home.warehouse) as store:
        before = {one.feedback_id for one in store.reactions(case.name)}
    pull.fn(case, home, at=at)
    assert ingest_inbox(case, home, at=at).quarantined == 0
    with open_store(home.warehouse) as store:
        new = [one for one in store.reactions(case.name) if one.feedback_id not in before]
    return [(one.kind, one.prediction_id) for one in sorted(new, key=_when)]


def _when(one: Reaction) -> tuple[datetime, bool]:
    return one.given_at, one.kind == "withdraw"


def test_a_score_that_is_deleted_is_withdrawn_and_what_stood_before_counts_again(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "traces.json"
    source = SourceConfig(name="app", kind="langfuse", location=str(path))
    case = use_case.model_copy(update={"sources": [source]})
    up, down = score("s1", 1, 9), score("s2", 0, 10)
    traces(path, t1=[up, down], t2=[up | {"id": "s3"}], t3=[up | {"id": "s4"}])
    assert len(lived(case, home, AT)) == 4
    # t3 is not in this export: nothing says that it was deleted
    traces(path, t1=[up], t2=[])
    told = lived(case, home, AT + timedelta(days=1))
    assert told == [("withdraw", "app-t1"), ("withdraw", "app-t2"), ("accept", "app-t1")]
    traces(path, t1=[up], t2=[], t3=[up | {"id": "s4"}])
    assert lived(case, home, AT + timedelta(days=2)) == []
    traces(path, t1=[], t2=[score("s5", 0, 11)], t3=[])
    told = lived(case, home, AT + timedelta(days=3))
    assert ("withdraw", "app-t1") in told
    assert ("withdraw", "app-t3") in told


def task(number: int, *annotations: tuple[int, int, str]) -> dict[str, Any]:
    """``annotations``: number, annotator, label."""

    def choice(label: str) -> list[dict[str, Any]]:
        return [{"from_name": "l", "to_name": "t", "value": {"choices": [label]}}]

    return {
        "id": number,
        "data": {"text": f"text {number}"},
        "annotations": [
            {"id": a, "completed_by": by, "updated_at": f"2026-01-02T0{a}:00:00Z"}
            | {"result": choice(label)}
            for a, by, label in annotations
        ],
    }


def test_an_annotation_that_is_deleted_or_skipped_labels_nothing_any_more(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "export.json"
    source = SourceConfig(name="studio", kind="label-studio", location=str(path))
    case = use_case.model_copy(update={"sources": [source]})
    one, two = task(1, (1, 7, "positive")), task(2, (2, 7, "neutral"), (3, 8, "negative"))
    path.write_text(json.dumps([one, two, task(3, (4, 7, "neutral"))]))
    assert len(lived(case, home, AT)) == 4
    two["annotations"][1]["was_cancelled"] = True
    path.write_text(json.dumps([task(1), two]))
    assert [kind for kind, _ in lived(case, home, AT + timedelta(days=1))] == ["withdraw"] * 2
    with open_store(home.warehouse) as store:
        told = {(one.kind, one.text, one.rater_id) for one in store.reactions(case.name)}
    gone = {(text, rater) for kind, text, rater in told if kind == "withdraw"}
    assert gone == {("text 1", "annotator-7"), ("text 2", "annotator-8")}
    path.write_text(json.dumps([task(1), two, task(3, (4, 7, "neutral"))]))
    assert lived(case, home, AT + timedelta(days=2)) == []


def test_a_rating_that_is_taken_away_and_given_again_is_heard_each_time(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "chats.json"
    source = SourceConfig(name="app", kind="chat", location=str(path))
    case = use_case.model_copy(update={"sources": [source]})

    def rated(rating: str | None) -> None:
        said = {"role": "assistant", "content": "negative", "rating": rating}
        messages = [{"role": "user", "content": "asked"}, said]
        made = {"id": "c1", "user": "u1", "created_at": "2026-01-02T09:00:00Z"}
        path.write_text(json.dumps([made | {"messages": messages}]))

    told = []
    for day, rating in enumerate(("up", None, None, "up", "up", None, "down")):
        rated(rating)
        told.append([kind for kind, _ in lived(case, home, AT + timedelta(days=day))])
    # the last has the time of its chat, before the withdrawal: it is said again after that
    again = ["reject", "reject"]
    assert told == [["accept"], ["withdraw"], [], ["accept"], [], ["withdraw"], again]


@pytest.mark.parametrize("kind", ["accept", "withdraw"])
def test_what_the_service_heard_under_the_same_name_is_left_alone(kind: str) -> None:
    ours = "0f" * 16
    given = AT - timedelta(days=1)
    row = {"kind": "reject", "prediction_id": "p", "rater_id": "ann", "feedback_id": f"a-{ours}"}
    rows = [row | {"given_at": (given - timedelta(days=1)).isoformat()}]
    for source in (APP, APP.model_copy(update={"kind": "mlflow"})):
        for name in (ours, "17", "from-the-app"):
            stored = [(name, kind, "p", "ann", given)]
            assert deleted(source, {"p": frozenset()}, stored, rows, AT) == []


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=6))
def test_a_person_s_last_word_that_stands_is_the_last_one_told(said: list[Said]) -> None:
    said = sorted(said)
    rows = [
        {
            "feedback_id": key("app", f"s{number}", hour),
            "kind": "accept" if number % 2 else "reject",
            "prediction_id": "p",
            "rater_id": "ann",
            "given_at": (AT + timedelta(hours=hour)).isoformat(),
        }
        for number, (hour, _) in enumerate(said)
    ]
    stored = [_stored(row) for row in rows]
    left = [row for row, (_, stands) in zip(rows, said, strict=True) if stands]
    standing = {"p": {f"s{number}" for number, (_, stands) in enumerate(said) if stands}}
    told = deleted(APP, standing, stored, left, AT)
    last = [*stored, *map(_stored, told)][-1:]
    if not stored:
        assert not told
    elif not left:
        assert [kind for _, kind, *_ in last] == ["withdraw"]
    else:
        newest = max(row["given_at"] for row in left)
        assert last[0][1] in {row["kind"] for row in left if row["given_at"] == newest}
    # all of it was taken in: the next pull has nothing to say
    again = sorted([*stored, *map(_stored, told)], key=lambda one: (one[4], one[1] == "withdraw"))
    assert deleted(APP, standing, again, left, AT + timedelta(days=9)) == []


def _stored(row: dict[str, Any]) -> tuple[str, str, str, str, datetime]:
    given = datetime.fromisoformat(row["given_at"])
    return row["feedback_id"], row["kind"], row["prediction_id"], row["rater_id"], given
