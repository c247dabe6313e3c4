"""The QLoRA recipe: an adapter on a frozen base learns label words (Dettmers et al. 2023)."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from flywheel import inference, schedule, shortcuts
from flywheel.checkpoint import Checkpoint, Reached
from flywheel.config import TrainingConfig, UseCase

log = logging.getLogger(__name__)

OnStep = Callable[[int, int, float, float], None]
"""Called with step from 1, steps in all, loss in nats, learning rate."""


def attach_adapter(model: Any, recipe: TrainingConfig) -> Any:
    """LoRA on all linear layers but the head (Hu et al. 2021); base weights frozen."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with inference.quiet():
        model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    shortcuts.take(model)
    return model


def fit(
    reader: inference.Reader,
    use_case: UseCase,
    texts: Sequence[str],
    targets: Sequence[Sequence[int]],
    weights: Sequence[float],
    *,
    on_step: OnStep,
    max_tokens: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> Reached:
    """Update the adapter of ``reader`` over all epochs.

    The loss is the negative log of what the label words in a row's ``targets`` get together: one
    target is cross-entropy; all but the rejected ones is learning from a complementary label
    (Ishida et al. 2017; this form Yu et al. 2018). Rows count by ``weights`` in (0, 1].

    ``max_tokens`` of a pass are the recipe's, unless given. With a ``checkpoint`` it goes on where
    that one ends: steps done before are told to ``on_step`` again and not made again. Out of memory
    is caught once: passes are halved, gradients add up over twice as many, the step is made again.

    Raises:
        torch.OutOfMemoryError: passes half as large do not fit either.
    """
    recipe = use_case.training
    rng = random.Random(recipe.seed)
    rows = inference.encode(reader, use_case, texts)
    lengths = [len(row) for row in rows]
    plan = [
        batch
        for _ in range(recipe.epochs)
        for batch in schedule.batches(lengths, batch_size=recipe.batch_size, rng=rng)
    ]
    typical = sum(weights) / len(weights)
    trainable = {n: p for n, p in reader.model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        trainable.values(), lr=recipe.learning_rate, weight_decay=0.0, fused=True
    )
    reached = checkpoint.restore(trainable, optimiser) if checkpoint else Reached()
    reader.model.train()
    max_tokens, halved = max_tokens or recipe.max_tokens_per_pass, False
    before, begun = reached.seconds, time.perf_counter()
    for step, batch in enumerate(plan):
        rate = schedule.learning_rate_at(
            step, len(plan), peak=recipe.learning_rate, warmup_share=recipe.warmup_share
        )
        if step >= len(reached.losses):
            try:
                loss = _gradients(reader, rows, batch, targets, weights, typical, max_tokens)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if halved or not _out_of_memory(error):
                    raise
                max_tokens, halved = max_tokens // 2, True
                log.warning("out of memory: passes of %d tokens from here on", max_tokens)
                optimiser.zero_grad(set_to_none=True)
                inference.release()
                loss = _gradients(reader, rows, batch, targets, weights, typical, max_tokens)
            torch.nn.utils.clip_grad_norm_(trainable.values(), 1.0)
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            reached.losses.append(loss)
            reached.seconds = before + time.perf_counter() - begun
            if checkpoint:
                checkpoint.save(trainable, optimiser, reached)
        on_step(step + 1, len(plan), reached.losses[step], rate)
    return reached


def tokens_read(reader: inference.Reader, use_case: UseCase, texts: Sequence[str]) -> int:
    """Tokens of all epochs over ``texts``, padding not counted."""
    return use_case.training.epochs * sum(map(len, inference.encode(reader, use_case, texts)))


def _gradients(
    reader: inference.Reader,
    rows: Sequence[Sequence[int]],
    batch: Sequence[int],
    targets: Sequence[Sequence[int]],
    weights: Sequence[float],
    typical: float,
    max_tokens: int,
) -> float:
    """Add up the gradients of a batch, pass by pass; its loss."""
    where = reader.model.device
    # by the mean of all, not of the batch: rows that weigh little may fill a batch of their own
    total = len(batch) * typical
    loss = 0.0
    for part in schedule.passes(batch, [len(row) for row in rows], max_tokens=max_tokens):
        logits = inference.label_logits(reader, [rows[i] for i in part])
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        for row, i in enumerate(part):
            allowed[row, list(targets[i])] = True
        weight = torch.tensor([weights[i] for i in part], device=where)
        shares = logits.log_softmax(dim=1).masked_fill(~allowed, -torch.inf)
        each = -shares.logsumexp(dim=1)
        share = (each * weight).sum() / total
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.item()
    return loss


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a type for it; the CPU's allocator only says so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
