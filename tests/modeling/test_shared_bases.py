"""Many adapters on one loaded base answer as each does alone, and share what is frozen."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from flywheel.config import TrainingConfig, UseCase
from flywheel.config.method_specs import RECIPES
from flywheel.modeling import artifact, methods
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.base_cache import Bases
from flywheel.modeling.calibration import Calibrated
from flywheel.modeling.methods import Rows, Work
from tests.examples import usual
from tests.writers import make_tiny_writer, talk, written_case

pytestmark = pytest.mark.model

TEXTS = ["it works good", "it broke bad", "the screen", "good fine", "bad screen", "it the review"]
TARGETS = [[2], [0], [1], [2], [0], [1]]
TALKS = [talk(number) for number in range(4)]
SHARED = ("qlora", "lora", "dora", "rslora", "prefix", "prompt", "ia3", "zero_shot", "few_shot")
SHARED_HEADS = ("qlora_head", "encoder_lora", "frozen_head")


@pytest.fixture(scope="module")
def made(
    tiny_base: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "causal": tiny_base,
        "encoder": tiny_encoder,
        "writer": make_tiny_writer(folder / "writer"),
    }


def trained(case: UseCase, base: Path | None, folder: Path, rows: Rows) -> Path:
    folder.mkdir()
    method = methods.method(case.training.method, case.kind)
    method.train(
        Work(
            use_case=case,
            base=base,
            rows=rows,
            folder=folder,
            max_tokens=256,
            on_step=lambda *_: None,
        )
    )
    artifact.write(folder, Artifact(case.training.method, case.training.base))
    return folder


def model_of(answerer: Any) -> Any:
    return (answerer.answerer if isinstance(answerer, Calibrated) else answerer).model


def weights(answerer: Any) -> set[int]:
    """Where in memory its weights lie."""
    return {part.data_ptr() for part in model_of(answerer).parameters()}


@pytest.mark.parametrize("name", usual(RECIPES, "qlora", "setfit", "prompt", "qlora_head", "tfidf"))
def test_together_each_answers_as_it_does_alone(
    name: str, use_case: UseCase, made: dict[str, Path], tmp_path: Path
) -> None:
    recipe = {"method": name, "batch_size": 3, "learning_rate": 1e-2, "min_steps": 5}
    base = made[RECIPES[name].bases[0]] if RECIPES[name].bases else None  # type: ignore[index]
    case = use_case.model_copy(
        update={"training": TrainingConfig.model_validate({**recipe, "base": base and base.name})}
    )
    folders = [
        trained(
            case,
            base,
            tmp_path / str(turn),
            Rows(TEXTS, TARGETS[turn:] + TARGETS[:turn], [1.0] * 6),
        )
        for turn in range(2)
    ]
    alone = [methods.load_on(case, base, folder).answer(TEXTS)[0] for folder in folders]
    bases = Bases()
    with bases.shared():
        together = [methods.load_on(case, base, folder) for folder in folders]
    for _ in range(2):
        assert [one.answer(TEXTS)[0] for one in together] == alone, "to the last bit"
    assert (alone[0] == alone[1]) == (name == "zero_shot")
    if name in (*SHARED, *SHARED_HEADS):
        assert base is not None
        assert bases.holds(base)
        frozen = weights(together[0]) & weights(together[1])
        assert frozen
        learns = name not in ("zero_shot", "few_shot", "frozen_head")
        assert all(bool(weights(one) - frozen) == learns for one in together)


def test_writers_share_their_base_and_write_as_alone(made: dict[str, Path], tmp_path: Path) -> None:
    case = written_case()
    texts = [text for text, _ in TALKS]
    rows = [
        Rows(texts, [], [1.0] * 4, references)
        for references in ([said for _, said in TALKS], [text for text, _ in TALKS[::-1]])
    ]
    folders = [trained(case, made["writer"], tmp_path / str(n), one) for n, one in enumerate(rows)]
    alone = [methods.load_on(case, made["writer"], folder).answer(texts)[0] for folder in folders]
    with Bases().shared():
        together = [methods.load_on(case, made["writer"], folder) for folder in folders]
    assert [one.answer(texts)[0] for one in together] == alone
    assert weights(together[0]) & weights(together[1])


def test_a_base_goes_with_the_last_that_stands_on_it(
    use_case: UseCase, made: dict[str, Path]
) -> None:
    case = use_case.model_copy(
        update={"training": TrainingConfig.model_validate({"method": "qlora", "base": "tiny"})}
    )
    bases = Bases()
    with bases.shared():
        standing = [methods.load_on(case, made["causal"], None) for _ in range(2)]
    for _ in range(2):
        assert bases.holds(made["causal"])
        standing.pop()
        gc.collect()
    assert not bases.holds(made["causal"])
    assert not bases.holds(made["encoder"])


def test_outside_nothing_is_shared(use_case: UseCase, made: dict[str, Path]) -> None:
    case = use_case.model_copy(
        update={"training": TrainingConfig.model_validate({"method": "qlora", "base": "tiny"})}
    )
    with Bases().shared():
        one = methods.load_on(case, made["causal"], None)
    other = methods.load_on(case, made["causal"], None)
    assert not weights(one) & weights(other)
    with torch.no_grad():
        for part in model_of(other).parameters():
            part.zero_()
    assert one.answer(TEXTS)[0] != other.answer(TEXTS)[0]
