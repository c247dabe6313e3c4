"""Few-shot: the base reads a few labelled examples before each text (Brown et al. 2020).

The examples are the same for all texts, so what the base makes of them is computed once and kept as
keys and values; a text costs what it would cost alone, and attention to the examples. A base leans
towards the labels that it read last or most often; what it says of texts that say nothing is taken
off (Zhao et al. 2021).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flywheel import artefact, prompts
from flywheel.config import UseCase
from flywheel.methods import Fitted, Rows, Work, qlora
from flywheel.methods.beginning import Beginning
from flywheel.methods.causal_reading import CausalReading
from flywheel.methods.label_words import Reader

SHOTS_PER_LABEL = 3
MAX_SHOTS = 24
NOTHING_SAID = ("N/A", "[MASK]", "...")


@dataclass
class ShotReader(Reader):
    """A reader before whose texts stand the examples."""

    lean: torch.Tensor | None = None
    """Scores of texts that say nothing, ``(labels,)``."""

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        scores = super().logits(rows)
        return scores if self.lean is None else scores - self.lean


@dataclass(frozen=True)
class FewShot:
    def train(self, work: Work) -> Fitted:
        """Choose the examples and write them down."""
        from safetensors.torch import save_file

        save_file({}, work.folder / artefact.WEIGHTS)
        chosen = choose(work.rows, work.use_case, seed=work.use_case.training.seed)
        (work.folder / artefact.SHOTS).write_text(json.dumps(chosen))
        return Fitted(self.load(work.use_case, work.base, work.folder))

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Reader:
        """The base in 4 bits, having read the examples."""
        assert folder is not None
        reader = qlora.METHOD.load(use_case, base, None)
        shots = json.loads((folder / artefact.SHOTS).read_text())
        if not shots:
            return reader
        words = dict(zip(use_case.label_names, prompts.label_words(use_case), strict=True))
        told = "".join(
            f"{prompts.render(use_case, text)}{words[label]}\n\n" for text, label in shots
        )
        ids = reader.tokenizer(told).input_ids
        assert isinstance(reader.reading, CausalReading)
        reader.reading.beginning = Beginning.read(reader.model.base_model, ids)
        shown = ShotReader(**vars(reader))
        with torch.no_grad():
            scores = shown.logits(shown.encode(NOTHING_SAID))
        shown.lean = scores.log_softmax(dim=1).mean(dim=0)
        return shown


def choose(rows: Rows, use_case: UseCase, *, seed: int) -> list[tuple[str, str]]:
    """``(text, label)`` of examples: as many of each label, in random order, MAX_SHOTS at most."""
    rng = random.Random(seed)
    by_label: dict[int, list[str]] = {}
    for text, target in zip(rows.texts, rows.targets, strict=True):
        if len(target) == 1:
            by_label.setdefault(target[0], []).append(text)
    each = max(1, min(SHOTS_PER_LABEL, MAX_SHOTS // max(1, len(by_label))))
    found = [
        (text, use_case.label_names[label])
        for label, texts in sorted(by_label.items())
        for text in rng.sample(texts, min(each, len(texts)))
    ]
    rng.shuffle(found)
    return found[:MAX_SHOTS]


METHOD = FewShot()
