"""A challenger on trial: what the ledger keeps, and a life in which fresh rows decide."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flows.retrain import flywheel
from flywheel.config import GateConfig, Home
from flywheel.gate.trial_progress import Progress, progress
from flywheel.records import FreshRow, Trial
from flywheel.stats import alpha_budget
from flywheel.stats.e_process import group_gains, log_wealth
from flywheel.store import erasure, open_store
from flywheel.store.nights import fresh_rows, trials
from flywheel.tracking.registry import CHAMPION, Registry
from tests import nights
from tests.nights import AS_OF, CASE, DAY

RULES = GateConfig(min_accuracy=0.5)
BUDGET = RULES.alpha * RULES.holdout_share
NAME = "case"


def ask(
    home: Home, night: int, digest: str, champion: str | None, *, rows: int = 500
) -> float | None:
    with open_store(home.warehouse) as store:
        question = trials.ask(
            store,
            NAME,
            as_of=AS_OF + night * DAY,
            digest=digest,
            champion_digest=champion,
            rows=rows,
            rules=RULES,
        )
    return question and question.alpha


def begin(home: Home, night: int, digest: str, champion: str = "old") -> list[str]:
    """Let a challenger go on trial, where it may; returns who is on trial then, by digest."""
    with open_store(home.warehouse) as store:
        trials.start(
            store,
            NAME,
            kind="challenge",
            as_of=AS_OF + night * DAY,
            digest=digest,
            champion_digest=champion,
            snapshot_id="s",
            adapter="a",
            train_examples=10,
            rules=RULES,
        )
        every = trials.trials(store, NAME, kind="challenge")
    return [one.digest for one in every if one.ended_as_of is None]


def start(home: Home, night: int, digest: str, champion: str = "old") -> trials.Standing:
    begin(home, night, digest, champion)
    with open_store(home.warehouse) as store:
        found = trials.of_pair(
            store, NAME, kind="challenge", digest=digest, champion_digest=champion
        )
    assert found is not None
    return found


def after(verdicts: int, *, refuted: tuple[bool, ...] = ()) -> float:
    """The chance of so many verdicts that moved nothing, and of trials beside them."""
    return alpha_budget.Told((False,) * verdicts, refuted).chance


def fresh(name: str, night: int, *, right: bool) -> FreshRow:
    return FreshRow(AS_OF + night * DAY, name, f"group-{name}", "app", right, not right)


# ---- The ledger


def test_every_verdict_is_paid_for_also_one_that_asked_nothing(home: Home) -> None:
    assert ask(home, 0, "first", None) is None
    assert ask(home, 1, "second", "first") == alpha_budget.question_alpha(
        1, after(1), budget=BUDGET
    )
    assert ask(home, 2, "second", "first") is None, "asked before"
    assert ask(home, 3, "third", "first") == pytest.approx(
        alpha_budget.question_alpha(2, after(3), budget=BUDGET)
    )


def test_a_night_that_lives_again_is_granted_the_same_question(home: Home) -> None:
    ask(home, 0, "first", None)
    granted = ask(home, 1, "second", "first")
    assert ask(home, 1, "second", "first") == granted
    with open_store(home.warehouse) as store:
        assert [one.number for one in trials.asked(store, NAME)] == [0, 1]


@pytest.mark.parametrize(
    ("digest", "champion", "rows"),
    [("other", "first", 500), ("second", "other", 500), ("second", "first", 501)],
)
def test_a_night_that_lives_again_with_another_question_is_granted_nothing(
    home: Home, digest: str, champion: str, rows: int
) -> None:
    ask(home, 0, "first", None)
    ask(home, 1, "second", "first")
    assert ask(home, 1, digest, champion, rows=rows) is None


def test_a_night_that_lives_again_is_granted_the_same_after_later_nights(home: Home) -> None:
    ask(home, 0, "first", None)
    granted = ask(home, 1, "second", "first")
    assert ask(home, 2, "third", "first") != granted
    assert ask(home, 1, "second", "first") == granted


def test_a_trial_takes_what_the_one_against_another_champion_has_left(home: Home) -> None:
    budget = RULES.alpha * (1 - RULES.holdout_share)
    one = start(home, 1, "a")
    assert one.alpha == alpha_budget.trial_alpha(1, carried=0.0, budget=budget)
    rows = [fresh(f"e{i}", 2, right=i % 3 > 0) for i in range(12)]
    pair = {"digest": "a", "champion_digest": "old"}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, NAME, rows, **pair)
        fresh_rows.add_evidence(store, NAME, [fresh("e0", 3, right=True)], **pair)
        kept = fresh_rows.evidence(store, NAME, **pair)
        trials.end(store, NAME, one, kind="challenge", as_of=AS_OF + 2 * DAY, ending="rejected")
    assert sorted(kept, key=lambda r: r.example_id) == sorted(rows, key=lambda r: r.example_id)
    left = alpha_budget.handed_on(one.alpha, log_wealth(group_gains(rows)))
    assert 0 < left <= one.alpha
    found = start(home, 3, "b", "new").alpha
    assert found == pytest.approx(alpha_budget.trial_alpha(2, carried=left, budget=budget))


def test_levels_against_one_champion_add_up_and_are_bet_on_together(home: Home) -> None:
    budget = RULES.alpha * (1 - RULES.holdout_share)
    granted = [alpha_budget.trial_alpha(n, carried=0.0, budget=budget) for n in (1, 2, 3)]
    nights_of = {"a": [True, True, False], "b": [True] * 4, "c": [True, False]}
    for night, (digest, won) in enumerate(nights_of.items(), start=1):
        assert start(home, night, digest).alpha == granted[night - 1]
        bet(home, digest, *(fresh(f"{digest}{n}", night + 1, right=w) for n, w in enumerate(won)))
    with open_store(home.warehouse) as store:
        every = trials.trials(store, NAME, kind="challenge")
        trial = trials.as_trial(store, NAME, every[-1])
        assert {row.example_id for row in trials.bet_before(store, NAME, every[-1])} == {
            row.example_id for row in trial.since(0)
        }
    assert [len(one.rows) for one in trial.earlier] == [3, 4]
    assert trial.level == pytest.approx(sum(granted))
    # each level of its own rows and of all that came later
    gains = [[1.0 if won else -1.0 for won in one] for one in nights_of.values()]
    become = sum(
        alpha * math.exp(log_wealth(list(itertools.chain(*gains[place:]))))
        for place, alpha in enumerate(granted)
    )
    assert trials.in_hand(trial, RULES) == pytest.approx(math.log(become))
    stands = progress(trial)
    assert stands.log_wealth - stands.needed == pytest.approx(math.log(become))
    assert (stands.rows, stands.earlier) == (2, 2)


def test_what_came_before_a_promotion_or_an_older_version_does_not_count_again(home: Home) -> None:
    budget = RULES.alpha * (1 - RULES.holdout_share)
    one = start(home, 1, "a")
    bet(home, "a", *(fresh(f"e{n}", 2, right=True) for n in range(9)))
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, one, kind="challenge", as_of=AS_OF + 2 * DAY, ending="promoted")
    # a person has not approved it: the champion is the old one
    two = start(home, 2, "b")
    granted = alpha_budget.trial_alpha(2, carried=one.alpha, budget=budget)
    assert two.alpha == pytest.approx(granted)
    bet(home, "b", fresh("f", 3, right=False))
    with open_store(home.warehouse) as store:
        assert trials.as_trial(store, NAME, two).earlier == ()
        # 0.1.0 had given to a trial what the one before had left
        store.con.execute("UPDATE trials SET adds_up = NULL WHERE digest = 'b'")
    three = start(home, 3, "c")
    left = alpha_budget.handed_on(two.alpha, log_wealth([-1.0]))
    assert three.alpha == pytest.approx(alpha_budget.trial_alpha(3, carried=left, budget=budget))
    with open_store(home.warehouse) as store:
        assert trials.as_trial(store, NAME, three).earlier == ()


def test_a_level_that_went_to_a_trial_against_another_champion_does_not_count_twice(
    home: Home,
) -> None:
    """The champion goes and comes back, and nothing was bet between."""
    budget = RULES.alpha * (1 - RULES.holdout_share)
    for night in range(0, 12, 2):
        start(home, night, f"x{night}")
        bet(home, f"x{night}", fresh(f"e{night}", night + 1, right=night % 4 == 0))
        one = start(home, night + 1, f"y{night}", "new")
    with open_store(home.warehouse) as store:
        every = trials.trials(store, NAME, kind="challenge")
        assert max(trials.as_trial(store, NAME, other).level for other in every) < budget
        assert trials.as_trial(store, NAME, one).level < budget


def test_two_that_bet_under_one_number_are_one_level(home: Home) -> None:
    """A night was lived again, and another challenger took the place."""
    first = start(home, 1, "x")
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, first, kind="challenge", as_of=AS_OF + 2 * DAY, ending="superseded")
    second = start(home, 2, "y")
    bet(home, "x", fresh("x", 2, right=True))
    bet(home, "y", fresh("y", 3, right=True))
    third = start(home, 3, "z")
    with open_store(home.warehouse) as store:
        trial = trials.as_trial(store, NAME, third)
    assert second.number == first.number
    assert trial.level == pytest.approx(first.alpha + third.alpha)
    assert [len(one.rows) for one in trial.earlier] == [2]


def test_a_challenger_is_not_promoted_for_what_others_have_won(home: Home) -> None:
    """Its own rows must speak for it, too."""
    start(home, 1, "a")
    bet(home, "a", *(fresh(f"a{n}", 2, right=True) for n in range(40)))
    one = start(home, 2, "b")
    for won in (False, True):
        bet(home, "b", *(fresh(f"b{won}{n}", 3 + won, right=won) for n in range(1 + 5 * won)))
        with open_store(home.warehouse) as store:
            stands = progress(trials.as_trial(store, NAME, one))
        assert stands.log_wealth > stands.needed
        assert stands.proven is won


def test_a_place_passes_on_with_its_number_and_level_until_somebody_bets(home: Home) -> None:
    first = start(home, 1, "a")
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, first, kind="challenge", as_of=AS_OF + 2 * DAY, ending="superseded")
    second = start(home, 2, "b")
    assert (second.number, second.alpha) == (first.number, first.alpha)
    pair = {"digest": "b", "champion_digest": "old"}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, NAME, [fresh("e", 3, right=False)], **pair)
        trials.end(store, NAME, second, kind="challenge", as_of=AS_OF + 3 * DAY, ending="over")
    third = start(home, 3, "c", "new")
    left = alpha_budget.handed_on(first.alpha, log_wealth([-1.0]))
    budget = RULES.alpha * (1 - RULES.holdout_share)
    assert third.number == 2
    assert third.alpha == pytest.approx(alpha_budget.trial_alpha(2, carried=left, budget=budget))


def test_a_night_that_lives_again_leaves_one_challenger_on_trial(home: Home) -> None:
    assert begin(home, 1, "a") == ["a"]
    assert begin(home, 1, "b") == ["b"], "the use case was edited between"


def test_an_earlier_night_begins_no_trial_beside_that_of_a_later_one(home: Home) -> None:
    begin(home, 6, "a")
    assert begin(home, 5, "b") == ["a"]


def test_a_trial_does_not_come_back_once_another_has_bet_what_it_left(home: Home) -> None:
    """Its last night is lived again, weeks later."""
    first = start(home, 1, "a")
    pair = {"digest": "b", "champion_digest": "old"}
    night = AS_OF + 5 * DAY
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, first, kind="challenge", as_of=AS_OF + 5 * DAY, ending="superseded")
    start(home, 5, "b")
    with open_store(home.warehouse) as store:
        found = trials.standing(store, NAME, kind="challenge", as_of=night)
        assert found is not None, "killed and lived again at once"
        assert found.digest == "a"
        fresh_rows.add_evidence(store, NAME, [fresh("e", 6, right=True)], **pair)
        assert trials.standing(store, NAME, kind="challenge", as_of=night) is None


def test_rows_that_a_brake_counted_are_no_bets_of_a_challenge(home: Home) -> None:
    one = start(home, 4, "a")
    pair = {"digest": "a", "champion_digest": "old"}
    with open_store(home.warehouse) as store:
        before = [fresh("early", 3, right=True), fresh("that night", 4, right=True)]
        fresh_rows.add_evidence(store, NAME, [*before, fresh("e", 5, right=True)], **pair)
        assert [row.example_id for row in trials.evidence(store, NAME, one)] == ["e"]


def test_a_level_that_was_bet_is_not_given_again_by_a_night_that_was_lived_late(home: Home) -> None:
    first = start(home, 6, "a")
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, first, kind="challenge", as_of=AS_OF + 8 * DAY, ending="superseded")
    late = start(home, 5, "b")
    pair = {"digest": "b", "champion_digest": "old"}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, NAME, [fresh("e", 9, right=False)], **pair)
        trials.end(store, NAME, late, kind="challenge", as_of=AS_OF + 9 * DAY, ending="over")
    left = alpha_budget.handed_on(late.alpha, log_wealth([-1.0]))
    budget = RULES.alpha * (1 - RULES.holdout_share)
    found = start(home, 9, "c", "new").alpha
    assert found == pytest.approx(alpha_budget.trial_alpha(2, carried=left, budget=budget))


def bet(home: Home, digest: str, *rows: FreshRow) -> None:
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, NAME, rows, digest=digest, champion_digest="old")


def forget(home: Home, *people: str) -> None:
    with open_store(home.warehouse) as store:
        for person in people:
            found = [erasure.held(store, NAME, person)]
            erasure.delete_rows(store, found, person, retrain=[], certificate_id="c")


def told(home: Home, one: trials.Standing, *, by_row: bool = False) -> Progress:
    with open_store(home.warehouse) as store:
        rows = trials.evidence(store, NAME, one)
    return progress(Trial.of(one.number, one.alpha, rows), by_row=by_row)


@pytest.mark.parametrize("right", [True, False])
def test_forgetting_whose_rows_decided_gives_no_level_back(home: Home, right: bool) -> None:
    levels = []
    for forgotten in (False, True):
        life = Home(home.root / str(forgotten))
        one = start(life, 1, "a")
        bet(life, "a", fresh("lost", 2, right=right), fresh("other", 2, right=False))
        if forgotten:
            forget(life, "group-lost")
        with open_store(life.warehouse) as store:
            at = AS_OF + 2 * DAY
            trials.end(store, NAME, one, kind="challenge", as_of=at, ending="over")
        levels.append(start(life, 3, "b", "new").alpha)
    assert levels[0] == pytest.approx(levels[1])


def test_a_trial_that_was_bet_on_stays_so_when_everybody_in_it_is_forgotten(home: Home) -> None:
    one = start(home, 1, "a")
    bet(home, "a", fresh("e", 2, right=False))
    forget(home, "group-e")
    assert start(home, 3, "b").number == one.number + 1


@pytest.mark.parametrize("by_row", [False, True])
def test_a_trial_stands_as_it_did_when_somebody_in_it_was_forgotten(
    home: Home, by_row: bool
) -> None:
    one = start(home, 1, "a")
    rows = [fresh(f"{n}-{night}", night, right=n % 3 > 0) for n in range(9) for night in (2, 3)]
    # several rows of a group are one bet, on each night that they came
    rows = [replace(row, group_id=f"group-{int(row.example_id[0]) % 4}") for row in rows]
    bet(home, "a", *rows)
    before = told(home, one, by_row=by_row)
    forget(home, "group-0", "group-2", "group-0")
    assert astuple(told(home, one, by_row=by_row)) == pytest.approx(astuple(before))


def test_what_stays_of_the_forgotten_in_a_trial_names_nobody(home: Home) -> None:
    one = start(home, 1, "a")
    rows = [fresh(f"e{n}", 2, right=True) for n in range(3)]
    bet(home, "a", *(replace(row, group_id="them", source="them") for row in rows))
    forget(home, "them")
    with open_store(home.warehouse) as store:
        kept = trials.evidence(store, NAME, one)
        assert erasure.mentions(store, [], ["them", *(row.example_id for row in rows)])[1] == []
    assert len({row.example_id for row in kept}) == 3
    assert len({row.group_id for row in kept}) == 1


def test_what_is_told_of_a_trial_beside_a_verdict_is_paid_for_too(home: Home) -> None:
    ask(home, 0, "first", None)
    ask(home, 1, "second", "first")
    start(home, 1, "second")
    assert ask(home, 2, "third", "first") == pytest.approx(
        alpha_budget.question_alpha(2, after(2), budget=BUDGET)
    )
    beside = after(3, refuted=(False,))
    assert ask(home, 3, "fourth", "first") == pytest.approx(
        alpha_budget.question_alpha(3, beside, budget=BUDGET)
    )
    assert ask(home, 2, "third", "first") is not None, "the night lives again"


def test_a_trial_stands_from_the_night_after_until_the_night_it_ends(home: Home) -> None:
    one = start(home, 1, "a")

    def standing(night: int) -> bool:
        with open_store(home.warehouse) as store:
            at = AS_OF + night * DAY
            return trials.standing(store, NAME, kind="challenge", as_of=at) is not None

    assert [standing(night) for night in (1, 2, 3)] == [False, True, True]
    with open_store(home.warehouse) as store:
        trials.end(store, NAME, one, kind="challenge", as_of=AS_OF + 2 * DAY, ending="rejected")
    assert [standing(night) for night in (2, 3)] == [True, False]


# ---- A life

# the holdout may decide next to nothing: what is better must be shown on fresh rows
TRIED = CASE.model_copy(
    update={
        "name": "tried-reviews",
        "gate": CASE.gate.model_copy(
            update={"alpha": 0.4, "holdout_share": 1e-9, "evidence_sources": ["app"]}
        ),
    }
)


@dataclass
class Life:
    home: Home
    nights: list[dict[str, Any]] = field(default_factory=list)
    champions: list[str | None] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def live(self, night: int) -> None:
        at = AS_OF + night * DAY
        self.nights.append(flywheel(TRIED, at))
        champion = Registry(self.home).by_alias(TRIED.name, CHAMPION)
        self.champions.append(champion and champion.version)
        self.trained.append(len(list(self.home.adapters.iterdir())))
        newest = max(self.home.reports(TRIED.name).glob("*Z.html"))
        self.pages.append(newest.read_text())


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    nights.prefect_server()
    home = nights.make_home(tmp_path_factory.mktemp("trial") / "home")
    logging.getLogger("flywheel").setLevel(logging.WARNING)
    second = nights.seed_rows(topic=1)
    with nights.living_in(home), nights.training_here():
        life = Life(home)
        nights.drop_into(home, TRIED, nights.first_rows(), night=0)
        life.live(0)
        nights.drop_into(home, TRIED, second[::2], night=1)
        life.live(1)
        nights.drop_into(home, TRIED, second[1::2], night=2)
        life.live(2)
        yield life


@pytest.mark.prefect
@pytest.mark.model
def test_what_the_holdout_may_not_decide_goes_on_trial_and_fresh_rows_decide(life: Life) -> None:
    assert [night["outcome"] for night in life.nights] == ["promoted", "undecided", "promoted"]
    assert life.champions == ["1", "1", "2"]
    assert life.nights[2]["version"] == life.nights[1]["version"] == "2"
    assert life.nights[2]["trial_nights"] == 1


@pytest.mark.prefect
@pytest.mark.model
def test_training_goes_on_while_one_is_on_trial(life: Life) -> None:
    assert life.trained == [1, 2, 3]
    assert life.nights[2]["digest"] == life.nights[1]["digest"], "the one on trial was promoted"


@pytest.mark.prefect
@pytest.mark.model
def test_only_rows_labeled_after_the_trial_began_are_evidence(life: Life) -> None:
    with open_store(life.home.warehouse) as store:
        (one,) = trials.trials(store, TRIED.name, kind="challenge")
        kept = fresh_rows.evidence(
            store, TRIED.name, digest=one.digest, champion_digest=one.champion_digest
        )
    assert one.ending == "promoted"
    assert len(kept) == len(nights.seed_rows(topic=1)[1::2])
    assert {row.as_of for row in kept} == {AS_OF + 2 * DAY}


@pytest.mark.prefect
@pytest.mark.model
def test_the_reports_tell_the_story_and_quote_no_holdout_row(life: Life) -> None:
    holdout = {row["text"] for row in nights.gold_rows()}
    fresh_texts = {row["text"] for row in nights.seed_rows(topic=1)[1::2]}
    assert "trial" in life.pages[1]
    assert any(text in life.pages[2] for text in fresh_texts)
    assert not [text for page in life.pages for text in holdout if text in page]


# ---- Feedback that is no evidence

UNHEARD = nights.CASE.model_copy(
    update={
        "name": "unheard-reviews",
        "training": nights.CASE.training.model_copy(update={"method": "tfidf", "base": None}),
        "gate": nights.CASE.gate.model_copy(update={"alpha": 1e-6, "slices": []}),
    }
)


@pytest.mark.prefect
@pytest.mark.slow
def test_a_trial_without_evidence_blocks_no_training_and_keeps_the_budget(tmp_path: Path) -> None:
    nights.prefect_server()
    home = nights.make_home(tmp_path / "home")
    rows = nights.seed_rows(topic=1)
    with nights.living_in(home), nights.training_here():
        nights.drop_into(home, UNHEARD, nights.first_rows(), night=0)
        lived = [flywheel(UNHEARD, AS_OF)]
        for night in (1, 2, 3):
            nights.drop_into(home, UNHEARD, rows[night - 1 :: 3], night=night)
            lived.append(flywheel(UNHEARD, AS_OF + night * DAY))
    assert [night["outcome"] for night in lived] == ["promoted", *["undecided"] * 3]
    assert len({night["digest"] for night in lived}) == 4, "each night trained a newer one"
    with open_store(home.warehouse) as store:
        found = trials.trials(store, UNHEARD.name, kind="challenge")
    assert [one.number for one in found] == [1, 1, 1]
    assert len({one.alpha for one in found}) == 1
    assert [one.ending for one in found] == ["superseded", "superseded", None]
    assert "gate.evidence_sources" in {r["rule"]: r["detail"] for r in lived[3]["reasons"]}["trial"]


# ---- Fresh rows that decide nothing yet

SLOW = TRIED.model_copy(
    update={
        "name": "slow-reviews",
        "training": TRIED.training.model_copy(update={"method": "tfidf", "base": None}),
    }
)


@pytest.mark.slow
@pytest.mark.prefect
def test_the_page_shows_the_trial_that_was_judged_though_the_newest_stood_before_the_gate(
    tmp_path: Path,
) -> None:
    nights.prefect_server()
    home = nights.make_home(tmp_path / "home")
    second = nights.seed_rows(topic=1)
    with nights.living_in(home), nights.training_here():
        for night, rows in enumerate((nights.first_rows(), second[6:], second[:6])):
            nights.drop_into(home, SLOW, rows, night=night)
            lived = flywheel(SLOW, AS_OF + night * DAY)
    told = {reason["rule"]: reason["detail"] for reason in lived["reasons"]}["trial"]
    shown = max(home.reports(SLOW.name).glob("*Z.html")).read_text()
    assert "1 of 14 nights, 6 fresh rows" in told
    assert "trial number 1, of a challenger of an earlier night" in shown
    assert "No evidence from fresh rows" not in shown
