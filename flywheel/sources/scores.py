"""What a score on a trace says of its answer: its type, who gave it and its name decide.

Never its value alone: a judge's "hallucination: true" is no praise, and 1 of 5 stars is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel.config import SourceConfig
from flywheel.sources.ratings import REFUSED, reaction
from flywheel.text.label_spelling import match, written
from flywheel.text.normalize import printable

_FAULT = re.compile(
    "halluc|toxic|harm|bias|error|fail|spam|unsafe|offens|jailbreak|inject|leak|fault|defect|bug"
    "|incorrect|wrong|unhelpful|irrelevan|off.?topic|refus|complain|issue|problem|escalat"
)
"""In the name of a score: true may be bad."""
_THUMB = re.compile("thumb|feedback|helpful|useful|like|vote|rating|satisf|accept|approv")
"""In the name of a score: its words speak of the answer, and are no labels."""
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Score:
    """A score as its system has it. ``kind`` is what the system says it is, if it does."""

    name: str
    value: Any = field(repr=False)
    by_person: bool
    kind: str = ""
    """``correction``, ``text`` or ``category``; else the value says it."""


def reaction_of(score: Score, source: SourceConfig, labels: Sequence[str]) -> dict[str, Any] | None:
    """The fields of a reaction, or why there are none; None where nothing was said by anybody."""
    chosen = source.scores.get(score.name)
    if chosen == "none" or (chosen is None and not score.by_person):
        return None
    if isinstance(score.value, list | dict):
        return {REFUSED: "structure"}
    words = source.values.get("rating", {})
    if chosen in ("thumb", "rating"):
        return reaction(score.value, is_thumb=chosen == "thumb", words=words)
    said = written(score.value)
    if said is None:
        return None
    if chosen == "correction" or (chosen is None and score.kind == "correction"):
        return {"kind": "correct", "value": said}
    if chosen == "comment" or score.kind == "text":
        return {"kind": "comment", "value": said}
    return _told(score, said, labels, words)


def _told(
    score: Score, said: str, labels: Sequence[str], words: Mapping[str, str]
) -> dict[str, Any]:
    """What a score that no setting names says."""
    found = reaction(score.value, is_thumb=False, words=words) or {}
    name = score.name.casefold()
    is_word = isinstance(score.value, str)
    label = match(said, tuple(labels)) if is_word and labels else None
    if label is not None and not (_THUMB.search(name) and "kind" in found):
        return {"kind": "correct", "value": label}
    if found.get("kind") in ("accept", "reject") and _FAULT.search(name):
        return {REFUSED: "score"}
    if is_word and REFUSED in found:
        return (
            {REFUSED: "score"} if score.kind == "category" else {"kind": "comment", "value": said}
        )
    return found or {REFUSED: "score"}


def judged(names: Counter[str]) -> tuple[str, ...]:
    """What is to be said of scores that no person gave; nothing where there are none."""
    if not names:
        return ()
    shown = ", ".join(printable(name)[:40] for name, _ in names.most_common(_SHOWN_NAMES))
    return (
        f"{names.total():,} scores by judges or checks ({shown}) are no feedback of people; "
        "the source's scores: names those that count all the same",
    )
