"""Shortcuts on the CPU: the same layers in fewer passes over memory.

Matrix products are a third of a plain LoRA step on the CPU; the rest is scaling, adding and
normalising large tensors one small step at a time, and an attention kernel that is slow backwards
for short texts. `take` replaces what it knows by its equal; each one is compared with what it
replaces before it is used, so that a layer that only looks alike keeps its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.autograd.function import once_differentiable

log = logging.getLogger(__name__)

SHORT = 256
"""Longest text, in tokens, whose attention scores are kept whole."""
ATTENTION = "flywheel_short"
_TOLERANCES = {torch.bfloat16: 0.05, torch.float16: 0.01}
"""Largest difference from the replaced layer, relative to its largest output: bf16 rounds by 0.004,
float16 by 0.0005, at each of a handful of steps."""
_TOLERANCE = 1e-3
"""In float32 and wider, where norms are taken in float32."""
_leaves: ContextVar[bool] = ContextVar("leaves", default=False)


class LoraProduct(torch.autograd.Function):
    """``x Wᵀ + scale (x Aᵀ) Bᵀ`` (Hu et al. 2021) with W frozen, added up inside the products."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Shapes: x (..., inputs), weight (outputs, inputs), down (r, inputs), up (outputs, r)."""
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ down.t()
        # a base adds to it in place (Falcon does), which autograd takes of no view
        result = x.new_empty(*x.shape[:-1], weight.shape[0])
        rows = result.view(-1, weight.shape[0])
        torch.mm(flat, weight.t(), out=rows)
        rows.addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(flat, weight, down, up, low)
        ctx.scale = scale
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradients of x, down and up."""
        flat, weight, down, up, low = ctx.saved_tensors
        grad_output = gradient.reshape(-1, gradient.shape[-1])
        grad_low_rank = (grad_output @ up).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (grad_output @ weight).addmm_(grad_low_rank, down).view(*gradient.shape[:-1], -1)
        return of_x, None, grad_low_rank.t() @ flat, (grad_output.t() @ low).mul_(ctx.scale), None


class RmsNorm(torch.autograd.Function):
    """``weight · x / rms(x)`` (Zhang and Sennrich 2019), weight frozen, means in float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Shapes: x (..., width), weight (width,)."""
        normed, inverse = normalised(x, epsilon)
        ctx.save_for_backward(normed, weight, inverse)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradient of x."""
        normed, weight, inverse = ctx.saved_tensors
        return through_norm(gradient * weight, normed, inverse), None, None


