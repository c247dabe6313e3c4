"""Few-shot: the base reads a few labeled examples before each text (Brown et al. 2020).

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

from flywheel.config import UseCase
from flywheel.modeling import artifact, prompts, tokenization
from flywheel.modeling.methods import Fitted, Rows, Work, qlora
from flywheel.modeling.verbalizer.causal import CausalReading
from flywheel.modeling.verbalizer.prefix_cache import Beginning
from flywheel.modeling.verbalizer.verbalizer import Reader

SHOTS_PER_LABEL = 3
MAX_SHOTS = 24
NOTHING_SAID = ("N/A", "[MASK]", "...")
GAP = "\n\n"
"""Behind each example."""


@dataclass
class ShotReader(Reader):
    """A reader before whose texts stand the examples."""

    lean: torch.Tensor | None = None
    """Scores of texts that say nothing, ``(labels,)``."""
    behind: str | None = None
    """What ends the examples; None: prompts begin behind them as if they were texts of their own,
    as they did in versions from before 2026-11-30."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `flywheel.modeling.prompts.encode`, behind the examples."""
        return prompts.encode(self.tokenizer, self.use_case, texts, behind=self.behind)

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        scores = super().logits(rows)
        return scores if self.lean is None else scores - self.lean


@dataclass(frozen=True)
class FewShot:
    def train(self, work: Work) -> Fitted:
        """Choose the examples and write them down."""
        from safetensors.torch import save_file

        save_file({}, work.folder / artifact.WEIGHTS)
        chosen = choose(work.rows, work.use_case, seed=work.use_case.training.seed)
        content = {"behind": GAP, "examples": chosen}
        (work.folder / artifact.SHOTS).write_text(json.dumps(content))
        return Fitted(self.load(work.use_case, work.base, work.folder))

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Reader:
        """The base in 4 bits, having read the examples."""
        assert folder is not None
        reader = qlora.METHOD.load(use_case, base, None)
        shots, behind = read_shots(folder)
        if not shots:
            return reader
        words = dict(zip(use_case.label_names, prompts.label_words(use_case), strict=True))
        told = [
            part
            for text, label in shots
            for part in (*prompts.parts(use_case, text), words[label], GAP)
        ]
        ids = tokenization.token_ids(reader.tokenizer, told)
        if behind is not None:
            begin, _ = tokenization.around(reader.tokenizer)
            ids = begin + tokenization.token_ids(reader.tokenizer, told, begins=False)
        assert isinstance(reader.reading, CausalReading)
        reader.reading.beginning = Beginning.read(reader.model.base_model, ids)
        shown = ShotReader(**vars(reader), behind=behind)
        reader.reading.opening = prompts.opening(reader.tokenizer, use_case, behind=behind)
        with torch.no_grad():
            scores = shown.logits(shown.encode(NOTHING_SAID))
        shown.lean = scores.log_softmax(dim=1).mean(dim=0)
        return shown


def read_shots(folder: Path) -> tuple[list[tuple[str, str]], str | None]:
    """The examples in a folder, and what prompts stand behind; None in those of old."""
    content = json.loads((folder / artifact.SHOTS).read_text())
    found, behind = (
        (content, None)
        if isinstance(content, list)
        else (
            content["examples"],
            content["behind"],
        )
    )
    return [(text, label) for text, label in found], behind


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
