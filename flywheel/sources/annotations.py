"""What people answered in a labeling tool, and which of it is the label of a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel.config import SourceConfig
from flywheel.ingestion.messages import at
from flywheel.sources.base import Pulled, called, key
from flywheel.sources.exports import fields
from flywheel.sources.ratings import REFUSED
from flywheel.text.label_spelling import match


@dataclass(frozen=True)
class Annotation:
    """What one person answered to one task. ``answers``: question → what was chosen."""

    task: object
    number: object
    by: object
    given_at: str
    data: Mapping[str, Any] = field(repr=False)
    answers: Mapping[str, tuple[str, ...]] = field(repr=False)
    about: frozenset[str] = frozenset()
    group: object = None


def pulled(
    found: Sequence[Annotation],
    source: SourceConfig,
    mark: str,
    before: str,
    labels: Sequence[str],
    whole: Sequence[Annotation] = (),
) -> Pulled:
    """The labels among annotations, those after ``before``.

    Of tasks that are there ``whole`` what is not among ``found`` was deleted; each is given as an
    annotation without answers.

    Raises:
        ValueError: the text of what was annotated cannot be told.
    """
    asked = question(found, source, labels)
    made = [(one, row) for one in found if (row := _row(one, source, asked))]
    rows = [row for _, row in made]
    if rows and not any(row.get("text") for row in rows):
        name = fields([one.data for one in found])
        raise ValueError(
            f"the text of its tasks cannot be told among {name}; name it in the source's "
            "fields: {text: NAME}"
        )
    new = [row for row in rows if row["given_at"] > before or not before]
    consumed = frozenset({"text", "value"}.intersection(source.fields))
    standing = _standing(whole, made, source)
    notes = _notes(found, asked)
    return Pulled(tuple(new), (), mark, notes, consumed, standing_labels=standing)


def _standing(
    whole: Sequence[Annotation],
    made: Sequence[tuple[Annotation, Mapping[str, Any]]],
    source: SourceConfig,
) -> dict[str, frozenset[str]]:
    """Text of a task that is there whole → how `key` writes the annotations that label it."""
    found: dict[str, set[str]] = {text: set() for one in whole if (text := _text(one, source))}
    for one, row in made:
        if row.get("text") in found and REFUSED not in row:
            found[row["text"]].add(called(_name(one)))
    return {text: frozenset(names) for text, names in found.items()}


def _name(one: Annotation) -> str:
    return f"{one.task}-{one.number}"


def question(
    found: Sequence[Annotation], source: SourceConfig, labels: Sequence[str]
) -> str | None:
    """The question whose answers are the labels; None where it cannot be told."""
    if "value" in source.fields:
        return source.fields["value"]
    answers: dict[str, set[str]] = {}
    for one in found:
        for name, chosen in one.answers.items():
            answers.setdefault(name, set()).update(chosen)
    if len(answers) > 1:
        known = tuple(labels)
        answers = {n: s for n, s in answers.items() if known and all(match(a, known) for a in s)}
    return next(iter(answers)) if len(answers) == 1 else None


def _row(one: Annotation, source: SourceConfig, asked: str | None) -> dict[str, Any] | None:
    """The annotation as feedback; None where it does not answer the question."""
    if asked is not None and asked not in one.answers:
        return None
    chosen = one.answers[asked] if asked is not None else ()
    text = _text(one, source)
    said: dict[str, Any] = {"kind": "label", "value": chosen[0] if chosen else None, "text": text}
    if len(set(chosen)) != 1:
        said = {REFUSED: "choices" if chosen else "question", "text": text}
        said["chosen"] = json.dumps(dict(one.answers), ensure_ascii=False)
    elif not text:
        said = {REFUSED: "text", "value": chosen[0]}
    by = one.by.get("email") or one.by.get("id") if isinstance(one.by, dict) else one.by
    row = said | {
        "feedback_id": key(source.name, _name(one), one.given_at, said),
        "rater_id": f"annotator-{by}",
        "given_at": one.given_at,
    }
    return row | {"group_id": str(one.group)} if one.group else row


def _text(one: Annotation, source: SourceConfig) -> str | None:
    strings = {n: v for n, v in one.data.items() if isinstance(v, str) and n != "group_id"}
    if "text" in source.fields:
        path = source.fields["text"]
        found = at(one.data, path) or at({"data": one.data}, path)
        return found if isinstance(found, str) else None
    about = [name for name in one.about if name in strings]
    only = list(strings) if len(strings) == 1 else []
    named = ["text"] if "text" in strings else about if len(about) == 1 else only
    return strings[named[0]] if named else None


def _notes(found: Sequence[Annotation], asked: str | None) -> tuple[str, ...]:
    questions = list(dict.fromkeys(name for one in found for name in one.answers))
    if len(questions) < 2:
        return ()
    told = f"its labels are taken from {asked!r}" if asked else "which are the labels is not told"
    return (
        f"the export asks {len(questions)} questions ({', '.join(questions)}); {told}: name one in "
        "the source's fields: {value: NAME}",
    )
