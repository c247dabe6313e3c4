"""Every method: what was trained is what was saved, reloaded, and served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch

from flywheel.config import TrainingConfig, UseCase
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.errors import NotEnoughData
from flywheel.modeling import artifact, calibration, fingerprint, methods
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work, few_shot, setfit
from tests.examples import usual
from tests.tiny import LABELS

pytestmark = pytest.mark.model

TEXTS = ["it works good", "it broke bad", "the screen", "good fine", "bad screen", "it the review"]
TARGETS = [[2], [0], [1], [2], [0], [1]]

WORDS = [name for name, recipe in RECIPES.items() if recipe.words]

Trains = Callable[[UseCase], "Once"]


@pytest.fixture(scope="module")
def made(tiny_base: Path, tiny_encoder: Path) -> dict[str, Path]:
    return {
        "causal": tiny_base,
        "encoder": tiny_encoder,
    }


def case_of(use_case: UseCase, name: str, **settings: object) -> UseCase:
    recipe = {"method": name, "batch_size": 3, **settings}
    if RECIPES[name].bases:  # type: ignore[index]
        recipe["base"] = "tiny"
    return use_case.model_copy(update={"training": TrainingConfig.model_validate(recipe)})


def train(
    use_case: UseCase, made: dict[str, Path], folder: Path, rows: Rows | None = None
) -> methods.Fitted:
    """Train into ``folder`` as `flywheel.training.child` does, without the child process."""
    recipe = use_case.training.recipe
    folder.mkdir()
    fitted = methods.method(use_case.training.method).train(
        Work(
            use_case=use_case,
            base=made[recipe.bases[0]] if recipe.bases else None,
            rows=rows or Rows(TEXTS, TARGETS, [1.0] * len(TEXTS)),
            folder=folder,
            max_tokens=64,
            on_step=lambda *_: None,
        )
    )
    artifact.write(folder, Artifact(use_case.training.method, use_case.training.base))
    return fitted


@dataclass(frozen=True)
class Once:
    """What was trained for all tests that change nothing in it."""

    fitted: methods.Fitted
    folder: Path


@pytest.fixture(scope="module")
def once(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Trains:
    """Trains a use case, but each method only once."""
    known: dict[str, Once] = {}

    def trained(case: UseCase) -> Once:
        name = case.training.method
        if name not in known:
            folder = tmp_path_factory.mktemp(name) / "a"
            known[name] = Once(train(case, made, folder), folder)
        return known[name]

    return trained


def test_every_method_that_may_be_named_is_there() -> None:
    assert set(get_args(MethodName)) == set(RECIPES)
    files = {p.stem for p in Path(methods.__file__).parent.glob("*.py")}
    assert set(RECIPES) <= files


@pytest.mark.parametrize(
    "name",
    usual(RECIPES, "qlora", "prompt", "qlora_head", "frozen_head", "setfit", "tfidf", "few_shot"),
)
def test_what_is_loaded_answers_as_what_was_trained(
    name: str, use_case: UseCase, made: dict[str, Path], once: Trains
) -> None:
    case = case_of(use_case, name)
    trained = once(case)
    expected, _ = trained.fitted.answerer.answer(TEXTS)
    base = made[case.training.recipe.bases[0]] if case.training.base else None
    found, _ = methods.load_on(case, base, trained.folder).answer(TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(LABELS)
        assert sum(one.values()) == pytest.approx(1)
        assert one == pytest.approx(other, abs=1e-6)
    assert len({json.dumps(each) for each in found}) > 1, "every text got the same answer"


@pytest.mark.parametrize("name", usual(RECIPES, "qlora", "qlora_head", "setfit", "tfidf"))
def test_the_digest_covers_every_file_that_decides(
    name: str, use_case: UseCase, made: dict[str, Path], once: Trains, tmp_path: Path
) -> None:
    case = case_of(use_case, name)
    shutil.copytree(once(case).folder, tmp_path / "a")
    base = made[case.training.recipe.bases[0]] if case.training.base else None
    before = fingerprint.of(case, base, tmp_path / "a").digest
    for path in sorted((tmp_path / "a").iterdir()):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert fingerprint.of(case, base, tmp_path / "a").digest != before, path.name
        path.write_bytes(content)
    assert fingerprint.of(case, base, tmp_path / "a").digest == before


@pytest.mark.parametrize(
    "name", usual([n for n, r in RECIPES.items() if r.learns], "qlora", "full", "qlora_head")
)
def test_the_loss_falls(
    name: str, use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    case = case_of(use_case, name, epochs=40, learning_rate=1e-2)
    losses = train(case, made, tmp_path / "a").losses
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize(
    "name",
    usual(
        [n for n in RECIPES if n not in ("zero_shot", "few_shot")],
        "qlora", "frozen_head", "encoder_lora", "tfidf",
    ),
)  # fmt: skip
def test_a_rejected_label_is_unlearned_or_left_out(
    name: str, use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    rows = Rows([*TEXTS, "the works"], [*TARGETS, [0, 1]], [1.0] * 7)
    fitted = train(case_of(use_case, name), made, tmp_path / "a", rows)
    answers, _ = fitted.answerer.answer(["the works"])
    assert sum(answers[0].values()) == pytest.approx(1)


def test_few_shot_reads_its_examples_once_and_answers_as_with_the_whole_prompt(
    use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    case = case_of(use_case, "few_shot", max_length_tokens=200)
    reader = train(case, made, tmp_path / "a").answerer
    assert isinstance(reader, few_shot.ShotReader)
    assert reader.lean is not None
    leaning = reader.lean
    levelled, _ = reader.answer(TEXTS)
    reader.lean = None
    found, _ = reader.answer(TEXTS)
    for one, other in zip(found, levelled, strict=True):
        shares = torch.tensor([one[label] for label in LABELS]).log() - leaning
        assert shares.softmax(0).tolist() == pytest.approx(list(other.values()), abs=1e-4)
    shots = json.loads((tmp_path / "a" / artifact.SHOTS).read_text())["examples"]
    told = "".join(f"Review: {text}\nSentiment: {label}\n\n" for text, label in shots)
    whole = case.model_copy(update={"prompt": told + case.prompt})
    expected, _ = methods.method("zero_shot").load(whole, made["causal"], None).answer(TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=0.01)


@pytest.mark.parametrize("name", ["qlora", "qlora_head"])
def test_a_long_text_loses_its_end_and_not_the_prompt_s(
    name: str, use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    case = case_of(use_case, name, max_length_tokens=16)
    fitted = train(case, made, tmp_path / "a")
    long, longer = (fitted.answerer.encode([f"good {'the ' * n}"])[0] for n in (50, 90))  # type: ignore[attr-defined]
    (short,) = fitted.answerer.encode(["good"])  # type: ignore[attr-defined]
    assert len(long) == 16
    assert long == longer
    assert long[-2:] == short[-2:], "the words after the text stay"


def test_few_shot_shows_each_label_as_often(use_case: UseCase) -> None:
    texts = [f"text {i}" for i in range(40)]
    rows = Rows(texts, [[0]] * 20 + [[1]] * 15 + [[2]] * 5, [1.0] * 40)
    chosen = few_shot.choose(rows, use_case, seed=0)
    assert sorted(label for _, label in chosen) == sorted(LABELS * few_shot.SHOTS_PER_LABEL)


def test_pairs_say_who_belongs_together() -> None:
    import random

    labels = [0, 0, 1, 1, 2, None]
    found = setfit.pairs(labels, rng=random.Random(0))
    assert found
    for first, second, same in found:
        assert first != second
        assert None not in (labels[first], labels[second])
        assert same == (labels[first] == labels[second])


def test_tfidf_gives_a_label_it_never_saw_nothing(
    use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    rows = Rows(TEXTS[:2], TARGETS[:2], [1.0, 1.0])
    answers, _ = train(case_of(use_case, "tfidf"), made, tmp_path / "a", rows).answerer.answer(
        TEXTS
    )
    assert {answer["neutral"] for answer in answers} == {0.0}
    with pytest.raises(NotEnoughData, match="at least 2 labels"):
        train(case_of(use_case, "tfidf"), made, tmp_path / "b", Rows(TEXTS[:1], [[0]], [1.0]))


def test_a_temperature_makes_confidence_true() -> None:
    # sure of everything, right three times of four
    answers = [{"a": 0.99, "b": 0.01}] * 100
    labels = ["a"] * 75 + ["b"] * 25
    scale = calibration.temperature(answers, labels)
    assert calibration.tempered(answers[0], scale)["a"] == pytest.approx(0.75, abs=0.02)
    assert calibration.temperature(answers[:10], labels[:10]) == 1.0


def test_a_temperature_keeps_the_order_and_what_is_impossible() -> None:
    found = calibration.tempered({"a": 0.7, "b": 0.3, "c": 0.0}, 3.0)
    assert found["c"] == 0.0
    assert 0.5 < found["a"] < 0.7
    assert sum(found.values()) == pytest.approx(1)


def test_the_folder_says_how_it_is_read(
    use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    case = case_of(use_case, "tfidf")
    train(case, made, tmp_path / "a")
    artifact.write(tmp_path / "a", Artifact("tfidf", None, temperature=2.0))
    # the use case has moved on to another method; the folder is still read as what it is
    answerer = methods.load_on(use_case, None, tmp_path / "a")
    assert isinstance(answerer, calibration.Calibrated)
    assert answerer.temperature == 2.0
