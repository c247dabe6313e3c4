"""The loop by which every method with optimiser steps learns."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch

from flywheel.config import TrainingConfig
from flywheel.modeling import model_loading
from flywheel.modeling.durations import epochs
from flywheel.modeling.methods import LoopOptions, OnPass, OnStep, Rows
from flywheel.modeling.optim import fused_decoder, schedule
from flywheel.modeling.optim.checkpoint import Checkpoint, Reached

log = logging.getLogger(__name__)

FIRST_SCALE = 2.0**12
"""Of losses in float16: PyTorch's own is 16 times as large, and costs a short training the first
few of its steps."""
Loss = Callable[[Sequence[int]], torch.Tensor]
"""Nats of each of the rows with these numbers: ``(rows,)``, with what gradients need."""


def fit(
    scorer: model_loading.Scorer,
    recipe: TrainingConfig,
    rows: Rows,
    *,
    head: torch.nn.Module | None = None,
    **loop: Unpack[LoopOptions],
) -> Reached:
    """Learn labels, as `fit_loss`: with the scorer's model, and its ``head``.

    The loss is the negative log of what the labels in a row's ``targets`` get together: one
    target is cross-entropy; all but the rejected ones is learning from a complementary label
    (Ishida et al. 2017; this form Yu et al. 2018).
    """
    encoded = scorer.encode(rows.texts)

    def loss(part: Sequence[int]) -> torch.Tensor:
        logits = scorer.logits([encoded[i] for i in part])
        return losses(logits, [rows.targets[i] for i in part])

    return fit_loss(
        scorer.model,
        recipe,
        loss,
        lengths=[len(row) for row in encoded],
        weights=rows.weights,
        besides={f"head.{n}": p for n, p in head.named_parameters()} if head is not None else {},
        **loop,
    )


def fit_loss(
    model: Any,
    recipe: TrainingConfig,
    loss: Loss,
    *,
    lengths: Sequence[int],
    weights: Sequence[float],
    on_step: OnStep,
    max_tokens: int | None = None,
    checkpoint: Checkpoint | None = None,
    besides: Mapping[str, torch.nn.Parameter] | None = None,
    recompute: bool = False,
    moments_in_8_bits: bool = False,
    on_pass: OnPass | None = None,
) -> Reached:
    """Update what may learn in ``model``, and ``besides``, over all epochs, to lower ``loss``.

    ``lengths`` are each row's tokens, ``weights`` what it counts for, in (0, 1].

    What learns is kept in float32 beside a model in a narrower type, where most steps would be
    rounded away, and the mean of squared gradients could not fall (Micikevicius et al. 2018, §3.1).
    In float16 small gradients would vanish: the loss is scaled up, and steps whose gradients leave
    float16's range are left out (§3.2).

    ``max_tokens`` of a pass are the recipe's, unless given. With a ``checkpoint`` it goes on where
    that one ends: steps done before are told to ``on_step`` again and not made again. Out of memory
    is caught once: passes are halved, gradients add up over twice as many, the step is made again.
    With ``recompute`` layers keep their inputs only, and are computed again on the way back. With
    ``moments_in_8_bits`` no checkpoint is read or written: it holds moments in float32. ``on_pass``
    is told the tokens of each pass that is larger than all before, before it is made.

    Raises:
        torch.OutOfMemoryError: passes half as large do not fit either.
    """
    rng = random.Random(recipe.seed)
    plan = [
        batch
        for _ in range(epochs(recipe, len(lengths)))
        for batch in schedule.batches(lengths, batch_size=recipe.batch_size, rng=rng)
    ]
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad} | {**(besides or {})}
    model.train()
    with fused_decoder.in_one_step(model), computed_again(model, on=recompute):
        master = {name: _master_weight(parameter) for name, parameter in trainable.items()}
        optimiser = _optimiser(master.values(), recipe, in_8_bits=moments_in_8_bits)
        if moments_in_8_bits:
            checkpoint = None
        scaler = _scaler(trainable.values())
        reached = checkpoint.restore(master, optimiser, scaler) if checkpoint else Reached()
        _round(master, trainable)
        tokens = max_tokens or recipe.tokens_per_pass
        passes = Passes(loss, lengths, weights, tokens, list(trainable.values()), scaler, on_pass)
        before, begun = reached.seconds, time.perf_counter()
        for step, batch in enumerate(plan):
            rate = schedule.learning_rate_at(
                step, len(plan), peak=recipe.learning_rate, warmup_share=recipe.warmup_share
            )
            if step >= len(reached.losses):
                batch_loss = passes.gradients(batch)
                _update(master, trainable, optimiser, scaler, rate)
                reached.losses.append(batch_loss)
                reached.seconds = before + time.perf_counter() - begun
                if checkpoint:
                    checkpoint.save(master, optimiser, scaler, reached)
            on_step(step + 1, len(plan), reached.losses[step], rate)
    return reached


def _optimiser(
    master: Iterable[torch.nn.Parameter], recipe: TrainingConfig, *, in_8_bits: bool
) -> torch.optim.Optimizer:
    if in_8_bits:
        return adamw_in_8_bits(master, recipe.learning_rate, weight_decay=0.0)
    return torch.optim.AdamW(master, lr=recipe.learning_rate, weight_decay=0.0, fused=True)


def adamw_in_8_bits(
    parameters: Iterable[torch.nn.Parameter], rate: float, *, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW whose moments take a byte each, scaled in blocks of 256 (Dettmers et al. 2022).

    On CUDA they are paged: the driver moves them to the machine's memory where the GPU's is full.
    Parameters of fewer than 4,096 weights keep theirs in float32.
    """
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

    trainable = list(parameters)
    on_gpu = all(parameter.device.type == "cuda" for parameter in trainable)
    kind = PagedAdamW8bit if on_gpu else AdamW8bit
    made: torch.optim.Optimizer = kind(trainable, lr=rate, weight_decay=weight_decay)
    return made


