"""The gate over whole simulated lives; what the simulation computes is what the gate computes."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import gate_report
from benchmarks.gate import figures, live, meanings, measure
from benchmarks.lives import SCENARIOS, SETTINGS, Nights, World
from benchmarks.policies import (
    POLICIES,
    SHIPPED,
    Rules,
    flywheel,
    holdout_p_value,
    log_mean,
    on_holdout,
    on_trial,
    question_alphas,
    row_p_value,
    trial_levels,
)
from flywheel.config import GateConfig
from flywheel.gate import decision as gates
from flywheel.gate import trial_length
from flywheel.gate.trial_progress import progress
from flywheel.influence.quorum import SHIPPED as EVERYBODY
from flywheel.influence.quorum import log_levels
from flywheel.records import Contender, EarlierTrial, FreshRow, Question, Report, Row, Trial
from flywheel.stats import alpha_budget
from flywheel.stats.e_process import STAKES, group_bets, log_wealth
from flywheel.stats.paired_tests import excess_p_value, paired_p_value

GUARANTEED = [(scenario, setting) for scenario in SCENARIOS for setting in ("rows", "groups")]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_holdout_p_values_are_the_shipped_ones(size: int) -> None:
    rng = np.random.default_rng(size)
    gains = rng.integers(-size, size + 1, size=(40, 60)) * (rng.random((40, 60)) < 0.3)
    gains[:5] = np.sign(gains[:5]) * size
    gains[5] = 0
    picks = np.sign(gains) * (rng.random((40, 60)) < 0.8)
    if size == 1:
        picks = gains
    found = holdout_p_value(gains, picks, size)
    for life, mine in enumerate(gains.tolist()):
        shipped = excess_p_value(mine, [size] * 60, margin=0, picks=picks[life].tolist())
        assert found[life] == pytest.approx(shipped)


def test_row_p_values_levels_and_wealth_are_the_shipped_ones() -> None:
    rng = np.random.default_rng(0)
    wins, losses = rng.integers(0, 90, size=(2, 50))
    for life, p_value in enumerate(row_p_value(wins, losses).tolist()):
        assert p_value == pytest.approx(paired_p_value(int(wins[life]), int(losses[life])))

    number, chance = rng.integers(1, 60, size=50), rng.random(50)
    carried = rng.random(50) / 50
    levels = trial_levels(number, carried, Rules())
    questions = question_alphas(number, chance, 0.025)
    for life in range(50):
        n, t, c = int(number[life]), float(chance[life]), float(carried[life])
        level = alpha_budget.question_alpha(n, t, budget=0.025)
        assert questions[life] == pytest.approx(level, rel=1e-12)
        assert levels[life] == alpha_budget.trial_alpha(n, carried=c, budget=0.025)

    values = np.array([-1, -0.5, 0, 0.5, 1])
    counts = rng.integers(0, 40, size=(20, 5))
    found = log_mean(counts @ np.log1p(np.outer(values, STAKES)))
    for life in range(20):
        assert found[life] == pytest.approx(log_wealth(np.repeat(values, counts[life]).tolist()))


# ---- What a night decides is what the shipped gate decides


DECISIONS = GateConfig(
    min_accuracy=0.0, min_holdout_examples=1, slices=[], leave_one_out=False, max_trial_nights=3
)


def report(digest: str, right: NDArray[np.bool_]) -> Report:
    marks = tuple(right.ravel().tolist())
    names = tuple(f"e{row:04}" for row in range(len(marks)))
    share = sum(marks) / len(marks)
    return Report(digest, names, marks, share, 1.0, 0.5, 0.0, 1.0, {}, (), ())


def shipped(
    challenger: NDArray[np.bool_],
    champion: NDArray[np.bool_],
    question: Question | None,
    trial: Trial | None,
) -> str:
    """What `flywheel.gate.decision` decides on marks of the holdout, (groups, rows of a group)."""
    groups, size = challenger.shape
    return gates.decide(
        challenger=Contender(report("new", challenger)),
        champion=Contender(report("old", champion)),
        first=False,
        rows={
            f"e{row:04}": Row(f"e{row:04}", "bill", f"g{row // size}", "gold")
            for row in range(groups * size)
        },
        question=question,
        trial=trial,
        limits=DECISIONS,
    ).decision


def order(row: int) -> bytes:
    return hashlib.sha256(f"e{row:04}".encode()).digest()


def decision(promotes: bool, stays: bool) -> str:
    return "promote" if promotes else "undecided" if stays else "reject"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_holdout_decides_as_the_shipped_gate(size: int) -> None:
    """On challengers far behind, behind, level, ahead and far ahead; at levels that some pass."""
    rng = np.random.default_rng(size)
    champion = rng.random((60, 40, size)) < 0.6
    better = rng.random((60, 1, 1)) * 0.5
    worse = rng.random((60, 1, 1)) * 0.5
    challenger = np.where(champion, rng.random((60, 40, size)) >= worse, False)
    challenger |= ~champion & (rng.random((60, 40, size)) < better)
    challenger[:3] = champion[:3]
    alphas = rng.choice([0.5, 0.05, 0.001], size=60)

    gains = challenger.astype(int) - champion
    picked = [min(range(size), key=lambda row: order(g * size + row)) for g in range(40)]
    picks = gains[:, np.arange(40), picked]
    passed, begins = on_holdout(gains.sum(2), picks, alphas, size)

    mine = [decision(p, b) for p, b in zip(passed, begins, strict=True)]
    theirs = [
        shipped(challenger[life], champion[life], Question(1, float(alphas[life])), None)
        for life in range(60)
    ]
    assert mine == theirs
    assert set(mine) == {"promote", "undecided", "reject"}


@pytest.mark.parametrize("size", [1, 3])
def test_a_trial_decides_as_the_shipped_gate(size: int) -> None:
    rng = np.random.default_rng(size)
    holdout = rng.random((2, 20, 1)) < 0.6
    outcomes = set()
    for _ in range(60):
        nights, level = int(rng.integers(1, 4)), float(rng.choice([0.5, 0.1, 0.01]))
        win = rng.random() * 0.8
        right = rng.random((nights, 8, size)) < win
        agree = rng.random((nights, 8, size)) < 0.3
        rows = tuple(
            FreshRow(
                as_of=datetime(2026, 1, 1 + night, tzinfo=UTC),
                example_id=f"{night}-{group}-{row}",
                group_id=f"g{group}",
                source="app",
                challenger_right=bool(right[night, group, row] or agree[night, group, row]),
                champion_right=bool(not right[night, group, row] or agree[night, group, row]),
            )
            for night, group, row in np.ndindex(nights, 8, size)
        )
        gains = np.where(agree, 0, np.where(right, 1, -1)).mean(axis=2)
        if nights > 1 and log_wealth(gains[:-1].ravel().tolist()) >= -math.log(level):
            continue  # decided on an earlier night
        bets = np.log1p(np.multiply.outer(gains.ravel(), STAKES)).sum(axis=0)
        against = np.log1p(np.multiply.outer(-gains.ravel(), STAKES)).sum(axis=0)

        wealth = log_mean(bets[None])
        won, lost, _ = on_trial(
            wealth + math.log(level),
            wealth,
            log_mean(against[None]),
            np.array([nights]),
            Rules(max_trial_nights=DECISIONS.max_trial_nights),
        )

        mine = decision(bool(won[0]), not lost[0])
        assert mine == shipped(holdout[0], holdout[1], None, Trial(1, level, rows))
        outcomes.add(mine)
    assert outcomes == {"promote", "undecided", "reject"}


# ---- Whole lives


def by_hand(world: World, nights: int, rules: Rules) -> Nights:
    """One life of our policy, row by row and with nothing but the shipped functions."""
    everyone, nobody = np.ones(1, bool), np.zeros(1, bool)
    limits = SHIPPED.model_copy(
        update={
            "restart_growth": rules.restart_growth,
            "max_trial_nights": rules.max_trial_nights,
        }
    )
    number = trials = 0
    told = alpha_budget.Told()
    carried = level = 0.0
    began = 0
    rows: list[FreshRow] | None = None
    earlier: list[EarlierTrial] = []
    values = world.values()
    budget = rules.alpha * rules.holdout_share
    for night in range(1, nights + 1):
        world.begin()
        train = world.setting.train + world.setting.grows * night
        fresh = np.repeat(values, world.fresh()[0]).tolist()
        stood, won = rows is not None, False
        if rows is not None:
            rows += rows_of(fresh, night, size=world.setting.fresh_group_size)
            trial = Trial(trials, level, tuple(rows), earlier=tuple(earlier))
            stands = progress(trial)
            won = stands.proven
            world.promote_tried(everyone if won else nobody)
            ended = won or trial_length.tonight(stands, bet=True, limits=limits).ending is not None
        world.train(everyone)
        passed = waits = False
        if not won:
            number += 1
            ours, theirs = (marks[0].tolist() for marks in world.holdout())
            ahead = [mine - other for mine, other in zip(ours, theirs, strict=True)]
            sizes = [world.setting.holdout_group_size] * len(ahead)
            alpha = alpha_budget.question_alpha(number, told.chance, budget=budget)
            picks = world.picks()[0].tolist()
            p_value = excess_p_value(ahead, sizes, margin=0, picks=picks)
            passed = sum(ahead) > 0 and p_value <= alpha
            waits = sum(ahead) > 0 and not passed
            world.promote(everyone if passed else nobody)
            world.publish(everyone)
        refuted, kept = False, None
        if rows is not None:
            refuted = stands.refuted and not (won or passed)
            placed: dict[str, Any] = {
                "bet": True,
                "examples": began,
                "newer_examples": train,
                "canary": False,
                "limits": limits,
            }
            place = trial_length.gives_way(stands, **placed)
            kept = trial_length.keeps_by_its_rows(stands, **placed)
            if ended or passed or (waits and place):
                earlier.append(EarlierTrial(level, tuple(rows)))
                rows = None
        if (won or passed) and earlier:
            carried = left_by(earlier, won=won)
            earlier = []
        if waits and rows is None:
            world.try_newest(everyone)
            trials += 1
            level = alpha_budget.trial_alpha(
                trials, carried=carried, budget=rules.alpha * (1 - rules.holdout_share)
            )
            carried, began, rows = 0.0, train, []
        told = alpha_budget.Told(
            (*told.moved, won or passed or not waits),
            (*told.refuted, *([refuted] if stood else [])),
            (*told.kept, *([] if kept is None else [kept])),
        )
    return world.end()


def left_by(every: list[EarlierTrial], *, won: bool) -> float:
    """What trials against one champion hand on when it is champion no more."""
    level = math.fsum(one.alpha for one in every)
    parts = [(one.alpha, group_bets(one.rows)) for one in every]
    become, _ = log_levels(parts, margin=0, quorum=EVERYBODY)
    return level if won else alpha_budget.handed_on(level, become - math.log(level))


def rows_of(gains: list[float], night: int, *, size: int) -> list[FreshRow]:
    """Rows in groups of ``size`` that bring these gains, each in [-1, 1]."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=night)
    return [
        FreshRow(
            at,
            f"{night}-{group}-{row}",
            f"g{group}",
            "app",
            row < round(gain * size),
            row < round(-gain * size),
        )
        for group, gain in enumerate(gains)
        for row in range(size)
    ]


