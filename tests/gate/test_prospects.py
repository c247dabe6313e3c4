"""What can be learned and proven is told before a night, and a night is skipped for a reason."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import UseCase
from flywheel.diagnostics.recommendation import Advice, before_the_first_night, recommend
from flywheel.evaluation import learning_curve
from flywheel.evaluation.learning_curve import Curve, Gain
from flywheel.gate.cold_start import to_seat
from flywheel.gate.power import (
    POWER,
    DetectableEffect,
    Standing,
    detectable_effects,
    groups_to_show,
    next_question_alpha,
    next_trial_alpha,
    settings,
    visible_on_fresh,
    visible_on_holdout,
    why_not_tonight,
)
from flywheel.records import Example, Snapshot
from flywheel.stats import alpha_budget
from flywheel.stats.alpha_budget import Told
from flywheel.stats.e_process import log_wealth
from flywheel.stats.paired_tests import sign_flip_p_value

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
FULL = {"negative": 50, "neutral": 50, "positive": 50}
SNAPSHOT = Snapshot("5" * 32, 150, 10, 300)
TOLD = Told(moved=(True, False))
GOING = Standing(classes=FULL, champion=True, champion_rows=100, questions=1, told=TOLD, nights=3)

rates = st.floats(0.01, 0.5)
alphas = st.floats(1e-6, 0.05)


def gated(use_case: UseCase, **rules: Any) -> UseCase:
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update=rules)})


def learned(use_case: UseCase, **recipe: Any) -> UseCase:
    return use_case.model_copy(update={"training": use_case.training.model_copy(update=recipe)})


# ---- What can be proven


@pytest.mark.parametrize(("gain", "disagreement"), [(0.05, 0.15), (0.2, 0.25)])
def test_a_trial_on_so_many_groups_shows_the_gain_as_often_as_promised(
    gain: float, disagreement: float
) -> None:
    alpha = 0.01
    groups = groups_to_show(gain, alpha, disagreement=disagreement)
    assert groups is not None
    rng = np.random.default_rng(0)
    chances = [(disagreement + gain) / 2, 1 - disagreement, (disagreement - gain) / 2]

    def shown(count: int) -> float:
        runs = rng.choice([1, 0, -1], p=chances, size=(400, count))
        return float(np.mean([log_wealth(list(run)) >= -math.log(alpha) for run in runs]))

    # what the other stakes earn is left out of the promise, so it is kept with something over
    assert POWER - 0.04 <= shown(groups) <= 0.97
    assert shown(groups // 2) < POWER - 0.15


@pytest.mark.parametrize(("rows", "disagreement"), [(180, 0.15), (500, 0.1)])
def test_one_question_to_the_holdout_shows_the_gain_about_as_often_as_promised(
    rows: int, disagreement: float
) -> None:
    alpha = 0.02
    gain = visible_on_holdout(rows, alpha, disagreement=disagreement)
    assert gain is not None
    rng = np.random.default_rng(0)
    chances = [(disagreement + gain) / 2, 1 - disagreement, (disagreement - gain) / 2]
    runs = rng.choice([1, 0, -1], p=chances, size=(400, rows))

    shown = np.mean([sign_flip_p_value([int(one) for one in run]) <= alpha for run in runs])

    assert shown == pytest.approx(POWER, abs=0.08)


@given(st.integers(1, 5_000), alphas, rates, st.floats(-0.05, 0.05))
def test_what_is_visible_on_fresh_rows_is_the_smallest_that_so_many_show(
    groups: int, alpha: float, disagreement: float, margin: float
) -> None:
    gain = visible_on_fresh(groups, alpha, disagreement=disagreement, margin=margin)
    if gain is None:
        needed = groups_to_show(1.0, alpha, disagreement=disagreement, margin=margin)
        assert needed is None or needed > groups
        return
    assert margin < gain <= 1
    needed = groups_to_show(gain, alpha, disagreement=disagreement, margin=margin)
    assert needed is not None
    assert needed <= groups
    less = groups_to_show(gain - 1e-4, alpha, disagreement=disagreement, margin=margin)
    assert less is None or less > groups or gain - 1e-4 <= margin


@given(st.integers(1, 5_000), alphas, rates)
def test_more_rows_never_show_less(rows: int, alpha: float, disagreement: float) -> None:
    for see in (visible_on_holdout, visible_on_fresh):
        fewer = see(rows, alpha, disagreement=disagreement)
        more = see(2 * rows, alpha, disagreement=disagreement)
        assert fewer is None or (more is not None and more <= fewer + 1e-9)


def test_a_gain_is_never_larger_than_what_the_contenders_differ_on() -> None:
    """At 40 rows only a gain above 15 points is visible, and then they differ on more than 15 %."""
    alpha = 0.001
    gain = visible_on_holdout(40, alpha, disagreement=0.15)
    assert gain is not None
    assert gain > 0.15
    assert gain == pytest.approx(
        alpha_budget.visible_gain(alpha, 40, disagreement=gain, power=POWER)
    )
    assert visible_on_holdout(0, alpha, disagreement=0.15) is None
    assert visible_on_holdout(2, alpha, disagreement=0.15) is None


def test_the_levels_are_those_of_the_ledger(use_case: UseCase) -> None:
    rules = use_case.gate.model_copy(update={"alpha": 0.04, "holdout_share": 0.25})
    standing = replace(GOING, questions=2, told=Told((True,) * 4), trials=1)

    asked, tried = next_question_alpha(standing, rules), next_trial_alpha(standing, rules)

    assert asked == pytest.approx(alpha_budget.question_alpha(3, 1 / 4**4, budget=0.01))
    # one of 0.1.0, which left a quarter after two questions
    before = next_question_alpha(replace(standing, unspent=0.25), rules)
    assert before == pytest.approx(asked * 0.25 * 3)
    assert tried == pytest.approx(alpha_budget.trial_alpha(2, carried=0, budget=0.03))
    assert next_trial_alpha(replace(standing, open_alpha=0.02), rules) == 0.02


def test_what_can_be_seen_is_told_for_tonight_and_for_nights_of_fresh_rows(
    use_case: UseCase,
) -> None:
    standing = replace(GOING, nights=2, fresh_units=60)
    seen = detectable_effects(standing, 300, use_case.gate, disagreement=0.15)
    assert [(s.night, s.where, s.rows) for s in seen] == [
        (1, "holdout", 300),
        (2, "fresh", 60),
        (4, "fresh", 120),
        (7, "fresh", 210),
    ]
    two, four, seven = (s.gain for s in seen[1:])
    assert two is not None
    assert four is not None
    assert seven is not None
    assert seven < four < two

    short = use_case.gate.model_copy(update={"max_trial_nights": 3})
    assert [s.night for s in detectable_effects(standing, 300, short, disagreement=0.15)] == [
        1,
        2,
        3,
    ]
    few = detectable_effects(
        standing, use_case.gate.min_holdout_examples - 1, use_case.gate, disagreement=0.15
    )
    assert few[0].gain is None
    for unknown in (replace(standing, nights=0), replace(standing, fresh_units=0)):
        assert len(detectable_effects(unknown, 300, use_case.gate, disagreement=0.15)) == 1


# ---- Whether to train tonight


def test_nothing_is_skipped_without_a_reason(use_case: UseCase) -> None:
    assert why_not_tonight(use_case, SNAPSHOT, GOING) is None


def test_too_few_examples_skip_a_night(use_case: UseCase) -> None:
    few = replace(SNAPSHOT, train=use_case.training.min_examples - 1)
    reason = why_not_tonight(use_case, few, GOING)
    assert reason is not None
    assert (reason.rule, reason.passed) == ("enough_examples", None)
    assert "has 99 training examples (" in reason.detail
    assert "training needs at least 100" in reason.detail
    assert "label 1 more, or wait for feedback" in reason.detail


def test_before_a_first_model_nobody_is_told_to_wait_for_feedback(use_case: UseCase) -> None:
    """Nothing answers yet, so that none can come, and a queue of requests is empty."""
    none = replace(GOING, champion=False, judged=AT)
    few = replace(SNAPSHOT, train=use_case.training.min_examples - 7, holdout=200)
    for snapshot, standing in (
        (few, none),
        (SNAPSHOT, none),
        (SNAPSHOT, replace(none, judged=None, classes={})),
    ):
        reason = why_not_tonight(use_case, snapshot, standing)
        assert reason is not None
        assert "wait for feedback" not in reason.detail
        assert "flywheel queue" not in reason.detail
        assert f"flywheel ingest -u {use_case.name} FILE" in reason.detail
    # seven of ten labels train: the others are held out, or are kept for validation
    reason = why_not_tonight(use_case, few, none)
    assert reason is not None
    assert "label about 10 more texts" in reason.detail


def test_without_any_holdout_row_no_first_model_is_trained(use_case: UseCase) -> None:
    none = replace(SNAPSHOT, holdout=0)
    reason = why_not_tonight(use_case, none, replace(GOING, champion=False))
    assert reason is not None
    assert reason.rule == "holdout_empty"
    least = use_case.gate.min_holdout_examples
    assert f"the holdout has 0 rows, and the gate asks none below {least} " in reason.detail
    assert f"{none.train} rows train" in reason.detail
    # some more than on average, for which texts are held out is drawn
    wanted = to_seat(least, use_case.split.holdout)
    assert wanted > least / use_case.split.holdout
    # the phrase that the other ways out have, too
    asked = f"Label about {wanted} more texts, so that {least} of them are held out, some of each"
    assert asked in reason.detail
    assert "groups that are here keep their side" in reason.detail
    assert "rows with source gold" in reason.detail


def test_a_snapshot_that_was_judged_is_not_judged_again_unless_somebody_was_forgotten(
    use_case: UseCase,
) -> None:
    reason = why_not_tonight(use_case, SNAPSHOT, replace(GOING, judged=AT))
    assert reason is not None
    assert reason.rule == "something_new"
    assert "no feedback has come since" in reason.detail
    wanted = replace(GOING, judged=AT, retrain_wanted=True)
    assert why_not_tonight(use_case, SNAPSHOT, wanted) is None


def test_the_same_rows_under_other_settings_are_judged_anew(use_case: UseCase) -> None:
    judged = replace(GOING, judged=AT, judged_by=settings(use_case))
    assert why_not_tonight(use_case, SNAPSHOT, judged) is not None
    assert why_not_tonight(gated(use_case, min_accuracy=0.1), SNAPSHOT, judged) is None


def test_a_class_with_too_few_examples_skips_a_night(use_case: UseCase) -> None:
    two = {"negative": 1, "positive": 149}
    reason = why_not_tonight(use_case, SNAPSHOT, replace(GOING, classes=two))
    assert reason is not None
    assert reason.rule == "every_class"
    assert "0 neutral; training needs at least 1 of each" in reason.detail
    off = learned(use_case, min_per_class=0)
    assert why_not_tonight(off, SNAPSHOT, replace(GOING, classes=two)) is None
    strict = learned(use_case, min_per_class=51)
    reason = why_not_tonight(strict, SNAPSHOT, GOING)
    assert reason is not None
    assert "50 positive, 50 neutral, 50 negative" in reason.detail


def test_what_fresh_rows_can_show_knows_whose_rows_they_are(use_case: UseCase) -> None:
    """Two customers' rows can never prove a gain, and the doctor had said in how many nights."""
    came = replace(GOING, nights=2, fresh_units=400)
    rules = use_case.gate

    def of(own: int = 0, **counts: int) -> Standing:
        return replace(came, fresh_own=own, fresh_by_customer=counts)

    def shown(one: Standing) -> list[float | None]:
        return [sight.gain for sight in detectable_effects(one, 300, rules, disagreement=0.15)[1:]]

    two, three = of(a=200, b=200), of(a=130, b=135, c=135)
    assert shown(two) == [None] * 3
    assert None not in shown(three)
    assert three.speaking_per_night(rules) == (130 + 135) / 2, "without the one who brings most"
    told = two.short_of(rules)
    assert "0.0 a night can speak for a gain, the others are of 2 customers" in told
    assert "that takes 3 (gate.min_evidence_customers" in told
    assert told.endswith("gate.min_evidence_customers: 2")
    assert (
        of(a=400)
        .short_of(rules)
        .endswith("gate.min_evidence_customers: 1 and gate.dishonest_customers: 0")
    )
    flood = of(a=380, b=10, c=10)
    assert flood.speaking_per_night(rules) == 10, "a share of a night, and one left out"
    for anybody in (came, of(own=400), replace(came, fresh_by_customer={"": 400})):
        assert shown(anybody) == shown(came), "your own people, and rows that name nobody"
        assert anybody.short_of(rules) == ""


