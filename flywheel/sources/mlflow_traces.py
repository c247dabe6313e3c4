"""MLflow traces and the assessments on them: ``mlflow.log_feedback`` and ``log_expectation``.

``location`` is the experiment's name. A trace is an answer: its request the text, its response the
label. Feedback of a person that is true or "yes" accepts it, its opposite rejects it, a number
rates it; an expectation corrects it; a rationale is a comment. What judges and code checked is left
alone unless ``scores`` names it (`flywheel.sources.scores`). Assessments come late: traces of the
last ``lookback_days`` before the watermark are read again; what is known is known by its id, and
what is gone there is withdrawn.
Traces of our own service are answers that the inbox has, and so is the feedback it showed on them:
only what people say of them in MLflow is new.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from flywheel.config import SourceConfig
from flywheel.ingestion.messages import answered_in, asked_in
from flywheel.sources.base import Answer, Pulled, key
from flywheel.sources.ratings import REFUSED
from flywheel.sources.scores import Score, judged, reaction_of
from flywheel.tracking.assessments import FEEDBACK
from flywheel.tracking.traces import OURS, prediction_of

_DAY_MS = 86_400_000
_PAGE = 100
_NO_ANSWERS = ("guidelines", "expected_facts", "expected_retrieved_context")
"""Expectations of MLflow that are about an answer, and are none."""


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Assessments on traces since the watermark, a time in milliseconds, and those before it."""
    since = max(0, int(watermark or 0) - source.lookback_days * _DAY_MS)
    newest = int(watermark or 0)
    rows: list[dict[str, Any]] = []
    answers: list[Answer] = []
    by_judges: Counter[str] = Counter()
    standing: dict[str, frozenset[str]] = {}
    for trace in _reached(source.location, since):
        newest = max(newest, int(trace.info.request_time))
        reactions = list(_reactions(trace, source, labels, by_judges))
        ours = OURS in trace.info.tags
        prediction = prediction_of(trace.info.trace_id) if ours else trace.info.trace_id
        standing[prediction] = _assessments(trace)
        if ours:
            rows += [{**row, "prediction_id": prediction} for row in reactions]
            continue
        if not reactions:
            continue
        text, label = asked_in(_held(trace.data.request)), answered_in(_held(trace.data.response))
        if not text or not label:
            rows += [{**row, "kind": None, REFUSED: "turn"} for row in reactions]
            continue
        rows += reactions
        answers.append(
            Answer(
                prediction_id=trace.info.trace_id,
                text=text,
                label=label,
                answered_at=datetime.fromtimestamp(trace.info.request_time / 1_000, UTC),
                group_id=trace.info.trace_metadata.get("mlflow.trace.session"),
                customer_id=trace.info.trace_metadata.get("mlflow.trace.user"),
            )
        )
    notes = judged(by_judges)
    return Pulled(tuple(rows), tuple(answers), str(newest), notes, standing=standing)


def _assessments(trace: Any) -> frozenset[str]:
    return frozenset(str(one.assessment_id) for one in trace.info.assessments or [])


def _held(written: str | None) -> Any:
    """A request or a response, which MLflow writes as JSON, texts with quotes too."""
    try:
        return json.loads(written or '""')
    except (ValueError, RecursionError):
        return written


def _reached(experiment: str, since: int) -> Iterator[Any]:
    """As `_traces`.

    Raises:
        ValueError: there is no such experiment.
        OSError: the server does not answer, or not with what was asked.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield from _traces(experiment, since)
    except MlflowException as error:
        raise OSError(f"MLflow did not answer: {error.message}") from error


def _traces(experiment: str, since: int) -> Iterator[Any]:
    from mlflow import MlflowClient

    # said, not guessed: another part of the process may have named another server
    client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"))
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = ", ".join(sorted(e.name for e in client.search_experiments())) or "none"
        raise ValueError(f"no experiment {experiment!r} in MLflow; there are: {known}")
    token = None
    while True:
        page = client.search_traces(
            locations=[found.experiment_id],
            filter_string=f"timestamp_ms >= {since}",
            order_by=["timestamp_ms ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _reactions(
    trace: Any, source: SourceConfig, labels: Sequence[str], by_judges: Counter[str]
) -> Iterator[dict[str, Any]]:
    for one in trace.info.assessments or []:
        if getattr(one, "valid", True) is False or FEEDBACK in (one.metadata or {}):
            continue
        by_person = one.source.source_type == "HUMAN"
        if not by_person and one.name not in source.scores:
            by_judges[one.name] += 1
            continue
        row = {
            "prediction_id": trace.info.trace_id,
            "rater_id": one.source.source_id or one.source.source_type.lower(),
            "given_at": datetime.fromtimestamp(_revised(one) / 1_000, UTC),
        }
        reaction = reaction_of(_score(one, by_person), source, labels)
        if reaction is not None:
            shown = {"score": one.name} if REFUSED in reaction else {}
            yield row | reaction | shown | {"feedback_id": _identity(one, source, reaction)}
        if one.rationale:
            identity = f"{_identity(one, source, one.rationale)}-rationale"
            yield {**row, "kind": "comment", "value": one.rationale, "feedback_id": identity}


def _score(one: Any, by_person: bool) -> Score:
    if one.expectation:
        kind = "" if one.name in _NO_ANSWERS else "correction"
        return Score(one.name, one.expectation.value, by_person, kind)
    return Score(one.name, one.feedback and one.feedback.value, by_person)


def _revised(one: Any) -> int:
    return int(one.last_update_time_ms or one.create_time_ms)


def _identity(one: Any, source: SourceConfig, said: object) -> str:
    """Its own id while nobody changed it; a change makes it another feedback."""
    if _revised(one) == one.create_time_ms:
        return str(one.assessment_id)
    return key(source.name, one.assessment_id, _revised(one), said)