@pytest.mark.parametrize("setting", ["rows", "groups"])
@pytest.mark.parametrize("scenario", ["equal", "better_5pt", "worse_3pt"])
def test_a_life_in_arrays_is_the_life_by_hand(scenario: str, setting: str) -> None:
    # a generous budget, so that trials are won, lost and followed by others
    rules = Rules(alpha=0.4, max_trial_nights=5)
    promotions = 0
    for seed in range(2):
        fast, slow = (
            World(SCENARIOS[scenario], SETTINGS[setting], lives=1, seed=seed) for _ in range(2)
        )
        one, other = flywheel(fast, 30, rules), by_hand(slow, 30, rules)
        assert one.promotions == other.promotions
        assert one.first == other.first
        assert one.final == other.final
        assert (fast.challenger == slow.challenger).all()
        promotions += int(one.promotions[0])
    assert promotions > 0 or scenario != "better_5pt"


def test_a_challenger_is_better_by_what_the_scenario_says_on_holdout_and_fresh_rows() -> None:
    for setting in SETTINGS.values():
        world = World(SCENARIOS["better_5pt"], setting, lives=300, seed=0)
        world.begin()
        world.train(np.ones(300, bool))
        ours, theirs = world.holdout()
        rows = setting.holdout_groups * setting.holdout_group_size
        assert (ours - theirs).sum() / (300 * rows) == pytest.approx(0.05, abs=0.005)
        world.try_newest(np.ones(300, bool))
        brought = (world.fresh() @ world.values()).sum() / (300 * setting.fresh_groups)
        assert brought == pytest.approx(0.05 * (1 - 2 * setting.rater_error), abs=0.006)


