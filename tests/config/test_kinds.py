"""Each kind of use case takes its own settings, and refuses the other's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flywheel.config import UseCase
from tests.nights import CASE
from tests.writers import written_case

WRITTEN = written_case().model_dump(mode="json")
LABELLED = CASE.model_dump(mode="json")


def changed(case: dict[str, Any], section: str | None, **values: Any) -> dict[str, Any]:
    if section is None:
        return {**case, **values}
    return {**case, section: {**case[section], **values}}


@pytest.mark.parametrize("case", [WRITTEN, LABELLED], ids=["written", "labeled"])
def test_what_was_written_out_is_read_back(case: dict[str, Any]) -> None:
    assert UseCase.model_validate(case).model_dump(mode="json") == case


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (None, {"labels": {"a": "a", "b": "b"}}, "labels are for text-classification"),
        ("gate", {"min_rouge_l": None}, "gate.min_rouge_l"),
        ("gate", {"min_accuracy": 0.5}, "gate.min_accuracy is for text-classification"),
        ("gate", {"min_macro_f1": 0.5}, "gate.min_macro_f1 is for text-classification"),
        ("gate", {"max_disagreement": 0.5}, "gate.max_disagreement is for"),
        ("gate", {"slices": ["label"]}, "no slice by label"),
        ("curation", {"complementary": True}, "curation.complementary is for"),
        ("training", {"method": "tfidf"}, "tfidf is not for text-generation"),
        (
            None,
            {
                "training": {
                    "method": "auto",
                    "slate": [{"method": "qlora", "base": "a"}, {"method": "lora", "base": "a"}],
                }
            },
            "trains one method",
        ),
    ],
)
def test_a_generation_refuses_what_speaks_of_labels(
    section: str | None, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        UseCase.model_validate(changed(WRITTEN, section, **values))


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (None, {"labels": {}}, "needs 2 at least, found 0"),
        (None, {"labels": {"a": "a"}}, "needs 2 at least, found 1"),
        ("gate", {"min_accuracy": None}, "gate.min_accuracy"),
        ("gate", {"min_rouge_l": 0.2}, "gate.min_rouge_l is for text-generation"),
        ("gate", {"tie_within": 0.1}, "gate.tie_within is for text-generation"),
        ("training", {"max_new_tokens": 10}, "training.max_new_tokens is for text-generation"),
    ],
)
def test_a_classification_refuses_what_speaks_of_written_answers(
    section: str | None, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        UseCase.model_validate(changed(LABELLED, section, **values))


def test_a_generation_is_sliced_by_length_unless_it_says_otherwise() -> None:
    without = changed(WRITTEN, "gate")
    del without["gate"]["slices"]
    assert UseCase.model_validate(without).gate.slices == ["length"]
    named = changed(WRITTEN, "gate", slices=["language"])
    assert UseCase.model_validate(named).gate.slices == ["language"]
