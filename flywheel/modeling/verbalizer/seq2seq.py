"""What an encoder-decoder makes of prompts: the encoder reads them, the decoder says the label."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flywheel.modeling import model_loading
from flywheel.modeling.verbalizer import trie_scores
from flywheel.modeling.verbalizer.trie import Trie


@dataclass
class DecoderReading:
    """A loaded encoder-decoder, plain or PEFT's, as it reads prompts and begins to answer."""

    model: Any
    pad: int

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `flywheel.modeling.verbalizer.trie_scores.After`; gradients reach what learns."""
        hidden, mask = self._encoded(prompts)
        return self._decoded(self._padded([[self._start, *path] for path in paths]), hidden, mask)[
            0
        ]

    def at_branches(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """By branch of the trie, the hidden states there, ``(rows, width)``.

        A prompt is encoded once, and what the decoder's layers make of it is kept for all paths.
        """
        hidden, mask = self._encoded(rows)
        starts = self._padded([[self._start]] * len(rows))
        first, cache = self._decoded(starts, hidden, mask)
        found: dict[tuple[int, int], torch.Tensor] = {}
        every = [
            (row, line)
            for line in trie.lines(range(len(trie.branches)))
            for row in range(len(rows))
        ]
        many = max(1, trie_scores.TOKENS_PER_PASS // (hidden.shape[1] + trie.longest))
        for begun in range(0, len(every), many):
            part = every[begun : begun + many]
            chosen = torch.tensor([row for row, _ in part], device=hidden.device)
            states = first[chosen]
            paths = [trie.branches[line[-1]].path for _, line in part]
            if any(paths):
                kept = _of_rows(cache, chosen)
                ids = self._padded(paths)
                later = self._decoded(ids, hidden[chosen], mask[chosen], kept)[0]
                states = torch.cat([states, later], 1)
            for i, (row, line) in enumerate(part):
                for branch in line:
                    found[row, branch] = states[i, len(trie.branches[branch].path)]
        return [
            torch.stack([found[row, branch] for row in range(len(rows))])
            for branch in range(len(trie.branches))
        ]

    @property
    def _start(self) -> int:
        """The token that the decoder begins with; it is padding where the base names none."""
        named = getattr(self.model.config, "decoder_start_token_id", None)
        return self.pad if named is None else int(named)

    @property
    def _whole(self) -> Any:
        adapted = hasattr(self.model, "active_peft_config")
        return self.model.get_base_model() if adapted else self.model

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Ids of answers; what fills them up on the right is invisible to what stands before it."""
        longest = max(map(len, rows))
        filled = [[*row, *[self.pad] * (longest - len(row))] for row in rows]
        return torch.tensor(filled, device=self.model.device)

    def _encoded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        where = self.model.device
        ids, mask = model_loading.padded(prompts, pad=self.pad)
        ids, mask = ids.to(where), mask.to(where)
        found = self._whole.encoder(input_ids=ids, attention_mask=mask)
        return found.last_hidden_state, mask

    def _decoded(
        self, ids: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor, cache: Any = None
    ) -> tuple[torch.Tensor, Any]:
        """What the head would read at each of the decoder's ``ids``, and its keys and values."""
        found = self._whole.decoder(
            input_ids=ids,
            encoder_hidden_states=hidden,
            encoder_attention_mask=mask,
            past_key_values=cache,
            use_cache=not torch.is_grad_enabled(),
        )
        states = found.last_hidden_state
        if getattr(self.model.config, "scale_decoder_outputs", False):
            states = states * self.model.config.d_model**-0.5
        return states, found.past_key_values


def _of_rows(cache: Any, rows: torch.Tensor) -> Any:
    """What a decoder keeps of some rows, to be added to."""
    found = copy.copy(cache)
    for name in ("self_attention_cache", "cross_attention_cache"):
        part = copy.copy(getattr(cache, name))
        part.layers = []
        for layer in getattr(cache, name).layers:
            own = copy.copy(layer)
            own.keys, own.values = layer.keys[rows], layer.values[rows]
            part.layers.append(own)
        setattr(found, name, part)
    found.is_updated = dict(cache.is_updated)
    return found
