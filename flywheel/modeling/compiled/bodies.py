"""The part of a model that is compiled, as a module to trace and as what stands in for it.

Compiled is a base without its head, the adapter merged into it. The few rows of a head that labels
need are multiplied by torch in float32, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from flywheel.modeling import model_loading
from flywheel.modeling.compiled.runtime import Runtime
from flywheel.modeling.verbalizer.causal import Packed, passes
from flywheel.modeling.verbalizer.trie import Trie

Infer = Callable[..., torch.Tensor]


# ---- To trace


class WordsBody(torch.nn.Module):
    """A causal base that reads prompts with all labels behind them, as `Packed` has them."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        visible: torch.Tensor,
        places: torch.Tensor,
    ) -> torch.Tensor:
        """The hidden states at ``places``: ``(rows, places, width)``."""
        hidden = self.body(
            input_ids=ids,
            attention_mask=_mask(self.body, visible),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        found: torch.Tensor = hidden[torch.arange(ids.shape[0])[:, None], places]
        return found


class CausalBody(torch.nn.Module):
    """A causal base beneath a head of its own; what stands right of a token is not seen."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The hidden states ``(rows, tokens, width)``; padding on the right has no part in them."""
        places = torch.arange(ids.shape[1])
        visible = (places[None, :] <= places[:, None])[None, None].expand(ids.shape[0], 1, -1, -1)
        hidden: torch.Tensor = self.body(
            input_ids=ids,
            attention_mask=_mask(self.body, visible),
            position_ids=places[None].expand(ids.shape[0], -1),
            use_cache=False,
        ).last_hidden_state
        return hidden


class EncoderBody(torch.nn.Module):
    """An encoder of texts."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The hidden states ``(rows, tokens, width)``."""
        hidden: torch.Tensor = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden


class VisionBody(torch.nn.Module):
    """A base that reads pictures."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Positions ``(rows, positions, width)``, or maps ``(rows, width, height, width)``."""
        hidden: torch.Tensor = self.body(pixel_values=pixels).last_hidden_state
        return hidden


def _mask(body: Any, visible: torch.Tensor) -> torch.Tensor:
    if body.config._attn_implementation != "eager":
        return visible
    # it adds the mask to its scores
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(visible.shape).masked_fill(~visible, lowest)


# ---- To answer


@dataclass
class Body:
    """A compiled base in the place of torch's: called, and asked about, as that one is."""

    infer: Infer
    config: Any
    words: torch.Tensor | None = None
    """The rows of the vocabulary that score the next token, ``(words, width)``."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    runtime: Runtime = "openvino"

    def eval(self) -> Body:
        """Nothing: it never learns."""
        return self

    def get_output_embeddings(self) -> Any:
        return SimpleNamespace(weight=self.words)

    def __call__(self, **inputs: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.infer(*inputs.values()))


@dataclass
class PackedReading:
    """A compiled causal base as it reads prompts; see
    `flywheel.modeling.verbalizer.causal.CausalReading`."""

    infer: Infer
    pad: int

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `flywheel.modeling.verbalizer.trie_scores.After`."""
        rows = [[*prompt, *path] for prompt, path in zip(prompts, paths, strict=True)]
        ids, _ = model_loading.padded(rows, pad=self.pad)
        size = ids.shape[1]
        ends = torch.tensor([len(prompt) - 1 for prompt in prompts])
        lasts = torch.tensor([len(row) - 1 for row in rows])
        steps = torch.arange(max(map(len, paths)) + 1)
        visible = torch.ones(size, size, dtype=torch.bool).tril()[None, None]
        return self.infer(
            ids,
            torch.arange(size).repeat(len(rows), 1),
            visible.repeat(len(rows), 1, 1, 1),
            torch.minimum(ends[:, None] + steps, lasts[:, None]),
        )

    def at_branches(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """By branch of the trie, the hidden states there, ``(rows, width)``: in one pass."""
        found = []
        for part in passes(trie, rows):
            pack = Packed.of(trie, part, pad=self.pad)
            found.append(self.infer(pack.ids, pack.positions, pack.visible, pack.places))
        return list(torch.cat(found).unbind(1))
