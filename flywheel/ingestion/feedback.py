"""From a raw row to a `Feedback`: everything that can be wrong with a row is found here.

A row is refused with a reason that names the field and the rule, never what the customer wrote.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flywheel.errors import DataError
from flywheel.ingestion.contract import ABSENT, MAX_ID_CHARS, RULES, VALUES, FieldRule
from flywheel.records import FEEDBACK_KINDS, Feedback, FeedbackKind
from flywheel.text.label_spelling import match, written

REFUSALS = {
    "rating": "the rating is no thumb, number or word that is known; name it in the source's "
    "values: rating: {its word: up}, or down",
    "score": "a score of that name says nothing of the answer by itself; name it in the source's "
    "scores: {its name: thumb}, or rating, correction, comment, none",
    "turn": "no text with an answer to it can be told in the entry",
    "choices": "more than one choice is ticked, and the use case has one label a text",
    "question": "the export asks more than one question; name one in the source's fields: value",
    "text": "the text cannot be told among several; name its field in the source's fields: text",
    "structure": "a list or an object is no label",
}
"""Why a source's entry is no feedback, by what it puts into ``refused`` in place of a ``kind``."""


def parse_feedback(
    raw: Mapping[str, object], *, labels: tuple[str, ...], by_customer: bool = True
) -> Feedback:
    """Check one raw row and return it as a `Feedback`; unknown fields are ignored.

    Blank strings count as missing. A missing ``feedback_id`` becomes a hash of the content, so
    the same row sent twice is the same feedback. A missing ``group_id`` becomes that of
    `group_of`; of a row without a text it stays missing, and its prediction's counts. Unless
    ``by_customer`` (`split.by_customer`) customers are no groups.
    With no ``labels`` any text may be the value of ``correct`` and ``label``; else it is the label
    that it is alike to in all but case, width, spaces and Unicode form.

    Raises:
        DataError: the row breaks the contract; the message names the field and the rule.
    """
    kind = _kind(raw)
    given_at = _given_at(raw)
    texts = {rule.name: _text(raw, rule) for rule in RULES if rule.form in ("identifier", "text")}
    prediction_id, customer_id = texts["prediction_id"], texts["customer_id"]
    text, named = texts["text"], texts["group_id"]
    if prediction_id is None and text is None:
        raise DataError("prediction_id or text is required, both are missing")
    value = _value(raw, kind, labels)
    content = {
        "kind": kind,
        "given_at": given_at.isoformat(),
        "rater_id": texts["rater_id"],
        "source": texts["source"],
        "prediction_id": prediction_id,
        "text": text,
        # as it was when each text was its own group: a row sent again keeps its id
        "group_id": named if named or text is None else text_group(text),
        "value": value,
        "customer_id": customer_id,
    }
    return Feedback(
        feedback_id=texts["feedback_id"] or _hash(json.dumps(content, sort_keys=True)),
        kind=kind,
        given_at=given_at,
        rater_id=_required(texts["rater_id"], "rater_id"),
        source=_required(texts["source"], "source"),
        prediction_id=prediction_id,
        text=text,
        group_id=named
        if text is None
        else group_of(text, group=named, customer=customer_id if by_customer else None),
        value=value,
        customer_id=customer_id,
    )


def unknown_label(kind: str, labels: Sequence[str]) -> str:
    """Why a row is refused whose value is none of ``labels``."""
    return f"value of {kind} must be one of {', '.join(labels)}"


def group_of(text: str, *, group: str | None, customer: str | None) -> str:
    """Name the group of a text: the one given, else its customer, else the text alone.

    `init` names the groups of a file by their customers too, so that a customer of the file and
    of the service is one group, on one side of the split.
    """
    return group or customer or text_group(text)


def text_group(text: str) -> str:
    """Name the group of a text that came without one: equal up to case, spaces and width."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _hash(" ".join(folded.split()))


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _string(raw: Mapping[str, object], name: str) -> str | None:
    value = raw.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"{name} must be a string, found {type(value).__name__}", field=name)
    if "\0" in value:
        raise DataError(f"{name} holds a NUL byte", field=name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name} is not valid UTF-8", field=name) from error
    return value if value.strip() else None


def _text(raw: Mapping[str, object], rule: FieldRule) -> str | None:
    value = _string(raw, rule.name)
    if rule.form == "identifier" and value in ABSENT:
        value = None
    if rule.form == "identifier" and value is not None and len(value) > MAX_ID_CHARS:
        raise DataError(
            f"{rule.name} has {len(value)} characters, at most {MAX_ID_CHARS} allowed",
            field=rule.name,
        )
    return _required(value, rule.name) if rule.required else value


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise DataError(f"{name} is missing or empty", field=name)
    return value


def _kind(raw: Mapping[str, object]) -> FeedbackKind:
    refused = raw.get("refused")
    if raw.get("kind") is None and isinstance(refused, str) and refused in REFUSALS:
        raise DataError(REFUSALS[refused], field="kind")
    given = _required(_string(raw, "kind"), "kind")
    for kind in FEEDBACK_KINDS:
        if kind == given:
            return kind
    raise DataError(f"kind is unknown; expected one of {', '.join(FEEDBACK_KINDS)}", field="kind")


def _given_at(raw: Mapping[str, object]) -> datetime:
    given = _required(_string(raw, "given_at"), "given_at")
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError as error:
        raise DataError("given_at is not an ISO-8601 date and time", field="given_at") from error
    if parsed.utcoffset() is None:
        raise DataError("given_at has no time zone (end it in Z or +00:00)", field="given_at")
    try:
        return parsed.astimezone(UTC)
    except OverflowError as error:
        raise DataError("given_at lies outside the years 1 to 9999", field="given_at") from error


def _as_text(value: object) -> object:
    """A number or a boolean as a label is written, as `init` does; all else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return written(value) if isinstance(value, bool | int | float) else value


def _value(raw: Mapping[str, object], kind: FeedbackKind, labels: tuple[str, ...]) -> str | None:
    value = _string({**raw, "value": _as_text(raw.get("value"))}, "value")
    form = VALUES[kind]
    if form == "none":
        if value is not None:
            raise DataError(f"{kind} takes no value", field="value")
        return None
    value = _required(value, f"value of {kind}")
    if form == "label" and labels:
        # an app's drop-down and a sheet write the same label in another case, or with a blank
        meant = match(value, labels)
        if meant is None:
            raise DataError(unknown_label(kind, labels), field="value")
        value = meant
    if form == "number":
        try:
            finite = math.isfinite(float(value))
        except ValueError as error:
            raise DataError(f"value of {kind} must be a number", field="value") from error
        if not finite:
            raise DataError(f"value of {kind} must be a finite number", field="value")
    return value
