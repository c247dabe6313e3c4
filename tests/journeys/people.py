"""Customers of invented companies: what they write, and what the right answer would have been.

A text is filler around one or two cues, words that tell its label. Cues are drawn like words in
real texts: a few often, most seldom. What was labeled first knows the frequent ones, and every
day of feedback brings others, so that there is something to be learned on each. Everything is a
function of seeds.
"""

from __future__ import annotations

import csv
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.pictures import encoded, mosaic

# ruff: noqa: RUF001
LATIN = ("ba", "ri", "to", "ne", "ku", "sel", "mor", "fin", "da", "lo", "pes", "wa", "jum", "te")
GERMAN = ("ä", "schu", "rön", "ber", "tung", "ße", "mü", "gen", "ka", "lich", "ver", "zie", "üb")
CYRILLIC = ("ба", "ри", "то", "не", "ку", "сель", "мор", "жи", "да", "ло", "щё", "вы", "тя")
THAI = ("กา", "สิน", "ค้า", "ไม่", "ดี", "มา", "ช้า", "ส่ง", "คืน", "เงิน", "บัญ", "ชี", "เรา", "ที่")
SIDE, TILE = 5, 10
"""Tiles a side of a mosaic, and pixels a side of a tile."""
HAN = tuple("的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会")


@dataclass(frozen=True)
class Tongue:
    """How words of a language are made, and what stands between them."""

    syllables: Sequence[str]
    space: str = " "
    length: int = 3
    """Syllables of a word."""


ENGLISH = Tongue(LATIN)
DEUTSCH = Tongue(GERMAN)
RUSSIAN = Tongue(CYRILLIC)
THAI_TONGUE = Tongue(THAI, space="")
CHINESE = Tongue(HAN, space="")


@dataclass(frozen=True)
class Said:
    """One text, who wrote it, and its right answer."""

    text: str
    label: str
    customer: str


class Speaks(Protocol):
    """Says what customers send."""

    def say(self, count: int, *, before: set[str] | None = None) -> list[Said]:
        """``count`` texts that were not said so far, and are not in ``before``."""


class Customers(Protocol):
    """All whom a company has; ``labels`` are the right answers that there are."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, float]: ...

    def people(self, seed: int) -> Speaks:
        """Somebody who speaks: the same seed says the same."""


@dataclass(frozen=True)
class World:
    """The customers of one company.

    ``labels`` is label → share of the texts; ``tongues`` are drawn alike. Of ``cues`` words that
    tell a label, the one in place ``i`` is drawn with weight ``1 / (i + flat)``.
    """

    name: str
    labels: Mapping[str, float]
    tongues: Sequence[Tongue] = (ENGLISH,)
    cues: int = 60
    flat: float = 8
    fillers: int = 60
    customers: int = 400
    seed: int = 1
    draws: bool = False
    """Whether its customers send pictures: mosaics, whose words are colours."""

    def words(self) -> tuple[str, ...]:
        """Every word that its customers use."""
        lists = [
            _words(self, tongue, of, self.cues if of else self.fillers)
            for tongue in self.tongues
            for of in ("", *self.labels)
        ]
        return tuple(dict.fromkeys(word for words in lists for word in words))

    def people(self, seed: int) -> Crowd:
        """An endless crowd: the same seed writes the same texts."""
        return Crowd(self, random.Random(f"{self.name} {self.seed} {seed}"))


class Crowd:
    """Writes texts of a world; no text twice."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self._said = set[str]()

    def say(self, count: int, *, before: set[str] | None = None) -> list[Said]:
        """``count`` texts that are in none said so far, and not in ``before``."""
        said: list[Said] = []
        while len(said) < count:
            one = self._one()
            if one.text not in self._said and one.text not in (before or ()):
                self._said.add(one.text)
                said.append(one)
        return said

    def _one(self) -> Said:
        world, chance = self.world, self.chance
        label = chance.choices([*world.labels], [*world.labels.values()])[0]
        customer = f"customer-{chance.randrange(world.customers)}"
        if world.draws:
            return Said(_picture(world, label, chance), label, customer)
        tongue = chance.choice(world.tongues)
        words = [chance.choice(_words(world, tongue, "", world.fillers)) for _ in range(7)]
        cues = _words(world, tongue, label, world.cues)
        weights = [1 / (place + world.flat) for place in range(world.cues)]
        for cue in chance.choices(cues, weights, k=chance.choice((1, 1, 2))):
            words.insert(chance.randrange(len(words) + 1), cue)
        return Said(tongue.space.join(words), label, customer)


