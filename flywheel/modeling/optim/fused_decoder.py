"""A decoder layer with LoRA as one step of autograd, on the CPU, while it learns.

A layer of the Llama family is some fifty small steps forwards and twice as many backwards. Short
texts make each of them cheap, so that handing tensors on and reading them from memory anew costs as
much as the matrix products. `in_one_step` runs the same layer with its gradient written out, and
with each low-rank update inside the product that it updates.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from flywheel.modeling.optim import fused_ops

log = logging.getLogger(__name__)

Gradients = tuple[torch.Tensor, ...]
"""Of what learns, in its order."""


@dataclass(frozen=True)
class Products:
    """Linear layers of one input and their LoRA (Hu et al. 2021) as one: ``[x, s·xAᵀ] [W, B]ᵀ``."""

    weight: torch.Tensor
    """``(outputs, inputs + n·r)``: each layer's W, and on its right its B among zeros."""
    down: torch.Tensor
    """``(n·r, inputs)``: each layer's A."""
    scale: float
    rank: int
    outputs: list[int]
    inside: tuple[torch.Tensor, ...]
    """All that lies in the wide ones."""
    learned: tuple[torch.Tensor, ...]
    """All A, then all B."""

    @classmethod
    def of(cls, layers: Sequence[Any]) -> Products:
        """Of PEFT's layers. Their tensors lie in the wide ones until `release`."""
        weights, downs, ups, scales = zip(*map(fused_ops.of_lora, layers), strict=True)
        rank, inputs = downs[0].shape
        outputs = [len(weight) for weight in weights]
        wide = weights[0].new_zeros(sum(outputs), inputs + rank * len(layers))
        down = torch.cat([one.detach() for one in downs])
        rows = torch.split(wide, outputs)
        for i, (part, weight, up) in enumerate(zip(rows, weights, ups, strict=True)):
            _move(weight, part[:, :inputs])
            _move(up, torch.split(part[:, inputs:], rank, 1)[i])
            _move(downs[i], torch.split(down, rank)[i])
        learned = (*downs, *ups)
        return cls(wide, down, scales[0], rank, outputs, (*weights, *learned), learned)

    @property
    def inputs(self) -> int:
        return self.down.shape[1]

    def release(self) -> None:
        """Give each tensor memory of its own again."""
        for tensor in self.inside:
            tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)

    def room(self, x: torch.Tensor) -> torch.Tensor:
        """Where an input of as many rows as ``x`` is to be written, in the left columns."""
        return x.new_empty(len(x), self.weight.shape[1])

    def widen(self, wide: torch.Tensor) -> torch.Tensor:
        """Fill the right columns: ``(rows, inputs + n·r)``."""
        low = wide[:, self.inputs :]
        torch.mm(wide[:, : self.inputs], self.down.t(), out=low)
        low.mul_(self.scale)
        return wide

    def gradients(
        self, grad_output: torch.Tensor, wide: torch.Tensor
    ) -> tuple[torch.Tensor, Gradients]:
        """Of the input, and of all A and B, from ``grad_output``, that of the outputs."""
        x, low = wide[:, : self.inputs], wide[:, self.inputs :]
        both = grad_output @ self.weight
        grad_low_rank = both[:, self.inputs :].mul(self.scale)
        pairs = zip(
            torch.split(grad_output, self.outputs, 1), torch.split(low, self.rank, 1), strict=True
        )
        ups = (one.t() @ other for one, other in pairs)
        of_x = both[:, : self.inputs].addmm_(grad_low_rank, self.down)
        return of_x, (*torch.split(grad_low_rank.t() @ x, self.rank), *ups)


@dataclass(frozen=True)
class Layer:
    """What a layer is made of; ``width`` is that of a head, ``groups`` are heads of keys."""

    first_norm: Any
    attention: Products
    out: Products
    second_norm: Any
    gate_and_up: Products
    down: Products
    width: int
    scaling: float

    @property
    def products(self) -> tuple[Products, ...]:
        return self.attention, self.out, self.gate_and_up, self.down

    @property
    def groups(self) -> int:
        return self.attention.outputs[1] // self.width


