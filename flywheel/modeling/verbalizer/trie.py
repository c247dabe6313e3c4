"""The labels' token sequences as a trie: where they part, and what is read to get there.

The probability of a label is the product, along its path, of the shares that the next tokens have
among those that some label goes on with. So it is never outside of the label set, and the labels'
probabilities add up to 1. Where a label ends and another goes on, ending is one of the choices: its
share is what the base gives to all tokens with which no label goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Branch:
    """Where labels part: after the tokens of ``path`` one of ``tokens`` comes next.

    The choices are ``tokens`` in order, and last the end of the label where one ``ends`` here.
    ``behind`` has the numbers of the labels behind each choice, ``then`` the number of the branch
    that comes next behind it, None where only one label is left.
    """

    path: tuple[int, ...]
    tokens: tuple[int, ...]
    ends: bool
    behind: tuple[frozenset[int], ...]
    then: tuple[int | None, ...]


@dataclass(frozen=True)
class Node:
    """A token that is read before labels part; ``parent`` is None for a first token."""

    token: int
    parent: int | None
    depth: int
    """Tokens up to and with this one."""


@dataclass(frozen=True)
class Trie:
    """``branches``, the first one on the way before those behind it."""

    branches: tuple[Branch, ...]
    labels: int

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Trie:
        """The trie of the labels' token ids, by label number.

        Raises:
            ValueError: two are the same, or there are fewer than two.
        """
        if len(sequences) < 2:
            raise ValueError(f"expected two labels or more, found {len(sequences)}")
        branches: list[Branch] = []
        _part(sequences, range(len(sequences)), 0, branches)
        return cls(tuple(branches), len(sequences))

    @property
    def is_flat(self) -> bool:
        """Whether the first token tells every label from the others: nothing more is read."""
        return [(branch.path, branch.ends) for branch in self.branches] == [((), False)]

    @cached_property
    def choices(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """By label, the ``(branch, choice)`` pairs on its path."""
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.labels)]
        for number, branch in enumerate(self.branches):
            for choice, labels in enumerate(branch.behind):
                for label in labels:
                    found[label].append((number, choice))
        return tuple(map(tuple, found))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The tokens that are read to reach every branch, each once, parents first."""
        return tuple(node for node, _ in self._placed)

    @cached_property
    def places(self) -> tuple[int | None, ...]:
        """By branch, the node after which it is; None: right after the prompt."""
        where = {path: number for number, (_, path) in enumerate(self._placed)}
        return tuple(where.get(branch.path) for branch in self.branches)

    @cached_property
    def _placed(self) -> tuple[tuple[Node, tuple[int, ...]], ...]:
        where: dict[tuple[int, ...], int] = {}
        found: list[tuple[Node, tuple[int, ...]]] = []
        for branch in self.branches:
            for depth in range(1, len(branch.path) + 1):
                path = branch.path[:depth]
                if path not in where:
                    where[path] = len(found)
                    found.append((Node(path[-1], where.get(path[:-1]), depth), path))
        return tuple(found)

    def on_the_way(self, targets: Iterable[int]) -> tuple[int, ...]:
        """The branches that decide between ``targets`` and the other labels, in order.

        The first one, and of the others those behind which some labels are targets and some not.
        """
        wanted = frozenset(targets)
        found, waiting = [], [0]
        while waiting:
            number = waiting.pop()
            found.append(number)
            branch = self.branches[number]
            waiting += [
                then
                for labels, then in zip(branch.behind, branch.then, strict=True)
                if then is not None and labels & wanted and not labels <= wanted
            ]
        return tuple(sorted(found))

    def lines(self, branches: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        """Groups of ``branches``, each on one path, the longest last: what is read at once."""
        found: list[list[int]] = []
        for number in branches:
            path = self.branches[number].path
            for line in found:
                last = self.branches[line[-1]].path
                if path[: len(last)] == last:
                    line.append(number)
                    break
            else:
                found.append([number])
        return tuple(map(tuple, found))

    @cached_property
    def longest(self) -> int:
        """Most tokens that are read before labels part."""
        return max((len(branch.path) for branch in self.branches), default=0)


def _part(
    sequences: Sequence[Sequence[int]], labels: Sequence[int], read: int, branches: list[Branch]
) -> int | None:
    """Add the branches of labels that agree in their first ``read`` tokens; the first's number."""
    if len(labels) == 1:
        return None
    groups: dict[int | None, list[int]] = {}
    while len(groups) < 2:
        groups = {}
        for label in labels:
            own = sequences[label]
            groups.setdefault(own[read] if read < len(own) else None, []).append(label)
        if len(groups.get(None, ())) > 1:
            raise ValueError(f"labels {groups[None]} have the same tokens")
        read += 1
    path = tuple(sequences[labels[0]][: read - 1])
    number = len(branches)
    ends = groups.pop(None, None)
    branches.append(Branch(path, (), False, (), ()))
    then = [_part(sequences, group, read, branches) for group in groups.values()]
    behind = [frozenset(group) for group in groups.values()]
    if ends:
        behind, then = [*behind, frozenset(ends)], [*then, None]
    tokens = tuple(token for token in groups if token is not None)
    branches[number] = Branch(path, tokens, ends is not None, tuple(behind), tuple(then))
    return number
