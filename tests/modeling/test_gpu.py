"""On a CUDA device: the base stays in 4 bits, only the adapter learns, memory is the device's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flywheel.catalog import memory, numeric_types
from flywheel.config import Home
from flywheel.modeling import methods, model_loading
from flywheel.modeling.methods import Rows, qlora
from flywheel.modeling.optim import training_loop
from flywheel.modeling.verbalizer import verbalizer
from tests import nights
from tests.nights import CASE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason=f"torch {torch.__version__} finds no CUDA device here; run these where there is one",
    ),
]

TEXTS = [nights.text_of(group, 0) for group in range(16)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = nights.make_home(tmp_path / "home")
    with nights.living_in(home):
        yield home


@pytest.fixture
def base(home: Home) -> Path:
    return home.models / CASE.training.base


def fresh_reader(base: Path) -> verbalizer.Reader:
    torch.manual_seed(0)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(CASE.training))
    return verbalizer.reader_for(CASE, model, base)


def test_the_base_stays_in_four_bits_on_the_device(base: Path) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    model = model_loading.load_quantised(base)
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 2 * 7, "seven linear layers in each of two blocks"
    for layer in layers:
        weight: Any = layer.weight
        assert weight.device.type == "cuda"
        assert weight.dtype == torch.uint8
        assert weight.quant_state.quant_type == "nf4"
        assert weight.quant_state.nested, "double quantisation"
        assert weight.numel() == layer.in_features * layer.out_features // 2


@pytest.mark.parametrize("numeric_type", numeric_types.NAMES)
def test_the_loss_falls_in_each_numeric_type(
    base: Path, numeric_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float16 by loss scaling, as on a GPU without bfloat16."""
    monkeypatch.setenv(numeric_types.SETTING, numeric_type)
    recipe = CASE.training.model_copy(update={"epochs": 30, "learning_rate": 5e-3})
    reader = fresh_reader(base)
    assert reader.head.weight.dtype == numeric_types.here().dtype
    rows = Rows(TEXTS, [[number % 2] for number in range(len(TEXTS))], [1.0] * len(TEXTS))
    reached = training_loop.fit(reader, recipe, rows, on_step=lambda *_: None)
    assert reached.losses[-1] < 0.5 * reached.losses[0]


def test_training_moves_the_adapter_and_nothing_else(base: Path) -> None:
    reader = fresh_reader(base)
    before = {name: p.detach().clone() for name, p in reader.model.named_parameters()}
    losses: list[float] = []
    training_loop.fit(
        reader,
        CASE.training,
        Rows(
            [text for text, _ in TEXTS],
            [[CASE.label_names.index(label)] for _, label in TEXTS],
            [1.0] * len(TEXTS),
        ),
        on_step=lambda step, steps, loss, rate: losses.append(loss),
    )
    assert losses[-1] < losses[0]
    moved = {n for n, p in reader.model.named_parameters() if not torch.equal(before[n], p)}
    assert moved == {name for name in before if "lora_" in name}
    assert {p.device.type for p in reader.model.parameters()} == {"cuda"}


def test_peak_memory_is_the_device_s(base: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    before = memory.peak_mb()
    block = torch.zeros(64_000_000, dtype=torch.uint8, device="cuda")
    grown = memory.peak_mb() - before
    del block
    assert 60 <= grown <= 80
    assert memory.peak_mb() == pytest.approx(torch.cuda.max_memory_allocated() / 1e6)


def test_an_adapter_trained_on_the_device_is_read_the_same_after_loading(
    base: Path, tmp_path: Path
) -> None:
    reader = fresh_reader(base)
    for parameter in reader.model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    texts = [text for text, _ in TEXTS]
    expected, _ = reader.answer(texts)
    reader.model.save_pretrained(tmp_path / "adapter", safe_serialization=True)
    found, _ = methods.load_on(CASE, base, tmp_path / "adapter").answer(texts)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_paged_moments_in_8_bits_learn_on_the_device() -> None:
    weight = torch.nn.Parameter(torch.zeros(512, 512, device="cuda"))
    wanted = torch.ones_like(weight)
    optimiser = training_loop.adamw_in_8_bits([weight], 0.05, weight_decay=0.0)
    for _ in range(60):
        (weight - wanted).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert optimiser.state[weight]["state1"].dtype == torch.uint8
    assert optimiser.state[weight]["state1"].is_paged
    assert (weight - wanted).abs().mean() < 0.2
