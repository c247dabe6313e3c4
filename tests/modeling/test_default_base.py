"""On the default base, what learns by the fast paths learns as by the libraries' own layers."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from flywheel.config import UseCase
from flywheel.modeling import model_loading
from flywheel.modeling.methods import Rows, qlora
from flywheel.modeling.optim import fused_decoder, fused_ops, training_loop
from flywheel.modeling.verbalizer import verbalizer

pytestmark = pytest.mark.slow
BASE = Path(__file__).resolve().parents[2] / "data/models/smollm2-135m-instruct"
TEXTS = (
    "The battery died after two days and nobody answers my calls.",
    "It comes with a cable and a manual.",
    "I love this camera, it takes wonderful pictures.",
    "It works.",
    "The screen scratches when you look at it, and the buttons feel loose and cheap.",
    "Average sound for an average price.",
    "Set up in a minute, and it has not let me down once in a year of daily use.",
    "Returned it.",
)
TARGETS = [[0], [1], [2], [1], [0], [1], [2], [0]]


@pytest.fixture(autouse=True)
def base() -> None:
    if not (BASE / "model.safetensors").is_file():
        pytest.skip(f"no base at {BASE}: make turn fetches it")


def learner(use_case: UseCase, *, exact: bool = False) -> verbalizer.Reader:
    """The base with an adapter that has learned something; ``exact`` in float32."""
    model = verbalizer.attach(model_loading.load_quantised(BASE), qlora.adapter(use_case.training))
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora" in name:
            drawn = torch.randn(parameter.shape, generator=draw)
            parameter.data = (0.02 * drawn).to(parameter.dtype)
    if exact:
        model = model.float()
    return verbalizer.reader_for(use_case, model, BASE)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_ops, "take", lambda model: [])
        patch.setattr(fused_decoder, "is_known", lambda module: False)
        yield


def asked(reader: verbalizer.Reader) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits, and the gradients of the mean loss, in float32."""
    reader.model.train()
    with fused_decoder.in_one_step(reader.model):
        logits = reader.logits(reader.encode(TEXTS))
        training_loop.losses(logits, TARGETS).mean().backward()
    return logits.detach(), [p.grad.float() for p in reader.model.parameters() if p.requires_grad]


def off(found: Sequence[torch.Tensor], truth: Sequence[torch.Tensor]) -> float:
    """How far all of them are from the truth, relative to its length."""
    missed = sum((one - other).square().sum() for one, other in zip(found, truth, strict=True))
    length = sum(other.square().sum() for other in truth)
    return float((missed / length) ** 0.5)


def test_gradients_are_as_near_to_those_in_float32(use_case: UseCase) -> None:
    with plain():
        logits, truth = asked(learner(use_case, exact=True))
        rounded_logits, rounded = asked(learner(use_case))
    found_logits, found = asked(learner(use_case))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_decoder, "is_known", lambda module: False)
        parts_logits, parts = asked(learner(use_case))
    # what rounding to bf16 costs the plain layers, and no more; where the machine computes in
    # float32 nothing is rounded, and sums differ by their order alone
    assert off(rounded, truth) < 0.2
    assert off(found, truth) < 1.5 * off(rounded, truth) + 1e-5
    assert off(parts, truth) < 2 * off(rounded, truth) + 1e-5
    for one in (found_logits, parts_logits):
        assert (one - logits).abs().max() < 2 * (rounded_logits - logits).abs().max() + 0.05


def test_the_loss_falls_alike(use_case: UseCase) -> None:
    recipe = use_case.training.model_copy(
        update={"epochs": 10, "batch_size": 4, "learning_rate": 2e-4, "min_steps": 0}
    )

    def curve() -> list[float]:
        rows = Rows(list(TEXTS), TARGETS, [1.0] * len(TEXTS))
        reader = learner(use_case)
        return training_loop.fit(reader, recipe, rows, on_step=lambda *_: None).losses

    found = curve()
    with plain():
        expected = curve()
    apart = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    assert expected[0] > 2 * statistics.mean(expected[-2:])
    assert statistics.mean(apart) < 0.01 * expected[0]
