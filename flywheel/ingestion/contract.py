"""The contract of a feedback record: its fields, and what each kind of feedback says.

It is stated here once. `parse_feedback`, the SQL that tells plain rows, the readers of files and
the schema of ``POST /feedback`` are built from these tables; a test takes the same rows by every
road and holds that they are kept, or refused for the same reason.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flywheel.records import FeedbackKind

MAX_ID_CHARS = 512
"""DuckDB refuses index keys beyond some 100 kB; no honest identifier comes near this."""

ABSENT = (
    "NaN", "nan", "None", "null", "NULL", "<NA>", "NaT", "N/A", "n/a", "#N/A", "undefined",
)  # fmt: skip
"""What programs write where there is no identifier; nobody is called so, and many would be one."""

Form = Literal["identifier", "kind", "moment", "text", "value"]
Value = Literal["none", "label", "number", "text"]


@dataclass(frozen=True)
class FieldRule:
    """A field's name and form. Blank is missing; without a required one a row is refused.

    An ``identifier`` has at most `MAX_ID_CHARS` characters; one of `ABSENT` is missing, too. A
    ``moment`` is ISO-8601 with a time zone. A ``value`` may be a boolean or a number, too. All else
    is text.
    """

    name: str
    form: Form
    required: bool = False


RULES = (
    FieldRule("feedback_id", "identifier"),
    FieldRule("kind", "kind", required=True),
    FieldRule("value", "value"),
    FieldRule("prediction_id", "identifier"),
    FieldRule("text", "text"),
    FieldRule("group_id", "identifier"),
    FieldRule("customer_id", "identifier"),
    FieldRule("rater_id", "identifier", required=True),
    FieldRule("source", "identifier", required=True),
    FieldRule("given_at", "moment", required=True),
)
"""Also: a row has a ``prediction_id``, a ``text``, or both."""
FIELDS = tuple(rule.name for rule in RULES)
IDENTIFIERS = tuple(rule.name for rule in RULES if rule.form == "identifier")

VALUES: Mapping[FeedbackKind, Value] = {
    "accept": "none",
    "reject": "none",
    "correct": "label",
    "rate": "number",
    "comment": "text",
    "label": "label",
    "withdraw": "none",
}
"""What ``value`` holds, by kind; a label is one of the use case's, where it has any."""


def names_nobody(cell: str) -> bool:
    """Whether a table's cell of identifiers says that there is none: ``N/A``, ``-``, a blank."""
    word = cell.strip()
    return word in ABSENT or all(unicodedata.category(char)[0] in "PZC" for char in word)


EDITION = 2
"""Raised where a row that was refused before may be taken: nights judge the refused ones again."""
