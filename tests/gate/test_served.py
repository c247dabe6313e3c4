"""Fresh rows judged by what was answered in serving; a canary that can refuse and never promote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import GateConfig, Home, UseCase
from flywheel.gate import canary, rules, trial_progress
from flywheel.gate.decision import decide
from flywheel.gate.served_answers import TIE, resolve_answers
from flywheel.records import (
    Contender,
    Example,
    FreshRow,
    Prediction,
    Question,
    Row,
    Served,
    Shadow,
    Trial,
    Verdict,
)
from flywheel.store import open_store
from flywheel.store.feedback import predictions
from flywheel.store.nights import fresh_rows
from flywheel.store.nights.trials import Standing
from tasks import trial as tried
from tasks.ingest import ingest_inbox
from tests.gate.test_gates import RULES as GATE
from tests.gate.test_gates import contest, reason
from tests.nights import AS_OF, DAY

NEW, OLD = "new-digest", "old-digest"
GOOD, BAD = {"negative": 0.1, "positive": 0.9}, {"negative": 0.9, "positive": 0.1}
LIMITS = GateConfig(min_canary_groups=20)


# ---- One row


def served(digest: str, *, shown: bool, said: Mapping[str, float] = GOOD, at: str = "p") -> Served:
    return Served(at, digest, shown, said)


def test_both_recorded_answers_judge_a_row() -> None:
    pair = [served(OLD, shown=True, said=BAD), served(NEW, shown=False)]
    heard = resolve_answers(pair, {NEW: dict(GOOD), OLD: dict(BAD)}, challenger=NEW)
    assert (heard.shown, heard.recorded, heard.differs) == ("champion", True, False)
    assert heard.answers == {NEW: GOOD, OLD: BAD}


def test_one_recorded_answer_is_compared_but_judges_nothing_unless_it_is_the_canarys() -> None:
    measured = {NEW: GOOD, OLD: GOOD}
    champions = resolve_answers([served(OLD, shown=True, said=BAD)], measured, challenger=NEW)
    canarys = resolve_answers([served(NEW, shown=True, said=BAD)], measured, challenger=NEW)
    assert (champions.answers, champions.recorded, champions.differs) == (measured, False, True)
    assert canarys.answers == {NEW: BAD, OLD: GOOD}
    assert (canarys.shown, canarys.recorded, canarys.differs) == ("challenger", True, True)


def test_answers_of_another_digest_have_no_effect() -> None:
    others = [served("third", shown=True, said=BAD), served(NEW, shown=False, said=GOOD)]
    heard = resolve_answers(others, {NEW: GOOD, OLD: GOOD}, challenger=NEW)
    assert (heard.shown, heard.recorded) == (None, False)
    assert heard.answers == {NEW: GOOD, OLD: GOOD}


def test_a_tie_is_no_difference() -> None:
    near = {"negative": 0.5 + TIE / 4, "positive": 0.5 - TIE / 4}
    turned = {"negative": 0.49, "positive": 0.51}
    heard = resolve_answers(
        [served(OLD, shown=True, said=turned)], {NEW: GOOD, OLD: near}, challenger=NEW
    )
    assert heard.differs is False


_SERVED = st.builds(
    Served,
    prediction_id=st.sampled_from("abc"),
    digest=st.sampled_from([NEW, OLD, "third"]),
    shown=st.booleans(),
    probabilities=st.sampled_from([GOOD, BAD]),
)


@given(
    given_=st.lists(_SERVED, max_size=6, unique_by=lambda s: (s.prediction_id, s.digest, s.shown)),
    data=st.data(),
)
def test_the_order_of_recorded_answers_does_not_matter(
    given_: list[Served], data: st.DataObject
) -> None:
    measured = {NEW: GOOD, OLD: BAD}
    mixed = data.draw(st.permutations(given_))
    assert resolve_answers(mixed, measured, challenger=NEW) == resolve_answers(
        given_, measured, challenger=NEW
    )


# ---- The rules


def row(number: int, *, ours: bool = True, theirs: bool = True, **facts: Any) -> FreshRow:
    return FreshRow(AS_OF, f"e{number:03}", f"group-{number}", "app", ours, theirs, **facts)


def arms(ours: bool, theirs: bool, *, groups: int = 40) -> Trial:
    """A canary of as many groups as see the champion."""
    canary = [row(n, ours=ours, theirs=True, shown="challenger") for n in range(groups)]
    rest = [row(n, theirs=theirs, shown="champion") for n in range(groups, 2 * groups)]
    return Trial.of(1, 0.02, [*canary, *rest])


def verdict(trial: Trial | None, *, canary: bool, limits: GateConfig = GATE) -> Verdict:
    """Of a challenger that the holdout proves better: only what is served can stop it."""
    ours, theirs = contest(41, 19, both=600, neither=82)
    return decide(
        challenger=Contender(ours),
        champion=Contender(theirs),
        first=False,
        rows={name: Row(name, "bill", name, "gold") for name in ours.example_ids},
        question=Question(1, 0.05),
        trial=trial,
        limits=limits,
        canary=canary,
    )


@pytest.mark.parametrize("trial", [None, Trial(1, 0.02), arms(True, True, groups=3)])
def test_an_empty_or_small_canary_is_not_enough_data(trial: Trial | None) -> None:
    found = verdict(trial, canary=True)
    assert found.decision == "undecided"
    assert "not enough data" in reason(found, "canary").detail
    assert verdict(trial, canary=False).decision == "promote", "nobody asked for a canary"


def test_a_canary_that_stays_empty_gives_way_when_the_nights_are_over() -> None:
    rows = [replace(row(n), as_of=AS_OF + n * DAY) for n in range(LIMITS.max_trial_nights)]
    before, after = (Trial.of(1, 0.02, some) for some in (rows[1:], rows))
    assert rules.canary(before, LIMITS, on=True).passed is None
    assert rules.canary(after, LIMITS, on=True).passed is False
    assert rules.canary(after, LIMITS, on=False).on is False


def test_what_only_waits_for_its_canary_goes_on_trial() -> None:
    assert tried._compared(verdict(None, canary=True))
    assert not tried._compared(verdict(None, canary=False))


def test_a_worse_canary_refuses_also_what_the_holdout_proves_better() -> None:
    for on in (True, False):
        found = verdict(arms(False, True), canary=on)
        assert found.decision == "reject"
        assert reason(found, "canary").passed is False


def test_a_canary_that_is_not_worse_lets_others_decide() -> None:
    assert verdict(arms(True, True), canary=True).decision == "promote"


def test_a_better_canary_proves_nothing() -> None:
    wins = [row(n, ours=True, theirs=False, shown="challenger") for n in range(200)]
    trial = Trial.of(1, 0.02, wins)
    assert (trial.rows, trial.nights) == ((), 1)
    assert trial_progress.progress(trial).log_wealth == 0


def test_arms_are_compared_by_groups() -> None:
    loud = [
        replace(row(n, ours=False, shown="challenger"), group_id="one customer") for n in range(400)
    ]
    rest = [row(n, shown="champion") for n in range(400, 440)]
    trial = Trial.of(1, 0.02, loud + rest)
    found = canary.compare(trial, alpha=0.05)
    assert (found.challenger.groups, found.champion.groups, found.worse) == (1, 40, False)


def test_planted_differences_are_told_and_keep_the_champion() -> None:
    planted = [row(n, shown="champion", recorded=True, differs=n < 5) for n in range(40)]
    found = verdict(Trial.of(1, 0.02, planted), canary=False)
    told = reason(found, "served_as_measured")
    assert found.decision == "undecided"
    assert "served and measured disagree on 5 of 40 rows" in told.detail
    assert "40 of the shadow, 0 of the canary, of 40 fresh rows" in told.detail
    few = verdict(Trial.of(1, 0.02, [replace(r, differs=False) for r in planted]), canary=False)
    assert (few.decision, reason(few, "served_as_measured").passed) == ("promote", True)


def test_few_differences_are_told_and_do_not_stop_it() -> None:
    rows = [row(n, shown="champion", recorded=True, differs=n < 1) for n in range(100)]
    told = rules.served_as_measured(Trial.of(1, 0.02, rows), LIMITS)
    assert told.passed is True
    assert "WARNING: served and measured disagree on 1 of 100 rows" in told.detail


@given(data=st.data(), size=st.integers(0, 12))
def test_the_order_of_rows_does_not_matter(data: st.DataObject, size: int) -> None:
    flags = st.sampled_from([None, "champion", "challenger"])
    rows = [
        row(n // 2, ours=data.draw(st.booleans()), theirs=data.draw(st.booleans()),
            shown=data.draw(flags), differs=data.draw(st.sampled_from([None, True, False])))
        for n in range(size)
    ]  # fmt: skip
    rows = [replace(one, example_id=f"e{n}") for n, one in enumerate(rows)]
    mixed = data.draw(st.permutations(rows))
    for on in (True, False):
        one, other = (Trial.of(1, 0.02, some) for some in (rows, mixed))
        assert rules.canary(one, LIMITS, on=on) == rules.canary(other, LIMITS, on=on)
        assert verdict(one, canary=on).decision == verdict(other, canary=on).decision
        assert rules.served_as_measured(one, LIMITS) == rules.served_as_measured(other, LIMITS)


# ---- From the warehouse into the evidence

STANDING = Standing(NEW, OLD, 1, 0.02, "s", "a", 10, AS_OF)


def keep(
    home: Home,
    case: UseCase,
    number: int,
    *,
    by: str,
    shadow: tuple[str, Mapping[str, float]] | None,
) -> Example:
    """An answer that was given, one that was not, and the example that comes of them."""
    name = f"p{number}"
    shown = Prediction(
        name, f"text {number}", f"group-{number}", None, "positive", GOOD, "1", by, AS_OF
    )
    with open_store(home.warehouse) as store:
        store.insert_predictions(case.name, [shown])
        if shadow:
            other = Shadow(name, "negative", shadow[1], "2", shadow[0], AS_OF)
            predictions._add_shadows(store, case.name, [other])
    return Example(
        f"e{number}", f"text {number}", "positive", 1.0, f"group-{number}", "train", (f"f{number}",)
    )


def accept(home: Home, case: UseCase, numbers: range) -> None:
    inbox = home.inbox(case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    rows = [
        {"feedback_id": f"f{n}", "kind": "accept", "prediction_id": f"p{n}", "rater_id": "r",
         "source": "app", "given_at": AS_OF.isoformat()}
        for n in numbers
    ]  # fmt: skip
    (inbox / "day.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    ingest_inbox(case, home, at=AS_OF)


def test_recorded_answers_reach_the_evidence_and_a_row_counts_once(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = use_case
    given_ = {0: (OLD, (NEW, BAD)), 1: (OLD, ("third", BAD)), 2: (NEW, (OLD, GOOD)), 3: (OLD, None)}
    examples = [keep(home, case, n, by=by, shadow=shadow) for n, (by, shadow) in given_.items()]
    accept(home, case, range(4))
    measured = {"the challenger": BAD, "the champion": GOOD}

    def ask(_: Any, __: Any, ___: Any, texts: Mapping[str, str], *, name: str) -> dict[str, Any]:
        return {one: measured[name] for one in texts}

    monkeypatch.setattr(tried, "ask", ask)
    monkeypatch.setattr(tried, "fresh_examples", lambda *_: examples)
    folders = dict.fromkeys(measured, (case, home.adapters))

    def night(number: int) -> Trial:
        at = AS_OF + number * DAY
        return tried.compare_on_fresh_rows(case, home, None, STANDING, folders, at=at)  # type: ignore[arg-type]

    first = night(1)
    told = {r.example_id: (r.shown, r.recorded, r.differs) for r in first.rows + first.canary}
    assert told == {
        "e0": ("champion", True, False),
        "e1": ("champion", False, False),
        "e2": ("challenger", True, True),
        "e3": ("champion", False, False),
    }
    assert [(r.challenger_right, r.champion_right) for r in first.rows] == [(False, True)] * 3
    assert [(r.challenger_right, r.champion_right) for r in first.canary] == [(True, True)]
    # the same as asking again decides, where both agree
    again = [replace(r, recorded=False) for r in first.rows]
    assert trial_progress.progress(Trial.of(1, 0.02, again)) == trial_progress.progress(first)
    assert night(2) == first
    with open_store(home.warehouse) as store:
        kept = fresh_rows.evidence(store, case.name, digest=NEW, champion_digest=OLD)
    assert len(kept) == 4


def test_a_customer_has_a_share_of_what_came_tonight_not_of_what_came_before(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, asked = use_case, list[str]()
    whose = dict(enumerate("abbbcaaab"))
    examples = [keep(home, case, n, by=OLD, shadow=None) for n in whose]
    accept(home, case, range(len(whose)))

    def ask(_: Any, __: Any, ___: Any, texts: Mapping[str, str], *, name: str) -> dict[str, Any]:
        asked.extend(texts)
        return {one: GOOD for one in texts}

    monkeypatch.setattr(tried, "ask", ask)
    monkeypatch.setattr(tried, "speakers", lambda _, __, fresh: {
        one.example_id: (whose[int(one.example_id[1:])],) for one in fresh
    })  # fmt: skip
    folders = dict.fromkeys(("the challenger", "the champion"), (case, home.adapters))
    counted = []
    for number, came in ((1, examples[:5]), (2, examples), (2, examples)):
        monkeypatch.setattr(tried, "fresh_examples", lambda *_, came=came: came)
        at = AS_OF + number * DAY
        trial = tried.compare_on_fresh_rows(case, home, None, STANDING, folders, at=at)  # type: ignore[arg-type]
        counted.append(
            sorted(name for row in trial.rows if row.as_of == at for name in row.customers)
        )
    assert counted[0] == ["a", "b", "c"], "as many as the second loudest"
    assert counted[1] == counted[2] == ["a", "b"], "whatever they had before"
    assert asked.count("e0") == 2, "each contender is asked once"
