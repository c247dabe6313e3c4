"""One key against the gate: its rows promote nobody, brake nobody, and leave others their say."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.dishonest import cell
from flywheel.config import Home
from flywheel.curation import curate
from flywheel.gate import comparison, decision, rules, trial_progress
from flywheel.influence import quorum
from flywheel.influence.quorum import UNKNOWN, Quorum
from flywheel.records import EarlierTrial, Example, FreshRow, Reason, Trial
from flywheel.stats import e_process
from flywheel.stats.e_process import Bet
from flywheel.store import erasure, open_store
from flywheel.store.feedback import changes
from flywheel.store.nights import fresh_rows
from tasks.evidence_shares import speakers, within_shares
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other, predicted
from tests.nights import CASE

NIGHT = datetime(2026, 1, 1, tzinfo=UTC)
NEEDED = 0.0096
"""The level of a first trial: wealth of 104."""


def rows_of(
    who: str, count: int, *, won: float = 1.0, night: int = 0, source: str = "app"
) -> list[FreshRow]:
    """Rows that ``who`` spoke on, of which the challenger won this share and lost the others."""
    return [
        FreshRow(
            NIGHT + timedelta(days=night),
            f"{who}-{night}-{n}",
            f"{who}-{night}-{n}",
            source,
            n < won * count,
            n >= won * count,
            customers=() if source != "app" else (who,),
        )
        for n in range(count)
    ]


def proven(*rows: list[FreshRow], by: Quorum = quorum.SHIPPED, alpha: float = NEEDED) -> bool:
    trial = Trial.of(1, alpha, [one for some in rows for one in some])
    return trial_progress.progress(trial, by_row=True, quorum=by).proven


EQUAL = [row for n in range(8) for row in rows_of(f"honest-{n}", 20, won=0.5)]
"""Eight customers for whom both contenders are alike."""


@pytest.mark.parametrize("count", [60, 540])
def test_rows_of_one_key_promote_nobody(count: int) -> None:
    """540 of them had brought a wealth of 3,090 to an equal model; the brake took 60."""
    assert not proven(rows_of("mallory", count))
    assert not proven(rows_of("mallory", count), EQUAL)
    assert not proven(rows_of("mallory", count), rows_of("a", 1), rows_of("b", 1))
    assert proven(rows_of("ann", count, source="gold")), "the company's own need no quorum"


def test_three_customers_promote_what_is_better_for_each() -> None:
    assert proven(*(rows_of(f"c{n}", 12) for n in range(3)))
    assert not proven(*(rows_of(f"c{n}", 12) for n in range(2)))
    assert proven(*(rows_of(f"c{n}", 12) for n in range(2)), by=Quorum(customers=2))


def test_who_sends_no_ids_promotes_and_the_page_says_that_all_are_trusted() -> None:
    rows = rows_of(UNKNOWN, 20)
    assert proven(rows)
    trial = Trial.of(1, NEEDED, rows)
    told = decision.told_of_trial(trial, CASE.gate)
    assert "no customer is known" in told
    assert "the 5% assumes that all who sent 20 of the rows are honest" in told


def test_rows_without_an_id_are_one_customer_where_others_have_one() -> None:
    assert not proven(rows_of(UNKNOWN, 540), EQUAL)
    assert proven(rows_of(UNKNOWN, 12), rows_of("a", 12), rows_of("b", 12))


def test_the_page_says_up_to_which_share_of_dishonest_customers_the_level_holds() -> None:
    told = decision.told_of_trial(Trial.of(1, NEEDED, EQUAL), CASE.gate)
    assert "rows of 8 customers; wealth counts without the 1 who add most to it" in told
    assert "the 5% holds if at most 1 of 8 (12%) are dishonest" in told
    few = decision.told_of_trial(Trial.of(1, NEEDED, rows_of("mallory", 60)), CASE.gate)
    assert "they count for a gain once 3 customers sent rows (gate.min_evidence_customers)" in few


def test_one_key_cannot_show_that_a_challenger_is_worse_either() -> None:
    rows = [*rows_of("mallory", 40, won=0), *EQUAL]
    assert not trial_progress.progress(Trial.of(1, NEEDED, rows), by_row=True).refuted


names = st.sampled_from(["a", "b", "c", "d", UNKNOWN])
bets = st.lists(
    st.builds(Bet, st.floats(-1, 1), st.frozensets(names, max_size=2)), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(found=bets, who=names, margin=st.floats(-0.3, 0.3))
def test_what_is_left_is_never_more_than_without_whoever_lies(
    found: list[Bet], who: str, margin: float
) -> None:
    """The proof of `quorum`: at most the wealth of all, and of all without any one."""
    left = quorum.log_wealth(found, margin=margin, quorum=Quorum(customers=1, dishonest=1))
    every = [bet.gain for bet in found]
    assert left <= e_process.log_wealth(every, margin=margin) + 1e-9
    if quorum.speakers(bet.customers for bet in found):
        others = [bet.gain for bet in found if who not in bet.customers]
        assert left <= e_process.log_wealth(others, margin=margin) + 1e-9


def test_a_share_of_customers_may_lie_where_that_is_asked_for() -> None:
    gang = [row for n in range(2) for row in rows_of(f"mallory-{n}", 80)]
    assert proven(gang, EQUAL)
    assert not proven(gang, EQUAL, by=Quorum(dishonest_share=0.2))
    assert proven(*(rows_of(f"c{n}", 12) for n in range(10)), by=Quorum(dishonest_share=0.2))
    assert Quorum(dishonest_share=0.2).left_out(4) == 1


def test_with_nobody_left_out_it_is_the_wealth_of_all() -> None:
    gains = [1.0, -0.5, 0.25, 1.0]
    found = [Bet(gain, frozenset(name)) for gain, name in zip(gains, "abca", strict=True)]
    none = Quorum(customers=1, dishonest=0)
    for margin in (0.0, 0.1):
        left = quorum.log_wealth(found, margin=margin, quorum=none)
        assert left == pytest.approx(e_process.log_wealth(gains, margin=margin))
        against = quorum.log_wealth_against(found, margin=margin, quorum=none)
        assert against == pytest.approx(e_process.log_wealth_against(gains, margin=margin))
    missing = math.log(100) - quorum.log_wealth(found, margin=0, quorum=none)
    more = quorum.groups_to_decide(found, missing=missing, margin=0, quorum=none)
    assert more == e_process.groups_to_decide(gains, alpha=0.01)


def test_one_liar_of_five_does_not_break_the_level() -> None:
    """Seeded: an equal model, and one customer of five who speaks for it on as many rows as all."""
    chance, lives = np.random.default_rng(0), 60
    wrong = {0: 0, 1: 0}
    for _ in range(lives):
        fair = [
            Bet(gain, frozenset(f"c{n % 4}")) for n, gain in enumerate(chance.choice([-1, 1], 100))
        ]
        lies = [Bet(1.0, frozenset({"mallory"}))] * 25
        for dishonest in wrong:
            by = Quorum(dishonest=dishonest)
            found = quorum.log_wealth([*fair, *lies], margin=0, quorum=by)
            wrong[dishonest] += found >= -math.log(0.05)
    assert wrong[1] <= 0.05 * lives
    assert wrong[0] > 0.2 * lives, "the attack works where nobody is left out"


def test_what_the_page_on_influence_claims_is_what_its_command_measures() -> None:
    found = cell(20, 0.05, lives=100, seed=0)
    assert (found["customers"], found["dishonest"]) == (20, 1)
    assert found["shipped"] <= 0.05
    assert found["without"] > 0.9
    assert found["needed_log10"] > 10, "no trigger would do"


# ---- A share of a night


def test_one_customer_has_no_more_of_a_night_than_its_share() -> None:
    assert quorum.most_units([540, *[20] * 8], 0, 0.2) == 40
    assert quorum.most_units([100, 50, 2], 0, 0.2) == 50, "few customers: as the second loudest"
    assert quorum.most_units([540], 0, 0.2) == 540, "nobody else is drowned"
    assert quorum.most_units([540], 20, 0.2) == 20, "the company's own labels are not drowned"
    assert quorum.most_units([7] * 30, 0, 0.2) == 7
    assert quorum.most_units([5, 5], 0, 1.0) == 5


def test_which_rows_are_set_aside_does_not_depend_on_who_was_right() -> None:
    case = CASE.model_copy(update={"gate": CASE.gate.model_copy(update={"unit": "row"})})
    rows = [*rows_of("mallory", 540), *EQUAL]
    turned = [replace(r, challenger_right=r.champion_right, champion_right=True) for r in rows]
    kept, others = (within_shares(case, some, at=NIGHT) for some in (rows, turned))
    assert [row.counted for row in kept] == [row.counted for row in others]
    trial = Trial.of(1, NEEDED, kept)
    assert sum(row.customers == ("mallory",) for row in trial.rows) == 40
    assert trial.left_out == 500
    assert "500 further rows were set aside" in decision.told_of_trial(trial, case.gate)


def test_a_gain_that_is_one_customers_alone_is_refused_whatever_its_groups() -> None:
    rows = [*rows_of("one", 60), *EQUAL]
    found = rules.leave_one_out(
        comparison.on_fresh_rows(Trial.of(1, NEEDED, rows)), CASE.gate, proven=True
    )
    assert found.passed is False
    assert "without the customer that gains most (60 rows) +0.0 points" in found.detail


def test_a_company_that_trusts_its_only_customer_can_promote() -> None:
    """An app that says one name for all its users, with the settings that its page names."""
    limits = CASE.gate.model_copy(update={"min_evidence_customers": 1, "dishonest_customers": 0})
    trial = Trial.of(1, NEEDED, rows_of("app", 60, won=0.9))
    assert not proven(list(trial.rows))
    assert proven(list(trial.rows), by=Quorum.of(limits))
    found = rules.leave_one_out(comparison.on_fresh_rows(trial), limits, proven=True)
    assert found.passed
    assert "all rows are of one customer" in found.detail
    mixed = [*rows_of("app", 60, won=0.9), *rows_of("desk", 1, source="desk", won=0)]
    pairs = comparison.on_fresh_rows(Trial.of(1, NEEDED, mixed))
    assert rules.leave_one_out(pairs, limits, proven=True).passed is False


# ---- A canary


def seen(who: str, count: int, *, ours: float, theirs: float) -> list[FreshRow]:
    """What a customer, or nobody, said of as many answers of each version: the shares right."""
    return [
        replace(one, customers=(who,) if who else (), group_id=f"{who}-{shown}-{n}", shown=shown)
        for shown, share in (("challenger", ours), ("champion", theirs))
        for n, one in enumerate(rows_of(f"{who}-{shown}", count, won=share))
        for one in [replace(one, champion_right=one.challenger_right)]
    ]


def canary(*rows: list[FreshRow]) -> Reason:
    return rules.canary(Trial.of(1, NEEDED, [r for some in rows for r in some]), CASE.gate, on=True)


def test_one_customer_refuses_no_canary_and_several_do() -> None:
    """60 refusals by one key ended a challenger that is as good for everybody else."""
    alike = [seen(f"c{n}", 12, ours=0.75, theirs=0.75) for n in range(5)]
    attacked = canary(*alike, seen("mallory", 60, ours=0, theirs=1))
    assert attacked.passed is True
    assert "whatever 1 of its 6 customers say" in attacked.detail
    assert canary(*(seen(f"c{n}", 12, ours=0.25, theirs=1) for n in range(5))).passed is False


def test_a_canary_needs_several_customers_or_the_company_s_own_people() -> None:
    two = [seen(f"c{n}", 30, ours=0, theirs=1) for n in range(2)]
    assert canary(*two).passed is None
    assert "needs 3 customers of each, gate.min_evidence_customers" in canary(*two).detail
    assert canary(seen("", 30, ours=0, theirs=1)).passed is False, "gold and audits"
    assert canary(seen("", 30, ours=1, theirs=1), *two).passed is True
    nobody = [replace(r, customers=(UNKNOWN,)) for r in seen("x", 30, ours=0, theirs=1)]
    assert canary(nobody).passed is False, "nobody is named: all are taken for honest"


# ---- Who spoke


def test_who_spoke_is_kept_with_the_evidence_and_forgotten_with_them(home: Home) -> None:
    pair = {"digest": "d2", "champion_digest": "d1"}
    row = replace(rows_of("a", 1)[0], group_id="talk", customers=("a", "b", UNKNOWN), counted=False)
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, JOB.name, [row, *rows_of("b", 1)], **pair)
        assert set(fresh_rows.evidence(store, JOB.name, **pair)) == {row, *rows_of("b", 1)}
        found = [erasure.held(store, JOB.name, "a")]
        erasure.delete_rows(store, found, "a", retrain=[], certificate_id="c")
        assert erasure.mentions(store, [], ["a", row.example_id])[1] == []
        kept = fresh_rows.evidence(store, JOB.name, **pair)
    ((_, *others),) = [sorted(r.customers, reverse=True) for r in kept if len(r.customers) == 3]
    assert others == ["b", UNKNOWN], "one customer as before, under a random word"
    assert sorted(r.counted for r in kept) == [False, True]


def test_who_spoke_before_it_was_kept_is_not_known(home: Home) -> None:
    pair = {"digest": "d2", "champion_digest": "d1"}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, JOB.name, rows_of("a", 1), **pair)
        store.con.execute("UPDATE evidence SET customers = NULL, counted = NULL")
        (kept,) = fresh_rows.evidence(store, JOB.name, **pair)
    assert (kept.customers, kept.counted) == ((UNKNOWN,), True)


def test_a_customer_is_who_holds_the_key_or_asked_and_trusted_people_are_none(home: Home) -> None:
    """The name in a reaction is the key's; a reaction without one is of whom the answer was for."""
    said = [
        other(1, text="one text", customer_id="a", source="app"),
        other(2, text=None, prediction_id="p1", kind="accept", value=None, source="app")
        | {"group_id": None, "customer_id": None},
        other(3, text="third text", source="app") | {"customer_id": None},
        other(4, text="fourth text", source="audit"),
        other(5, text="fifth text", source=JOB.curation.gold_sources[0]),
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(JOB.name, [predicted("p1", "asker", "a text that was asked")])
    drop(home, "a.jsonl", json_lines(*said))
    assert ingest_inbox(JOB, home, at=AT).ingested == len(said)
    texts = {
        f"{n}": Example(f"{n}", "", "card", 1.0, "g", "train", (row["feedback_id"],))
        for n, row in enumerate(said)
    }
    assert list(speakers(JOB, home, list(texts.values())).values()) == [
        ("a",), ("asker",), (UNKNOWN,), (), (),
    ]  # fmt: skip


def test_who_reacts_speaks_wherever_customers_are_counted_and_not_who_asked(home: Home) -> None:
    """Floods and weights had counted mallory's reactions for ann, and evidence for mallory."""
    on_ann_s = {"prediction_id": "p1", "text": None, "kind": "accept", "value": None}
    said = [
        other(1, source="app", customer_id="mallory", **on_ann_s) | {"group_id": None},
        other(2, source="app", **on_ann_s) | {"group_id": None, "customer_id": None},
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(JOB.name, [predicted("p1", "ann", "ann wrote this")])
    drop(home, "a.jsonl", json_lines(*said))
    ingest_inbox(JOB, home, at=AT)
    names = [one["feedback_id"] for one in said]
    with open_store(home.warehouse) as store:
        reactions = store.reactions(JOB.name, gold_sources=[], newest=None, replay=[])
        found = fresh_rows.speakers(store, JOB.name, names, trusted=[])
        waits = changes.unseen(store, JOB.name)
    wanted = ["mallory", "ann"]
    assert [{r.feedback_id: r.customer_id for r in reactions}[name] for name in names] == wanted
    assert [found[name] for name in names] == wanted
    assert sorted(str(who) for who, *_ in waits) == sorted(wanted)
    both = JOB.curation.model_copy(update={"names_in": ["customer_id"], "min_chars": 1})
    kept = curate(reactions, splits={"ann": "train"}, labels=tuple(JOB.labels), rules=both).examples
    assert [one.text for one in kept] == ["[NAME] wrote this"], "the name of who wrote it goes"


def spoken(night: int, who: list[str], *, won: bool) -> tuple[FreshRow, ...]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=night)
    return tuple(
        FreshRow(at, f"{night}-{n}", f"{night}-{n}", "app", True, not won, customers=(name,))
        for n, name in enumerate(who)
    )


@pytest.mark.parametrize(
    ("honest", "liars", "share"),
    [
        ([f"c{n % 5}" for n in range(50)], [""] * 20, 0.0),
        ([f"c{n}" for n in range(90)], [f"liar{n % 10}" for n in range(20)], 0.1),
    ],
    ids=["one without a name", "ten of a hundred"],
)
def test_liars_who_speak_on_the_newest_night_alone_prove_nothing(
    honest: list[str], liars: list[str], share: float
) -> None:
    """As many are left out of each level as of all who spoke against this champion."""
    earlier = (EarlierTrial(0.009, spoken(1, honest, won=False)),)
    trial = Trial(2, 0.004, spoken(2, liars, won=True), earlier=earlier)
    jury = Quorum(dishonest_share=share)
    assert not trial_progress.progress(trial, quorum=jury).proven
    trusting = Quorum(customers=1, dishonest=0)
    assert trial_progress.progress(trial, quorum=trusting).proven
