"""Answers by OpenVINO are torch's: the same labels in the same order, scores a hair apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from flywheel.catalog import numeric_types
from flywheel.catalog.families import FAMILIES
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.config.serving import RuntimeSetting
from flywheel.errors import ConfigError, ServedDiffers
from flywheel.modeling import artifact, methods
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.compiled import kept, openvino_api, runtime
from flywheel.modeling.compiled.runtime import runtime_of
from flywheel.modeling.methods import Rows, Work
from tests.architectures import make_architecture
from tests.examples import usual
from tests.modeling import test_sight
from tests.tiny import make_tiny_efficientnet, make_tiny_vit

TEXTS = ["it works good", "it broke bad", "the screen", "good", "bad screen it the review it works"]
TARGETS = [[2], [0], [1], [2], [0]]
CLOSE = 1e-4
"""Of a probability in float32, where both add up the same numbers in another order."""
ROUNDED = 0.03
"""Of a probability in bfloat16."""
PAIRS = [
    *(f"{name} qlora" for name, family in FAMILIES.items() if family.body == "causal"),
    *(f"llama {method}" for method in ("lora", "rslora", "dora", "ia3", "qlora_head")),
]
BY_NAME = {"vit": make_tiny_vit, "efficientnet": make_tiny_efficientnet}
LONG = {"card": "good", "card arrival": "bad", "card not arrived": "bad", "refund": "fine"}
"""Labels of several tokens, of which one begins with another."""


NEEDED = pytest.mark.skipif(
    find_spec(runtime.PACKAGE) is None, reason=f"OpenVINO is not installed: {runtime.INSTALL}"
)
pytestmark = [pytest.mark.model, NEEDED]


@pytest.fixture(autouse=True)
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.SETTING, raising=False)
    monkeypatch.setenv("FLYWHEEL_NUMERIC_TYPE", "float32")


def on(use_case: UseCase, setting: RuntimeSetting) -> UseCase:
    return use_case.on_runtime_of(use_case.serving.model_copy(update={"runtime": setting}))


def with_method(use_case: UseCase, method: str, **settings: Any) -> UseCase:
    recipe = {"method": method, "base": "tiny", "batch_size": 3, **settings}
    return use_case.model_copy(update={"training": TrainingConfig.model_validate(recipe)})


def train(case: UseCase, base: Path, folder: Path, targets: Any = TARGETS) -> Path:
    """An adapter that says something else than its base."""
    folder.mkdir()
    rows = Rows(TEXTS, targets, [1.0] * len(TEXTS))
    methods.method(case.training.method).train(
        Work(case, base, rows, folder, max_tokens=64, on_step=lambda *_: None)
    )
    artifact.write(folder, Artifact(case.training.method, case.training.base, temperature=1.3))
    return folder


def both(case: UseCase, base: Path, folder: Path | None, home: Path) -> tuple[Any, Any]:
    """What torch answers, and the compiled model."""
    plain = methods.load_on(on(case, "torch"), base, folder, compiled=home)
    compiled = methods.load_on(on(case, "openvino"), base, folder, compiled=home)
    assert (runtime_of(plain), runtime_of(compiled)) == ("torch", "openvino")
    return plain.answer(TEXTS)[0], compiled.answer(TEXTS)[0]


def agree(plain: Any, compiled: Any, case: UseCase, within: float = CLOSE) -> None:
    for one, other in zip(plain, compiled, strict=True):
        assert list(one) == list(other) == list(case.label_names)
        assert other == pytest.approx(one, abs=within)
    assert len({round(next(iter(one.values())), 3) for one in plain}) > 1, "all texts are the same"


@pytest.mark.parametrize("pair", usual(PAIRS, "llama qlora"))
def test_a_causal_base_scores_as_by_torch(pair: str, use_case: UseCase, tmp_path: Path) -> None:
    family, method = pair.split()
    case = with_method(use_case, method, min_steps=8, learning_rate=0.02)
    make_architecture(tmp_path / "tiny", family, labels=case.label_names, spread=0.3)
    folder = train(case, tmp_path / "tiny", tmp_path / "a")
    agree(*both(case, tmp_path / "tiny", folder, tmp_path / "home"), case)


def test_labels_of_several_tokens_score_as_by_torch(use_case: UseCase, tmp_path: Path) -> None:
    case = with_method(use_case, "qlora").model_copy(update={"labels": LONG})
    words = tuple(dict.fromkeys(" ".join(LONG).split()))
    make_architecture(tmp_path / "tiny", "llama", labels=words, spread=0.3)
    folder = train(case, tmp_path / "tiny", tmp_path / "a")
    agree(*both(case, tmp_path / "tiny", folder, tmp_path / "home"), case)


def test_a_base_without_an_adapter_scores_as_by_torch(
    use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    case = with_method(use_case, "qlora")
    agree(*both(case, tiny_base, None, tmp_path / "home"), case)


@pytest.mark.parametrize("method", usual(["encoder_lora", "full", "frozen_head"], "encoder_lora"))
def test_an_encoder_answers_as_by_torch(
    method: str, use_case: UseCase, tiny_encoder: Path, tmp_path: Path
) -> None:
    case = with_method(use_case, method, min_steps=8, learning_rate=0.02)
    folder = train(case, tiny_encoder, tmp_path / "a")
    agree(*both(case, tiny_encoder, folder, tmp_path / "home"), case)


@pytest.mark.parametrize("architecture", usual(["vit", "efficientnet"], "vit"))
def test_pictures_are_answered_as_by_torch(architecture: str, tmp_path: Path) -> None:
    case = test_sight.case_of("encoder_lora", min_steps=8)
    make, images = BY_NAME[architecture], tmp_path / "images"
    base = make(tmp_path / "tiny")
    test_sight.train(case, base, tmp_path / "a", images)
    asked, found = test_sight.pictures(images), {}
    for setting in ("torch", "openvino"):
        answerer = methods.load_on(
            on(case, setting), base, tmp_path / "a", images=images, compiled=tmp_path / "home"
        )
        assert runtime_of(answerer) == setting
        found[setting] = answerer.answer(asked)[0]
    agree(found["torch"], found["openvino"], case)


def test_in_bfloat16_it_rounds_as_torch_does(
    use_case: UseCase, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_NUMERIC_TYPE", "bfloat16")
    case = with_method(use_case, "qlora", min_steps=8, learning_rate=0.02)
    folder = train(case, tiny_base, tmp_path / "a")
    agree(*both(case, tiny_base, folder, tmp_path / "home"), case, within=ROUNDED)


# ---- What is kept


@pytest.fixture
def converted(use_case: UseCase, tiny_base: Path, tmp_path: Path) -> Callable[..., Any]:
    """Loads the same adapter again, each time by a setting."""
    case = with_method(use_case, "qlora", min_steps=8)
    folder = train(case, tiny_base, tmp_path / "a")

    def load(setting: RuntimeSetting = "openvino") -> Any:
        return methods.load_on(on(case, setting), tiny_base, folder, compiled=tmp_path / "home")

    return load


def test_it_is_converted_once_and_kept_from_others(
    converted: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted()
    (place,) = (tmp_path / "home").iterdir()
    assert {path.name for path in place.iterdir()} == {
        kept.BODY, kept.WEIGHTS, kept.WORDS, kept.RECORD
    }  # fmt: skip
    for path in (place, *place.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path.name
    monkeypatch.setattr(openvino_api, "convert", lambda *_: pytest.fail("converted again"))
    assert runtime_of(converted("auto")) == "openvino"


@pytest.mark.parametrize(
    "name", usual([kept.BODY, kept.WEIGHTS, kept.WORDS, kept.RECORD], kept.WEIGHTS)
)
def test_a_damaged_one_is_made_anew(
    name: str, converted: Callable[..., Any], tmp_path: Path
) -> None:
    expected, _ = converted().answer(TEXTS)
    (place,) = (tmp_path / "home").iterdir()
    (place / name).write_bytes(b"{" + (place / name).read_bytes())
    found, _ = converted().answer(TEXTS)
    assert found == expected


def test_one_that_scores_otherwise_answers_nothing(
    converted: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    infer = openvino_api.Compiled.__call__
    monkeypatch.setattr(
        openvino_api.Compiled, "__call__", lambda self, *given: infer(self, *given) * 1.1
    )
    for _ in range(2):
        with pytest.raises(ServedDiffers, match="off torch's"):
            converted()
    with caplog.at_level("INFO"):
        assert runtime_of(converted("auto")) == "torch"
    assert "torch answers for" in caplog.text
    (place,) = (tmp_path / "home").iterdir()
    assert [path.name for path in place.iterdir()] == [kept.RECORD]


def test_what_cannot_be_converted_is_answered_by_torch(
    converted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_api, "convert", fail)
    assert runtime_of(converted()) == "torch"
    monkeypatch.setattr(openvino_api, "convert", lambda *_: pytest.fail("tried again"))
    assert runtime_of(converted()) == "torch"


def test_the_oldest_go(tmp_path: Path) -> None:
    for number in range(kept.MOST_KEPT + 2):
        kept.make(tmp_path / "home" / f"{number}", lambda _: kept.Record({}))
        os.utime(tmp_path / "home" / f"{number}", (number, number))
    kept.make(tmp_path / "home" / "last", lambda _: kept.Record({}))
    names = {path.name for path in (tmp_path / "home").iterdir()}
    assert names == {"last", *(f"{n}" for n in range(3, kept.MOST_KEPT + 2))}


@pytest.mark.parametrize(("window", "expected"), [(40, "openvino"), (32, "torch")])
def test_a_base_that_looks_back_less_than_a_text_is_long_stays_with_torch(
    window: int, expected: str, use_case: UseCase, tmp_path: Path
) -> None:
    case = with_method(use_case, "qlora", max_length_tokens=32)
    make_architecture(
        tmp_path / "tiny", "mistral", labels=case.label_names, larger={"sliding_window": window}
    )
    folder = train(case, tmp_path / "tiny", tmp_path / "a")
    found = methods.load_on(
        on(case, "openvino"), tmp_path / "tiny", folder, compiled=tmp_path / "home"
    )
    assert runtime_of(found) == expected


def test_a_long_opening_stays_with_torch_which_reads_it_once(
    use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    prompt = "good bad fine it works broke the screen review " * 2 + "review : {text} sentiment :"
    case = with_method(use_case, "qlora").model_copy(update={"prompt": prompt})
    found = methods.load_on(on(case, "openvino"), tiny_base, None, compiled=tmp_path / "home")
    assert runtime_of(found) == "torch"


@pytest.mark.parametrize("method", ["tfidf", "few_shot", "prompt"])
def test_other_methods_stay_with_torch(
    method: str, use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    case = with_method(use_case, method) if method != "tfidf" else None
    if case is None:
        recipe = TrainingConfig.model_validate({"method": "tfidf"})
        case = use_case.model_copy(update={"training": recipe})
    base = None if method == "tfidf" else tiny_base
    folder = train(case, base, tmp_path / "a")  # type: ignore[arg-type]
    found = methods.load_on(on(case, "openvino"), base, folder, compiled=tmp_path / "home")
    assert runtime_of(found) == "torch"


# ---- Which one answers


def test_without_openvino_torch_answers_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert runtime.choose("auto").name == "torch"
    with pytest.raises(ConfigError, match=r"\[openvino\]"):
        runtime.choose("openvino")


def test_a_gpu_answers_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numeric_types, "device_type", lambda: "cuda")
    assert runtime.choose("openvino").name == "torch"


def test_a_type_that_it_lacks_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_NUMERIC_TYPE", "float16")
    assert runtime.choose("auto").name == "torch"
    with pytest.raises(ConfigError, match="float16"):
        runtime.choose("openvino")


def test_the_environment_overrides_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.choose("auto").name == "openvino"
    monkeypatch.setenv(runtime.SETTING, "torch")
    assert runtime.choose("openvino").name == "torch"
    monkeypatch.setenv(runtime.SETTING, "fast")
    with pytest.raises(ConfigError, match="FLYWHEEL_RUNTIME"):
        runtime.choose("auto")


def test_nothing_is_reported_to_its_maker() -> None:
    code = (
        "from flywheel.modeling.compiled import openvino_api; openvino_api.api().convert_model; "
        "import sys; print(not any(m for n, m in sys.modules.items() if n.startswith("
        "'openvino_telemetry')))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"


def test_it_computes_with_torchs_threads() -> None:
    told = openvino_api._properties(torch.bfloat16, 3)
    assert told["INFERENCE_NUM_THREADS"] == 3
    assert told["INFERENCE_PRECISION_HINT"] == "bf16"


def test_the_home_has_a_place_for_it(tmp_path: Path) -> None:
    assert Home(tmp_path).compiled("reviews") == tmp_path / "compiled" / "reviews"