def test_a_holdout_too_small_skips_a_night_only_where_fresh_rows_could_not_decide(
    use_case: UseCase,
) -> None:
    small = replace(SNAPSHOT, holdout=use_case.gate.min_holdout_examples - 1)
    fewest = groups_to_show(1.0, next_trial_alpha(GOING, use_case.gate), disagreement=1.0)
    assert fewest is not None
    nights = use_case.gate.max_trial_nights
    barely = replace(GOING, nights=nights, fresh_units=fewest)
    too_few = replace(
        GOING, nights=nights, fresh_units=fewest - 1, holdout={"positive": 3, "negative": 196}
    )

    reason = why_not_tonight(use_case, small, too_few)

    assert reason is not None
    assert (reason.rule, reason.passed) == ("holdout_too_small", None)
    assert f"{small.holdout} rows (0 neutral, 3 positive, 196 negative), and" in reason.detail
    assert f"{to_seat(1, use_case.split.holdout)} labels, so that 1 of them are held out" in (
        reason.detail
    )
    assert f"{fewest - 1} are expected in {nights} nights" in reason.detail
    assert why_not_tonight(use_case, small, barely) is None
    assert why_not_tonight(use_case, SNAPSHOT, too_few) is None
    assert why_not_tonight(use_case, small, replace(too_few, champion=False)) is None
    assert why_not_tonight(use_case, small, replace(too_few, nights=0)) is None


