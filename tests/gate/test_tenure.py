"""How long a challenger stays on trial while newer ones are trained."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flywheel.config import GateConfig
from flywheel.gate import trial_length
from flywheel.gate.decision import told_of_trial
from flywheel.gate.trial_progress import Progress, progress
from flywheel.gate.trial_progress import stand as trial_stand
from flywheel.records import EarlierTrial, FreshRow, Trial

LIMITS = GateConfig(min_accuracy=0.5)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def stands(*nights: tuple[int, int], alpha: float = 0.01) -> Progress:
    """A trial by how many rows of each night the challenger alone won, and lost."""
    rows = [row for night, one in enumerate(nights) for row in rows_of(night, *one)]
    return progress(Trial(1, alpha, tuple(rows)))


def test_with_whole_weeks_only_weeks_prove() -> None:
    """Good from Monday to Friday, and bad at weekends, is no gain: no week says that it is."""
    weekly = [(9, 1)] * 5 + [(1, 18)] * 2
    weeks = LIMITS.model_copy(update={"whole_weeks": True})

    def proven(nights: list[tuple[int, int]], limits: GateConfig) -> list[int]:
        """The nights after which it is, each of another challenger."""
        found = []
        earlier: list[EarlierTrial] = []
        for night, one in enumerate(nights):
            rows = rows_of(night, *one)
            trial = Trial(night + 1, 0.005, rows, earlier=tuple(earlier))
            if trial_stand(trial, limits).proven:
                found.append(night + 1)
            earlier.append(EarlierTrial(0.005, rows))
        return found

    assert min(proven(weekly * 2, LIMITS)) < 5
    assert proven(weekly * 2, weeks) == []
    assert min(proven([(9, 1)] * 8, weeks)) == 7


def rows_of(night: int, wins: int, losses: int) -> tuple[FreshRow, ...]:
    at = FIRST + timedelta(days=night)
    return tuple(
        FreshRow(at, f"{night}-{n}", f"{night}-{n}", "app", won, not won)
        for n, won in enumerate([True] * wins + [False] * losses)
    )


def given_way(
    found: Progress, *, newer: int, bet: bool = True, canary: bool = False, growth: float = 1.0
) -> str | None:
    limits = LIMITS.model_copy(update={"restart_growth": growth})
    return trial_length.gives_way(
        found, bet=bet, examples=100, newer_examples=newer, canary=canary, limits=limits
    )


def test_a_trial_that_nothing_was_bet_on_gives_way_to_any_newer_challenger() -> None:
    assert given_way(stands(), newer=100, bet=False, canary=True)


def test_a_newer_challenger_takes_the_place_and_what_was_shown_is_kept() -> None:
    said = given_way(stands((3, 3)), newer=100)
    assert said is not None
    assert "what its rows say is kept" in said


@pytest.mark.parametrize(("newer", "gives"), [(199, False), (201, True)])
def test_one_whose_own_rows_speak_for_it_stays_until_there_is_much_more_to_learn_from(
    newer: int, gives: bool
) -> None:
    found = stands((5, 1))
    assert not found.proven
    assert (given_way(found, newer=newer) is not None) is gives
    assert given_way(found, newer=newer, growth=0.0)


def test_one_whose_answers_are_served_stays_until_that_is_told() -> None:
    assert given_way(stands((3, 3)), newer=1_000, canary=True) is None


def test_one_that_is_proven_never_gives_way() -> None:
    found = stands((20, 0))
    assert found.proven
    assert given_way(found, newer=1_000) is None


@pytest.mark.parametrize(
    ("nights", "ending"),
    [([(0, 30)], "rejected"), ([(1, 1)] * 14, "over"), ([(1, 1)] * 13, None), ([], None)],
)
def test_a_trial_ends_when_it_is_refuted_or_its_nights_are_over(
    nights: list[tuple[int, int]], ending: str | None
) -> None:
    assert trial_length.tonight(stands(*nights), bet=bool(nights), limits=LIMITS).ending == ending


def test_a_trial_without_evidence_says_what_would_be_evidence() -> None:
    said = trial_length.tonight(stands(), bet=False, limits=LIMITS).why
    assert "name their source in gate.evidence_sources" in said
    named = LIMITS.model_copy(update={"evidence_sources": ["shop", "app"]})
    said = trial_length.tonight(stands(), bet=False, limits=named).why
    assert "reactions from shop, app (gate.evidence_sources), of which none" in said
    assert "name their source" not in said


def audits(night: int, *gains: int) -> tuple[FreshRow, ...]:
    at = FIRST + timedelta(days=night)
    return tuple(
        FreshRow(at, f"a{night}-{n}", f"a{night}-{n}", "audit", gain >= 0, gain <= 0, 0.05)
        for n, gain in enumerate(gains)
    )


def test_one_that_its_own_audits_refute_is_not_proven_by_those_of_others() -> None:
    before = EarlierTrial(0.01, (*audits(0, *[1] * 20), *rows_of(0, 4, 0)))
    own = (*audits(1, *[-1] * 9), *rows_of(1, 20, 0))
    found = trial_stand(Trial(2, 0.003, own, earlier=(before,)), LIMITS)
    assert found.log_wealth >= found.needed
    assert found.refuted
    assert not found.proven


def test_one_that_later_rows_refute_is_not_proven_by_an_earlier_night() -> None:
    before = EarlierTrial(0.01, rows_of(0, 9, 0))
    trial = Trial(2, 0.003, (*rows_of(1, 3, 0), *rows_of(2, 0, 20)), earlier=(before,))
    found = trial_stand(trial, LIMITS)
    assert found.refuted
    assert not found.proven


def test_what_lacks_only_its_own_rows_says_so() -> None:
    before = EarlierTrial(0.01, rows_of(0, 40, 0))
    trial = Trial(2, 0.003, rows_of(1, 1, 1), earlier=(before,))
    assert "its own rows must double what is bet on them" in told_of_trial(trial, LIMITS)