class Step(torch.autograd.Function):
    """The layer: attention (Vaswani et al. 2017) with grouped heads, then a gated unit (Shazeer
    2020), each after an RMS norm and added to what came in."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        unseen: torch.Tensor,
        layer: Layer,
        *learned: torch.Tensor,
    ) -> torch.Tensor:
        """Shapes: x (rows, tokens, hidden), cos and sin (rows or 1, 1, tokens, width), unseen, that
        is added to scores, (rows or 1, 1, tokens, tokens). ``learned`` tells autograd what does."""
        rows, tokens, _ = x.shape
        flat = x.reshape(-1, x.shape[-1])
        normed, inverse, wide = _norm(flat, layer.first_norm, layer.attention)
        query, key, value = (
            _heads(one, rows, layer.width)
            for one in torch.split(wide @ layer.attention.weight.t(), layer.attention.outputs, 1)
        )
        # scaled by the turn, at no cost
        query = _turned(query, cos * layer.scaling, sin * layer.scaling)
        query = query.view(rows, layer.groups, -1, layer.width)
        key, value = _turned(key, cos, sin), value.contiguous()
        scores = (query @ key.transpose(2, 3)).view(rows, -1, tokens, tokens).add_(unseen)
        shares = scores.softmax(-1)
        seen = layer.out.room(flat)
        mixed = shares.view(rows, layer.groups, -1, tokens) @ value
        _heads(seen[:, : layer.out.inputs], rows, layer.width).copy_(
            mixed.view(rows, -1, tokens, layer.width)
        )
        between = torch.addmm(flat, layer.out.widen(seen), layer.out.weight.t())
        normed2, inverse2, wide2 = _norm(between, layer.second_norm, layer.gate_and_up)
        both = wide2 @ layer.gate_and_up.weight.t()
        gate, up = both.chunk(2, 1)
        active = torch.nn.functional.silu(gate)
        hidden = layer.down.room(flat)
        torch.mul(active, up, out=hidden[:, : layer.down.inputs])
        result = between.addmm_(layer.down.widen(hidden), layer.down.weight.t())
        ctx.save_for_backward(
            *(cos, sin, normed, inverse, wide, query, key, value, shares, seen),
            *(normed2, inverse2, wide2, both, active, hidden),
        )
        ctx.layer = layer
        return result.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """The gradients of x and of what learns."""
        layer: Layer = ctx.layer
        # told once: what is computed again is handed out one time only
        saved = ctx.saved_tensors
        (cos, sin, normed, inverse, wide, query, key, value, shares, seen) = saved[:10]
        (normed2, inverse2, wide2, both, active, hidden) = saved[10:]
        rows, tokens, _ = gradient.shape
        grad_output = gradient.reshape(-1, gradient.shape[-1])

        grad_inner, of_down = layer.down.gradients(grad_output, hidden)
        of_both = torch.empty_like(both)
        (gate, up), (of_gate, of_up) = both.chunk(2, 1), of_both.chunk(2, 1)
        torch.mul(grad_inner, active, out=of_up)
        torch.ops.aten.silu_backward.grad_input(grad_inner.mul_(up), gate, grad_input=of_gate)
        grad_inner, of_gate_and_up = layer.gate_and_up.gradients(of_both, wide2)
        grad_inner *= layer.second_norm.weight
        grad_output = grad_output + fused_ops.through_norm(grad_inner, normed2, inverse2)

        grad_inner, of_out = layer.out.gradients(grad_output, seen)
        grad_inner = _heads(grad_inner, rows, layer.width).reshape(
            rows, layer.groups, -1, layer.width
        )
        grouped = shares.view(rows, layer.groups, -1, tokens)
        of_scores = torch.ops.aten._softmax_backward_data(
            grad_inner @ value.transpose(2, 3), grouped, -1, grouped.dtype
        )
        turned = grad_output.new_empty(len(grad_output), sum(layer.attention.outputs))
        of_query, of_key, of_value = (
            _heads(one, rows, layer.width)
            for one in torch.split(turned, layer.attention.outputs, 1)
        )
        _turn_back(
            (of_scores @ key).view(of_query.shape),
            cos * layer.scaling,
            sin * layer.scaling,
            of_query,
        )
        _turn_back(of_scores.transpose(2, 3) @ query, cos, sin, of_key)
        of_value.copy_(grouped.transpose(2, 3) @ grad_inner)
        grad_inner, of_attention = layer.attention.gradients(turned, wide)
        of_x = None
        if ctx.needs_input_grad[0]:
            grad_inner *= layer.first_norm.weight
            of_x = grad_output + fused_ops.through_norm(grad_inner, normed, inverse)
            of_x = of_x.view(gradient.shape)
        learned = (*of_attention, *of_out, *of_gate_and_up, *of_down)
        return of_x, None, None, None, None, *learned


@contextlib.contextmanager
def in_one_step(model: Any) -> Iterator[int]:
    """Run the layers of ``model`` that are known as one step each, until the end; how many.

    None is on a GPU, and none where the model answers otherwise with them. Texts of more than
    `flywheel.modeling.optim.fused_ops.SHORT` tokens, and those with keys from before, take the
    plain layer.
    """
    first = next(model.parameters())
    taken: list[tuple[Any, Layer]] = []
    try:
        if first.device.type == "cpu":
            for module in filter(is_known, model.modules()):
                taken.append((module, layer_of(module)))
        if taken and not _agree(model, taken):
            _end(taken)
            taken = []
        log.debug("layers in one step: %d", len(taken))
        yield len(taken)
    finally:
        _end(taken)


def is_known(module: Any) -> bool:
    """Whether it is a layer that `Step` is, each product with a LoRA of the same form.

    By its type: what is only built alike (no rotary positions in some layers, say) may answer
    nearly the same.
    """
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer
    from transformers.models.mistral.modeling_mistral import MistralDecoderLayer

    if not isinstance(module, LlamaDecoderLayer | MistralDecoderLayer):
        return False
    config, linear = module.self_attn.config, _linear(module)
    window = getattr(config, "sliding_window", None) or fused_ops.SHORT
    if config.hidden_act != "silu" or config.attention_dropout or window < fused_ops.SHORT:
        return False
    if not all(map(fused_ops.is_plain_lora, linear)):
        return False
    if not all(map(fused_ops.is_norm, _norms(module))):
        return False
    return len({(len(down), scale) for _, down, _, scale in map(fused_ops.of_lora, linear)}) == 1


def layer_of(module: Any) -> Layer:
    """What `Step` needs of a module that `is_known`; its tensors move."""
    linear, (first, second) = _linear(module), _norms(module)
    return Layer(
        first,
        Products.of(linear[:3]),
        Products.of(linear[3:4]),
        second,
        Products.of(linear[4:6]),
        Products.of(linear[6:]),
        module.self_attn.head_dim,
        module.self_attn.scaling,
    )


def _linear(module: Any) -> list[Any]:
    own, mlp = module.self_attn, module.mlp
    return [
        own.q_proj,
        own.k_proj,
        own.v_proj,
        own.o_proj,
        mlp.gate_proj,
        mlp.up_proj,
        mlp.down_proj,
    ]


def _norms(module: Any) -> list[Any]:
    return [module.input_layernorm, module.post_attention_layernorm]


def _agree(model: Any, taken: Sequence[tuple[Any, Layer]]) -> bool:
    """Put the steps in place; whether answers to random ids stay the same."""
    before = fused_ops.answer_to_random(model)
    for module, layer in taken:
        module.forward = forward_of(module, layer)
    return fused_ops.close(fused_ops.answer_to_random(model), before)


def _end(taken: Sequence[tuple[Any, Layer]]) -> None:
    for module, layer in taken:
        module.__dict__.pop("forward", None)
        for one in layer.products:
            one.release()


def forward_of(module: Any, layer: Layer) -> Callable[..., Any]:
    """A layer's forward by one `Step`, or its plain one where that says the same only."""
    plain: Callable[..., Any] = module.forward
    learned = tuple(tensor for one in layer.products for tensor in one.learned)
    step: Any = Step.apply

    def forward(hidden_states: torch.Tensor, attention_mask: Any = None, **rest: Any) -> Any:
        tokens = hidden_states.shape[1]
        cos, sin = (one.unsqueeze(1) for one in rest["position_embeddings"])
        known = attention_mask is None or attention_mask.dtype == torch.bool
        whole = cos.shape[-1] == layer.width and rest.get("past_key_values") is None
        if not known or not whole or tokens > fused_ops.SHORT:
            return plain(hidden_states, attention_mask=attention_mask, **rest)
        unseen = fused_ops.unseen(attention_mask, tokens, hidden_states.dtype)

        def run(x: torch.Tensor) -> Any:
            return step(x, cos, sin, unseen, layer, *learned)

        # as the plain forward does, which is not called
        if getattr(module, "gradient_checkpointing", False) and module.training:
            return module._gradient_checkpointing_func(run, hidden_states)
        return run(hidden_states)

    return forward


