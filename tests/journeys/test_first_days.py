"""The first days of a new user: the short form of the journeys, for every test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.journeys import invariants
from tests.journeys.journey import Journey, live
from tests.journeys.people import DEUTSCH, Habits, World
from tests.journeys.road import Road

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(1_200)]

TICKETS = World(
    "tickets",
    # neither in alphabetical order nor ASCII, as people name things
    {"Rückerstattung": 0.3, "Ärger": 0.2, "Lieferung": 0.3, "Konto": 0.2},
    tongues=(DEUTSCH,),
)


def test_what_init_proposes_learns_from_the_first_days(begin: Callable[[str], Road]) -> None:
    road = begin("tickets")
    journey = Journey(
        TICKETS,
        rows=500,
        columns=("Nachricht", "Thema", "Kundennummer"),
        flags=("--method", "tfidf"),
        per_day=400,
        habits=Habits(slips=0),
    )
    live(journey, road, nights=3, fresh=False)

    assert set(road.settings["labels"]) == set(TICKETS.labels)
    # the commonest first, as init proposes it: a registry that sorts its keys shows here
    assert list(road.settings["labels"]) != sorted(TICKETS.labels)
    assert road.days[0].outcome == "promoted"
    invariants.every_night_has_an_end(road.days)
    invariants.all_is_counted_once(road)
    invariants.a_better_one_was_promoted_and_served(road)
