"""What a person said or was said to: the one definition for plan, search and certificate.

Said: texts, comments, and the labels that are written out (references, corrections). Said to:
answers that were written for them, shown or not. The name of a class is neither. Each is looked
for as it was given and as it is learned from, without personal data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from flywheel.text.normalize import normalise
from flywheel.text.pii import redact

WRITTEN_KINDS = ("comment", "correct", "label")
"""The kinds of feedback whose value may be a text."""


def said_in_row(fields: Mapping[str, object]) -> Iterator[str]:
    """What people wrote in a row of feedback, and what was written for them in one of answers."""
    said = [fields.get("text")]
    if fields.get("kind") in WRITTEN_KINDS:
        said.append(fields.get("value"))
    for one in said:
        if isinstance(one, str) and one:
            yield one


def written(texts: Iterable[str], labels: Collection[str]) -> set[str]:
    """The texts that are no name of a class."""
    classes = set(map(normalise, labels))
    return {text for text in texts if normalise(text) not in classes}


def forms(texts: Iterable[str]) -> set[str]:
    """Texts as given, and as they are learned from."""
    return {form for text in texts for form in (text, redact(text).text)}
