"""What a causal base makes of prompts, and of the labels' tokens behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flywheel import inference, shortcuts
from flywheel.methods import label_paths, learned_prompts
from flywheel.methods.beginning import Beginning
from flywheel.methods.trie import Trie


@dataclass
class CausalReading:
    """A loaded causal LM, plain or PEFT's, as it reads prompts."""

    model: Any
    pad: int
    beginning: Beginning | None = None
    """What stands before every prompt, and is not among its tokens."""
    packs: bool | None = None
    """Whether one pass may read all paths of a trie; None: not tried yet."""

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `flywheel.methods.label_paths.After`; gradients reach what learns."""
        where = self.model.device
        rows = [[*prompt, *path] for prompt, path in zip(prompts, paths, strict=True)]
        ids, mask = inference.padded(rows, pad=self.pad)
        hidden = self._hidden(ids.to(where), mask.to(where))
        # learned embeddings stand before the text's own
        before = hidden.shape[1] - ids.shape[1]
        ends = torch.tensor([before + len(prompt) - 1 for prompt in prompts], device=where)
        lasts = torch.tensor([before + len(row) - 1 for row in rows], device=where)
        steps = torch.arange(max(map(len, paths)) + 1, device=where)
        places = torch.minimum(ends[:, None] + steps, lasts[:, None])
        found: torch.Tensor = hidden[torch.arange(len(rows), device=where)[:, None], places]
        return found

    def at_branches(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """By branch of the trie, the hidden states there, ``(rows, width)``.

        One pass over the prompts and all paths, where that gives what the paths give alone.
        """
        if self._may_pack(max(map(len, rows)) + trie.longest):
            return self._at_once(trie, rows)
        return label_paths.plainly(trie, rows, self.after)

    def _may_pack(self, tokens: int) -> bool:
        """Whether one pass over so many tokens gives what the paths give alone; tried once."""
        beginning = self._standing()
        window = getattr(self.model.config, "sliding_window", None)
        # what leaves the window is counted along the pass, and not along a path
        if window and tokens + (beginning.tokens if beginning else 0) >= window:
            return False
        if self.packs is None:
            self.packs = self._agrees()
        return self.packs

    def _agrees(self) -> bool:
        draw = torch.Generator().manual_seed(0)
        words = torch.randint(0, self.model.config.vocab_size, (2, 7), generator=draw).tolist()
        trie, rows = label_paths.SAMPLE, [words[0], words[1][:5]]
        with torch.no_grad():
            at_once = self._at_once(trie, rows)
            plainly = label_paths.plainly(trie, rows, self.after)
        return all(map(shortcuts.close, at_once, plainly))

    def _at_once(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        where, beginning = self.model.device, self._standing()
        found = []
        for part in _passes(trie, rows):
            pack = Packed.of(trie, part, pad=self.pad, before=beginning.tokens if beginning else 0)
            hidden = self._body(
                input_ids=pack.ids.to(where),
                attention_mask=self._mask(pack.visible.to(where)),
                position_ids=pack.positions.to(where),
                past_key_values=beginning and beginning.for_rows(len(part)),
                use_cache=False,
            ).last_hidden_state
            every = torch.arange(len(part), device=where)[:, None]
            found.append(hidden[every, pack.places.to(where)])
        return list(torch.cat(found).unbind(1))

    def _mask(self, visible: torch.Tensor) -> torch.Tensor:
        if self.model.config._attn_implementation != "eager":
            return visible
        # it adds the mask to its scores
        dtype = self.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return mask.masked_fill(~visible, torch.finfo(dtype).min)

    def _standing(self) -> Beginning | None:
        """What stands before every prompt: the beginning, or what was learned to stand there."""
        if learned_prompts.learns(self.model):
            return Beginning(*learned_prompts.keys_and_values(self.model))
        return self.beginning

    @property
    def _body(self) -> Any:
        """The causal base without its head, with the adapter in its layers."""
        adapted = hasattr(self.model, "active_peft_config")
        causal = self.model.get_base_model() if adapted else self.model
        return causal.base_model

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """What the head would read: ``(rows, tokens, width)``."""
        if learned_prompts.learns(self.model):
            return learned_prompts.hidden(self.model, ids, mask)
        if self.beginning is not None:
            seen = mask.new_ones(len(ids), self.beginning.tokens)
            return self._body(
                input_ids=ids,
                attention_mask=torch.cat([seen, mask], 1),
                past_key_values=self.beginning.for_rows(len(ids)),
            ).last_hidden_state
        # right padding is invisible to a causal model at the positions before it
        return self._body(input_ids=ids, use_cache=False).last_hidden_state


def _passes(trie: Trie, rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """``rows`` in passes that are `Packed` within TOKENS_PER_PASS, or hold one row."""
    many = max(1, label_paths.TOKENS_PER_PASS // (max(map(len, rows)) + len(trie.nodes)))
    for start in range(0, len(rows), many):
        yield rows[start : start + many]


@dataclass(frozen=True)
class Packed:
    """Prompts, each with all nodes of the trie behind it, for one pass.

    A node sees its row's prompt and the nodes on its own path, and has the position that it has
    there, so that its hidden state is that of the path read alone.
    """

    ids: torch.Tensor  # (rows, tokens)
    positions: torch.Tensor  # (rows, tokens)
    visible: torch.Tensor  # (rows, 1, tokens, before + tokens)
    places: torch.Tensor  # (rows, branches)

    @classmethod
    def of(cls, trie: Trie, rows: Sequence[Sequence[int]], *, pad: int, before: int = 0) -> Packed:
        """``before`` tokens stand before each row already, and are seen by everything."""
        prompts, mask = inference.padded(rows, pad=pad)
        longest, nodes = prompts.shape[1], trie.nodes
        lengths = mask.sum(1, keepdim=True)
        tokens = torch.tensor([node.token for node in nodes], dtype=torch.long)
        depths = torch.tensor([node.depth for node in nodes], dtype=torch.long)
        ids = torch.cat([prompts, tokens.expand(len(rows), -1)], 1)
        positions = torch.cat(
            [torch.arange(longest).expand(len(rows), -1), lengths - 1 + depths], 1
        )
        path = torch.eye(len(nodes), dtype=torch.bool)
        for number, node in enumerate(nodes):
            if node.parent is not None:
                path[number] |= path[node.parent]
        own = torch.ones(longest, longest, dtype=torch.bool).tril()
        visible = torch.zeros(len(rows), 1, *2 * [ids.shape[1]], dtype=torch.bool)
        visible[:, 0, :longest, :longest] = own
        visible[:, 0, longest:, :longest] = mask[:, None, :].bool()
        visible[:, 0, longest:, longest:] = path
        seen = torch.ones(len(rows), 1, ids.shape[1], before, dtype=torch.bool)
        places = torch.cat(
            [
                lengths - 1 if place is None else torch.full_like(lengths, longest + place)
                for place in trie.places
            ],
            1,
        )
        return cls(ids, positions + before, torch.cat([seen, visible], 3), places)
