"""What customers write: texts of our own in four languages, or rows of a file.

A text of our own is filler around a few cues: words that tell its label. Cues are drawn as words
are in real texts, a few often and most seldom, so that each night has something new to teach.
Everything is a function of seeds.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from flywheel.errors import NotEnoughData
from flywheel.replay.worlds import NEW_LABEL, Stratum, World

CUES, FLAT, FILLERS = 24, 3, 60
"""Words that tell a label, in each domain and language; the weight of the one in place ``i`` is
``1 / (i + FLAT)``."""
HABITS = 6
"""Cues of a label that a customer is fond of."""
HIDDEN = 250
"""Hidden texts of each stratum, of texts of our own."""
HIDDEN_SHARE = 0.3
"""Share of a file's rows that are hidden."""
# ruff: noqa: RUF001
_LATIN = ("ba", "ri", "to", "ne", "ku", "sel", "mor", "fin", "da", "lo", "pes", "wa", "jum", "te")
_GERMAN = ("ä", "schu", "rön", "ber", "tung", "ße", "mü", "gen", "ka", "lich", "ver", "zie", "üb")
_CYRILLIC = ("ба", "ри", "то", "не", "ку", "сель", "мор", "жи", "да", "ло", "щё", "вы", "тя")
_HAN = tuple("的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会")
TONGUES: tuple[tuple[Sequence[str], str], ...] = (
    (_LATIN, " "),
    (_GERMAN, " "),
    (_CYRILLIC, " "),
    (_HAN, ""),
)
"""Syllables of a language, and what stands between its words."""


@dataclass(frozen=True)
class Said:
    """A text, its right label, and the kind of request that it is."""

    text: str = field(repr=False)
    label: str
    domain: int = 0
    rated: str | None = field(default=None, repr=False)
    """What a real rater took for right, where a file says so."""

    @property
    def stratum(self) -> Stratum:
        return self.domain, self.label


class Source(Protocol):
    """Where a life's texts come from. ``labels`` is label → share, in the use case's order."""

    @property
    def labels(self) -> Mapping[str, float]: ...

    @property
    def domains(self) -> int: ...

    def say(self, stratum: Stratum, customer: int) -> Said:
        """A text of that stratum that was not said before."""

    def hidden(self) -> list[Said]:
        """Texts that nobody ever says: on them is measured what is true."""


class Company:
    """Customers who write texts of our own."""

    labels: Mapping[str, float] = {"billing": 0.4, "delivery": 0.35, "returns": 0.25}
    domains = 2

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._seed = world, seed
        self._chance = random.Random(f"company {seed}")
        hidden = random.Random(f"hidden {seed}")
        names = [*self.labels, *([NEW_LABEL] if world.new_label_from is not None else [])]
        self._hidden = [
            self._write((domain, label), hidden.randrange(world.customers), hidden)
            for domain in range(self.domains)
            for label in names
            for _ in range(HIDDEN)
        ]
        self._said = {one.text for one in self._hidden}

    def say(self, stratum: Stratum, customer: int) -> Said:
        while (one := self._write(stratum, customer, self._chance)).text in self._said:
            """Chinese texts of few characters may come twice."""
        self._said.add(one.text)
        return one

    def hidden(self) -> list[Said]:
        return self._hidden

    def _write(self, stratum: Stratum, customer: int, chance: random.Random) -> Said:
        domain, label = stratum
        tongue = customer % len(TONGUES)
        words = [chance.choice(_fillers(tongue, chance.randrange(2) * domain)) for _ in range(6)]
        for _ in range(chance.choice((1, 2, 2))):
            cue = self._cue(stratum, tongue, customer, chance)
            words.insert(chance.randrange(len(words) + 1), cue)
        if chance.random() < self._world.odd:
            other = chance.choice([name for name in self.labels if name != label])
            cue = self._cue((domain, other), tongue, customer, chance)
            words.insert(chance.randrange(len(words) + 1), cue)
        return Said(TONGUES[tongue][1].join(words), label, domain)

    def _cue(self, stratum: Stratum, tongue: int, customer: int, chance: random.Random) -> str:
        known = _cues(tongue, *stratum)
        if chance.random() < self._world.habit:
            fond = random.Random(f"habit {self._seed} {customer} {stratum}")
            return known[_places(fond)[chance.randrange(HABITS)]]
        return known[_places(chance, 1)[0]]


def _places(chance: random.Random, count: int = HABITS) -> list[int]:
    return chance.choices(range(CUES), [1 / (place + FLAT) for place in range(CUES)], k=count)


def _cues(tongue: int, domain: int, label: str) -> tuple[str, ...]:
    return _words(tongue, f"{domain} {label}", CUES)


def _fillers(tongue: int, domain: int) -> tuple[str, ...]:
    return _words(tongue, f"{domain}", FILLERS)


@cache
def _words(tongue: int, of: str, count: int) -> tuple[str, ...]:
    """Words of one language and purpose, the most frequent first."""
    chance = random.Random(f"words {tongue} {of}")
    made = dict[str, None]()
    while len(made) < count:
        made["".join(chance.choices(TONGUES[tongue][0], k=3))] = None
    return tuple(made)


class File:
    """Rows of a file with their labels; those not hidden are said in an order that the seed draws.

    A file has one domain, unless its rows name others.
    """

    def __init__(self, rows: Sequence[Said], seed: int) -> None:
        self.labels = _shares(rows)
        self.domains = len({one.domain for one in rows})
        chance = random.Random(f"file {seed}")
        order = chance.sample(list(rows), len(rows))
        held = round(HIDDEN_SHARE * len(order))
        self._hidden, self._rest = order[:held], defaultdict[Stratum, list[Said]](list)
        for one in order[held:]:
            self._rest[one.stratum].append(one)

    def say(self, stratum: Stratum, customer: int) -> Said:
        """The next row of the stratum, whoever says it.

        Raises:
            NotEnoughData: its rows are used up.
        """
        if not self._rest[stratum]:
            raise NotEnoughData(
                f"The file has too few rows of label {stratum[1]!r} for so many nights. Nothing "
                "was replayed. Ask for fewer --nights or --rows, or give more rows."
            )
        return self._rest[stratum].pop()

    def hidden(self) -> list[Said]:
        return self._hidden


def _shares(rows: Sequence[Said]) -> dict[str, float]:
    found = sorted({one.label for one in rows})
    return {label: sum(one.label == label for one in rows) / len(rows) for label in found}
