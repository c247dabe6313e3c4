"""Go on from the champion's weights instead of the base's: when that is right, and on which rows.

A night from the base costs what all its labels cost. One that goes on from the champion learns what
is new, and as much again of what was learned before, so that this is not forgotten (replay; Rolnick
et al. 2019). Whoever goes on from weights has learned what they learned: a version's rows are its
own snapshot's and those of its ancestors, and where any of them may not be learned from tonight,
the night starts from the base.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.errors import DataError
from flywheel.records import Example, NightRecord

PARENT, PARENT_VERSION = "parent", "parent_version"
"""Tags and facts of a version that went on from another one: that one's digest and number."""


@dataclass(frozen=True)
class Start:
    """Where a training begins: at the base, or at the adapter of ``version``; ``why`` in words.

    ``digest`` is that version's, ``snapshots`` are all that it and its ancestors learned from.
    """

    why: str
    version: str | None = None
    digest: str | None = None
    snapshots: tuple[str, ...] = ()

    @property
    def is_warm(self) -> bool:
        return self.digest is not None


FROM_BASE = Start("the base: training.start_from is base")


@dataclass(frozen=True)
class Lesson:
    """Example ids: what nobody has learned from yet, and what is learned from again. Sorted."""

    new: tuple[str, ...] = field(repr=False)
    replayed: tuple[str, ...] = field(repr=False)


def lesson(
    tonight: Collection[str], learned: Collection[str], *, ratio: float, seed: str
) -> Lesson:
    """Tonight's new rows, and ``ratio`` times as many of those ``learned``, drawn by ``seed``.

    Drawn evenly over rows, not over classes: what is replayed has the classes' shares that the
    champion learned, and shares decide how sure an answer may be.
    """
    new = sorted(set(tonight) - set(learned))
    known = sorted(set(tonight) & set(learned))
    wanted = min(len(known), round(ratio * len(new)))
    return Lesson(tuple(new), tuple(sorted(random.Random(seed).sample(known, wanted))))


def trained_on(examples: Iterable[Example]) -> list[Example]:
    """Those of the train side."""
    return [one for one in examples if one.split == "train"]


def misfit(tonight: Sequence[Example], learned: Sequence[Example]) -> str | None:
    """Why weights that learned from ``learned`` must not go on with ``tonight``; None: they may.

    Every row that they learned from must be one to learn from tonight, as the same label: weights
    cannot unlearn one that was withdrawn, corrected or forgotten, nor one that is in the holdout.
    """
    learned = trained_on(learned)
    seen = examined(tonight, learned)
    if seen:
        return f"{_rows(seen)} it learned from now in the holdout"
    wanted = {one.example_id: (one.label, one.excluded) for one in trained_on(tonight)}
    gone = {one.example_id for one in learned if one.example_id not in wanted}
    if gone:
        return f"{_rows(gone)} it learned from withdrawn or left out since"
    other = {o.example_id for o in learned if wanted[o.example_id] != (o.label, o.excluded)}
    if other:
        return f"{_rows(other)} it learned from corrected to another label since"
    if wanted.keys() <= {one.example_id for one in learned}:
        return "nothing to learn that it has not learned from"
    return None


def examined(tonight: Sequence[Example], learned: Iterable[Example]) -> set[str]:
    """The training rows among ``learned`` that sit, or whose group sits, in tonight's holdout."""
    holdout = [one for one in tonight if one.split == "holdout"]
    asked, groups = {one.example_id for one in holdout}, {one.group_id for one in holdout}
    return {
        one.example_id
        for one in trained_on(learned)
        if one.example_id in asked or one.group_id in groups
    }


def _rows(found: Collection[str]) -> str:
    return "1 row" if len(found) == 1 else f"{len(found)} rows"


def in_a_row(nights: Sequence[NightRecord]) -> int:
    """How many of the newest trainings went on from a champion, back to one from the base.

    ``nights`` as the store has them, the newest last; nights of one trial are one training.
    """
    seen: set[str] = set()
    for night in reversed(nights):
        if night.digest is None or night.digest in seen:
            continue
        if not night.facts.get(PARENT):
            break
        seen.add(night.digest)
    return len(seen)


# ---- Ancestors and descendants, by digest


def ancestry(digest: str, parents: Mapping[str, str | None]) -> tuple[str, ...]:
    """A version and all its ancestors, by digest, the nearest first.

    ``parents`` is digest → what it went on from, None for the base.

    Raises:
        DataError: one of them is not known, or is its own ancestor.
    """
    found: list[str] = []
    at: str | None = digest
    while at is not None:
        if at not in parents or at in found:
            raise DataError(
                f"The ancestors of {digest[:12]} cannot be told: {at[:12]} is "
                f"{'its own ancestor' if at in found else 'not registered'}."
            )
        found.append(at)
        at = parents[at]
    return tuple(found)


def with_descendants(digests: Collection[str], parents: Mapping[str, str | None]) -> set[str]:
    """``digests`` and all that went on from any of them; nothing where there are none.

    One whose ancestors cannot be told counts as a descendant: it may have learned what they did.
    """
    wanted = set(digests)
    if not wanted:
        return set()
    found = set(wanted)
    for one in parents:
        try:
            line = ancestry(one, parents)
        except DataError:
            found.add(one)
            continue
        if not wanted.isdisjoint(line):
            found.add(one)
    return found
