"""Labels of any number of tokens, read along their trie: by one pass, or learned from.

A branch of the trie is a position whose hidden state meets the head, and only the rows of the head
that some label goes on with there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flywheel import fitting, inference
from flywheel.checkpoint import Checkpoint, Reached
from flywheel.config import TrainingConfig
from flywheel.methods import OnStep, Rows
from flywheel.methods.trie import Branch, Trie

Hidden = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of ids and mask, ``(rows, tokens)``, what the head would read; further positions may stand before
the texts' own."""
TOKENS_PER_PASS = 16_384
"""Bounds what one pass of scoring reads."""
SAMPLE = Trie.of([(0, 1, 2), (0, 1, 3), (0, 2, 3), (0, 2, 1), (1, 0), (1, 2)])
"""Labels that begin alike, to try a base with."""


def scores(trie: Trie, at: Sequence[torch.Tensor], head: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the labels: ``(rows, labels)``, float32; each row's add up to 1.

    Args:
        trie: Of the labels.
        at: By branch, the hidden states there, ``(rows, width)``.
        head: Of the whole vocabulary, ``(words, width)``.
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


def branch_shares(branch: Branch, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of a branch's choices: ``(rows, choices)``, float32."""
    tokens = torch.tensor(branch.tokens, device=head.device)
    if not branch.ends:
        words = head[tokens].to(hidden.dtype)
        return torch.nn.functional.linear(hidden, words).float().log_softmax(1)
    whole = torch.nn.functional.linear(hidden, head.to(hidden.dtype)).float()
    other = whole.index_fill(1, tokens, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([whole[:, tokens], other], 1).log_softmax(1)


@dataclass(frozen=True)
class _Line:
    """A row's prompt with a path behind it; ``branches`` are read off."""

    row: int
    ids: list[int]
    branches: tuple[int, ...]


def plainly(
    trie: Trie, rows: Sequence[Sequence[int]], hidden: Hidden, *, pad: int, where: torch.device
) -> list[torch.Tensor]:
    """By branch, the hidden states there, ``(rows, width)``: each path read with its whole prompt.

    What every base and every adapter can do; a prompt is read once for each of its paths.
    """
    lines = [
        _Line(row, [*ids, *trie.branches[branches[-1]].path], branches)
        for row, ids in enumerate(rows)
        for branches in trie.lines(range(len(trie.branches)))
    ]
    longest = max(len(line.ids) for line in lines)
    found: list[list[torch.Tensor]] = [[] for _ in trie.branches]
    many = max(1, TOKENS_PER_PASS // longest)
    for start in range(0, len(lines), many):
        part = lines[start : start + many]
        for (_, branch), state in _read(trie, part, hidden, pad=pad, where=where).items():
            found[branch].append(state)
    return [torch.stack(states) for states in found]


def _read(
    trie: Trie, lines: Sequence[_Line], hidden: Hidden, *, pad: int, where: torch.device
) -> dict[tuple[int, int], torch.Tensor]:
    """The hidden states, ``(width,)``, of one pass by ``(row, branch)``."""
    ids, mask = inference.padded([line.ids for line in lines], pad=pad)
    states = hidden(ids.to(where), mask.to(where))
    # what was learned may stand before the text's own
    before = states.shape[1] - ids.shape[1]
    return {
        (line.row, branch): states[
            i,
            before
            + len(line.ids)
            - 1
            - len(trie.branches[line.branches[-1]].path)
            + len(trie.branches[branch].path),
        ]
        for i, line in enumerate(lines)
        for branch in line.branches
    }


def losses(
    trie: Trie,
    rows: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    hidden: Hidden,
    head: torch.Tensor,
    *,
    pad: int,
) -> torch.Tensor:
    """Minus the log of what each row's targets get together: ``(rows,)``, in nats.

    As `flywheel.fitting.losses` of `scores`, from the branches that decide it alone: the prompt is
    read with the target's path behind it.
    """
    needed = [trie.on_the_way(target) for target in targets]
    lines = [
        _Line(row, [*ids, *trie.branches[branches[-1]].path], branches)
        for row, (ids, numbers) in enumerate(zip(rows, needed, strict=True))
        for branches in trie.lines(numbers)
    ]
    states = _read(trie, lines, hidden, pad=pad, where=head.device)
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
    reader: Any,
    recipe: TrainingConfig,
    rows: Rows,
    *,
    on_step: OnStep,
    max_tokens: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> Reached:
    """As `flywheel.fitting.fit`, for labels that are told apart by more than their first token."""
    encoded = reader.encode(rows.texts)
    return fitting.fit_loss(
        reader.model,
        recipe,
        lambda part: reader.losses([encoded[i] for i in part], [rows.targets[i] for i in part]),
        lengths=[
            _tokens_read(reader.trie, len(ids), targets)
            for ids, targets in zip(encoded, rows.targets, strict=True)
        ],
        weights=rows.weights,
        on_step=on_step,
        max_tokens=max_tokens,
        checkpoint=checkpoint,
    )


def _tokens_read(trie: Trie, prompt: int, targets: Sequence[int]) -> int:
    """Tokens that learning ``targets`` after a prompt of so many tokens reads."""
    return sum(
        prompt + len(trie.branches[line[-1]].path) for line in trie.lines(trie.on_the_way(targets))
    )


def parts(trie: Trie, rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """``rows`` in passes that are `Packed` within TOKENS_PER_PASS, or hold one row."""
    many = max(1, TOKENS_PER_PASS // (max(map(len, rows)) + len(trie.nodes)))
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
