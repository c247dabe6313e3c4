"""A slate: several methods train, one challenger is scored on the holdout."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.dataset import snapshots
from flywheel.modeling import artifact
from flywheel.records import Trained
from tasks import train
from tests.bench.test_bench import pool

AT = datetime(2026, 1, 3, tzinfo=UTC)
SLATE = [{"method": "tfidf"}, {"method": "tfidf", "epochs": 3}]


def slate(use_case: UseCase) -> UseCase:
    recipe = TrainingConfig.model_validate({"method": "auto", "slate": SLATE})
    return use_case.model_copy(update={"training": recipe})


def trained(name: str, accuracy: float | None, rows: int = 100) -> Trained:
    return Trained(name, "d", 1, 1.0, 1.0, 1.0, 0.0, rows, accuracy)


@pytest.mark.parametrize(
    ("seen", "chosen"),
    [
        ([0.6, 0.7], "1"),
        ([0.7, 0.6], "0"),
        ([0.7, 0.7], "0"),
    ],
)
def test_the_best_on_validation_rows_is_the_challenger(
    seen: list[float], chosen: str, use_case: UseCase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = iter(enumerate(seen))

    def inline(*_: object) -> Trained:
        number, accuracy = next(entries)
        return trained(str(number), accuracy)

    monkeypatch.setattr(train, "train_inline", inline)
    snapshot = snapshots.write(_curated(), home.snapshots)
    assert train.train_slate(slate(use_case), home, snapshot, at=AT).adapter_dir == chosen


def test_with_few_validation_rows_the_first_is_taken(
    use_case: UseCase, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = iter([trained("first", 0.2, rows=10), trained("second", 0.9, rows=10)])
    monkeypatch.setattr(train, "train_inline", lambda *_: next(entries))
    snapshot = snapshots.write(_curated(), home.snapshots)
    assert train.train_slate(slate(use_case), home, snapshot, at=AT).adapter_dir == "first"


@pytest.mark.slow
def test_a_method_without_a_base_trains_in_its_child(use_case: UseCase, home: Home) -> None:
    case = use_case.model_copy(
        update={"training": TrainingConfig.model_validate({"method": "tfidf"})}
    )
    snapshot = snapshots.write(_curated(), home.snapshots)
    found = train.train_inline.fn(case, home, snapshot)
    assert found.validation_rows == 30
    assert found.validation_accuracy == 1.0
    assert artifact.read(case, Path(found.adapter_dir)).method == "tfidf"


def test_a_slate_s_entries_keep_their_recipes_over_a_round_trip() -> None:
    given = {"method": "auto", "seed": 7, "slate": [{"method": "full", "base": "minilm-l6"}]}
    once = TrainingConfig.model_validate(given)
    twice = TrainingConfig.model_validate(once.model_dump(mode="json"))
    for recipe in (once, twice):
        (entry,) = recipe.entries()
        assert (entry.learning_rate, entry.min_steps, entry.seed) == (5e-5, 150, 7)


def test_settings_that_are_not_named_are_the_method_s() -> None:
    full = TrainingConfig.model_validate({"method": "full", "base": "minilm-l6"})
    assert (full.learning_rate, full.min_steps) == (5e-5, 150)
    named = TrainingConfig.model_validate({"method": "full", "base": "b", "learning_rate": 1e-3})
    assert named.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"method": "auto"}, "needs a slate"),
        ({"method": "qlora"}, "needs a base"),
        ({"method": "tfidf", "slate": SLATE}, "a slate is for method: auto"),
        ({"method": "auto", "slate": SLATE, "epochs": 5}, "in the entries of the slate"),
    ],
)
def test_a_training_that_cannot_be_is_refused(given: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate(given)


def _curated():  # type: ignore[no-untyped-def]
    from flywheel.records import Curated

    return Curated(pool(150).examples, ())
