"""A head on a frozen base: the vectors are computed once, and a linear layer is fitted to them.

The penalty on its weights is chosen by five-fold cross-validation on the training rows, never on
rows that decide anything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flywheel.config import UseCase
from flywheel.modeling import artifact, base_cache, classifier
from flywheel.modeling.methods import Fitted, Rows, Work
from flywheel.modeling.optim import training_loop

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Candidates, per squared weight; vectors have length `classifier.HEAD_SCALE`."""
FOLDS = 5


@dataclass(frozen=True)
class FrozenHead:
    def train(self, work: Work) -> Fitted:
        """Fit the head; the base's own weights are not written, they are pinned."""
        from safetensors.torch import save_file

        assert work.base is not None
        body, causal = classifier.load_body(work.use_case, work.base)
        reader = classifier.head_reader(
            work.use_case, body, work.base, causal=causal, images=work.images
        )
        begun = time.perf_counter()
        losses = fit_head(reader, work)
        save_file({}, work.folder / artifact.WEIGHTS)
        classifier.save_head(reader.head, work.folder)
        tokens = sum(map(len, reader.encode(work.rows.texts)))
        return Fitted(reader, losses, time.perf_counter() - begun, tokens)

    def load(
        self, use_case: UseCase, base: Path | None, folder: Path | None
    ) -> classifier.HeadReader:
        assert base is not None
        assert folder is not None
        body = base_cache.frozen(base, "body", lambda: classifier.load_body(use_case, base)[0])
        causal = not use_case.is_image and classifier.is_causal(base)
        reader = classifier.head_reader(use_case, body, base, causal=causal)
        classifier.load_head(reader.head, folder)
        return reader


def fit_head(reader: classifier.HeadReader, work: Work) -> list[float]:
    """Fit the reader's head to the rows as its base sees them now; the loss reached, in nats."""
    vectors = classifier.embed(reader, work.rows.texts)
    penalty = chosen_penalty(vectors, work.rows, seed=work.use_case.training.seed)
    head, loss = linear(vectors, work.rows, range(len(work.rows)), penalty, like=reader.head)
    reader.head.load_state_dict(head.state_dict())
    work.on_step(1, 1, loss, 0.0)
    return [loss]


def chosen_penalty(vectors: torch.Tensor, rows: Rows, *, seed: int) -> float:
    """The one of PENALTIES with the least loss on rows that its fits did not see."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    folds = [order[i::FOLDS] for i in range(FOLDS)]
    if not all(folds):
        return PENALTIES[-1]
    labels = 1 + max(max(target) for target in rows.targets)
    like = torch.nn.Linear(vectors.shape[1], labels)
    told = {}
    for penalty in PENALTIES:
        told[penalty] = 0.0
        for held in folds:
            out = set(held)
            head, _ = linear(vectors, rows, [i for i in order if i not in out], penalty, like=like)
            with torch.no_grad():
                loss = training_loop.losses(head(vectors[held]), [rows.targets[i] for i in held])
            told[penalty] += float((loss * torch.tensor([rows.weights[i] for i in held])).sum())
    return min(told, key=told.__getitem__)


def linear(
    vectors: torch.Tensor,
    rows: Rows,
    chosen: Sequence[int],
    penalty: float,
    *,
    like: torch.nn.Linear,
) -> tuple[torch.nn.Linear, float]:
    """A head on the ``chosen`` rows by L-BFGS, and its loss without the penalty, in nats."""
    head = torch.nn.Linear(like.in_features, like.out_features)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    own, weights = vectors[list(chosen)], torch.tensor([rows.weights[i] for i in chosen])
    allowed = training_loop.allowed([rows.targets[i] for i in chosen], like.out_features)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    reached = 0.0

    def closure() -> float:
        nonlocal reached
        optimiser.zero_grad()
        loss = (training_loop.losses_of(head(own), allowed) * weights).sum() / weights.sum()
        reached = loss.item()
        total = loss + penalty * head.weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return head, reached


METHOD = FrozenHead()
