"""A fortnight with a user, for each kind of use case, on exactly what `init` proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.journeys import bases, events, invariants
from tests.journeys.journey import Event, Journey, live
from tests.journeys.people import (
    CHINESE,
    DEUTSCH,
    ENGLISH,
    RUSSIAN,
    THAI_TONGUE,
    Habits,
    World,
    excel_csv,
    json_lines,
    pictures,
)  # fmt: skip
from tests.journeys.road import Road

pytestmark = [pytest.mark.slow, pytest.mark.prefect, pytest.mark.timeout(3_000)]

NIGHTS = 14
CHEAP = ("--method", "tfidf")
# what proves a gain of ten points on groups of a customer's rows within a fortnight, mishaps or not
MANY = 200


def world(name: str, *labels: str, **changes: object) -> World:
    """Labels that are alike frequent."""
    return World(name, dict.fromkeys(labels, 1.0), **changes)  # type: ignore[arg-type]


UNSORTED = World(
    "unsorted",
    {"Rückerstattung": 0.3, "Ärger": 0.2, "Lieferung": 0.3, "Konto": 0.2},
    tongues=(DEUTSCH,),
)
WITH_ONE_MORE = World(
    "unsorted",
    {"Rückerstattung": 0.25, "Ärger": 0.2, "Lieferung": 0.25, "Konto": 0.15, "Garantie": 0.15},
    tongues=(DEUTSCH,),
)
STARS = world("stars", "5", "4", "3", "2", "1", tongues=(RUSSIAN,))
ACTS = ("open", "close", "change", "lose", "pay", "ask")
THINGS = ("card", "account", "limit", "address", "fee", "loan", "visa", "rate", "code", "cash")
INTENTS = world("intents", *(f"{act}_{thing}" for act in ACTS for thing in THINGS), cues=12, flat=4)
TONGUES = world("tongues", "退款", "配送", "Beschwerde", "Lob", tongues=(CHINESE, DEUTSCH), cues=30)
EXCEL = world("excel", "Größe", "Maß", "Zahlung", tongues=(DEUTSCH,))
RARE = World("rare", {"fine": 0.57, "late": 0.4, "fraud": 0.03}, tongues=(ENGLISH, THAI_TONGUE))
HEADS = world("heads", "hoch", "mittel", "tief", tongues=(DEUTSCH,))
WORDS = world("words", "gut", "schlecht", cues=40, flat=2)
NOTES = world("notes", "ann wants a repair .", "ben asks for his money .", cues=30, flat=1)
TILES = world("tiles", "wall", "floor", cues=24, flat=3, fillers=24, draws=True)


def predecessor_deleted(road: Road) -> None:
    """The champion before this one is cleared away in MLflow, where there was one."""
    champions = list(dict.fromkeys(day.champion for day in road.days if day.champion))
    assert len(champions) > 1, "there is no predecessor yet"
    events.version_deleted(road, champions[-2])


def champion_deleted(road: Road) -> None:
    """Somebody clears the champion away in MLflow."""
    champion = road.days[-1].champion
    assert champion is not None
    events.version_deleted(road, champion)


def killed_and_lived_again(road: Road) -> None:
    """The machine dies in a night, and the same night is lived again."""
    events.night_killed(road, after="curated")


MISHAPS: Mapping[str, Mapping[int, Event]] = {
    "unsorted": {4: partial(events.label_added, label="Garantie")},
    "stars": {5: events.prompt_edited, 8: events.prefect_away},
    "intents": {6: killed_and_lived_again},
    "tongues": {5: events.library_changed, 9: events.clocks_changed},
    "excel": {12: predecessor_deleted},
    "rare": {11: champion_deleted},
    "heads": {},
    "words": {3: events.poll_beside},
    "notes": {},
    "tiles": {},
}
JOURNEYS = {
    journey.name: journey
    for journey in (
        Journey(
            UNSORTED, rows=600, columns=("Nachricht", "Thema", "Kundennummer"),
            flags=CHEAP, per_day=MANY, events=MISHAPS["unsorted"], moves_to=(5, WITH_ONE_MORE),
        ),
        Journey(
            STARS, rows=700, columns=("отзыв", "оценка", "клиент"), write=json_lines,
            per_day=MANY, events=MISHAPS["stars"],
            flags=(*CHEAP, "--text", "отзыв", "--label", "оценка", "--customer", "клиент"),
        ),
        Journey(
            INTENTS, rows=480, columns=("utterance", "intent", "user_id"), flags=CHEAP,
            per_day=MANY, events=MISHAPS["intents"],
        ),
        Journey(TONGUES, rows=600, flags=CHEAP, per_day=MANY, events=MISHAPS["tongues"]),
        Journey(
            EXCEL, rows=500, columns=("Text", "Kategorie", "Kunde"), write=excel_csv,
            # where only some react, what is labeled from the queue is the evidence
            per_day=MANY, audits=80, events=MISHAPS["excel"], habits=Habits(reacts=0.6),
            flags=(*CHEAP, "--label", "Kategorie", "--reactions", "some"),
        ),
        Journey(RARE, rows=800, flags=CHEAP, per_day=MANY, events=MISHAPS["rare"]),
        Journey(
            HEADS, rows=500, base=bases.encoder, per_day=MANY, events=MISHAPS["heads"],
            flags=("--method", "frozen_head"), settings={"training": {"base": "tiny"}},
        ),
        Journey(
            WORDS, rows=400, base=bases.causal, events=MISHAPS["words"],
            # what weights of chance take to learn anything at all
            flags=("--method", "qlora"),
            settings={"training": {"base": "tiny", "learning_rate": 5e-3, "epochs": 12}},
        ),
        Journey(
            NOTES, rows=400, base=bases.writer, events=MISHAPS["notes"], habits=Habits(slips=0),
            columns=("dialogue", "summary", "customer_id"), flags=("--kind", "text-generation"),
            # whoever edits has the answer in sight, and only audits are evidence
            per_day=MANY, audits=60,
            settings={"training": {
                "base": "tiny", "learning_rate": 5e-3, "epochs": 12, "max_new_tokens": 10,
            }},
        ),
        Journey(
            TILES, rows=200, base=bases.vision, events=MISHAPS["tiles"], write=pictures,
            columns=("path", "place", "customer_id"),
            flags=("--method", "frozen_head"), settings={"training": {"base": "tiny"}},
        ),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", JOURNEYS)
def test_a_fortnight_on_what_init_proposes(name: str, begin: Callable[[str], Road]) -> None:
    road = begin(name)
    live(JOURNEYS[name], road, nights=NIGHTS)

    invariants.every_night_has_an_end(road.days, may_fail=MISHAPS[name])
    invariants.a_failed_night_says_what_to_do(road.days)
    invariants.all_is_counted_once(road)
    invariants.a_better_one_was_promoted_and_served(road)
    invariants.no_state_repeats_in_silence(road.days)
