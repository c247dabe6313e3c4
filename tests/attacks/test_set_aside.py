"""Rows that are set aside as unusual wait for a person, and cost nobody anything meanwhile."""

from __future__ import annotations

from typing import Any

from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.diagnostics import backlog
from flywheel.store import open_store
from flywheel.store.feedback import labeling, set_aside
from tests.attacks.test_unusual_feedback import DAY, curated_at
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other


def test_rows_that_wait_for_a_person_take_no_place_from_what_their_customer_says_later(
    home: Home,
) -> None:
    """A big customer's one bad batch kept all that it said afterwards out, night after night."""
    rules = JOB.curation.model_copy(update={"max_customer_rows": 120})
    split = JOB.split.model_copy(update={"holdout": 0.1})
    case = JOB.model_copy(update={"split": split, "curation": rules})
    before = [
        other(n, text=f"plain words, no. {n}", value="card", source="app", group_id=f"group-{n}")
        | {"rater_id": "the app", "customer_id": None}
        for n in range(150)
    ]
    drop(home, "a.jsonl", json_lines(*before))
    curated_at(case, home, 0)

    def of_big(number: int, text: str, value: str) -> dict[str, Any]:
        named = {"rater_id": "big", "customer_id": "big", "source": "app"}
        when = {"given_at": f"2026-01-02T03:{number // 60:02}:{number % 60:02}Z"}
        one = other(number, text=text, value=value, group_id=f"big/{number}", **named, **when)
        return one | {"feedback_id": f"big/{number}"}

    bad = [of_big(n, f"plain words, no. {n}", "cash") for n in range(120)]
    good = [of_big(n, f"a new text of the big one, no. {n}", "card") for n in range(120, 160)]
    drop(home, "b.jsonl", json_lines(*bad, *good, other(200, source="app", text="another")))
    for night in (1, 2):
        curated_at(case, home, night)
    with open_store(home.warehouse) as store:
        last = labeling.newest_snapshot(store, case.name)
        told = {step.rule: step for step in store.steps(case.name, last)}
        assert store.waiting(case.name) == 120
    assert told["set_aside"].changed == 120, "which the page says as long as they wait"
    assert any(
        e.text.startswith("a new text of the big") for e in snapshots.read(home.snapshots, last)
    )
    assert backlog.finding(case, home) == [], "no turn of theirs ever comes"


def test_a_night_that_lives_again_sets_aside_what_it_did_then(home: Home) -> None:
    with open_store(home.warehouse) as store:
        set_aside.keep(store, "job", ["a", "b"], at=AT)
        assert set_aside.before(store, "job", AT) == frozenset(), "its own it judges anew"
        set_aside.keep(store, "job", ["b", "c"], at=AT)
        assert set_aside.before(store, "job", AT + DAY) == {"b", "c"}
        assert set_aside.before(store, "another", AT + DAY) == frozenset()
        set_aside.release(store, "job")
        assert set_aside.before(store, "job", AT + DAY) == frozenset()
