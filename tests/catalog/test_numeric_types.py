"""One place decides the numeric type, by what the machine is fast in; training and answers hold
in each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from flywheel import catalog
from flywheel.catalog import memory, numeric_types
from flywheel.catalog.numeric_types import Choice, Machine, Speeds, choose, cpu
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, UseCase
from flywheel.diagnostics import doctor, findings
from flywheel.errors import ConfigError
from flywheel.modeling import durations, model_loading
from flywheel.modeling.methods import Rows, qlora
from flywheel.modeling.optim import training_loop
from flywheel.modeling.optim.checkpoint import Checkpoint
from flywheel.modeling.verbalizer import trie_scores, verbalizer
from flywheel.records import NightRecord

# flags of CPUs as torch tells them: the one named, and what it has
CASCADE_LAKE = {"architecture": "x86_64", "cpu_name": "Xeon", "avx512_f": True, "avx512_vnni": True}
ROME = {"architecture": "x86_64", "cpu_name": "EPYC 7002", "avx2": True, "fma3": True}
ZEN_4 = {**ROME, "avx512_f": True, "avx512_bf16": True}
SAPPHIRE_RAPIDS = {**CASCADE_LAKE, "avx512_bf16": True, "amx_bf16": True, "amx_tile": True}
LUNAR_LAKE = {"architecture": "x86_64", "cpu_name": "Core Ultra", "avx_ne_convert": True}
GRAVITON_3 = {"architecture": "aarch64", "bf16": True, "sve": True}
GRAVITON_2 = {"architecture": "aarch64", "bf16": False}


def not_asked() -> Speeds:
    raise AssertionError("the flags tell; nothing is measured")


def fast_bf16() -> Speeds:
    return {"float32": 100.0, "bfloat16": 180.0}


def slow_bf16() -> Speeds:
    return {"float32": 100.0, "bfloat16": 110.0}


@pytest.mark.parametrize(
    ("flags", "onednn_says", "measure", "expected"),
    [
        # oneDNN says yes to any AVX-512, and emulates
        (CASCADE_LAKE, True, not_asked, "float32"),
        (ROME, False, not_asked, "float32"),
        (ZEN_4, True, not_asked, "bfloat16"),
        (SAPPHIRE_RAPIDS, True, not_asked, "bfloat16"),
        (LUNAR_LAKE, True, fast_bf16, "bfloat16"),
        (LUNAR_LAKE, True, slow_bf16, "float32"),
        (GRAVITON_3, True, not_asked, "bfloat16"),
        (GRAVITON_3, False, slow_bf16, "float32"),
        (GRAVITON_2, False, not_asked, "float32"),
        ({}, False, not_asked, "float32"),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_has_units_for_it(
    flags: dict[str, Any], onednn_says: bool, measure: Callable[[], Speeds], expected: str
) -> None:
    chosen = choose(cpu(flags, onednn_says=onednn_says), measure)
    assert chosen.name == expected
    assert (flags.get("cpu_name") or flags.get("architecture") or "unknown") in chosen.why


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_without_bfloat16_computes_in_float16(native: bool, expected: str) -> None:
    assert choose(Machine("cuda", "Tesla T4", native), not_asked).name == expected


@pytest.mark.parametrize(("measure", "expected"), [(fast_bf16, "bfloat16"), (slow_bf16, "float32")])
def test_on_apple_s_gpu_a_product_decides(measure: Callable[[], Speeds], expected: str) -> None:
    chosen = choose(Machine("mps", "Apple's GPU", None), measure)
    assert chosen.name == expected
    assert "float32 100 GFLOP/s" in chosen.why


def test_the_setting_overrides_the_machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in numeric_types.NAMES:
        monkeypatch.setenv(numeric_types.SETTING, name)
        assert numeric_types.here().name == name
        assert numeric_types.SETTING in numeric_types.here().why
        assert numeric_types.weight_bytes("llama") == torch.finfo(getattr(torch, name)).bits / 8


def test_a_setting_that_names_no_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(numeric_types.SETTING, "bf16")
    with pytest.raises(ConfigError, match=r"FLYWHEEL_NUMERIC_TYPE is 'bf16'.*float32, bfloat16"):
        numeric_types.here()


@pytest.mark.parametrize("model_type", sorted(numeric_types.BEYOND_FLOAT16))
def test_what_leaves_float16_s_range_takes_float32(
    model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numeric_types.SETTING, "float16")
    assert numeric_types.of_base(model_type).name == "float32"
    assert numeric_types.weight_bytes(model_type) == 4
    assert numeric_types.of_base("llama").name == "float16"
    monkeypatch.setenv(numeric_types.SETTING, "bfloat16")
    assert numeric_types.of_base(model_type).name == "bfloat16"


def test_what_was_measured_is_kept_and_measured_anew_on_another_machine(home: Home) -> None:
    path, here = home.root / numeric_types.KEPT, Machine("mps", "Apple's GPU", None)
    first = numeric_types._kept(path, here)
    told = json.loads(path.read_text())
    told["gflops"] = {"float32": 1.0, "bfloat16": 7.0}
    path.write_text(json.dumps(told))
    assert set(first) == {"float32", "bfloat16"}
    assert all(speed > 0 for speed in first.values())
    assert numeric_types._kept(path, here) == {"float32": 1.0, "bfloat16": 7.0}
    assert numeric_types._kept(path, Machine("cpu", "another", None))["float32"] != 1.0


@pytest.mark.parametrize("content", ["", "{", "{}", '{"of": 3}', "[]"])
def test_a_broken_record_of_a_measurement_is_measured_anew(home: Home, content: str) -> None:
    path = home.root / numeric_types.KEPT
    path.write_text(content)
    assert numeric_types._kept(path, Machine("mps", "Apple's GPU", None))["float32"] > 0
    assert "gflops" in json.loads(path.read_text())


# ---- Bases, trainings and answers in each type

TEXTS = ["it works", "it broke", "the screen", "good good good it works fine", "bad", "fine screen"]
TARGETS = [[2], [0], [1], [2], [0], [1]]


@pytest.fixture(params=numeric_types.NAMES)
def numeric_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Each type in turn, as a machine would have it."""
    monkeypatch.setenv(numeric_types.SETTING, request.param)
    return getattr(torch, request.param)  # type: ignore[no-any-return]