@pytest.mark.parametrize("setting", ["rows", "groups"])
def test_the_attack_beats_a_test_that_has_no_budget(setting: str) -> None:
    """Were it harmless, withstanding it would show nothing."""
    lives, test = 60, POLICIES["nightly_test"]
    attacked, plain = (
        figures(live(test, name, setting, lives=lives, nights=100, rules=None))
        for name in ("adversarial", "worse_3pt")
    )
    assert attacked["worse_promotion_rate"] > 0.2 > plain["worse_promotion_rate"]


def test_the_attack_makes_challengers_that_are_worse_by_what_the_scenario_says() -> None:
    """Half a point on closed groups, nothing on open ones; a share of the groups is all alike."""
    for setting in (SETTINGS["rows"], SETTINGS["groups"]):
        world = World(SCENARIOS["adversarial"], setting, lives=400, seed=0)
        world.begin()
        world.train(np.ones(400, bool))
        ours, theirs = world.holdout()
        closed = slice(world.attack.open, None)
        lost = (theirs - ours)[:, closed].sum() / ours.size / setting.holdout_group_size
        assert lost == pytest.approx(0.005, abs=0.0005)
        split = ours % setting.holdout_group_size != 0
        apart = 1 - setting.together if setting.holdout_group_size == 2 else 0.0
        assert split[:, : world.attack.open].mean() == pytest.approx(apart / 2, abs=0.02)


