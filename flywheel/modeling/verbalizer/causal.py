"""What a causal base makes of prompts, and of the labels' tokens behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flywheel.modeling import model_loading
from flywheel.modeling.optim import fused_ops
from flywheel.modeling.verbalizer import soft_prompts, trie_scores
from flywheel.modeling.verbalizer.prefix_cache import Beginning
from flywheel.modeling.verbalizer.trie import Trie

SHORTEST_OPENING = 16
"""An opening of fewer tokens is read with each text again: what is kept of it costs, too."""


@dataclass
class CausalReading:
    """A loaded causal LM, plain or PEFT's, as it reads prompts.

    What prompts have in common at their beginning, ``opening``, is read once and its keys and
    values are kept, where that gives what the whole prompts give; never while something learns.
    """

    model: Any
    pad: int
    opening: Sequence[int] = ()
    beginning: Beginning | None = None
    """What stands before every prompt, and is not among its tokens."""
    packs: bool | None = None
    """Whether one pass may read all paths of a trie; None: not tried yet."""
    opens: bool | None = None
    """Whether what is kept of the opening may be used; None: not tried yet."""
    opened: Beginning | None = None

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `flywheel.modeling.verbalizer.trie_scores.After`; gradients reach what learns."""
        if self._may_open(prompts):
            rest = [prompt[len(self.opening) :] for prompt in prompts]
            return self._after(rest, paths, self._read_opening())
        return self._after(prompts, paths, self.beginning)

    def at_branches(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """By branch of the trie, the hidden states there, ``(rows, width)``.

        One pass over the prompts and all paths, where that gives what the paths give alone.
        """
        before = self._before()
        if not self._may_pack(max(map(len, rows)) + trie.longest, before):
            return trie_scores.plainly(trie, rows, self.after)
        if self._may_open(rows):
            rows = [row[len(self.opening) :] for row in rows]
            before = self._read_opening()
        return self._at_once(trie, rows, before)

    def _may_pack(self, tokens: int, before: Beginning | None) -> bool:
        """Whether one pass over so many tokens gives what the paths give alone; tried once."""
        window = getattr(self.model.config, "sliding_window", None)
        # what leaves the window is counted along the pass, and not along a path
        if window and tokens + (before.tokens if before else 0) >= window:
            return False
        if self.packs is None:
            trie, rows = trie_scores.SAMPLE, self._sample()
            with torch.no_grad():
                at_once = self._at_once(trie, rows, before)
                plainly = trie_scores.plainly(trie, rows, self.after)
            self.packs = all(map(fused_ops.close, at_once, plainly))
        return self.packs

    def _may_open(self, rows: Sequence[Sequence[int]]) -> bool:
        """Whether what is kept of the opening gives what whole prompts give; tried once."""
        size = len(self.opening)
        if torch.is_grad_enabled():
            # what learns now makes something else of it afterwards
            self.opened = None
            return False
        if size < SHORTEST_OPENING or self.opens is False:
            return False
        if self.opens is None:
            rests, paths = self._sample(), [(0, 1), (1,)]
            short = self._after(rests, paths, self._read_opening())
            whole = [[*self.opening, *rest] for rest in rests]
            self.opens = fused_ops.close(short, self._after(whole, paths, self.beginning))
        own = list(self.opening)
        return self.opens and all(len(row) > size and list(row[:size]) == own for row in rows)

    def _read_opening(self) -> Beginning:
        if self.opened is None:
            self.opened = Beginning.read(self._body, self.opening, after=self._before())
        return self.opened

    def _sample(self) -> list[list[int]]:
        """Token ids of two prompts, drawn at random."""
        draw = torch.Generator().manual_seed(0)
        words = torch.randint(0, self.model.config.vocab_size, (2, 7), generator=draw).tolist()
        return [words[0], words[1][:5]]

    def _after(
        self,
        prompts: Sequence[Sequence[int]],
        paths: Sequence[Sequence[int]],
        beginning: Beginning | None,
    ) -> torch.Tensor:
        where = self.model.device
        rows = [[*prompt, *path] for prompt, path in zip(prompts, paths, strict=True)]
        ids, mask = model_loading.padded(rows, pad=self.pad)
        hidden = self._hidden(ids.to(where), mask.to(where), beginning)
        # learned embeddings stand before the text's own
        before = hidden.shape[1] - ids.shape[1]
        ends = torch.tensor([before + len(prompt) - 1 for prompt in prompts], device=where)
        lasts = torch.tensor([before + len(row) - 1 for row in rows], device=where)
        steps = torch.arange(max(map(len, paths)) + 1, device=where)
        places = torch.minimum(ends[:, None] + steps, lasts[:, None])
        found: torch.Tensor = hidden[torch.arange(len(rows), device=where)[:, None], places]
        return found

    def _at_once(
        self, trie: Trie, rows: Sequence[Sequence[int]], before: Beginning | None
    ) -> list[torch.Tensor]:
        where = self.model.device
        found = []
        for part in passes(trie, rows):
            pack = Packed.of(trie, part, pad=self.pad, before=before.tokens if before else 0)
            hidden = self._body(
                input_ids=pack.ids.to(where),
                attention_mask=self._mask(pack.visible.to(where)),
                position_ids=pack.positions.to(where),
                past_key_values=before and before.for_rows(len(part)),
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

    def _before(self) -> Beginning | None:
        """What stands before every prompt: the beginning, or what was learned to stand there."""
        if soft_prompts.learns(self.model):
            return Beginning(*soft_prompts.keys_and_values(self.model))
        return self.beginning

    @property
    def _body(self) -> Any:
        """The causal base without its head, with the adapter in its layers."""
        adapted = hasattr(self.model, "active_peft_config")
        causal = self.model.get_base_model() if adapted else self.model
        return causal.base_model

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor, before: Beginning | None) -> Any:
        """What the head would read: ``(rows, tokens, width)``."""
        if before is not None:
            seen = mask.new_ones(len(ids), before.tokens)
            return self._body(
                input_ids=ids,
                attention_mask=torch.cat([seen, mask], 1),
                past_key_values=before.for_rows(len(ids)),
                use_cache=False,
            ).last_hidden_state
        if soft_prompts.learns(self.model):
            return soft_prompts.hidden(self.model, ids, mask)
        # right padding is invisible to a causal model at the positions before it
        return self._body(input_ids=ids, use_cache=False).last_hidden_state


def passes(trie: Trie, rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """``rows`` in passes that are `Packed` within TOKENS_PER_PASS, or hold one row."""
    many = max(1, trie_scores.TOKENS_PER_PASS // (max(map(len, rows)) + len(trie.nodes)))
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
        prompts, mask = model_loading.padded(rows, pad=pad)
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
