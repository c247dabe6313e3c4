"""The same road on public data sets: ``make journeys-data JOURNEY_DATA=FOLDER``.

FOLDER holds ``banking77/``, ``twitter-vs-reddit/``, ``cats-dogs/`` and ``dialogsum/``; what is not
there is passed over. A first part of each is the file that a company begins with, and the rest is
what its customers send, day by day. Bases come from the package index where they are not in
JOURNEY_MODELS.
"""

from __future__ import annotations

import csv
import json
import os
import random
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys import invariants
from tests.journeys.journey import Journey, live
from tests.journeys.people import Habits, Said, json_lines, pictures
from tests.journeys.road import Road

DATA = Path(os.environ.get("JOURNEY_DATA", "nowhere"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.prefect,
    pytest.mark.timeout(7_200),
    pytest.mark.skipif(not DATA.is_dir(), reason="JOURNEY_DATA names no folder"),
]
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Recorded:
    """Customers who send what is in a data set: text and label, each once."""

    name: str
    rows: Sequence[tuple[str, str]]

    @property
    def labels(self) -> Mapping[str, float]:
        return dict.fromkeys(sorted({label for _, label in self.rows}), 1.0)

    def people(self, seed: int) -> Rest:
        return Rest(iter(self.rows))


@dataclass
class Rest:
    """What of a data set was not sent yet."""

    rows: Iterator[tuple[str, str]]

    def say(self, count: int, *, before: set[str] | None = None) -> list[Said]:
        """The next ``count`` rows that are not in ``before``; each is a customer's of its own."""
        said: list[Said] = []
        for text, label in self.rows:
            if text not in (before or ()):
                said.append(Said(text, label, f"customer-{hash_of(text)}"))
            if len(said) == count:
                return said
        raise AssertionError(f"the data set ended after {len(said)} of {count} rows")


def hash_of(text: str) -> int:
    return random.Random(text).randrange(10**9)


def _table(*names: str, text: str, label: str) -> Rows:
    found: Rows = []
    for name in names:
        with (DATA / name).open(encoding="utf-8", newline="") as file:
            found += [(row[text], row[label]) for row in csv.DictReader(file)]
    return found


def _photos() -> Rows:
    with zipfile.ZipFile(DATA / "cats-dogs/images.zip") as file:
        return [
            (f"data:image/jpeg;base64,{b64encode(file.read(path)).decode()}", label)
            for path, label in _table("cats-dogs/labels.csv", text="path", label="label")
        ]


def _dialogues() -> Rows:
    lines = (DATA / "dialogsum/dialogsum.dev.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return [(row["dialogue"], row["summary"]) for row in rows]


READ: dict[str, Callable[[], Rows]] = {
    "banking77": lambda: _table("banking77/train.csv", text="text", label="category"),
    "twitter-vs-reddit": lambda: _table("twitter-vs-reddit/train.csv", text="text", label="label"),
    "cats-dogs": _photos,
    "dialogsum": _dialogues,
}
NIGHTS = {"banking77": 14, "twitter-vs-reddit": 14, "cats-dogs": 6, "dialogsum": 2}
WRITTEN = ("dialogsum",)
TO_GAIN = ("banking77", "twitter-vs-reddit")
"""Those whose first champion leaves room: of cats and dogs it knows 98 of 100 at once."""


def journey_of(name: str) -> Journey:
    rows = READ[name]()
    random.Random(0).shuffle(rows)
    world = Recorded(name, rows)
    if name == "cats-dogs":
        return Journey(
            world, rows=240, columns=("path", "label", "sender"), write=pictures, per_day=60
        )
    if name in WRITTEN:
        return Journey(
            world,
            rows=300,
            columns=("dialogue", "summary", "customer_id"),
            write=json_lines,
            flags=("--kind", "text-generation"),
            per_day=20,
            habits=Habits(slips=0),
        )
    # a couple hundred labels, as companies begin; of 77 intents a few of each
    rows_there = 1_500 if name == "banking77" else 300
    return Journey(world, rows=rows_there, flags=("--method", "tfidf"), per_day=200)


@pytest.mark.parametrize("name", NIGHTS)
def test_a_fortnight_on_public_data(name: str, begin: Callable[[str], Road]) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"JOURNEY_DATA holds no {name}")
    road = begin(name)
    if models := os.environ.get("JOURNEY_MODELS"):
        road.home.mkdir(parents=True)
        (road.home / "models").symlink_to(Path(models).resolve())
    live(journey_of(name), road, nights=NIGHTS[name])

    invariants.every_night_has_an_end(road.days)
    invariants.all_is_counted_once(road)
    invariants.no_state_repeats_in_silence(road.days)
    if name in TO_GAIN:
        invariants.a_better_one_was_promoted_and_served(road)