def test_the_page_has_a_row_for_every_policy_scenario_and_setting(tmp_path: Path) -> None:
    found = measure(lives=4, nights=6, policies=list(POLICIES), scenarios=list(SCENARIOS))
    document = {
        "alpha": 0.05,
        "nights": 6,
        "version": "of this test",
        "policies": meanings(),
        "results": found,
    }
    page = gate_report.page(document)
    assert page.count("| rows |") == len(POLICIES) * len(SCENARIOS)
    assert page.count("| groups |") == len(POLICIES) * len(SCENARIOS)
    plots = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in plots:
        gate_report.plot(document, path)
    assert plots[0].read_bytes() == plots[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "setting"), GUARANTEED)
def test_over_a_thousand_lives_the_gate_is_ever_wrong_in_at_most_alpha(
    scenario: str, setting: str
) -> None:
    """The upper end of the 95 % interval is under alpha, over lives of 365 nights."""
    assert whole_lives(scenario, setting)["wrong_95"][1] <= Rules().alpha


@pytest.mark.slow
def test_five_points_are_promoted_within_a_few_nights() -> None:
    """Median at most 2 nights, nine lives of ten within 14; in groups a median of 21."""
    found = whole_lives("better_5pt", "rows")
    assert found["median_nights_to_promote"] <= 2
    assert found["nights_to_promote_90"] <= 14
    assert whole_lives("better_5pt", "groups")["median_nights_to_promote"] <= 21


def whole_lives(scenario: str, setting: str) -> dict[str, Any]:
    return figures(live(flywheel, scenario, setting, lives=1_000, nights=365, rules=Rules()))
