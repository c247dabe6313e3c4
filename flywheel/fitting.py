"""The loop by which every method with optimiser steps learns."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence

import torch

from flywheel import inference, schedule
from flywheel.checkpoint import Checkpoint, Reached
from flywheel.config import TrainingConfig
from flywheel.methods import OnStep, Rows

log = logging.getLogger(__name__)


def fit(
    scorer: inference.Scorer,
    recipe: TrainingConfig,
    rows: Rows,
    *,
    on_step: OnStep,
    max_tokens: int | None = None,
    checkpoint: Checkpoint | None = None,
    head: torch.nn.Module | None = None,
) -> Reached:
    """Update what may learn in the scorer's model, and its ``head``, over all epochs.

    The loss is the negative log of what the labels in a row's ``targets`` get together: one
    target is cross-entropy; all but the rejected ones is learning from a complementary label
    (Ishida et al. 2017; this form Yu et al. 2018).

    ``max_tokens`` of a pass are the recipe's, unless given. With a ``checkpoint`` it goes on where
    that one ends: steps done before are told to ``on_step`` again and not made again. Out of memory
    is caught once: passes are halved, gradients add up over twice as many, the step is made again.

    Raises:
        torch.OutOfMemoryError: passes half as large do not fit either.
    """
    rng = random.Random(recipe.seed)
    encoded = scorer.encode(rows.texts)
    lengths = [len(row) for row in encoded]
    plan = [
        batch
        for _ in range(epochs(recipe, len(rows)))
        for batch in schedule.batches(lengths, batch_size=recipe.batch_size, rng=rng)
    ]
    typical = sum(rows.weights) / len(rows)
    trainable = {n: p for n, p in scorer.model.named_parameters() if p.requires_grad}
    if head is not None:
        trainable |= {f"head.{n}": p for n, p in head.named_parameters()}
    optimiser = torch.optim.AdamW(
        trainable.values(), lr=recipe.learning_rate, weight_decay=0.0, fused=True
    )
    reached = checkpoint.restore(trainable, optimiser) if checkpoint else Reached()
    scorer.model.train()
    max_tokens, halved = max_tokens or recipe.max_tokens_per_pass, False
    before, begun = reached.seconds, time.perf_counter()
    for step, batch in enumerate(plan):
        rate = schedule.learning_rate_at(
            step, len(plan), peak=recipe.learning_rate, warmup_share=recipe.warmup_share
        )
        if step >= len(reached.losses):
            try:
                loss = _gradients(scorer, rows, encoded, batch, typical, max_tokens)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if halved or not _out_of_memory(error):
                    raise
                max_tokens, halved = max_tokens // 2, True
                log.warning("out of memory: passes of %d tokens from here on", max_tokens)
                optimiser.zero_grad(set_to_none=True)
                inference.release()
                loss = _gradients(scorer, rows, encoded, batch, typical, max_tokens)
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


def epochs(recipe: TrainingConfig, rows: int) -> int:
    """The recipe's, or as many as its least number of optimiser steps takes."""
    per_epoch = -(-rows // recipe.batch_size)
    return max(recipe.epochs, -(-recipe.min_steps // per_epoch))


def tokens_read(scorer: inference.Scorer, recipe: TrainingConfig, texts: Sequence[str]) -> int:
    """Tokens of all epochs over ``texts``, padding not counted."""
    return epochs(recipe, len(texts)) * sum(map(len, scorer.encode(texts)))


def losses(logits: torch.Tensor, targets: Sequence[Sequence[int]]) -> torch.Tensor:
    """Minus the log of what each row's targets get together: ``(rows,)``, in nats.

    ``logits`` is ``(rows, labels)``.
    """
    allowed = torch.zeros_like(logits, dtype=torch.bool)
    for row, target in enumerate(targets):
        allowed[row, list(target)] = True
    shares = logits.log_softmax(dim=1).masked_fill(~allowed, -torch.inf)
    return -shares.logsumexp(dim=1)


def _gradients(
    scorer: inference.Scorer,
    rows: Rows,
    encoded: Sequence[Sequence[int]],
    batch: Sequence[int],
    typical: float,
    max_tokens: int,
) -> float:
    """Add up the gradients of a batch, pass by pass; its loss."""
    # by the mean of all, not of the batch: rows that weigh little may fill a batch of their own
    total = len(batch) * typical
    loss = 0.0
    for part in schedule.passes(batch, [len(row) for row in encoded], max_tokens=max_tokens):
        logits = scorer.logits([encoded[i] for i in part])
        weight = torch.tensor([rows.weights[i] for i in part], device=logits.device)
        share = (losses(logits, [rows.targets[i] for i in part]) * weight).sum() / total
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.item()
    return loss


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a type for it; the CPU's allocator only says so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
