"""Labels of any number of tokens, read along their trie: by one pass, or learned from.

A branch of the trie is a position whose hidden state meets the head, and only the rows of the head
that some label goes on with there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import torch

from flywheel.config import TrainingConfig
from flywheel.modeling.methods import LoopOptions, Rows
from flywheel.modeling.optim import training_loop
from flywheel.modeling.optim.checkpoint import Reached
from flywheel.modeling.verbalizer.trie import Branch, Trie

if TYPE_CHECKING:
    from flywheel.modeling.verbalizer.verbalizer import Reader

After = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], torch.Tensor]
"""Of prompts and a path behind each, what the head would read after the prompt and each token of
its path: ``(prompts, longest path + 1, width)``."""
TOKENS_PER_PASS = 16_384
"""Bounds what one pass of scoring reads."""
WORDS_PER_PRODUCT = 4_096
"""Of the vocabulary that are widened to float32 at a time."""
SAMPLE = Trie.of([(0, 1, 2), (0, 1, 3), (0, 2, 3), (0, 2, 1), (1, 0), (1, 2)])
"""Labels that begin alike, to try a base with."""


@dataclass(frozen=True)
class Head:
    """What scores the next token: ``weight`` is (words, width); some bases cap their scores."""

    weight: torch.Tensor
    cap: float | None = None

    def scores(self, hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Of some tokens, or all: ``(rows, tokens)``, multiplied in float32, as all are compared.

        Of all tokens only while nothing learns: then no copy of the head in float32 is kept.
        """
        if tokens is not None:
            found = torch.nn.functional.linear(hidden.float(), self.weight[tokens].float())
        elif torch.is_grad_enabled():
            found = torch.nn.functional.linear(hidden, self.weight.to(hidden.dtype)).float()
        else:
            parts = (part.float() for part in torch.split(self.weight, WORDS_PER_PRODUCT))
            found = torch.cat([torch.nn.functional.linear(hidden.float(), one) for one in parts], 1)
        return capped(found, self.cap)


def capped(scores: torch.Tensor, cap: float | None) -> torch.Tensor:
    """As a base with soft-capping gives its scores out: squeezed to lie between -cap and cap."""
    return scores if cap is None else cap * torch.tanh(scores / cap)


def scores(trie: Trie, at: Sequence[torch.Tensor], head: Head) -> torch.Tensor:
    """Log-probabilities of the labels: ``(rows, labels)``, float32; each row's add up to 1.

    Args:
        trie: Of the labels.
        at: By branch, the hidden states there, ``(rows, width)``.
        head: The base's own.
    """
    shares = [
        branch_shares(branch, hidden, head)
        for branch, hidden in zip(trie.branches, at, strict=True)
    ]
    # what stands last adds nothing, for labels with fewer choices on their path than others
    every = torch.cat([*shares, shares[0].new_zeros(len(shares[0]), 1)], 1)
    starts = [0]
    for share in shares:
        starts.append(starts[-1] + share.shape[1])
    most = max(map(len, trie.choices))
    where = [
        [starts[number] + choice for number, choice in choices]
        + [starts[-1]] * (most - len(choices))
        for choices in trie.choices
    ]
    return every[:, torch.tensor(where, device=every.device)].sum(2)


def branch_shares(branch: Branch, hidden: torch.Tensor, head: Head) -> torch.Tensor:
    """Log-probabilities of a branch's choices: ``(rows, choices)``, float32."""
    tokens = torch.tensor(branch.tokens, device=hidden.device)
    if not branch.ends:
        return head.scores(hidden, tokens).log_softmax(1)
    whole = head.scores(hidden)
    other = whole.index_fill(1, tokens, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([head.scores(hidden, tokens), other], 1).log_softmax(1)


def plainly(trie: Trie, rows: Sequence[Sequence[int]], after: After) -> list[torch.Tensor]:
    """By branch, the hidden states there, ``(rows, width)``: each path read with its whole prompt.

    What every base and every adapter can do; a prompt is read once for each of its paths.
    """
    every = [
        (row, line) for row in range(len(rows)) for line in trie.lines(range(len(trie.branches)))
    ]
    many = max(1, TOKENS_PER_PASS // (max(map(len, rows)) + trie.longest))
    found: dict[tuple[int, int], torch.Tensor] = {}
    for start in range(0, len(every), many):
        found |= _read(trie, rows, every[start : start + many], after)
    return [
        torch.stack([found[row, branch] for row in range(len(rows))])
        for branch in range(len(trie.branches))
    ]


def _read(
    trie: Trie,
    rows: Sequence[Sequence[int]],
    lines: Sequence[tuple[int, tuple[int, ...]]],
    after: After,
) -> dict[tuple[int, int], torch.Tensor]:
    """The hidden states, ``(width,)``, by row and branch. ``lines`` are rows and what is on a path
    behind them."""
    paths = [trie.branches[line[-1]].path for _, line in lines]
    states = after([rows[row] for row, _ in lines], paths)
    return {
        (row, branch): states[i, len(trie.branches[branch].path)]
        for i, (row, line) in enumerate(lines)
        for branch in line
    }


def losses(
    trie: Trie,
    rows: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    after: After,
    head: Head,
) -> torch.Tensor:
    """Minus the log of what each row's targets get together: ``(rows,)``, in nats.

    As `flywheel.modeling.optim.training_loop.losses` of `scores`, from the branches that decide it
    alone: the prompt is read with the target's path behind it.
    """
    needed = [trie.on_the_way(target) for target in targets]
    lines = [(row, line) for row, numbers in enumerate(needed) for line in trie.lines(numbers)]
    states = _read(trie, rows, lines, after)
    shares: dict[tuple[int, int], torch.Tensor] = {}
    for number in sorted({number for numbers in needed for number in numbers}):
        here = [row for row, numbers in enumerate(needed) if number in numbers]
        at = torch.stack([states[row, number] for row in here])
        found = branch_shares(trie.branches[number], at, head)
        shares |= {(row, number): share for row, share in zip(here, found, strict=True)}

    def log_of(row: int, number: int, wanted: frozenset[int]) -> Any:
        """Log of what ``wanted`` get of all that is behind a branch."""
        branch, terms = trie.branches[number], []
        for choice, (labels, then) in enumerate(zip(branch.behind, branch.then, strict=True)):
            if labels & wanted:
                share = shares[row, number][choice]
                if then is not None and not labels <= wanted:
                    share = share + log_of(row, then, wanted)
                terms.append(share)
        return torch.stack(terms).logsumexp(0)

    return -torch.stack([log_of(row, 0, frozenset(target)) for row, target in enumerate(targets)])


def fit(
    reader: Reader,
    recipe: TrainingConfig,
    rows: Rows,
    **loop: Unpack[LoopOptions],
) -> Reached:
    """As `training_loop.fit`, for labels that are told apart by more than their first token."""
    encoded = reader.encode(rows.texts)
    return training_loop.fit_loss(
        reader.model,
        recipe,
        lambda part: losses(
            reader.trie,
            [encoded[i] for i in part],
            [rows.targets[i] for i in part],
            reader.reading.after,
            reader.head,
        ),
        lengths=[
            _tokens_read(reader.trie, len(ids), targets)
            for ids, targets in zip(encoded, rows.targets, strict=True)
        ],
        weights=rows.weights,
        **loop,
    )


def _tokens_read(trie: Trie, prompt: int, targets: Sequence[int]) -> int:
    """Tokens that learning ``targets`` after a prompt of so many tokens reads."""
    return sum(
        prompt + len(trie.branches[line[-1]].path) for line in trie.lines(trie.on_the_way(targets))
    )