def test_reasons_are_given_in_one_order(use_case: UseCase) -> None:
    few = replace(SNAPSHOT, train=1, holdout=1)
    bad = replace(GOING, judged=AT, classes={})
    rules = []
    for snapshot, standing in (
        (few, bad),
        (replace(few, train=150), bad),
        (replace(few, train=150), replace(bad, judged=None)),
        (replace(few, train=150), GOING),
    ):
        reason = why_not_tonight(use_case, snapshot, standing)
        assert reason is not None
        rules.append(reason.rule)
    assert rules == ["enough_examples", "something_new", "every_class", "holdout_too_small"]


# ---- What to do


def advise(use_case: UseCase, standing: Standing = GOING, **changes: Any) -> Advice:
    usual: dict[str, Any] = {
        "holdout_rows": 300,
        "waiting": 80,
        "incoming": 60,
        "expected": Gain(0.06, 0.04, 0.08),
        "seen": [DetectableEffect(1, "holdout", 300, 0.05)],
        "disagreement": 0.15,
    }
    return recommend(use_case, standing, **{**usual, **changes})


def test_a_gain_that_can_be_seen_is_worth_training_for(use_case: UseCase) -> None:
    assert advise(use_case).action == "train"
    hopeful = advise(use_case, expected=Gain(0.03, 0.0, 0.06))
    assert hopeful.action == "train"
    assert "may be reached" in hopeful.why