@contextlib.contextmanager
def computed_again(model: Any, *, on: bool) -> Iterator[None]:
    """Keep of each layer its input only, and compute the rest again on the way back (Chen et al.
    2016); nothing changes for a base that cannot, as one made of convolutions."""
    on = on and model.supports_gradient_checkpointing
    if on:
        model.activation_checkpointing_enable({"use_reentrant": False})
        # a gradient of frozen embeddings is not needed for it
        model.disable_input_require_grads()
    try:
        yield
    finally:
        if on:
            model.activation_checkpointing_disable()


def tokens_read(scorer: model_loading.Scorer, recipe: TrainingConfig, texts: Sequence[str]) -> int:
    """Tokens of all epochs over ``texts``, padding not counted."""
    return epochs(recipe, len(texts)) * sum(map(len, scorer.encode(texts)))


def losses(logits: torch.Tensor, targets: Sequence[Sequence[int]]) -> torch.Tensor:
    """Minus the log of what each row's targets get together: ``(rows,)``, in nats.

    ``logits`` is ``(rows, labels)``.
    """
    return losses_of(logits, allowed(targets, logits.shape[1]).to(logits.device))


def allowed(targets: Sequence[Sequence[int]], labels: int) -> torch.Tensor:
    """Which labels are each row's targets: ``(rows, labels)``, bool."""
    found = torch.zeros(len(targets), labels, dtype=torch.bool)
    for row, target in enumerate(targets):
        found[row, list(target)] = True
    return found


def losses_of(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """As `losses`, of targets that `allowed` was asked about before."""
    shares = logits.log_softmax(dim=1).masked_fill(~allowed, -torch.inf)
    return -shares.logsumexp(dim=1)


def _master_weight(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """Itself where it is in float32 and in one piece, else a copy that is.

    `fused_decoder.in_one_step` lets it lie in parts of a larger tensor, and the fused optimiser
    goes over memory from one end to the other.
    """
    if parameter.dtype == torch.float32 and parameter.is_contiguous():
        return parameter
    own = parameter.detach().to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return torch.nn.Parameter(own)


def _scaler(trainable: Iterable[torch.nn.Parameter]) -> torch.amp.GradScaler:
    """Scales losses where something learns in float16; otherwise it changes nothing."""
    found = list(trainable)
    narrow = any(parameter.dtype == torch.float16 for parameter in found)
    where = found[0].device.type if found else "cpu"
    return torch.amp.GradScaler(where, init_scale=FIRST_SCALE, enabled=narrow)


@torch.no_grad()
def _round(
    master: Mapping[str, torch.nn.Parameter], trainable: Mapping[str, torch.nn.Parameter]
) -> None:
    for name, parameter in trainable.items():
        if parameter is not master[name]:
            parameter.copy_(master[name])


def _update(
    master: Mapping[str, torch.nn.Parameter],
    trainable: Mapping[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    rate: float,
) -> None:
    """Make one step with the gradients of ``trainable``, and drop them.

    A step is left out where a scaled gradient was too large for its type; the next ones are scaled
    by half.
    """
    for name, parameter in trainable.items():
        if parameter.grad is not None:
            master[name].grad = parameter.grad.float()
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(master.values(), 1.0)
    optimiser.param_groups[0]["lr"] = rate
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad(set_to_none=True)
    _drop_gradients(trainable.values())
    _round(master, trainable)


def _drop_gradients(trainable: Iterable[torch.nn.Parameter]) -> None:
    for parameter in trainable:
        parameter.grad = None


@dataclass
class Passes:
    """Gradients of batches, in passes of at most so many tokens: half as many once that is out of
    memory."""

    loss: Loss
    lengths: Sequence[int]
    weights: Sequence[float]
    max_tokens: int
    trainable: Sequence[torch.nn.Parameter]
    scaler: torch.amp.GradScaler
    on_pass: OnPass | None = None
    largest: int = 0
    halved: bool = False

    def gradients(self, batch: Sequence[int]) -> float:
        """Leave them with what learns; the batch's loss."""
        try:
            return self._add_up(batch)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if self.halved or not model_loading.is_out_of_memory(error):
                raise
        # a pass may allow more than any batch fills
        filled = self._filled(batch)
        self.max_tokens, self.halved = min(self.max_tokens, filled) // 2, True
        log.warning("out of memory: passes of %d tokens from here on", self.max_tokens)
        _drop_gradients(self.trainable)
        model_loading.release()
        return self._add_up(batch)

    def _add_up(self, batch: Sequence[int]) -> float:
        # by the mean of all, not of the batch: rows that weigh little may fill a batch of their own
        total = len(batch) * sum(self.weights) / len(self.weights)
        batch_loss = 0.0
        for part in schedule.passes(batch, self.lengths, max_tokens=self.max_tokens):
            self._tell(self._filled(part))
            found = self.loss(part)
            weight = torch.tensor([self.weights[i] for i in part], device=found.device)
            share = (found * weight).sum() / total
            self.scaler.scale(share).backward()  # type: ignore[no-untyped-call]
            batch_loss += share.item()
        return batch_loss

    def _filled(self, rows: Sequence[int]) -> int:
        """Tokens of a pass over them, padding counted."""
        return len(rows) * max(self.lengths[row] for row in rows)

    def _tell(self, tokens: int) -> None:
        if self.on_pass and tokens > self.largest:
            self.largest = tokens
            self.on_pass(tokens)
