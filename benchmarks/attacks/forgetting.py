"""Forgetting: dishonest customers ask to be forgotten, to have others' rows deleted.

    forget       each sends the beginnings of texts that others gave before, says that it was long
                 ago, and asks. Without the defence: whatever holds words of theirs quotes them
    first        each knows what others will write, sends it before they do, and asks: of as many
                 rows as go without a question (`flywheel.privacy.own_words.MOST_QUOTES`). Without:
                 of as many as a night takes rows

``success`` is the share of others' rows that go, of those that may be learned from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.attacks import nights
from benchmarks.attacks.data import dishonest
from benchmarks.attacks.nights import Night, World, curated
from flywheel.privacy.own_words import MOST_QUOTES, Other, quoted
from flywheel.records import Reaction
from flywheel.text.normalize import normalise
from flywheel.text.quotations import MIN_QUOTE_CHARS, quoting, within

EARLY, LATE = 1, 2


def forget(world: World, seed: int, share: float) -> dict[str, float]:
    """Words that others had given before."""
    attackers = dishonest(share)
    sent = _beginnings(world, attackers, of_each=world.data.case.curation.max_customer_rows)
    others = [one for one in world.before if one.customer_id not in _names(attackers)]
    theirs = {text: LATE for texts in sent for text in texts}
    found = quoted([_as_other(one, EARLY) for one in others], theirs)
    is_quote = quoting(theirs)
    return _both(
        world,
        others,
        {others[row].feedback_id for row in found.rows},
        {one.feedback_id for one in others if is_quote(one.text)},
    )


def first(world: World, seed: int, share: float) -> dict[str, float]:
    """Words that others give afterwards; each asks for no more than goes unasked."""
    attackers = dishonest(share)
    others = [one for one in world.before if one.customer_id not in _names(attackers)]
    most = world.data.case.curation.max_customer_rows
    sent = _beginnings(world, attackers, of_each=most)
    later = [_as_other(one, LATE) for one in others]
    everything = quoted(later, {text: EARLY for texts in sent for text in texts}).rows
    held = _held(others, everything, [text for texts in sent for text in texts])
    gone: set[int] = set()
    for texts in sent:
        rows: set[int] = set()
        for text in texts:
            more = rows | held[normalise(text)]
            rows = more if len(more) <= MOST_QUOTES else rows
        gone |= rows
    return _both(
        world,
        others,
        {others[row].feedback_id for row in gone},
        {others[row].feedback_id for row in everything},
    )


def _held(
    others: Sequence[Reaction], rows: Iterable[int], texts: Iterable[str]
) -> dict[str, set[int]]:
    """Text → those of the rows that hold it."""
    wanted = {normalise(text) for text in texts}
    held: dict[str, set[int]] = {text: set() for text in wanted}
    found = within(wanted)
    for row in rows:
        for text in found(normalise(others[row].text)):
            held[text].add(row)
    return held


def _names(attackers: int) -> set[str]:
    return {f"customer-{one}" for one in range(attackers)}


def _beginnings(world: World, attackers: int, *, of_each: int) -> list[list[str]]:
    """For each the beginnings of other texts, long enough to be quoted."""
    texts = [s.text for s in world.known if len(s.text) > MIN_QUOTE_CHARS + 20]
    begins = [" ".join(text.split()[:-2]) for text in texts]
    begins = [one for one in begins if len(one) >= MIN_QUOTE_CHARS]
    return [
        [begins[(one * of_each + n) % len(begins)] for n in range(min(of_each, len(begins)))]
        for one in range(attackers)
    ]


def _as_other(one: Reaction, at: int) -> Other:
    return Other("feedback", one.feedback_id, at, one.source == "gold", one.text)


def _both(
    world: World, others: list[Reaction], gone: set[str], gone_without: set[str]
) -> dict[str, float]:
    learnable = Counter(one.source != "gold" for one in others)[True]
    result: dict[str, float] = {}
    for names in (gone, gone_without):
        figures = {
            "success": len(names) / learnable,
            **nights.cost(world, _left(world, names)),
        }
        result |= figures if names is gone else nights.without(figures)
    return result


def _left(world: World, gone: set[str]) -> Night:
    """What is learned of what is left; all of it where nothing is gone."""
    if not gone:
        return world.clean
    rows = [one for one in [*world.before, *world.tonight] if one.feedback_id not in gone]
    found = curated(world.data, rows, world.data.case.curation)
    return nights.learned_from(found)