def test_before_the_first_night_what_waits_decides(use_case: UseCase) -> None:
    assert before_the_first_night(use_case, 500, (100, 300)).action == "train"
    short = before_the_first_night(use_case, 500, (99, 300))
    # of two labels one may be held out, or be for validation
    assert (short.action, short.labels) == ("label", 2)
    assert "needs 100 texts to train on, and about 99 are there" in short.why
    small = before_the_first_night(use_case, 500, (100, 0))
    assert (small.action, small.labels) == (
        "label",
        to_seat(use_case.gate.min_holdout_examples, use_case.split.holdout),
    )
    assert "the holdout will have 0 rows" in small.why
    # nothing was served, so that a queue would be empty
    assert f"flywheel ingest -u {use_case.name} FILE, its rows with" in short.why
    # of pictures only a night says what becomes of them
    assert before_the_first_night(use_case, 100, None).action == "train"
    first, *others = use_case.label_names
    lacking = before_the_first_night(use_case, 500, (100, 300), dict.fromkeys(others, 50))
    assert (lacking.action, lacking.labels) == ("label", 1)
    assert f"of {first}, for a night needs some of every class" in lacking.why
    unseated = before_the_first_night(use_case, 99, None)
    assert (unseated.action, unseated.labels) == ("label", 1)