def normalised(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``x / rms(x)`` over the last dimension, and ``1 / rms(x)`` in float32."""
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return (wide * inverse).to(x.dtype), inverse


def through_norm(
    gradient: torch.Tensor, normed: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    """The gradient of what was normalised, from that of the result of `normalised`."""
    inner, wide = gradient.to(inverse.dtype), normed.to(inverse.dtype)
    along = (inner * wide).mean(-1, keepdim=True)
    return torch.addcmul(inner, wide, along, value=-1).mul_(inverse).to(gradient.dtype)


def short_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with its scores kept, causal or by a mask; longer than SHORT, PyTorch's own.

    Shapes: query (rows, heads, tokens, width), key and value (rows, groups of heads, keys, width),
    mask (rows or 1, 1, tokens, keys), true where a token sees a key; the result is
    (rows, tokens, heads, width). Heads of a group are one larger product.
    """
    rows, heads, tokens, width = query.shape
    keys = key.shape[2]
    known = attention_mask.dtype == torch.bool if attention_mask is not None else keys == tokens
    if not known or keys > SHORT:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: Any = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
        return found  # type: ignore[no-any-return]
    groups = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    grouped = (query * scale).reshape(rows, groups, -1, width)
    hidden = unseen(attention_mask, tokens, query.dtype)
    scores = (grouped @ key.transpose(2, 3)).view(rows, heads, tokens, keys) + hidden
    weights = scores.softmax(-1).view(rows, groups, -1, keys)
    return (weights @ value).view(rows, heads, tokens, width).transpose(1, 2), None


def unseen(mask: torch.Tensor | None, tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores so that what a token does not see counts nothing.

    By a mask, true where a token sees a key, or causal: ``(tokens, tokens)``.
    """
    if mask is None:
        return torch.full((tokens, tokens), -torch.inf, dtype=dtype).triu_(1)
    # finite: a token that sees nothing, as before a text padded on the left, stays a number
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


@contextmanager
def left_alone() -> Iterator[None]:
    """Let `take` replace nothing: what is to be traced must be the libraries' own layers."""
    token = _leaves.set(True)
    try:
        yield
    finally:
        _leaves.reset(token)


def take(model: Any) -> list[str]:
    """Replace what is proven equal in ``model``, in place; names what was replaced.

    Nothing is replaced on a GPU, where the libraries' own kernels are better.
    """
    if _leaves.get() or next(model.parameters()).device.type != "cpu":
        return []
    taken = [_take_attention(model), _take_layers(model, _lora), _take_layers(model, _norm)]
    found = [name for name in taken if name]
    log.debug("shortcuts: %s", ", ".join(found) or "none")
    return found


def _take_layers(model: Any, shortcut_of: Callable[[Any], Callable[..., Any] | None]) -> str:
    count = 0
    for module in model.modules():
        shortcut = shortcut_of(module)
        if shortcut is not None and _agrees(module, shortcut):
            module.forward = shortcut
            count += 1
    return f"{count} {shortcut_of.__name__.strip('_')}" if count else ""


def _lora(module: Any) -> Callable[..., Any] | None:
    """For a PEFT LoRA layer on a plain linear one: one adapter, no bias, dropout or variant."""
    if not is_plain_lora(module):
        return None
    weight, down, up, scale = of_lora(module)
    product: Any = LoraProduct.apply
    return lambda x: product(x, weight, down, up, scale)


def is_plain_lora(module: Any) -> bool:
    """Whether `of_lora` says all that the layer does."""
    from peft.tuners.lora import Linear

    if not isinstance(module, Linear) or type(module.base_layer) is not torch.nn.Linear:
        return False
    if module.merged or module.disable_adapters or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    if name not in module.lora_A or module.base_layer.bias is not None or module.fan_in_fan_out:
        return False
    if module.lora_variant.get(name) or not isinstance(
        module.lora_dropout[name], torch.nn.Identity
    ):
        return False
    weight, down, up, _ = of_lora(module)
    return weight.dtype == down.dtype == up.dtype and not weight.requires_grad


def of_lora(module: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """W, A, B and the scale of a LoRA layer's one adapter."""
    (name,) = module.active_adapters
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return module.base_layer.weight, down, up, module.scaling[name]


def _norm(module: Any) -> Callable[..., Any] | None:
    if not is_norm(module):
        return None
    weight, epsilon = module.weight, module.variance_epsilon
    norm: Any = RmsNorm.apply
    return lambda x: norm(x, weight, epsilon)


def is_norm(module: Any) -> bool:
    """Whether it calls itself a frozen RMS norm: some mean something else by it."""
    if not type(module).__name__.endswith("RMSNorm") or not hasattr(module, "variance_epsilon"):
        return False
    weight = getattr(module, "weight", None)
    return weight is not None and not weight.requires_grad


def _agrees(module: Any, shortcut: Callable[..., Any]) -> bool:
    """Whether both give the same for random numbers."""
    weight = module.weight
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, weight.shape[-1], generator=draw).to(weight.dtype)
    with torch.no_grad():
        return close(shortcut(x), module(x))


def _take_attention(model: Any) -> str:
    """Use `short_attention` where the model's answers to random ids stay the same."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config
    if not hasattr(config, "vocab_size"):  # it reads no texts
        return ""
    if config._attn_implementation != "sdpa" or getattr(config, "is_encoder_decoder", False):
        return ""
    if (
        getattr(config, "attention_dropout", 0)
        or (getattr(config, "sliding_window", None) or SHORT) < SHORT
    ):
        return ""
    AttentionInterface.register(ATTENTION, short_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    before = answer_to_random(model)
    model.set_attn_implementation(ATTENTION)
    if close(answer_to_random(model), before):
        return "attention"
    model.set_attn_implementation("sdpa")
    return ""


def answer_to_random(model: Any) -> torch.Tensor:
    """What a model that reads texts makes of two rows of random ids, always the same."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (2, 16), generator=draw)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.no_grad():
        found: torch.Tensor = base(input_ids=ids, use_cache=False)[0]
    return found


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two ways to compute a tensor agree, but for what rounding explains."""
    if found.shape != expected.shape:
        return False
    largest = expected.float().abs().max().clamp_min(1e-6)
    most = _TOLERANCES.get(expected.dtype, _TOLERANCE) * largest
    return bool((found.float() - expected.float()).abs().max() <= most)
