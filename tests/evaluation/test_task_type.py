"""Each kind of use case judges answers by its own measure, chosen in one place."""

from __future__ import annotations

import pytest

from flywheel.config import UseCase
from flywheel.evaluation.task_type import task_type
from flywheel.records.answers import top
from flywheel.tracking import measured_answers
from tests.writers import written_case

GOLD = {"a": "it rains", "b": "the sun shines today"}
WRITTEN = {"a": {"it rains": 1.0}, "b": {"the sun shines": 1.0}}


def test_a_label_is_right_or_wrong_and_a_text_may_be_nearly_right(use_case: UseCase) -> None:
    labels = task_type(use_case)
    answer = {"positive": 0.5, "neutral": 0.2, "negative": 0.3}
    assert (labels.row_score(answer, "positive"), labels.row_score(answer, "negative")) == (1, 0)
    assert labels.golden_score == 1, "a golden example is right or wrong"
    texts = task_type(written_case())
    assert texts.row_score(WRITTEN["a"], GOLD["a"]) == 1
    assert 0.5 < texts.row_score(WRITTEN["b"], GOLD["b"]) < 1
    assert texts.golden_score == written_case().gate.golden_rouge_l < 1


def test_the_report_of_a_kind_has_its_measure_and_no_other(use_case: UseCase) -> None:
    written = task_type(written_case()).report(
        digest="d", gold=GOLD, answers=WRITTEN, latency_ms=1.0
    )
    assert written.overlap is not None
    assert written.macro_f1 is None
    assert written.row_scores == pytest.approx(
        [task_type(written_case()).row_score(WRITTEN[name], GOLD[name]) for name in GOLD]
    )
    certain = {
        name: {"positive": 0.9, "neutral": 0.1, "negative": 0.0, "odd": 0.0} for name in "ab"
    }
    gold = {"a": "positive", "b": "odd"}
    # a version may answer with a label that the use case has no more
    kind = task_type(use_case, (*use_case.label_names, "odd"))
    labels = kind.report(digest="d", gold=gold, answers=certain, latency_ms=1.0)
    assert (labels.overlap, labels.accuracy) == (None, 0.5)
    assert labels.row_scores == (1.0, 0.0)


def test_what_differs_from_what_was_measured_is_told_by_kind(use_case: UseCase) -> None:
    sure = {"positive": 0.9, "neutral": 0.05, "negative": 0.05}
    other = {"positive": 0.05, "neutral": 0.05, "negative": 0.9}
    assert measured_answers.difference(use_case, [sure], [sure]) is None
    found = measured_answers.difference(use_case, [sure, sure], [sure, other])
    assert found is not None
    assert found.wrong == 1
    same, apart = [WRITTEN["b"]], [{"something else entirely": 1.0}]
    assert measured_answers.difference(written_case(), same, same) is None
    told = measured_answers.difference(written_case(), same, apart)
    assert told is not None
    assert "by ROUGE-L" in told.found
    assert top(apart[0]) not in told.found, "no customer's text is in it"
