"""What vendors answered, kept for ever and never asked twice.

    HOME/vendors/USE_CASE/NAME.jsonl    one line for each answer

A line holds no text and nothing that an endpoint wrote but a label: it is found by the hash of the
request, and by the id of the text when its customer is to be forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.vendors import jsonl


@dataclass(frozen=True)
class Answer:
    """One answer of an endpoint to one text.

    ``label`` and ``probabilities`` are None where it abstained, and ``reason`` says how: it
    refused, was filtered or cut off, said nothing, or said what is no label. ``probabilities`` is
    label → [0, 1], summing to 1; without the endpoint's own (``graded`` false) all of it lies on
    the label. ``seconds`` is the time of the try that was answered, without waiting before it.
    ``metered`` is false where the endpoint did not say how many tokens there were: then they are
    the most that there can have been.
    """

    key: str
    text_id: str
    label: str | None
    probabilities: Mapping[str, float] | None
    reason: str | None
    graded: bool
    seconds: float
    input_tokens: int
    output_tokens: int
    price: float
    metered: bool
    served_model: str
    asked_at: str


def path(folder: Path, name: str) -> Path:
    """Where the answers of the vendor of that name are kept."""
    return folder / f"{name}.jsonl"


def spent_path(folder: Path, name: str) -> Path:
    """Where what it cost is kept; it holds no line of anybody's."""
    return folder / f"{name}.spent.jsonl"


def paths(folder: Path) -> list[Path]:
    """The answers of all vendors of a use case."""
    found = (p for p in folder.glob("*.jsonl") if not p.name.startswith("."))
    return sorted(p for p in found if not p.name.endswith(".spent.jsonl"))


class Answers:
    """The recorded answers of one vendor, by the key of their request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {answer.key: answer for answer in map(self._answer, jsonl.read(path))}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Answer | None:
        """What was answered to this request, None where it was never answered."""
        return self._known.get(key)

    def add(self, answer: Answer) -> None:
        """Keep an answer; on the disk when this returns."""
        jsonl.append(self.path, dataclasses.asdict(answer))
        self._known[answer.key] = answer

    def all(self) -> list[Answer]:
        """Every answer, in the order of recording."""
        return [*self._known.values()]

    def _answer(self, line: Mapping[str, Any]) -> Answer:
        try:
            return Answer(**line)
        except TypeError as error:
            raise DataError(
                f"{self.path} has a line that is no recorded answer: {error}. Nothing was asked."
            ) from error
