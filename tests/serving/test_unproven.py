"""Who answers while there is no champion: nobody whom a wish speaks against, and whoever can."""

from __future__ import annotations

from flywheel.config import Home, UseCase
from flywheel.modeling.fingerprint import label_set
from flywheel.serving.models.engine import Engine
from flywheel.serving.models.unproven import ranked
from flywheel.tracking.registry import CHALLENGER
from tests.engines import OpenModelSource, WordCounter
from tests.gate.test_cold_start import listed
from tests.services import serving, until


def test_who_was_rejected_or_learned_from_somebody_forgotten_is_no_last_resort() -> None:
    assert ranked([listed(1, "0.7"), listed(2, "0.9", CHALLENGER, approval="rejected")]) == ["1"]
    assert ranked([listed(1, "0.9", CHALLENGER, certificate_id="c")]) == []


def test_labels_in_another_order_are_the_same_labels(use_case: UseCase) -> None:
    labels = use_case.labels
    turned = use_case.model_copy(update={"labels": dict(reversed(labels.items()))})
    fewer = use_case.model_copy(update={"labels": dict(list(labels.items())[1:])})
    assert turned.label_names != use_case.label_names
    versions = [
        listed(1, "0.7", labels="abc", label_set=label_set(use_case)),
        listed(2, "0.9", labels="ab", label_set=label_set(fewer)),
        # registered before sets were kept
        listed(3, "0.8", labels="cba"),
        listed(4, "0.6", CHALLENGER, labels="cba", label_set=label_set(turned)),
    ]
    assert ranked(versions) == ["3", "1", "4"]


def test_a_best_challenger_that_cannot_be_read_for_now_does_not_keep_the_next_from_answering(
    home: Home, use_case: UseCase
) -> None:
    class Disk(OpenModelSource):
        def load(self, version: str, *, beside: Engine | None = None) -> WordCounter:
            if version in self.missing:
                raise OSError(5, "Input/output error")
            return super().load(version, beside=beside)

    shelf = Disk(
        {n: WordCounter(n, use_case) for n in "12"},
        named={CHALLENGER: "2"},
        tags={"1": {"holdout_score": "0.6"}, "2": {"holdout_score": "0.8"}},
        missing={"2"},
    )
    with serving(home, use_case, shelf=shelf, unproven=True) as client:
        assert client.get("/readyz").json()["model_version"] == "1"
        shelf.missing.clear()
        until(lambda: client.get("/readyz").json()["model_version"] == "2")