def test_too_few_examples_and_classes_that_lack_them_want_labels(use_case: UseCase) -> None:
    few = advise(use_case, replace(GOING, classes={"negative": 20}), incoming=30)
    assert (few.action, few.labels) == ("label", 50)
    assert "flywheel queue" in few.why
    none = advise(use_case, replace(GOING, classes={}, champion=False), incoming=30)
    assert "flywheel ingest" in none.why
    lacking = replace(GOING, classes={**FULL, "neutral": 0})
    named = advise(use_case, lacking, waiting=0, incoming=0)
    assert (named.action, named.labels) == ("label", 1)
    assert "of neutral" in named.why


@pytest.mark.parametrize("champion", [True, False])
def test_a_holdout_that_proves_nothing_wants_more_labels(use_case: UseCase, champion: bool) -> None:
    least = use_case.gate.min_holdout_examples
    small = [DetectableEffect(1, "holdout", least - 10, None)]
    advice = advise(
        use_case, replace(GOING, champion=champion), holdout_rows=least - 10, seen=small
    )
    # a fifth of what is drawn is held out, and of 50 often fewer than ten would
    assert (advice.action, advice.labels) == ("label", 69)
    assert "so that 10 of them are held out" in advice.why
    if champion:
        assert "--audit-share 1" in advice.why
        assert "audit in curation.gold_sources" in advice.why
    else:
        # nothing was served that could be drawn from
        assert "flywheel ingest -u product-reviews FILE" in advice.why

    fresh = [*small, DetectableEffect(2, "fresh", 500, 0.05)]
    again = advise(
        use_case, replace(GOING, champion=champion), holdout_rows=least - 10, seen=fresh
    ).action
    assert again == ("train" if champion else "label")


def test_nothing_new_is_worth_waiting_for(use_case: UseCase) -> None:
    judged = replace(GOING, judged=AT)
    assert advise(use_case, judged, waiting=0, incoming=0).action == "wait"
    forgotten = replace(judged, retrain_wanted=True)
    invisible = {"expected": Gain(0.0, -0.01, 0.01), "incoming": 0, "waiting": 0}
    assert advise(use_case, forgotten, **invisible).action == "train"


def test_without_a_champion_or_a_curve_only_a_night_can_tell(use_case: UseCase) -> None:
    assert advise(use_case, replace(GOING, champion=False), expected=None).action == "train"
    assert advise(use_case, expected=None).action == "train"


def test_a_gain_too_small_to_be_seen_wants_labels_or_patience(use_case: UseCase) -> None:
    rows = 900
    seen = detectable_effects(GOING, rows, use_case.gate, disagreement=0.15)
    gain = seen[0].gain
    assert gain is not None
    hoped = Gain(gain - 0.003, gain - 0.004, gain - 0.002)
    near = advise(use_case, holdout_rows=rows, seen=seen, expected=hoped)
    assert near.action == "label"
    needed = alpha_budget.rows_for(
        hoped.mean, next_question_alpha(GOING, use_case.gate), disagreement=0.15, power=POWER
    )
    assert near.labels == math.ceil((needed - rows) / use_case.split.holdout)

    tiny = advise(use_case, expected=Gain(0.002, -0.01, 0.01))
    assert tiny.action == "wait"
    assert "only 5.0 or more can be shown" in tiny.why
    assert advise(use_case, expected=Gain(-0.01, -0.02, 0.0)).action == "wait"
    blind = advise(
        use_case, expected=Gain(0.002, 0.0, 0.01), seen=[DetectableEffect(1, "holdout", 300, None)]
    )
    assert blind.action == "wait"


