"""A Langfuse export (JSON or JSON Lines) of traces with their scores.

``location`` is the file, anywhere that fsspec reaches. A trace's input is the text, its output the
label answered; the source's ``fields`` name others (``text: input.ticket``). A score that a person
gave, by the UI or an app, reacts: a boolean accepts or rejects, a category or a correction
corrects, a number rates, a text comments. What judges gave is left alone unless ``scores`` names
it (`flywheel.sources.scores`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from flywheel.config import SourceConfig
from flywheel.ingestion.messages import answered_in, asked_in, at, moment_of
from flywheel.sources.base import Answer, Pulled, called, key
from flywheel.sources.exports import entries, require_known
from flywheel.sources.ratings import REFUSED
from flywheel.sources.scores import Score, judged, reaction_of

_EXPECTED = "is a trace with its scores (id, input, output, scores)"
_SCORES = (
    "holds the text and the answer that it is about: they are scores alone; export the traces with "
    "their scores, as /api/public/traces/ID gives each. A trace has id, input, output and scores"
)
_KINDS = {"CORRECTION": "correction", "TEXT": "text", "CATEGORICAL": "category"}


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Scores and the traces that they are about, where the file changed since.

    Raises:
        ValueError: it holds no traces, or only the ids of their scores.
    """
    traces, mark, before = entries(source, watermark, labels)
    known = [one for one in traces if "id" in one and isinstance(one.get("scores"), list)]
    require_known(len(known), traces, _SCORES if _are_scores(traces) else _EXPECTED)
    _require_scores(known)
    rows: list[dict[str, Any]] = []
    answers = []
    standing: dict[str, frozenset[str]] = {}
    by_judges: Counter[str] = Counter()
    for trace in known:
        text = at(trace, source.fields["text"]) if "text" in source.fields else trace.get("input")
        label = at(trace, source.fields["label"]) if "label" in source.fields else None
        turn = asked_in(text), answered_in(trace.get("output") if label is None else label)
        new = [
            row if all(turn) or REFUSED in row else _without_turn(row)
            for row in _scores(trace, source, labels, by_judges)
            if row["given_at"] > before
        ]
        rows += new
        standing[_prediction(trace, source)] = _score_ids(trace)
        answered = moment_of(trace.get("timestamp") or (new[0]["given_at"] if new else None))
        if new and all(turn) and answered:
            answers.append(_answer(trace, source, *turn, answered))
    found = frozenset({"text", "label"}.intersection(source.fields))
    notes = judged(by_judges)
    return Pulled(tuple(rows), tuple(answers), mark, notes, found, standing)


def _prediction(trace: Mapping[str, Any], source: SourceConfig) -> str:
    return f"{source.name}-{trace['id']}"


def _score_ids(trace: Mapping[str, Any]) -> frozenset[str]:
    """How `key` writes the ids of its scores."""
    scores = (score for score in trace["scores"] if isinstance(score, dict))
    return frozenset(called(score.get("id")) for score in scores)


def _are_scores(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether they are what the page of scores, or /api/public/scores, exports."""
    return bool(entries) and all("traceId" in one and "input" not in one for one in entries)


def _require_scores(traces: Sequence[Mapping[str, Any]]) -> None:
    scores = [score for trace in traces for score in trace["scores"]]
    if scores and not any(isinstance(score, dict) for score in scores):
        raise ValueError(
            f"its traces hold the ids of {len(scores):,} scores, and not the scores: export the "
            "traces with their scores, as /api/public/traces/ID gives each"
        )


def _scores(
    trace: Mapping[str, Any],
    source: SourceConfig,
    labels: Sequence[str],
    by_judges: Counter[str],
) -> Iterator[dict[str, Any]]:
    for score in trace["scores"]:
        if not isinstance(score, dict):
            continue
        name = str(score.get("name") or "")
        by_person = str(score.get("source") or "").upper() != "EVAL"
        if not by_person and name not in source.scores:
            by_judges[name] += 1
            continue
        reaction = reaction_of(_score(score, name, by_person), source, labels)
        for said in (reaction, _comment(score)):
            if said is not None:
                yield _row(trace, score, source, said, by_person=by_person)


def _score(score: Mapping[str, Any], name: str, by_person: bool) -> Score:
    kind = str(score.get("dataType") or "").upper()
    value, said = score.get("value"), score.get("stringValue")
    if kind == "BOOLEAN" and isinstance(value, int | float):
        value = bool(value)
    elif kind in _KINDS or value is None:
        value = said if said is not None else value if isinstance(value, str) else None
    return Score(name, value, by_person, _KINDS.get(kind, "category" if said else ""))


def _comment(score: Mapping[str, Any]) -> dict[str, Any] | None:
    said = score.get("comment")
    return {"kind": "comment", "value": said} if isinstance(said, str) and said.strip() else None


def _row(
    trace: Mapping[str, Any],
    score: Mapping[str, Any],
    source: SourceConfig,
    said: Mapping[str, Any],
    *,
    by_person: bool,
) -> dict[str, Any]:
    name = score.get("name") or ""
    person = score.get("authorUserId") or trace.get("userId") or "langfuse"
    given = next((score[at] for at in ("updatedAt", "timestamp", "createdAt") if score.get(at)), "")
    shown = {"score": str(name)} if REFUSED in said else {}
    return shown | {
        **said,
        "feedback_id": key(source.name, score.get("id"), trace["id"], given, said),
        "prediction_id": _prediction(trace, source),
        "rater_id": str(person if by_person else f"judge-{name}"),
        "given_at": str(given or trace.get("timestamp") or ""),
    }


def _without_turn(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "kind"} | {REFUSED: "turn"}


def _answer(
    trace: Mapping[str, Any], source: SourceConfig, text: str, label: str, at: datetime
) -> Answer:
    return Answer(
        prediction_id=_prediction(trace, source),
        text=text,
        label=label,
        answered_at=at,
        group_id=trace.get("sessionId"),
        customer_id=trace.get("userId"),
    )
