"""Every shortcut gives what it replaces: outputs, gradients, answers, losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flywheel.catalog import numeric_types
from flywheel.config import UseCase
from flywheel.modeling import model_loading
from flywheel.modeling.methods import Rows, qlora
from flywheel.modeling.optim import fused_decoder, fused_ops, training_loop
from flywheel.modeling.optim.fused_ops import SHORT, LoraProduct, RmsNorm, short_attention
from flywheel.modeling.verbalizer import verbalizer

pytestmark = pytest.mark.model

TEXTS = ["it works", "it broke", "the screen", "good good good it works fine", "bad", "fine screen"]
TARGETS = [[2], [0], [1], [2], [0], [1]]


def test_the_low_rank_product_has_the_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    x, down, up = (
        torch.randn(shape, dtype=torch.double, requires_grad=True)
        for shape in ((2, 3, 5), (2, 5), (4, 2))
    )
    weight = torch.randn(4, 5, dtype=torch.double)
    expected = x @ weight.t() + 0.7 * (x @ down.t() @ up.t())
    torch.testing.assert_close(LoraProduct.apply(x, weight, down, up, 0.7), expected)
    assert torch.autograd.gradcheck(
        lambda x, down, up: LoraProduct.apply(x, weight, down, up, 0.7), (x, down, up)
    )


def test_the_norm_has_the_gradient_of_the_plain_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, requires_grad=True)
    weight = torch.randn(8)
    plain = torch.nn.functional.rms_norm(x, (8,), weight, 1e-6)
    found = RmsNorm.apply(x, weight, 1e-6)
    torch.testing.assert_close(found, plain)
    direction = torch.randn_like(plain)
    (expected,) = torch.autograd.grad(plain, x, direction)
    (gradient,) = torch.autograd.grad(found, x, direction)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("tokens", [1, 7, SHORT + 1])
def test_attention_is_pytorch_s_own(tokens: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 6, tokens, 4, requires_grad=True)
    key, value = (torch.randn(2, 3, tokens, 4) for _ in range(2))
    module = torch.nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]
    module.is_causal = True  # type: ignore[assignment]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), is_causal=True
    ).transpose(1, 2)
    found, _ = short_attention(module, query, key, value, None)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, query, direction),
        torch.autograd.grad(expected, query, direction),
    )


def test_attention_by_a_mask_is_pytorch_s_own() -> None:
    torch.manual_seed(0)
    before, tokens = 5, 7
    query = torch.randn(2, 6, tokens, 4, requires_grad=True)
    key, value = (torch.randn(2, 3, before + tokens, 4, requires_grad=True) for _ in range(2))
    module = torch.nn.Module()
    module.num_key_value_groups = 2  # type: ignore[assignment]
    # learned keys before the texts, the second of which is shorter
    mask = torch.ones(2, 1, tokens, before + tokens, dtype=torch.bool).tril(before)
    mask[1, :, :, -2:] = False
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=mask
    ).transpose(1, 2)
    found, _ = short_attention(module, query, key, value, mask)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (query, key, value), direction),
        torch.autograd.grad(expected, (query, key, value), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_token_that_sees_nothing_stays_a_number() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 3, 4) for _ in range(3))
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    mask[..., 0] = False  # padded on the left
    found, _ = short_attention(torch.nn.Module(), query, key, value, mask)
    assert found.isfinite().all()


def losses(use_case: UseCase, base: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(use_case.training))
    reader = verbalizer.reader_for(use_case, model, base)
    reached = training_loop.fit(
        reader, use_case.training, Rows(TEXTS, TARGETS, [1.0] * 6), on_step=lambda *_: None
    )
    return reached.losses, {n: p for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("numeric_type", "losses_within", "weights_within"),
    [("float32", 1e-4, 2e-4), ("bfloat16", 0.02, 5e-3), ("float16", 0.02, 5e-3)],
)
def test_a_training_with_shortcuts_is_the_one_without(
    use_case: UseCase,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    numeric_type: str,
    losses_within: float,
    weights_within: float,
) -> None:
    monkeypatch.setenv(numeric_types.SETTING, numeric_type)
    many = use_case.model_copy(
        update={"training": use_case.training.model_copy(update={"epochs": 8, "batch_size": 3})}
    )
    with_shortcuts, found = losses(many, tiny_base)
    monkeypatch.setattr(fused_ops, "take", lambda model: [])
    monkeypatch.setattr(fused_decoder, "is_known", lambda module: False)
    without, expected = losses(many, tiny_base)
    assert len(without) == 16
    assert with_shortcuts == pytest.approx(without, rel=losses_within)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=weights_within, rtol=0.1)


@pytest.mark.parametrize("numeric_type", numeric_types.NAMES)
def test_every_layer_of_the_default_kind_takes_its_shortcut(
    use_case: UseCase, tiny_base: Path, numeric_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numeric_types.SETTING, numeric_type)
    model = model_loading.load_quantised(tiny_base)
    assert fused_ops.take(model) == ["attention", "5 norm"]
    model = verbalizer.attach(
        model_loading.load_quantised(tiny_base), qlora.adapter(use_case.training)
    )
    assert all(
        module.forward.__module__ == "flywheel.modeling.optim.fused_ops"
        for module in model.modules()
        if hasattr(module, "lora_A") or type(module).__name__.endswith("RMSNorm")
    )


class GemmaRMSNorm(torch.nn.Module):
    """Calls itself an RMS norm and means ``1 + weight``, as Gemma does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(8), requires_grad=False)
        self.variance_epsilon = 1e-6

    def forward(self, x: torch.Tensor) -> Any:
        return torch.nn.functional.rms_norm(x, (8,), 1 + self.weight, self.variance_epsilon)


def test_what_only_looks_alike_keeps_its_own() -> None:
    model = torch.nn.Sequential(GemmaRMSNorm())
    model.config = type("C", (), {"_attn_implementation": "eager"})()  # type: ignore[assignment]
    assert fused_ops.take(model) == []
