"""The answer is a text of its own, written by a causal base's own head, word after word.

Learned from the answers alone: what stands before them is read, and never a target. Written by
always taking the likeliest token, so that the same artifact gives the same answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from flywheel.catalog import memory
from flywheel.catalog.families import SCORE_CAP
from flywheel.config import TrainingConfig, UseCase
from flywheel.errors import DataError
from flywheel.modeling import artifact, base_cache, durations, model_loading
from flywheel.modeling.answerer import Probabilities
from flywheel.modeling.chat_template import Frame, frame_for
from flywheel.modeling.methods import Fitted, Work
from flywheel.modeling.optim import training_loop
from flywheel.modeling.verbalizer.trie_scores import capped
from flywheel.modeling.verbalizer.verbalizer import attach, put_on, save_adapter

ROWS_PER_BATCH = 16
WHOLE, PIECES = "as one text", "in pieces"


@dataclass
class Writer:
    """A loaded causal LM, plain or PEFT's, that writes answers to texts."""

    model: Any
    frame: Frame
    use_case: UseCase

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text's prompt.

        Raises:
            DataError: the prompt alone is longer than ``training.max_length_tokens``.
        """
        limit = self.use_case.training.max_length_tokens
        return [self.frame.prompt(text, limit=limit) for text in texts]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each prompt and the longest answer."""
        return [len(ids) + self.use_case.training.max_new_tokens for ids in self.encode(texts)]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        """What it writes to each text, in order, as the one key; and milliseconds per text.

        ``progress`` is called with (texts done, texts in all).
        """
        if not texts:
            return [], 0.0
        rows = self.encode(texts)
        answers: list[Probabilities] = [{} for _ in rows]
        self.model.eval()
        begun, done = time.perf_counter(), 0
        for batch in _batches(self.lengths(texts)):
            parts = model_loading.in_parts(self._write, [rows[i] for i in batch])
            for i, ids in zip(batch, chain.from_iterable(parts), strict=True):
                answers[i] = {self.frame.read(ids): 1.0}
            done += len(batch)
            if progress:
                progress(done, len(rows))
        return answers, 1_000 * (time.perf_counter() - begun) / len(texts)

    def _write(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """The new ids of each row. Rows end on the right, where the answer goes on."""
        from transformers import GenerationConfig

        longest = max(len(row) for row in rows)
        pad = self.frame.stops[0]
        ids = torch.full((len(rows), longest), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, longest - len(row) :] = torch.tensor(row)
            mask[i, longest - len(row) :] = 1
        # a configuration of its own: the base's may name a temperature, or a penalty
        how = GenerationConfig(
            max_new_tokens=self.use_case.training.max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=list(self.frame.stops),
            pad_token_id=pad,
        )
        where = self.model.device
        with torch.inference_mode(), model_loading.quiet():
            found = self.model.generate(
                input_ids=ids.to(where), attention_mask=mask.to(where), generation_config=how
            )
        written: list[list[int]] = found[:, longest:].tolist()
        return written

    def loss(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Any:
        """Nats per token of each answer after its prompt: ``(rows,)``, float32.

        Only the positions that an answer's tokens are told from meet the head.
        """
        where = self.model.device
        whole = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        # the mask is not needed: right padding is invisible to a causal model before it
        ids, _ = model_loading.padded(whole, pad=self.frame.stops[0])
        causal = self.model.get_base_model()
        hidden = causal.base_model(input_ids=ids.to(where), use_cache=False).last_hidden_state
        places = [
            (row, len(prompt) - 1 + at)
            for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            for at in range(len(answer))
        ]
        row, place = torch.tensor(places, device=where).T
        scores = self.model.get_output_embeddings()(hidden[row, place]).float()
        logits = capped(scores, getattr(self.model.config, SCORE_CAP, None))
        targets = torch.tensor([token for answer in answers for token in answer], device=where)
        nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        sizes = torch.tensor([len(answer) for answer in answers], device=where)
        return torch.zeros(len(answers), device=where).index_add(0, row, nats) / sizes


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers of one batch after the other, rows of like length together."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (
            len(batch) == ROWS_PER_BATCH or (len(batch) + 1) * lengths[row] > memory.WRITTEN_TOKENS
        ):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@dataclass(frozen=True)
class Writing:
    """The methods that learn an adapter to write with; ``adapter`` gives PEFT's config of it."""

    adapter: Callable[[TrainingConfig], Any]
    quantised: bool = False

    def base(self, folder: Path) -> Any:
        return model_loading.load_to_adapt(folder, quantised=self.quantised)

    def train(self, work: Work) -> Fitted:
        """Update the adapter over all epochs; it goes on from the checkpoint if there is one."""
        assert work.base is not None
        recipe, rows = work.recipe, work.rows
        torch.manual_seed(recipe.seed)
        model = attach(self.base(work.base), self.adapter(recipe), work.start)
        writer = writer_for(work.use_case, model, work.base)
        prompts = writer.encode(rows.texts)
        answers = [writer.frame.answer(r, limit=recipe.max_new_tokens) for r in rows.references]
        whole = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        reached = training_loop.fit_loss(
            writer.model,
            recipe,
            lengths=[len(ids) for ids in whole],
            weights=rows.weights,
            loss=lambda part: writer.loss([prompts[i] for i in part], [answers[i] for i in part]),
            **work.loop,
        )
        save_adapter(writer.model, work.folder)
        keep_encoding(writer, work.folder)
        tokens = durations.epochs(recipe, len(rows)) * sum(map(len, whole))
        return Fitted(writer, reached.losses, reached.seconds, tokens)

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Writer:
        """The base, and the adapter on it when there is one."""
        assert base is not None
        form = "quantised" if self.quantised else "plain"
        frozen = base_cache.frozen(base, form, lambda: self.base(base))
        return writer_for(use_case, put_on(frozen, folder), base, as_learned=folder)


def writer_for(
    use_case: UseCase, model: Any, base: Path, *, as_learned: Path | None = None
) -> Writer:
    """What writes with ``model``, asked as what lies in the folder ``as_learned`` was."""
    tokenizer = model_loading.tokenizer_of(base)
    frame = frame_for(use_case, tokenizer, whole=encoded_whole(as_learned))
    return Writer(model, frame, use_case)


def keep_encoding(writer: Writer, folder: Path) -> None:
    """Write down how prompts were encoded, where that is not as it was at first.

    It is part of the digest then, and of no digest where ids are what they always were.
    """
    if writer.frame.whole:
        (folder / artifact.PROMPT).write_text(json.dumps({"encoded": WHOLE}))


def encoded_whole(folder: Path | None) -> bool:
    """Whether what lies in ``folder`` is asked in prompts encoded as one text; None is a base.

    Raises:
        DataError: a newer flywheel wrote down another way.
    """
    if folder is None:
        return True
    path = folder / artifact.PROMPT
    if not path.is_file():
        return False
    encoded = json.loads(path.read_text())["encoded"]
    if encoded != WHOLE:
        raise DataError(
            f"{path} says that prompts are encoded {encoded!r}, which this flywheel does not know; "
            f"it knows {WHOLE!r}. Nothing was answered. Install the flywheel that trained it."
        )
    return True
