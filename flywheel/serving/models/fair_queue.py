"""Whose turn it is: what waits for the model, one text of each caller after the other."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Turns(Generic[_T]):
    """Items of callers; each caller's in the order they came, and the callers in turn."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[_T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def held(self, who: str) -> int:
        """How many items of a caller wait."""
        return len(self._of.get(who, ()))

    def add(self, who: str, items: Iterable[_T]) -> None:
        """Let items wait, behind what waits of that caller."""
        line = self._of.setdefault(who, deque())
        before = len(line)
        line.extend(items)
        self._count += len(line) - before
        if not line:
            del self._of[who]

    def take(self, most: int) -> list[_T]:
        """The next items, at most so many; a caller who was served is the last in the next turn."""
        taken: list[_T] = []
        while self._of and len(taken) < most:
            who, line = self._of.popitem(last=False)
            taken.append(line.popleft())
            if line:
                self._of[who] = line
        self._count -= len(taken)
        return taken
