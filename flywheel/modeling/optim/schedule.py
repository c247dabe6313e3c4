"""In which order rows are learned from, how many at a time, and how fast."""

from __future__ import annotations

import random
from collections.abc import Sequence

BATCHES_PER_POOL = 16


def learning_rate_at(step: int, steps: int, *, peak: float, warmup_share: float) -> float:
    """Linear warm-up over ``warmup_share`` of the steps, then linear decay to zero."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / max(1, steps - warmup)


def batches(lengths: Sequence[int], *, batch_size: int, rng: random.Random) -> list[list[int]]:
    """Row numbers in batches of similar length: shuffled, sorted within pools, shuffled again.

    Every row is in exactly one batch. Pools of 16 batches save most of the padding; who is beside
    whom is drawn anew in each epoch.
    """
    rows = list(range(len(lengths)))
    rng.shuffle(rows)
    size = batch_size * BATCHES_PER_POOL
    result = []
    for start in range(0, len(rows), size):
        pool = sorted(rows[start : start + size], key=lambda i: lengths[i])
        result += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    rng.shuffle(result)
    return result


def passes(batch: Sequence[int], lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Cut a batch, longest text first, into passes of at most ``max_tokens`` padded tokens.

    Gradients add up over the passes of a batch, so this bounds memory and changes nothing else. A
    single text that is longer than ``max_tokens`` has a pass of its own.
    """
    result: list[list[int]] = []
    for row in sorted(batch, key=lambda i: -lengths[i]):
        if result and (len(result[-1]) + 1) * lengths[result[-1][0]] <= max_tokens:
            result[-1].append(row)
        else:
            result.append([row])
    return result