def _move(tensor: torch.Tensor, to: torch.Tensor) -> None:
    """Let a parameter's numbers lie in a part of a larger tensor."""
    tensor.data = to.copy_(tensor.detach())


def _norm(
    x: torch.Tensor, norm: Any, products: Products
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``x / rms(x)``, ``1 / rms(x)``, and the products' wide input."""
    normed, inverse = fused_ops.normalised(x, norm.variance_epsilon)
    wide = products.room(x)
    torch.mul(normed, norm.weight, out=wide[:, : products.inputs])
    return normed, inverse, products.widen(wide)


def _heads(flat: torch.Tensor, rows: int, width: int) -> torch.Tensor:
    """``(rows · tokens, heads · width)`` as ``(rows, heads, tokens, width)``, not copied."""
    return flat.view(rows, len(flat) // rows, -1, width).transpose(1, 2)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021), halves turned against each other."""
    half = x.shape[-1] // 2
    result = torch.mul(x, cos, out=x.new_empty(x.shape))
    result[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    result[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return result


def _turn_back(
    gradient: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, into: torch.Tensor
) -> None:
    """The gradient of what was `_turned`."""
    half = gradient.shape[-1] // 2
    torch.mul(gradient, cos, out=into)
    into[..., :half].addcmul_(gradient[..., half:], sin[..., half:])
    into[..., half:].addcmul_(gradient[..., :half], sin[..., :half], value=-1)