@pytest.mark.model
def test_causal_bases_are_loaded_in_the_type_and_others_in_float32(
    numeric_type: torch.dtype, tiny_base: Path, tiny_encoder: Path
) -> None:
    for load in (model_loading.load_plain, model_loading.load_quantised):
        assert {p.dtype for p in load(tiny_base).parameters()} == {numeric_type}
    encoder = model_loading.load_plain(tiny_encoder, "encoder")
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def learn(use_case: UseCase, base: Path, **recipe: Any) -> tuple[Any, list[float]]:
    """A reader that has learned, and the losses on its way."""
    torch.manual_seed(0)
    training = use_case.training.model_copy(update=recipe)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(training))
    reader = verbalizer.reader_for(use_case, model, base)
    rows = Rows(TEXTS, TARGETS, [1.0] * 6)
    reached = training_loop.fit(reader, training, rows, on_step=lambda *_: None)
    return reader, reached.losses


@pytest.mark.model
def test_the_loss_falls_in_each_type(
    numeric_type: torch.dtype, use_case: UseCase, tiny_base: Path
) -> None:
    reader, losses = learn(use_case, tiny_base, epochs=30, learning_rate=5e-3)
    assert losses[-1] < 0.5 * losses[0]
    answers, _ = reader.answer(TEXTS)
    assert all(sum(answer.values()) == pytest.approx(1) for answer in answers)


