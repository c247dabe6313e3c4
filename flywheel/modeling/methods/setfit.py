"""SetFit: an encoder learns which texts belong together, then a head learns (Tunstall et al. 2022).

Pairs of texts with the same label are pulled to a cosine of 1, others to 0, half of each. A couple
hundred rows give many pairs, which is where its strength with few labels comes from.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from flywheel.config import UseCase
from flywheel.modeling import artifact, classifier, model_loading
from flywheel.modeling.methods import Fitted, Work
from flywheel.modeling.methods.frozen_head import fit_head
from flywheel.modeling.optim import schedule, training_loop

PAIRS_PER_STEP = 16
MAX_STEPS = 200
"""Of the contrastive part: it over-fits soon, and pairs grow with the square of the rows."""
PAIRS_PER_ROW = 20

Pair = tuple[int, int, float]


@dataclass(frozen=True)
class SetFit:
    def train(self, work: Work) -> Fitted:
        """Tune the encoder on pairs, then fit a head to its vectors."""
        assert work.base is not None
        recipe = work.use_case.training
        torch.manual_seed(recipe.seed)
        reader = self._fresh(work.use_case, work.base)
        reader.model.requires_grad_(True)
        begun = time.perf_counter()
        with training_loop.computed_again(reader.model, on=work.recompute):
            losses, tokens = tune(reader, work)
        losses += fit_head(reader, work)
        seconds = time.perf_counter() - begun
        save_model(reader.model, str(work.folder / artifact.WEIGHTS))
        classifier.save_head(reader.head, work.folder)
        return Fitted(reader, losses, seconds, tokens)

    def load(
        self, use_case: UseCase, base: Path | None, folder: Path | None
    ) -> classifier.HeadReader:
        assert base is not None
        assert folder is not None
        reader = self._fresh(use_case, base)
        load_model(reader.model, folder / artifact.WEIGHTS)
        classifier.load_head(reader.head, folder)
        return reader

    def _fresh(self, use_case: UseCase, base: Path) -> classifier.HeadReader:
        model = model_loading.load_plain(base, "encoder")
        return classifier.head_reader(use_case, model, base, causal=False)


def tune(reader: classifier.HeadReader, work: Work) -> tuple[list[float], int]:
    """Squared error of the cosines, step by step, and the tokens read."""
    recipe = work.use_case.training
    rng = random.Random(recipe.seed)
    rows = reader.encode(work.rows.texts)
    drawn = pairs([t[0] if len(t) == 1 else None for t in work.rows.targets], rng=rng)
    steps = min(MAX_STEPS, recipe.epochs * len(drawn) // PAIRS_PER_STEP)
    optimiser = (
        training_loop.adamw_in_8_bits(
            reader.model.parameters(), recipe.learning_rate, weight_decay=0.01
        )
        if work.moments_in_8_bits
        else torch.optim.AdamW(reader.model.parameters(), lr=recipe.learning_rate)
    )
    passes = _passes(reader, rows, drawn, work)
    losses, tokens = [], 0
    reader.model.train()
    for step in range(steps):
        rate = schedule.learning_rate_at(
            step, steps, peak=recipe.learning_rate, warmup_share=recipe.warmup_share
        )
        optimiser.param_groups[0]["lr"] = rate
        batch = [(step * PAIRS_PER_STEP + i) % len(drawn) for i in range(PAIRS_PER_STEP)]
        tokens += sum(len(rows[a]) + len(rows[b]) for a, b, _ in (drawn[i] for i in batch))
        loss = passes.gradients(batch)
        torch.nn.utils.clip_grad_norm_(reader.model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss)
        # the head is the last step
        work.on_step(step + 1, steps + 1, losses[-1], rate)
    return losses, tokens


def _passes(
    reader: classifier.HeadReader, rows: Sequence[Any], drawn: Sequence[Pair], work: Work
) -> training_loop.Passes:
    """Gradients of the mean squared error over pairs, in passes of at most ``work.max_tokens``."""

    def loss(part: Sequence[int]) -> torch.Tensor:
        chosen = [drawn[i] for i in part]
        both = [rows[a] for a, _, _ in chosen] + [rows[b] for _, b, _ in chosen]
        first, second = reader.vectors(both).chunk(2)
        cosines = torch.nn.functional.cosine_similarity(first, second)
        wanted = torch.tensor([same for _, _, same in chosen], device=cosines.device)
        return (cosines - wanted).square()

    return training_loop.Passes(
        loss,
        lengths=[2 * max(len(rows[a]), len(rows[b])) for a, b, _ in drawn],
        weights=[1.0] * len(drawn),
        max_tokens=work.max_tokens,
        on_pass=work.on_pass,
        trainable=list(reader.model.parameters()),
        scaler=torch.amp.GradScaler(reader.model.device.type, enabled=False),
    )


def pairs(labels: Sequence[int | None], *, rng: random.Random) -> list[Pair]:
    """``(row, row, 1.0 for the same label or 0.0)``, shuffled, half of each where there are both.

    Rows without one label are in no pair.
    """
    known = [i for i, label in enumerate(labels) if label is not None]
    found: list[Pair] = []
    for row in known:
        same = [i for i in known if labels[i] == labels[row] and i != row]
        other = [i for i in known if labels[i] != labels[row]]
        for _ in range(PAIRS_PER_ROW // 2):
            if same:
                found.append((row, rng.choice(same), 1.0))
            if other:
                found.append((row, rng.choice(other), 0.0))
    rng.shuffle(found)
    return found


METHOD = SetFit()
