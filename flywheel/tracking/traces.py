"""Served answers as MLflow traces, and feedback as assessments on them.

A trace's id is its prediction's id behind ``tr-``, so that nobody needs a list of which is which.
No text of anybody's is in a trace, and people are in it under pseudonyms that only this home can
make: what is shown is who answered what, how surely, how fast, and what was said of it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Feedback, Span, SpanType, TraceInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import (
    GenAiSemconvKey,
    SpanAttributeKey,
    TraceMetadataKey,
    TraceTagKey,
)

from flywheel.config import Home
from flywheel.errors import RegistryUnavailable
from flywheel.tracking.assessments import (
    FEEDBACK,
    Reaction,
    assessments,
    is_taken_back,
    people_of,
    said_by,
)
from flywheel.tracking.registry import Registry

OURS = "flywheel.use_case"
"""Tag of a trace that a service of ours wrote."""
SAID_BY = "flywheel.by."
"""Prefix of the tags that name, by pseudonym, whose feedback a trace has."""
_PREFIX = "tr-"
_PREDICTION = re.compile(r"[0-9a-f]{32}")
_PAGE = 100


@dataclass(frozen=True)
class Traced:
    """An answer as its trace shows it. ``label`` and ``confidence`` are None where it is a text.

    ``who`` is the customer and ``group`` the group, as pseudonyms, None where they were not named.
    Times are ns since 1970.
    """

    prediction_id: str
    version: str
    digest: str
    label: str | None
    confidence: float | None
    abstained: bool
    cached: bool
    recorded: bool
    input_tokens: int | None
    who: str | None
    group: str | None
    begun_ns: int
    ended_ns: int


@dataclass(frozen=True)
class Theirs:
    """What traces hold of a person: whole traces; on others', assessments and tags, each behind
    its trace.
    """

    traces: tuple[str, ...] = ()
    assessments: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.traces or self.assessments or self.tags)


def trace_id(prediction_id: str) -> str | None:
    """The trace of an answer; None where no service of ours gave the id."""
    return _PREFIX + prediction_id if _PREDICTION.fullmatch(prediction_id) else None


def prediction_of(trace: str) -> str:
    """The answer of a trace of ours."""
    return trace.removeprefix(_PREFIX)


class Traces:
    """The traces of one use case, in the experiment that its runs are in. Every call waits for
    MLflow, and raises `RegistryUnavailable` where it does not do what it should.
    """

    def __init__(self, home: Home, use_case: str) -> None:
        self._home, self._name = home, use_case
        self._client = TracingClient(home.mlflow_uri)
        self._experiment: str | None = None

    # ---- Writing

    def add(self, answers: Sequence[Traced]) -> None:
        """Write answers, all of them or none."""
        with _said(self._name):
            if self._experiment is None:
                self._experiment = Registry(self._home).experiment(self._name)
            # one call for all: telling of each trace by itself costs four times as much
            self._client.log_spans(self._experiment, [self._span(one) for one in answers])

    def react(self, reaction: Reaction) -> bool:
        """Write a feedback: it revises what its rater said of this answer before, or takes it back.

        Written again, it changes nothing. False when there is no such trace of ours.
        """
        found = trace_id(reaction.prediction_id)
        info = None if found is None else self._info(found)
        if info is None or info.tags.get(OURS) != self._name:
            return False
        known = [one for one in info.assessments if said_by(one, reaction.rater)]
        if any((one.metadata or {}).get(FEEDBACK) == reaction.feedback for one in known):
            return True
        with _said(self._name):
            for person in reaction.people:
                self._client.set_trace_tag(info.trace_id, SAID_BY + person, "1")
            stays = [one for one in known if not is_taken_back(one, reaction.kind)]
            for one in known:
                if one not in stays:
                    self._client.delete_assessment(info.trace_id, str(one.assessment_id))
            for new in assessments(reaction):
                before = [one for one in stays if one.name == new.name and one.valid is not False]
                if before and isinstance(new, Feedback):
                    new.overrides = before[-1].assessment_id
                self._client.log_assessment(info.trace_id, new)
        return True

    def _info(self, found: str) -> TraceInfo | None:
        try:
            return self._client.get_trace_info(found)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return None
            raise RegistryUnavailable(f"MLflow did not answer for {found}: {error}") from error

    def _span(self, one: Traced) -> Span:
        outputs = None if one.label is None else {"label": one.label, "confidence": one.confidence}
        attributes = {
            SpanAttributeKey.REQUEST_ID: _PREFIX + one.prediction_id,
            SpanAttributeKey.SPAN_TYPE: SpanType.LLM,
            SpanAttributeKey.OUTPUTS: outputs,
            SpanAttributeKey.USER_ID: one.who,
            SpanAttributeKey.SESSION_ID: one.group,
            SpanAttributeKey.TRACE_TAG_PREFIX + TraceTagKey.TRACE_NAME: self._name,
            SpanAttributeKey.TRACE_TAG_PREFIX + OURS: self._name,
            SpanAttributeKey.TRACE_TAG_PREFIX + "flywheel.version": one.version,
            GenAiSemconvKey.OPERATION_NAME: "classify" if one.label else "text_completion",
            GenAiSemconvKey.PROVIDER_NAME: "flywheel",
            GenAiSemconvKey.REQUEST_MODEL: self._name,
            GenAiSemconvKey.RESPONSE_MODEL: f"{self._name}/{one.version}",
            GenAiSemconvKey.RESPONSE_ID: one.prediction_id,
            GenAiSemconvKey.USAGE_INPUT_TOKENS: one.input_tokens,
            # unknown, and said to be: else MLflow would look for a price list on the internet
            SpanAttributeKey.LLM_COST: {},
            "flywheel.digest": one.digest,
            "flywheel.abstained": one.abstained,
            "flywheel.cached": one.cached,
            "flywheel.recorded": one.recorded,
        }
        return Span.from_dict(
            {
                "trace_id": _PREFIX + one.prediction_id,
                "span_id": secrets.token_hex(8),
                "parent_span_id": None,
                "name": "predict",
                "start_time_unix_nano": one.begun_ns,
                "end_time_unix_nano": one.ended_ns,
                "status": {"code": "OK"},
                "attributes": {n: json.dumps(v) for n, v in attributes.items() if v is not None},
            }
        )

    # ---- Forgetting

    def of(self, people: Collection[str], predictions: Iterable[str]) -> Theirs:
        """What is of people (pseudonyms), or of answers by their ids; empty where nothing is."""
        with _said(self._name):
            found = MlflowClient(self._home.mlflow_uri).get_experiment_by_name(self._name)
            if found is None:
                return Theirs()
            self._experiment = str(found.experiment_id)
            traces: set[str] = set()
            spoken: list[tuple[str, TraceInfo]] = []
            for person in sorted(people):
                for key in (TraceMetadataKey.TRACE_USER, TraceMetadataKey.TRACE_SESSION):
                    named = self._search(f"metadata.`{key}` = '{person}'")
                    traces |= {one.trace_id for one in named}
                tag = SAID_BY + person
                spoken += [(tag, one) for one in self._search(f"tags.`{tag}` = '1'")]
            ids = [one for one in map(trace_id, sorted(set(predictions))) if one is not None]
            for first in range(0, len(ids), _PAGE):
                said = ", ".join(f"'{one}'" for one in ids[first : first + _PAGE])
                named = self._search(f"trace.request_id IN ({said})")
                traces |= {one.trace_id for one in named if OURS in one.tags}
        others = [(tag, one) for tag, one in spoken if one.trace_id not in traces]
        return Theirs(
            traces=tuple(sorted(traces)),
            assessments=tuple(
                sorted(
                    {
                        (info.trace_id, str(one.assessment_id))
                        for _, info in others
                        for one in info.assessments
                        if not people_of(one).isdisjoint(people)
                    }
                )
            ),
            tags=tuple(sorted((info.trace_id, tag) for tag, info in others)),
        )

    def delete(self, theirs: Theirs) -> None:
        """Delete what `of` found."""
        with _said(self._name):
            for trace, assessment in theirs.assessments:
                self._client.delete_assessment(trace, assessment)
            for trace, tag in theirs.tags:
                self._client.delete_trace_tag(trace, tag)
            for first in range(0, len(theirs.traces), _PAGE):
                self._client.delete_traces(
                    str(self._experiment), trace_ids=list(theirs.traces[first : first + _PAGE])
                )

    def _search(self, wanted: str) -> Iterator[TraceInfo]:
        token = None
        while True:
            page = self._client.search_traces(
                locations=[str(self._experiment)],
                filter_string=wanted,
                max_results=_PAGE,
                page_token=token,
                include_spans=False,
            )
            yield from (one.info for one in page)
            token = page.token
            if not token:
                return


@contextmanager
def _said(name: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise RegistryUnavailable(f"MLflow did not answer for traces of {name}: {error}") from error