@pytest.mark.model
def test_each_type_learns_what_float32_learns(
    numeric_type: torch.dtype,
    use_case: UseCase,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, found = learn(use_case, tiny_base, epochs=4, batch_size=3)
    monkeypatch.setenv(numeric_types.SETTING, "float32")
    _, exact = learn(use_case, tiny_base, epochs=4, batch_size=3)
    assert found == pytest.approx(exact, rel=0.03)


def nearly_equal(weight: torch.Tensor, tokens: Sequence[int], hidden: torch.Tensor) -> None:
    """Let a head score some tokens high, and the last one higher by less than bf16 has places for
    in a score."""
    large = 20 * hidden / hidden.norm()
    most = int(large.abs().argmax())
    with torch.no_grad():
        weight[list(tokens)] = large.to(weight.dtype)
        weight[tokens[-1], most] *= 1 + 2**-7


@pytest.mark.model
def test_labels_whose_scores_are_one_number_in_bf16_are_told_apart(
    numeric_type: torch.dtype, use_case: UseCase, tiny_base: Path
) -> None:
    reader = verbalizer.reader_for(use_case, model_loading.load_plain(tiny_base), tiny_base)
    tokens = reader.trie.branches[0].tokens
    with torch.no_grad():
        hidden = reader.reading.after(reader.encode(["it works"]), [()])[0, 0].float()
    nearly_equal(reader.head.weight, tokens, hidden)
    (answer,), _ = reader.answer(["it works"])
    scores = reader.head.weight[list(tokens)].float() @ hidden
    assert len(set(scores.bfloat16().tolist())) == 1
    first, *_, last = reader.label_names
    assert answer[last] > answer[first] + 1e-3
    assert list(answer.values()) == pytest.approx(scores.softmax(0).tolist(), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_where_a_label_ends_within_another_no_score_is_rounded_either(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, weight = 2 * torch.randn(1, 64).to(dtype), 0.1 * torch.randn(5_000, 64).to(dtype)
    nearly_equal(weight, (7, 4_500), hidden[0].float())
    with torch.inference_mode():
        every = trie_scores.Head(weight).scores(hidden)
    torch.testing.assert_close(every, hidden.float() @ weight.float().T)
    assert every.argmax() == 4_500


# ---- float16's loss scaling


def scaled(
    weight: torch.nn.Parameter,
    gradients: list[float],
    use_case: UseCase,
    checkpoint: Checkpoint | None = None,
    stop_after: int | None = None,
    epochs: int | None = None,
) -> list[float]:
    """Fit one number whose gradient in each step is given; the number after each step."""
    model = torch.nn.ParameterDict({"weight": weight})
    recipe = use_case.training.model_copy(
        update={"epochs": epochs or len(gradients), "batch_size": 1}
    )
    left = iter(gradients)
    seen: list[float] = []

    def on_step(step: int, *_: Any) -> None:
        if step == stop_after:
            raise KeyboardInterrupt
        seen.append(weight.item())

    training_loop.fit_loss(
        model,
        recipe,
        lambda rows: next(left) * weight.float().expand(len(rows)),
        lengths=[1],
        weights=[1.0],
        on_step=on_step,
        checkpoint=checkpoint,
    )
    return seen


def test_a_gradient_below_float16_s_smallest_still_moves_a_weight(use_case: UseCase) -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    seen = scaled(weight, [1e-8] * 30, use_case)
    assert torch.tensor(1e-8, dtype=torch.float16) == 0
    assert seen[-1] < 1 - 1e-3


def test_a_step_whose_gradients_are_too_large_is_left_out(use_case: UseCase) -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    seen = scaled(weight, [1e-3] * 10 + [1e4] + [1e-3] * 10, use_case)
    assert all(map(torch.isfinite, torch.tensor(seen)))
    assert seen[10] == seen[9], "scaled it is infinite"
    assert seen[-1] < seen[9], "and those after it count"


@pytest.mark.parametrize("stop", [1, 3])
def test_a_training_with_a_step_left_out_goes_on_as_if_it_had_not_stopped(
    use_case: UseCase, tmp_path: Path, stop: int
) -> None:
    gradients = [1e4, 1e-3, 1e4, 1e-3, -2e-3, 1e-3]
    unbroken = scaled(torch.nn.Parameter(torch.ones(1, dtype=torch.float16)), gradients, use_case)
    kept = Checkpoint(tmp_path / "checkpoint.safetensors", "one", every_seconds=0.0)
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    with pytest.raises(KeyboardInterrupt):
        scaled(weight, gradients, use_case, kept, stop)
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    resumed = scaled(weight, gradients[stop:], use_case, kept, None, epochs=len(gradients))
    assert resumed[stop:] == unbroken[stop:]


@pytest.mark.model
def test_the_memory_guard_counts_a_base_in_its_type(use_case: UseCase, tiny_base: Path) -> None:
    plans = [
        memory.plan(tiny_base, use_case.training, available_mb=1e9, on_gpu=False, weight_bytes=each)
        for each in (2.0, 4.0)
    ]
    bases = [each.need.base for each in plans if each.need is not None]
    assert bases[1] == 2 * bases[0] > 0


# ---- What the doctor says


def test_the_doctor_says_which_type_why_and_how_long_a_night_takes(
    home: Home, use_case: UseCase
) -> None:
    told = {one.name: one for one in doctor.examine(use_case, home)}
    chosen = numeric_types.here()
    assert told["numeric type"].detail.startswith(f"{chosen.name}: {chosen.why}; measured now")
    assert "GFLOP/s" in told["numeric type"].detail
    assert "at most about" in told["a night"].detail
    assert f"with {use_case.training.min_examples} examples" in told["a night"].detail


def test_what_trains_elsewhere_or_without_a_base_has_no_numeric_type(
    home: Home, use_case: UseCase
) -> None:
    for update in ({"where": "pool"}, {"method": "tfidf", "base": None}):
        training = use_case.training.model_copy(update=update)
        case = use_case.model_copy(update={"training": training})
        assert "numeric type" not in {one.name for one in doctor.examine(case, home)}


def test_a_setting_that_makes_nights_slow_is_said() -> None:
    speeds: Speeds = {"bfloat16": 14.0, "float32": 105.0}
    found = findings.numeric_type(
        Choice("bfloat16", "set", set_by_hand=True), speeds, load=0.1, cores=2
    )
    assert "float32 is 7.5 times as fast here: unset FLYWHEEL_NUMERIC_TYPE" in found.detail
    busy = findings.numeric_type(Choice("float32", "flags"), speeds, load=8.2, cores=2)
    assert "beside other work (load 8 on 2 cores)" in busy.detail


def test_a_night_is_said_from_the_last_training_where_there_was_one() -> None:
    nights = [
        NightRecord(datetime(2026, 1, 1, tzinfo=UTC), "rejected", [], facts)
        for facts in (
            {"train_seconds": 90.0, "trained_examples": 100},
            {"train_seconds": 40.0, "trained_examples": 300, "new_examples": 20},
            {},
        )
    ]
    assert durations.last_training(nights[:1]) == (90.0, 100)
    assert durations.last_training(nights) == (40.0, 20), "it learned from the new ones alone"
    assert durations.last_training([replace(nights[0], facts={"train_seconds": None})]) is None


def test_operations_are_counted_as_often_as_weights_are_multiplied(use_case: UseCase) -> None:
    shape = Shape.from_config(catalog.model("smollm2-135m-instruct").config)
    recipe = use_case.training.model_copy(update={"epochs": 3, "min_steps": 0})
    tokens = 100 * recipe.max_length_tokens
    assert durations.of_training(shape, recipe, 100) == 4 * shape.linear_weights * tokens * 3
    full = recipe.model_copy(update={"method": "full"})
    assert durations.of_training(shape, full, 100) == 6 * shape.linear_weights * tokens * 3
    assert durations.of_scoring(shape, recipe, 100) == 2 * shape.linear_weights * tokens
    # 100 rows in batches of 16 are 7 steps; 50 are wanted
    assert durations.epochs(recipe.model_copy(update={"min_steps": 50}), 100) == 8


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (75, "75 s"), (600, "10 min"), (9_000, "2.5 hours")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert durations.in_words(seconds) == said
