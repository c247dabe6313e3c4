"""A journey: whose road it is, what they set, and what befalls them on which night."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.journeys.people import Columns, Customers, Habits, Said, World, utf8_csv
from tests.journeys.road import Road

DAY_S = 1.0
Write = Callable[[Path, Sequence[Said], Columns], Path]
Event = Callable[[Road], None]


@dataclass(frozen=True)
class Journey:
    """A company that begins with ``rows`` labeled rows and hears ``per_day`` reactions a day.

    ``events`` befall it before the night of that number; from the night of ``moves_to``'s number on
    its customers are those of another world. ``settings`` are what its people write into the
    proposed file: the method and its base, and nothing that `flywheel init` would decide.
    """

    world: Customers
    rows: int
    columns: Columns = ("text", "label", "customer_id")
    write: Write = utf8_csv
    flags: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_day: int = 100
    audits: int = 0
    """Of the requests so far, how many are drawn without bias each day and labeled by a person."""
    habits: Habits = field(default_factory=Habits)
    events: Mapping[int, Event] = field(default_factory=dict)
    base: Callable[[World, Path], None] | None = None
    """Puts the base named ``tiny`` of a `World` into a folder, where ``settings`` name it."""
    moves_to: tuple[int, Customers] | None = None

    @property
    def name(self) -> str:
        return self.world.name


def begin(journey: Journey, road: Road) -> set[str]:
    """Propose the use case from the company's file; the texts that are in it."""
    first = journey.world.people(0).say(journey.rows)
    data = journey.write(road.folder / "labeled", first, journey.columns)
    road.init(data, *journey.flags)
    if journey.base is not None:
        assert isinstance(journey.world, World)
        journey.base(journey.world, road.home / "models" / "tiny")
    # a day here lasts seconds, and what was said on it must be in the inbox by night
    road.edit(serving={"segment_s": DAY_S}, **journey.settings)
    return {one.text for one in first}


def live(journey: Journey, road: Road, *, nights: int, fresh: bool = True) -> None:
    """`init`, a first night, then days of requests and reactions with a night after each.

    ``fresh``: the first night is lived in a process that has imported nothing.
    """
    known = begin(journey, road)
    right: dict[str, str] = {}
    crowd = journey.world.people(1)
    journey.events.get(0, _nothing)(road)
    road.night(fresh=fresh)
    with road.serving():
        for number in range(1, nights):
            if journey.moves_to and journey.moves_to[0] == number:
                # others than before: the same would say the same again
                crowd = journey.moves_to[1].people(2)
            road.follow()
            said = crowd.say(journey.per_day, before=known)
            known |= {one.text for one in said}
            right |= {one.text: one.label for one in said}
            share = road.use(said, journey.habits)
            journey.events.get(number, _nothing)(road)
            road.wait_for_the_inbox()
            if journey.audits and number > 1:
                road.label_the_queue(right, journey.audits)
            road.night(right=share)
        road.follow()


def _nothing(_: Road) -> None:
    """An ordinary day."""
