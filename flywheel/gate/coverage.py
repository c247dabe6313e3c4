"""Which answers get a reaction: what selective reactions make of a gain, measured and bounded.

A reaction is evidence of an answer that somebody chose to speak of. Where wrong answers get one
more often than right ones, rows that the champion got wrong are too many, and a challenger that is
no better seems so. Two shares say by how much: of right answers, and of wrong ones, how many become
evidence. Both are measured from what was served. An answer that nobody spoke of may have been right
or wrong; audits of such answers, drawn at random, say which, and without any it is taken to be
whatever speaks most for a challenger.

A row then counts for those that nobody spoke of, by the inverse of its share (Horvitz and Thompson
1952), with the end of each interval that speaks against the challenger: what it won by the share of
wrong answers at most, what it lost by the share of right answers at least. So a challenger that is
no better wins nothing in expectation, whoever reacts to what, as long as the shares are within
their intervals and, among right answers and among wrong ones of a cell, reactions do not depend on
which contender is better. Nothing is lost where nearly every answer gets a reaction.

Cells are what was answered and how surely; a cell stands by itself where its share of reactions
differs from the rest's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Self

from flywheel.stats.paired_tests import wilson_interval

SURE = 0.9
"""From this probability on an answer is a sure one."""
LEAST_ANSWERS = 100
"""Fewer answers than this are no cell of their own."""
DIFFERS = 3.3
"""Standard errors by which a cell's share of reactions differs from the rest's: 0.1 % by chance."""
CONFIDENCE = 0.9
"""Of an interval with two ends, so that each end holds with 95 %."""
LEAST_SHARE = 1e-6
FAIR = 0.9
"""From this weight of a win on, reactions are nearly as good as audits."""
HOPELESS = 0.2
"""Under this weight of a win audits alone decide: few models win five rows for each they lose."""

Cell = tuple[str, bool]
"""The label that was answered, and whether surely."""


@dataclass(frozen=True)
class Fates:
    """What became of answers that were served.

    ``right`` and ``wrong`` got a reaction that is evidence, ``refused`` one that says no more than
    that they are wrong, and ``silent`` none. Of the silent ``audited`` were drawn and labeled, and
    ``audited_right`` of those were right.
    """

    right: int = 0
    wrong: int = 0
    refused: int = 0
    silent: int = 0
    audited: int = 0
    audited_right: int = 0

    @property
    def answers(self) -> int:
        return self.right + self.wrong + self.refused + self.silent

    @property
    def evidence_share(self) -> float:
        """The share of answers that became evidence, in [0, 1]."""
        return (self.right + self.wrong) / self.answers if self.answers else 0.0

    def __add__(self, other: Fates) -> Fates:
        return Fates(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Fates) -> Fates:
        return Fates(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Shares:
    """Of right and of wrong answers, the shares that become evidence; at least, and at most."""

    right_low: float
    right_high: float
    wrong_low: float
    wrong_high: float

    @classmethod
    def of(cls, fates: Fates) -> Self:
        low, high = _silent_right(fates)
        return cls(
            right_low=_bound(fates.right, fates.silent * high, end=0),
            right_high=_bound(fates.right, fates.silent * low, end=1),
            wrong_low=_bound(fates.wrong, fates.refused + fates.silent * (1 - low), end=0),
            wrong_high=_bound(fates.wrong, fates.refused + fates.silent * (1 - high), end=1),
        )


@dataclass(frozen=True)
class Weights:
    """What a row counts for where the challenger won it, and where it lost it; in [0, 1]."""

    won: float = 1.0
    lost: float = 1.0


@dataclass(frozen=True)
class Coverage:
    """The fates of served answers by cell; what differs from nothing is in ``rest``."""

    cells: Mapping[Cell, Fates]
    rest: Fates

    @classmethod
    def of(cls, fates: Mapping[Cell, Fates]) -> Self:
        """Let those cells stand by themselves whose share of reactions differs from the rest's.

        The one that differs most is taken out first, until none does.
        """
        left, apart = dict(fates), dict[Cell, Fates]()
        while left:
            whole = _sum(left)
            cell = max(left, key=lambda one: (_distance(left[one], whole - left[one]), one))
            if _distance(left[cell], whole - left[cell]) < DIFFERS:
                break
            apart[cell] = left.pop(cell)
        return cls(apart, _sum(left))

    @property
    def all(self) -> Fates:
        return _sum(self.cells) + self.rest

    def weights(self, cell: Cell) -> Weights:
        """What a row of a cell counts for."""
        mine = Shares.of(self.cells.get(cell, self.rest))
        # no weight is over 1: the row that stands for most others has it
        every = [one for one in (self.rest, *self.cells.values()) if _any(one)]
        scale = max(LEAST_SHARE, min((Shares.of(one).right_low for one in every), default=0.0))
        return Weights(
            won=min(1.0, scale / max(scale, mine.wrong_high)),
            lost=min(1.0, scale / max(scale, mine.right_low)),
        )

    @property
    def least_won(self) -> float:
        """What a win counts for beside a loss, in the cell where that is least; 1: as much."""
        found = [self.weights(cell) for cell in self.cells]
        if _any(self.rest):
            found.append(self.weights(("", False)))
        return min((one.won / one.lost for one in found), default=0.0)


def in_words(known: Coverage) -> str:
    """How many right and wrong answers become evidence, and what that makes of a gain."""
    every, won = known.all, known.least_won
    if not every.answers:
        return "no answer was served in the last 30 days, so that no reaction is evidence"
    parts = [f"of {every.answers:,} answers in 30 days {every.evidence_share:.1%} became evidence"]
    groups = [("", every)] if not known.cells else [*_named(known), ("other answers: ", known.rest)]
    parts += [f"{name}{_ends(Shares.of(one))}" for name, one in groups if _any(one)]
    if every.audited:
        parts.append(
            f"of those that nobody spoke of {every.audited} were audited and "
            f"{every.audited_right} of them right"
        )
    elif every.silent:
        parts.append("none of those that nobody spoke of was audited, so all may have been right")
    if won < HOPELESS:
        parts.append(f"audits alone decide: a win on reactions counts {won:.2f} of a loss")
    elif won < 1:
        odds = f"more than {1 / won:.2f} rows for each one that it loses there"
        parts.append(f"by reactions a challenger is better where it wins {odds}")
    return "; ".join(parts)


def _named(known: Coverage) -> list[tuple[str, Fates]]:
    return [
        (f"{label} ({'surely' if sure else 'unsurely'}): ", known.cells[label, sure])
        for label, sure in sorted(known.cells)
    ]


def _ends(shares: Shares) -> str:
    return (
        f"{shares.right_low:.1%} to {shares.right_high:.1%} of right ones and "
        f"{shares.wrong_low:.1%} to {shares.wrong_high:.1%} of wrong ones do"
    )


def audits_for(fates: Fates, *, won: float) -> int | None:
    """How many audits of silent answers would let a win count for ``won``, if as many are right.

    0 where none are needed; None where no number would do.
    """
    known = fates.right + fates.wrong
    if not known:
        return None
    right = fates.right / known
    if fates.audited:
        right = fates.audited_right / fates.audited
    for number in (0, *(round(10 * 1.5**step) for step in range(18))):
        tried = Fates(
            fates.right, fates.wrong, fates.refused, fates.silent, number, round(number * right)
        )
        shares = Shares.of(tried)
        if shares.right_low >= won * shares.wrong_high:
            return max(0, number - fates.audited)
    return None


def _silent_right(fates: Fates) -> tuple[float, float]:
    """Of answers that nobody spoke of, the share that was right: at least, and at most."""
    return wilson_interval(fates.audited_right, fates.audited, confidence=CONFIDENCE)


def _bound(evidence: int, others: float, *, end: int) -> float:
    """One end of the share of answers of a kind that become evidence; ``others`` of it do not."""
    count = evidence + math.ceil(others)
    return wilson_interval(evidence, count, confidence=CONFIDENCE)[end]


def _distance(one: Fates, rest: Fates) -> float:
    """By how many standard errors the shares of reactions differ; 0 where there are too few."""
    if min(one.answers, rest.answers) < LEAST_ANSWERS:
        return 0.0
    share = (one + rest).evidence_share
    error = math.sqrt(share * (1 - share) * (1 / one.answers + 1 / rest.answers))
    return abs(one.evidence_share - rest.evidence_share) / error if error else 0.0


def _sum(cells: Mapping[Cell, Fates]) -> Fates:
    return sum(cells.values(), Fates())


def _any(fates: Fates) -> bool:
    return fates.answers > 0
