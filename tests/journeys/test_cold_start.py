"""Nothing is served after night 0: what everybody can read leads to a first model."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.journeys import invariants
from tests.journeys.day import Day
from tests.journeys.journey import Journey, begin
from tests.journeys.people import DEUTSCH, Crowd, Habits, Said, World
from tests.journeys.road import Road

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(1_200)]

CHEAP = ("--method", "tfidf")
EASY = World(
    "easy",
    {"Rückerstattung": 0.3, "Ärger": 0.2, "Lieferung": 0.3, "Konto": 0.2},
    tongues=(DEUTSCH,),
    cues=12,
    flat=4,
)
REVIEWS = World(
    "reviews", {"gut": 0.64, "schlecht": 0.36}, tongues=(DEUTSCH,), cues=300, flat=60
)  # fmt: skip
FEW_NIGHTS = 4
ASKS_FOR = re.compile(r"Label about (\d+) more texts, so that (\d+) of them are held out")
SHORT_OF = re.compile(r"label about (\d+) more texts, by flywheel ingest")
NAMED = re.compile(r"(\S+) \(\d+ holdout rows\)")


def says_the_way_out(road: Road, day: Day) -> str:
    """What would end the wait, as page, `status` and `doctor` all say it; they agree."""
    reasons = day.night["reasons"]
    told = [r["detail"] for r in reasons if r["rule"] == "no_model_yet"] or [
        r["detail"] for r in reasons if r["passed"] is None
    ]
    (way,) = told
    assert invariants.WAY_OUT.search(way), way
    shown = " ".join(road.run("status", "-u", road.name).out.split())
    for where, text in (("the page", day.page), ("status", shown)):
        assert " ".join(way.split()) in text, f"{where} does not say: {way}\n{text[:3_000]}"
    telling = [
        one["detail"]
        for one in day.doctor or ()
        if one["name"] in ("first model", "recommendation")
    ]
    assert any(invariants.WAY_OUT.search(detail) for detail in telling), day.advice
    return way


def wanted(way: str, crowd: Crowd) -> list[Said]:
    """Texts of the labels that are named first, as many as are asked for."""
    found = ASKS_FOR.search(way) or SHORT_OF.search(way)
    assert found, way
    labels = set(NAMED.findall(way)) or set(crowd.world.labels)
    assert labels <= set(crowd.world.labels)
    chosen: list[Said] = []
    while len(chosen) < int(found[1]):
        chosen += [one for one in crowd.say(1) if one.label in labels]
    return chosen


def is_served(road: Road) -> None:
    """The champion answers, and nobody says that it is unproven."""
    with road.serving():
        ready = road.wait_until_ready()
        assert (road.follow(), ready["unproven"]) == (road.days[-1].champion, False)
        assert road.service is not None
        answer = road.service.send("/predict", {"text": "rönmü", "durable": False}, expected=200)
        assert answer["unproven"] is False


def new_company(world: World, rows: int, road: Road) -> Crowd:
    """What `init` proposes on the first rows; who writes further ones."""
    begin(Journey(world, rows=rows, flags=CHEAP), road)
    return world.people(1)


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        # what init proposes where a file is small: a holdout below the least that a gate asks
        pytest.param(50, None, id="init draws 17 rows where 20 are needed"),
        # a file so small that night 0 cannot even train
        pytest.param(20, None, id="too few rows to train on"),
        # somebody wants three rows more than the split draws
        pytest.param(305, 64, id="the split draws 61 rows where 64 are asked for"),
    ],
)
def test_labels_of_the_kind_that_is_asked_for_lead_to_a_first_model(
    rows: int, asked: int | None, begin: Callable[[str], Road]
) -> None:
    road = begin("easy")
    road.careful = True
    crowd = new_company(EASY, rows, road)
    if asked is not None:
        road.edit(gate={"min_holdout_examples": asked})
    first = road.night()
    assert first.outcome in ("undecided", "skipped")
    while (day := road.days[-1]).champion is None:
        assert len(road.days) <= FEW_NIGHTS, "\n".join(map(str, road.days))
        road.give(wanted(says_the_way_out(road, day), crowd), source="init")
        road.night()
    is_served(road)
    invariants.every_night_has_an_end(road.days)
    invariants.all_is_counted_once(road)


def test_below_the_floor_an_unproven_model_answers_and_reactions_lead_to_a_proven_one(
    begin: Callable[[str], Road],
) -> None:
    road = begin("reviews")
    road.careful = True
    crowd = new_company(REVIEWS, 300, road)
    assert road.night().outcome == "rejected"
    way = says_the_way_out(road, road.days[-1])
    assert "gate.min_accuracy" in way
    assert "serving.unproven: true" in way
    # nothing came, and that is said again, not forgotten
    assert road.night().outcome == "skipped"
    assert says_the_way_out(road, road.days[-1]) == way

    road.edit(serving={"unproven": True, "poll_s": 0.2})
    with road.serving():
        while road.days[-1].champion is None:
            assert len(road.days) <= 8, "\n".join(map(str, road.days))
            assert road.wait_until_ready()["unproven"] is True
            right = road.use(crowd.say(250), Habits(slips=0))
            road.wait_for_the_inbox()
            day = road.night(right=right)
            assert day.outcome in ("rejected", "promoted"), day.told
            if day.champion is None:
                assert "marked as unproven" in says_the_way_out(road, day)
        assert road.follow() == road.days[-1].champion
        assert road.wait_until_ready()["unproven"] is False
        road.use(crowd.say(50), Habits(slips=0))
        road.wait_for_the_inbox()
        road.night()
    invariants.every_night_has_an_end(road.days)
    invariants.all_is_counted_once(road)


def test_labeled_requests_to_an_unproven_model_lead_to_a_first_one(
    begin: Callable[[str], Road],
) -> None:
    """Who has no further texts lets it answer, and labels what is asked of it."""
    road = begin("easy")
    road.careful = True
    crowd = new_company(EASY, 50, road)
    road.night()
    says_the_way_out(road, road.days[-1])
    road.edit(serving={"unproven": True, "poll_s": 0.2})
    right: dict[str, str] = {}
    with road.serving():
        while road.days[-1].champion is None:
            assert len(road.days) <= FEW_NIGHTS, "\n".join(map(str, road.days))
            road.wait_until_ready()
            asked = crowd.say(60)
            right |= {one.text: one.label for one in asked}
            road.use(asked, Habits(slips=0))
            road.wait_for_the_inbox()
            road.night()
            if road.days[-1].champion is None:
                way = says_the_way_out(road, road.days[-1])
                number = re.search(r"flywheel queue -u easy --n (\d+) --audit-share 1", way)
                assert number, way
                road.label_the_queue(right, int(number[1]))
                road.night()
        assert road.follow() == road.days[-1].champion
    invariants.every_night_has_an_end(road.days)