def test_labels_for_fresh_rows_are_wanted_where_fewer_of_them_do(use_case: UseCase) -> None:
    hoped = Gain(0.1, 0.09, 0.11)
    few = [DetectableEffect(1, "holdout", 50, None)]
    known = gated(use_case, min_holdout_examples=50)
    fresh = groups_to_show(0.1, next_trial_alpha(GOING, known.gate), disagreement=0.15)

    advice = advise(known, holdout_rows=50, seen=few, expected=hoped)

    assert (advice.action, advice.labels) == ("label", fresh)


# ---- What more rows would bring


def examples(train: int, validation: int = 0, holdout: int = 0) -> list[Example]:
    """Texts whose label a word tells, from a vocabulary large enough that more rows help."""
    rng = random.Random(0)
    sides = ["train"] * train + ["validation"] * validation + ["holdout"] * holdout
    found = []
    for number, side in enumerate(sides):
        label = rng.choice(["negative", "positive"])
        word = f"{label[:3]}{int(rng.paretovariate(0.5))}"
        text = f"the thing {number} was {word}"
        found.append(
            Example(f"{number:06}", text, label, 1.0, f"g{number}", side, (f"f{number}",))  # type: ignore[arg-type]
        )
    return found


def test_the_curve_rises_where_more_rows_help(use_case: UseCase) -> None:
    curve = learning_curve.measure(examples(300), use_case.label_names)
    assert curve is not None
    assert curve.held_out == "training"
    assert [rows for rows, _ in curve.points] == [60, 120, 180, 240]
    gain = curve.gain(300, 600)
    assert gain is not None
    assert gain.low < gain.mean < gain.high
    assert gain.mean > 0.02
    assert gain.mean == pytest.approx(float(np.mean(curve.slopes)))


def test_the_curve_never_looks_at_the_holdout_and_is_the_same_each_time(use_case: UseCase) -> None:
    rows = examples(120, validation=100, holdout=200)
    curve = learning_curve.measure(rows, use_case.label_names)
    assert curve is not None
    assert curve.held_out == "validation"
    spoilt = [
        replace(one, label="neutral", text="?") if one.split == "holdout" else one for one in rows
    ]
    assert learning_curve.measure(spoilt, use_case.label_names) == curve


def test_texts_almost_alike_are_not_on_both_sides_of_the_curve(use_case: UseCase) -> None:
    """One text, said again and again with a label drawn by lot, teaches nothing of others."""
    rows = [
        replace(
            one,
            text=f"word{n // 2}",
            cluster_id=f"c{n // 2}",
            label=("negative", "positive")[n // 2 % 2],
        )
        for n, one in enumerate(examples(200))
    ]
    curve = learning_curve.measure(rows, use_case.label_names)
    assert curve is not None
    # a copy on the other side would be answered right every time
    assert max(accuracy for _, accuracy in curve.points) < 0.65


def test_too_few_rows_and_too_long_a_way_are_not_told(use_case: UseCase) -> None:
    least = learning_curve.FEWEST_ROWS
    assert learning_curve.measure(examples(least - 1), use_case.label_names) is None
    curve = Curve(points=((100, 0.5),), slopes=(0.04, 0.06), held_out="training")
    assert curve.gain(100, 201) is None
    assert curve.gain(100, 99) is None
    assert curve.gain(0, 0) is None
    same = curve.gain(100, 100)
    assert same == Gain(0.0, 0.0, 0.0)
