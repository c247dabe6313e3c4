"""A layer in one step gives what the plain one gives, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from flywheel.catalog import numeric_types
from flywheel.config import UseCase
from flywheel.modeling import model_loading
from flywheel.modeling.methods import qlora
from flywheel.modeling.optim import fused_ops
from flywheel.modeling.optim.fused_decoder import forward_of, in_one_step, is_known, layer_of
from flywheel.modeling.verbalizer import verbalizer

pytestmark = pytest.mark.model


def exact_model(config_of: Any = LlamaConfig, **special: Any) -> Any:
    """A tiny base in float64 with grouped heads, and a LoRA that has learned something."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = config_of(
        **{
            **{"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80},
            **{"num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2},
            **{"head_dim": 8, "pad_token_id": 0},
            **special,
        }
    )
    base = AutoModelForCausalLM.from_config(config).to(torch.float64).requires_grad_(False)
    adapter = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear")
    with model_loading.quiet():
        model = get_peft_model(base, adapter, autocast_adapter_dtype=False).to(torch.float64)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data = 1 + 0.3 * torch.randn_like(parameter)
        elif "lora" in name:
            parameter.data = 0.2 * torch.randn_like(parameter)
    return model


def asked(model: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
    """Answers, and the gradients of all that learns."""
    model.zero_grad()
    found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    # what padding is answered says nothing
    seen = found if mask is None else found[mask.bool()]
    seen.square().mean().backward()
    return [seen.detach(), *(p.grad for p in model.parameters() if p.requires_grad)]


def whole(tokens: int) -> None:
    return None


def padded_right(tokens: int) -> torch.Tensor:
    mask = torch.ones(3, tokens, dtype=torch.long)
    mask[1, tokens // 2 :] = 0
    return mask


def padded_left(tokens: int) -> torch.Tensor:
    return padded_right(tokens).flip(1)


@pytest.mark.parametrize("config_of", [LlamaConfig, MistralConfig])
@pytest.mark.parametrize(
    ("tokens", "mask_of"), [(1, whole), (7, whole), (7, padded_right), (7, padded_left)]
)
def test_answers_and_gradients_are_the_plain_layer_s(
    config_of: Any, tokens: int, mask_of: Any
) -> None:
    model = exact_model(config_of)
    ids = torch.randint(0, 97, (3, tokens))
    expected = asked(model, ids, mask_of(tokens))
    layers = [module for module in model.modules() if is_known(module)]
    assert len(layers) == 2
    for module in layers:
        module.forward = forward_of(module, layer_of(module))
    found = asked(model, ids, mask_of(tokens))
    # norms are taken in float32 by the plain layer
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def adapted(use_case: UseCase, base: Path) -> Any:
    torch.manual_seed(0)
    return verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(use_case.training))


@pytest.mark.parametrize("numeric_type", numeric_types.NAMES)
def test_afterwards_the_model_is_as_before(
    use_case: UseCase, tiny_base: Path, numeric_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numeric_types.SETTING, numeric_type)
    model = adapted(use_case, tiny_base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answer = fused_ops.answer_to_random(model)
    with in_one_step(model) as layers:
        assert layers == 2
        assert fused_ops.close(fused_ops.answer_to_random(model), answer)
        inside = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert all(torch.equal(inside[name], tensor) for name, tensor in before.items())
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert torch.equal(fused_ops.answer_to_random(model), answer)
    assert all(tensor.is_contiguous() for tensor in after.values())
    assert len({p.untyped_storage().data_ptr() for p in model.parameters()}) == len(
        list(model.parameters())
    )


def test_what_is_learned_inside_stays(use_case: UseCase, tiny_base: Path) -> None:
    model = adapted(use_case, tiny_base)
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with in_one_step(model), torch.no_grad():
        for number, parameter in enumerate(learned.values()):
            parameter.fill_(number / 64)
        inside = fused_ops.answer_to_random(model)
    for number, parameter in enumerate(learned.values()):
        assert torch.equal(parameter, torch.full_like(parameter, number / 64))
    assert fused_ops.close(fused_ops.answer_to_random(model), inside)


def test_a_failure_inside_leaves_the_model_as_before(use_case: UseCase, tiny_base: Path) -> None:
    model = adapted(use_case, tiny_base)
    answer = fused_ops.answer_to_random(model)
    with pytest.raises(ZeroDivisionError), in_one_step(model):
        raise ZeroDivisionError
    assert torch.equal(fused_ops.answer_to_random(model), answer)
    assert not any("forward" in m.__dict__ for m in model.modules() if is_known(m))


@pytest.mark.parametrize(("longest", "use_cache"), [(12, True), (11, False)])
def test_keys_from_before_and_long_texts_take_the_plain_layer(
    use_case: UseCase,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    longest: int,
    use_cache: bool,
) -> None:
    monkeypatch.setattr(fused_ops, "SHORT", longest)
    model = adapted(use_case, tiny_base)
    ids = torch.randint(0, model.config.vocab_size, (2, 12))

    def answer() -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=ids, use_cache=use_cache).logits
        return found

    plain = answer()
    with in_one_step(model) as layers:
        assert layers == 2
        assert torch.equal(answer(), plain)


@pytest.mark.parametrize(
    "special",
    [
        {"hidden_act": "gelu"},
        {"attention_dropout": 0.1},
        {"attention_bias": True},
        {"mlp_bias": True},
    ],
)
def test_other_layers_are_not_known(special: dict[str, Any]) -> None:
    assert any(map(is_known, exact_model().modules()))
    assert not any(map(is_known, exact_model(**special).modules()))


@pytest.mark.parametrize(
    ("config_of", "special"),
    [(MistralConfig, {"sliding_window": 8}), (Qwen3Config, {}), (SmolLM3Config, {})],
)
def test_what_is_only_built_alike_is_not_known(config_of: Any, special: dict[str, Any]) -> None:
    assert not any(map(is_known, exact_model(config_of, **special).modules()))


class Scaled(LlamaDecoderLayer):
    """Looks like Llama's layer, and answers otherwise."""

    def forward(self, *inputs: Any, **rest: Any) -> Any:
        return 1.5 * super().forward(*inputs, **rest)


def test_what_answers_otherwise_keeps_its_own(use_case: UseCase, tiny_base: Path) -> None:
    model = adapted(use_case, tiny_base)
    for module in model.modules():
        if is_known(module):
            module.__class__ = Scaled
    answer = fused_ops.answer_to_random(model)
    with in_one_step(model) as layers:
        assert layers == 0
        assert torch.equal(fused_ops.answer_to_random(model), answer)


@pytest.mark.parametrize("tokens", [7, 40])
def test_in_float32_the_step_gives_the_plain_layer_s_answers_and_gradients(tokens: int) -> None:
    model = exact_model().float()
    ids = torch.randint(0, 97, (3, tokens))
    expected = asked(model, ids, padded_right(tokens))
    with in_one_step(model) as layers:
        found = asked(model, ids, padded_right(tokens))
        found = [one.clone() for one in found]
    assert layers == 2
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
