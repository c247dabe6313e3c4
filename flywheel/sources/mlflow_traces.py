"""MLflow traces and the assessments on them: ``mlflow.log_feedback`` and ``log_expectation``.

``location`` is the experiment's name. A trace is an answer: its request the text, its response the
label. Feedback that is true, "yes" or 1 accepts it, its opposite rejects it, any other number rates
it; an expectation corrects it; a rationale is a comment. Assessments come late: traces of the last
``lookback_days`` before the watermark are read again, and what is known is known by its id.
Traces of our own service are answers that the inbox has, and so is the feedback it showed on them:
only what people say of them in MLflow is new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flywheel.assessments import FEEDBACK
from flywheel.config import SourceConfig
from flywheel.sources.pulled import Answer, Pulled
from flywheel.traces import OURS, prediction_of

_DAY_MS = 86_400_000
_PAGE = 100
_YES = {"true", "yes", "1", "1.0", "up", "thumbs_up", "good", "correct"}
_NO = {"false", "no", "0", "0.0", "down", "thumbs_down", "bad", "incorrect", "-1", "-1.0"}


def read(source: SourceConfig, watermark: str | None) -> Pulled:
    """Assessments on traces since the watermark, a time in milliseconds, and those before it."""
    since = max(0, int(watermark or 0) - source.lookback_days * _DAY_MS)
    newest = int(watermark or 0)
    rows: list[dict[str, Any]] = []
    answers: list[Answer] = []
    for trace in _traces(source.location, since):
        newest = max(newest, int(trace.info.request_time))
        reactions = list(_reactions(trace))
        if OURS in trace.info.tags:
            rows += [
                {**row, "prediction_id": prediction_of(trace.info.trace_id)} for row in reactions
            ]
            continue
        text, label = _said(trace.data.request), _said(trace.data.response)
        if not text or not reactions:
            continue
        rows += reactions
        answers.append(
            Answer(
                prediction_id=trace.info.trace_id,
                text=text,
                label=label or "",
                answered_at=datetime.fromtimestamp(trace.info.request_time / 1_000, UTC),
                group_id=trace.info.trace_metadata.get("mlflow.trace.session"),
                customer_id=trace.info.trace_metadata.get("mlflow.trace.user"),
            )
        )
    return Pulled(tuple(rows), tuple(answers), str(newest))


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


def _reactions(trace: Any) -> Iterator[dict[str, Any]]:
    for one in trace.info.assessments or []:
        if getattr(one, "valid", True) is False or FEEDBACK in (one.metadata or {}):
            continue
        row = {
            "prediction_id": trace.info.trace_id,
            "rater_id": one.source.source_id or one.source.source_type.lower(),
            "given_at": datetime.fromtimestamp(one.create_time_ms / 1_000, UTC),
        }
        value = one.expectation.value if one.expectation else one.feedback and one.feedback.value
        said = str(value).strip()
        if one.expectation:
            reaction: dict[str, Any] = {"kind": "correct", "value": said}
        elif said.casefold() in _YES:
            reaction = {"kind": "accept"}
        elif said.casefold() in _NO:
            reaction = {"kind": "reject"}
        elif isinstance(value, (int, float)):
            reaction = {"kind": "rate", "value": said}
        else:
            reaction = {"kind": "comment", "value": said}
        yield {**row, **reaction, "feedback_id": one.assessment_id}
        if one.rationale:
            identity = f"{one.assessment_id}-rationale"
            yield {**row, "kind": "comment", "value": one.rationale, "feedback_id": identity}


def _said(written: str | None) -> str:
    """The one string in a request or response: itself, or the only or best-named value."""
    if not written:
        return ""
    try:
        content = json.loads(written)
    except (ValueError, RecursionError):
        return written
    while isinstance(content, (dict, list)) and content:
        if isinstance(content, list):
            content = content[-1]
            continue
        named = ("text", "input", "inputs", "question", "prompt", "content", "label", "messages")
        key = next((name for name in named if name in content), next(iter(content)))
        content = content[key]
    return content if isinstance(content, str) else ""
