"""A new head on a base: one linear layer from what the base makes of an input to the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from flywheel.config import UseCase
from flywheel.dataset.images import Images
from flywheel.modeling import artifact, model_loading, prompts, tokenization
from flywheel.modeling.answerer import Answerer, Probabilities
from flywheel.modeling.image_processor import ImageInput
from flywheel.modeling.tokenization import Theirs

HEAD_SCALE = 20.0
"""Length of an input's vector before the head; with length 1 a head would learn slowly."""


class Senses(Protocol):
    """How inputs reach a base."""

    def encode(self, texts: Sequence[str]) -> list[Any]:
        """Each input as the base reads it; its length bounds the memory of a pass."""

    def vectors(self, model: Any, rows: Sequence[Any]) -> torch.Tensor:
        """What the base makes of encoded inputs: ``(rows, width)``, float32."""


@dataclass(frozen=True)
class Reading:
    """Texts. A causal base reads the use case's prompt and its last position counts.

    An encoder reads the text alone, and the mean of its positions counts.
    """

    tokenizer: Any
    use_case: UseCase
    causal: bool

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text; a long one loses its end."""
        if self.causal:
            return prompts.encode(self.tokenizer, self.use_case, texts)
        limit = self.use_case.training.max_length_tokens
        encoded: list[list[int]] = self.tokenizer(
            list(texts), truncation=True, max_length=limit
        ).input_ids
        return [self._quoted(text, ids) for text, ids in zip(texts, encoded, strict=True)]

    def _quoted(self, text: str, ids: list[int]) -> list[int]:
        """The ids of a text, and none of a special token that it names."""
        if not tokenization.obeyed(self.tokenizer, [Theirs(text)], ids):
            return ids
        found = tokenization.token_ids(self.tokenizer, [Theirs(text)])
        limit, (_, end) = self.use_case.training.max_length_tokens, self._around
        return found if len(found) <= limit else found[: limit - len(end)] + end

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        return tokenization.around(self.tokenizer)

    def vectors(self, model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        where = model.device
        ids, mask = model_loading.padded(
            rows, pad=tokenization.padding(self.tokenizer, model.config.vocab_size)
        )
        ids, mask = ids.to(where), mask.to(where)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        if self.causal:
            last: torch.Tensor = hidden[torch.arange(len(rows), device=where), mask.sum(1) - 1]
            return last
        seen = mask[:, :, None].float()
        mean: torch.Tensor = (hidden * seen).sum(1) / seen.sum(1)
        return mean


@dataclass
class HeadReader:
    """A base (``model``, its body only), how inputs reach it, and a head."""

    model: Any
    head: torch.nn.Linear
    senses: Senses
    use_case: UseCase

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.use_case.label_names

    def encode(self, texts: Sequence[str]) -> list[Any]:
        return self.senses.encode(texts)

    def vectors(self, rows: Sequence[Any]) -> torch.Tensor:
        """What the base makes of each input: ``(rows, width)``, float32, length HEAD_SCALE."""
        found = self.senses.vectors(self.model, rows)
        return HEAD_SCALE * torch.nn.functional.normalize(found, dim=1)

    def logits(self, rows: Sequence[Any]) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.vectors(rows))
        return scores

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.encode(texts)]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        """As `flywheel.modeling.model_loading.answer`."""
        return model_loading.answer(self, texts, progress=progress)


def is_causal(base: Path) -> bool:
    """Whether a base says that it was trained to write."""
    from transformers import AutoConfig

    names = AutoConfig.from_pretrained(base).architectures or []
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def load_body(use_case: UseCase, base: Path) -> tuple[Any, bool]:
    """A base without its own head, weights as they lie there; whether it is causal."""
    if use_case.is_image:
        return model_loading.load_plain(base, "vision"), False
    causal = is_causal(base)
    model = model_loading.load_plain(base, "causal" if causal else "encoder")
    return (model.base_model if causal else model), causal


def head_reader(
    use_case: UseCase, model: Any, base: Path, *, causal: bool, images: Path | None = None
) -> HeadReader:
    """Wrap a loaded body with a new head of zeros, and what makes inputs of ``base`` readable."""
    from transformers import AutoTokenizer

    width = model.config.hidden_size
    head = torch.nn.Linear(width, len(use_case.label_names)).to(model.device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    if use_case.is_image:
        return HeadReader(model, head, ImageInput.of(base, model, images), use_case)
    tokenizer = AutoTokenizer.from_pretrained(base)
    return HeadReader(model, head, Reading(tokenizer, use_case, causal), use_case)


def look_in(answerer: Answerer, images: Path) -> None:
    """Let an answerer of pictures find those that are named by address."""
    assert isinstance(answerer, HeadReader)
    assert isinstance(answerer.senses, ImageInput)
    answerer.senses.images = Images(images)


def save_head(head: torch.nn.Linear, folder: Path) -> None:
    save_file({n: p.detach().cpu() for n, p in head.named_parameters()}, folder / artifact.HEAD)


def load_head(head: torch.nn.Linear, folder: Path) -> None:
    head.load_state_dict(load_file(folder / artifact.HEAD))
    head.requires_grad_(False)


def embed(
    reader: HeadReader, texts: Sequence[str], *, on_batch: Callable[[int, int], None] | None = None
) -> torch.Tensor:
    """Vectors of all inputs, in order: ``(texts, width)``. ``on_batch`` hears (done, in all)."""
    rows = reader.encode(texts)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result = torch.empty(len(rows), reader.head.in_features)
    reader.model.eval()
    done = 0
    with torch.no_grad():
        for batch in model_loading.batches(order, [len(row) for row in rows]):
            result[batch] = model_loading.halving(reader.vectors, [rows[i] for i in batch]).cpu()
            done += len(batch)
            if on_batch:
                on_batch(done, len(rows))
    return result