def _picture(world: World, label: str, chance: random.Random) -> str:
    """A mosaic as a data URL: a few tiles in colours of its label among those of none."""
    tiles = chance.choices(_colours(world, "", world.fillers), k=SIDE * SIDE)
    weights = [1 / (place + world.flat) for place in range(world.cues)]
    cues = chance.choices(_colours(world, label, world.cues), weights, k=chance.choice((1, 2, 3)))
    for place, cue in zip(chance.sample(range(len(tiles)), len(cues)), cues, strict=True):
        tiles[place] = cue
    content = encoded(mosaic(tiles, TILE))
    return f"data:image/png;base64,{b64encode(content).decode()}"


def _colours(world: World, of: str, count: int) -> list[tuple[int, int, int]]:
    """The colours of one label (or of none), the most frequent first."""
    chance = random.Random(f"{world.seed} {of}")
    return [
        (chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(count)
    ]


def _words(world: World, tongue: Tongue, of: str, count: int) -> list[str]:
    """The words of one label (or of none) in one language, the most frequent first."""
    key = (world.seed, tongue.syllables[0], tongue.length, of, count)
    if key not in _KNOWN:
        chance = random.Random(repr(key))
        made = dict[str, None]()
        while len(made) < count:
            made["".join(chance.choices(tongue.syllables, k=tongue.length))] = None
        _KNOWN[key] = list(made)
    return _KNOWN[key]


_KNOWN: dict[tuple[int, str, int, str, int], list[str]] = {}

# ---- How customers react


@dataclass(frozen=True)
class Habits:
    """What customers do with an answer.

    ``reacts`` is the share of answers that get a reaction; of wrong ones ``corrects`` are
    corrected and the rest rejected; ``slips`` of all reactions say something else than is true.
    """

    reacts: float = 0.95
    corrects: float = 0.9
    slips: float = 0.02


def reaction(
    said: Said, answer: str, labels: Sequence[str], habits: Habits, chance: random.Random
) -> dict[str, str] | None:
    """Kind and value of what the customer says about an answer; None where nothing is said."""
    if chance.random() >= habits.reacts:
        return None
    wanted = said.label
    if chance.random() < habits.slips:
        wanted = chance.choice([label for label in labels if label != wanted])
    if answer == wanted:
        return {"kind": "accept"}
    if chance.random() < habits.corrects:
        return {"kind": "correct", "value": wanted}
    return {"kind": "reject"}


# ---- The file that a company begins with

Columns = tuple[str, str, str]
"""A company's own names for text, label and customer."""


def utf8_csv(path: Path, rows: Sequence[Said], columns: Columns) -> Path:
    """A plain CSV."""
    return _csv(path, rows, columns, delimiter=",", encoding="utf-8")


def excel_csv(path: Path, rows: Sequence[Said], columns: Columns) -> Path:
    """What Excel saves as CSV on a German machine: semicolons, in the machine's code page."""
    return _csv(path, rows, columns, delimiter=";", encoding="cp1252")


def json_lines(path: Path, rows: Sequence[Said], columns: Columns) -> Path:
    """One object a line; a label that is a number is one."""
    text, label, customer = columns
    path = path.with_suffix(".jsonl")
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            value = int(row.label) if row.label.isdecimal() else row.label
            content = {text: row.text, label: value, customer: row.customer}
            file.write(json.dumps(content, ensure_ascii=False) + "\n")
    return path


def pictures(path: Path, rows: Sequence[Said], columns: Columns) -> Path:
    """A folder of PNG files and a CSV that names them."""
    folder = path.parent / "photos"
    folder.mkdir()
    named = []
    for number, row in enumerate(rows):
        # the readers go by the content, not by the ending
        file = folder / f"{number}.png"
        file.write_bytes(b64decode(row.text.partition(",")[2]))
        named.append(Said(f"photos/{file.name}", row.label, row.customer))
    return utf8_csv(path, named, columns)


def _csv(
    path: Path, rows: Sequence[Said], columns: Columns, *, delimiter: str, encoding: str
) -> Path:
    path = path.with_suffix(".csv")
    with path.open("w", encoding=encoding, newline="") as file:
        out = csv.writer(file, delimiter=delimiter)
        out.writerow(columns)
        out.writerows((row.text, row.label, row.customer) for row in rows)
    return path
