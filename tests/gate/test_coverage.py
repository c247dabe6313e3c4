"""Selective reactions: measured by what was served and by audits, and no gain by themselves."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.config import Home
from flywheel.diagnostics import gain_findings
from flywheel.gate import coverage
from flywheel.gate.coverage import Coverage, Fates, Shares, Weights, audits_for
from flywheel.gate.power import Standing, detectable_effects
from flywheel.gate.trial_progress import progress
from flywheel.records import Example, FreshRow, Trial
from flywheel.stats.e_process import group_bets
from flywheel.store import open_store
from flywheel.store.nights import reaction_fates
from tasks.evidence_shares import reaction_weights, reactions_told
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other, predicted

counts = st.integers(0, 2_000)


@settings(max_examples=100)
@given(right=counts, wrong=counts, refused=counts, silent=counts, audited=st.integers(0, 300))
def test_a_win_never_counts_more_than_what_was_measured(
    right: int, wrong: int, refused: int, silent: int, audited: int
) -> None:
    audited = min(audited, silent)
    fates = Fates(right, wrong, refused, silent, audited, audited // 2)
    shares, weights = Shares.of(fates), Coverage.of({("card", True): fates}).weights(("card", True))
    assert 0 <= shares.right_low <= shares.right_high <= 1
    assert 0 <= shares.wrong_low <= shares.wrong_high <= 1
    assert 0 < weights.won <= 1
    assert 0 < weights.lost <= 1
    assert weights.won * shares.wrong_high <= weights.lost * max(shares.right_low, 1e-6) + 1e-9


def test_nearly_every_answer_gets_a_reaction_and_nothing_is_lost() -> None:
    known = Coverage.of({("card", True): Fates(right=1_600, wrong=380, silent=20)})
    assert known.least_won > 0.97


def test_without_audits_the_silent_are_taken_to_be_right_and_with_them_they_are_known() -> None:
    complaints = Fates(right=360, wrong=100, silent=540)
    assert Coverage.of({("card", True): complaints}).least_won < 0.42
    audited = replace(complaints, audited=100, audited_right=97)
    assert 0.35 < Coverage.of({("card", True): audited}).least_won < 0.45
    alike = Fates(right=3_600, wrong=400, silent=6_000, audited=300, audited_right=270)
    assert Coverage.of({("card", True): alike}).least_won > 0.7


def test_a_label_that_gets_more_reactions_counts_less() -> None:
    loud = Fates(right=150, wrong=40, silent=10)
    quiet = Fates(right=300, wrong=100, silent=1_400, audited=400, audited_right=300)
    known = Coverage.of({("cash", True): loud, ("card", True): quiet, ("card", False): quiet})
    assert set(known.cells) == {("cash", True)}
    assert known.weights(("cash", True)).lost < 0.35
    assert known.weights(("card", True)).lost == 1.0
    assert known.weights(("never seen", False)) == known.weights(("card", True))


def test_labels_with_the_same_share_of_reactions_are_one_cell() -> None:
    chance = random.Random(1)
    cells = {}
    for number in range(30):
        silent = sum(chance.random() < 0.05 for _ in range(300))
        cells[f"l{number}", True] = Fates(right=240 - silent // 2, wrong=60, silent=silent)
    assert not Coverage.of(cells).cells


def test_how_many_audits_would_let_a_win_count() -> None:
    silent = Fates(right=3_600, wrong=400, silent=6_000)
    number = audits_for(silent, won=0.8)
    assert number is not None
    assert 100 < number < 3_000
    assert audits_for(Fates(right=990, wrong=100, silent=5), won=0.8) == 0
    assert audits_for(Fates(silent=50), won=0.8) is None


def row(number: int, gain: int, weights: Weights) -> FreshRow:
    return FreshRow(
        AT,
        str(number),
        str(number),
        "app",
        gain > 0,
        gain < 0,
        won_weight=weights.won,
        lost_weight=weights.lost,
    )


def test_who_complains_oftener_proves_no_gain() -> None:
    """Equal contenders; right answers get a reaction half as often as wrong ones."""
    rng = np.random.default_rng(3)
    served = rng.choice([1, -1, 0], p=[0.1, 0.1, 0.8], size=4_000)
    wrong = (served > 0) | ((served == 0) & (rng.random(4_000) < 0.1))
    heard = rng.random(4_000) < np.where(wrong, 0.9, 0.45)
    fates = Fates(
        right=int((heard & ~wrong).sum()),
        wrong=int((heard & wrong).sum()),
        silent=int((~heard).sum()),
    )
    weights = Coverage.of({("card", True): fates}).weights(("card", True))
    gains = served[heard]
    believed = Trial.of(1, 0.01, (row(n, int(g), Weights()) for n, g in enumerate(gains)))
    bounded = Trial.of(1, 0.01, (row(n, int(g), weights) for n, g in enumerate(gains)))
    assert progress(believed).proven
    assert not progress(bounded).proven
    assert not progress(bounded).refuted, "what bounds a gain is no sign of a loss"


@pytest.mark.parametrize("margin", [-0.02, 0.0, 0.02])
def test_a_margin_is_weighed_as_its_row_is(margin: float) -> None:
    weights = Weights(won=0.5, lost=0.8)
    (bet,) = group_bets([row(1, 0, weights)], margin=margin)
    assert bet.weight == (0.8 if margin >= 0 else 0.5)
    assert [b.gain for b in group_bets([row(1, 1, weights), row(2, -1, weights)])] == [0.5, -0.8]
    assert group_bets([row(1, 1, weights)], bounded=False)[0].gain == 1.0


def test_fates_are_counted_from_what_was_served_and_said(home: Home) -> None:
    case = JOB.model_copy(
        update={"gate": JOB.gate.model_copy(update={"evidence_sources": ["app"]})}
    )
    names = [f"p{n}" for n in range(8)]
    said = {
        "p0": ("accept", None, "app"),
        "p1": ("correct", "cash", "app"),
        "p2": ("correct", "Card ", "app"),
        "p3": ("reject", None, "app"),
        "p4": ("accept", None, "elsewhere"),
    }
    reactions = [
        other(
            number, kind=kind, value=value, source=source, text=None, prediction_id=name,
            feedback_id=f"f-{name}",
        )
        for number, (name, (kind, value, source)) in enumerate(said.items())
    ]  # fmt: skip
    drawn = [
        other(11, value="card", text="text p5", source="audit"),
        other(12, value="cash", text="text p6", source="audit"),
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(case.name, [predicted(n, f"c-{n}", f"text {n}") for n in names])
    drop(home, "rows.jsonl", json_lines(*reactions, *drawn))
    ingest_inbox(case, home, at=AT)
    with open_store(home.warehouse) as store:
        known = reaction_fates.coverage(store, case, until=AT + timedelta(days=1))
        assert known is not None
        assert known.all == Fates(right=2, wrong=1, refused=1, silent=4, audited=2, audited_right=1)
        assert reaction_fates.coverage(store, JOB, until=AT) is None
        assert set(reaction_fates.answered(store, case, ["f-p0", "f-p4", "other-11"])) == {"f-p0"}
    reason = reactions_told(case, home, at=AT + timedelta(days=1))
    assert reason is not None
    assert reason.detail.startswith("of 8 answers in 30 days 37.5% became evidence")
    assert reactions_told(JOB, home, at=AT) is None
    asked = Example("e", "text p0", "card", 1.0, "g", "train", ("f-p0",))
    own = replace(asked, example_id="own", feedback_ids=("other-11",))
    weights = reaction_weights(case, home, [asked, own], at=AT + timedelta(days=1))
    assert weights["own"] == Weights()
    assert weights["e"].won < weights["e"].lost


def test_a_use_case_without_answers_says_so_and_one_with_complaints_how_many_audits_end_it() -> (
    None
):
    assert "no answer was served" in coverage.in_words(Coverage.of({}))
    known = Coverage.of({("card", True): Fates(right=20, wrong=1_500, silent=10_000)})
    detail = gain_findings.reactions(JOB, known, Standing(), disagreement=0.15).detail
    assert "none of those that nobody spoke of was audited" in detail
    assert "audits alone decide" in detail
    assert "audits a night show 5 points within 14 nights" in detail
    assert "flywheel queue -u job --audit-share 1" in detail


def test_what_can_be_seen_on_selective_reactions_is_said() -> None:
    before = Standing(nights=7, fresh_units=700, fresh_by_customer={}, won_weight=1.0)
    after = replace(before, won_weight=0.6)
    gains = [
        [
            one.gain
            for one in detectable_effects(standing, 0, JOB.gate, disagreement=0.15)
            if one.where == "fresh"
        ]
        for standing in (before, after)
    ]
    assert all(a is not None and b is not None and a < b for a, b in zip(*gains, strict=True))
    own = replace(after, fresh_own=700)
    assert own.win_counts == 1.0
