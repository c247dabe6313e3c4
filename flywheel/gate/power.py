"""What a night could teach and prove, from counts alone: before any GPU time is spent.

A gain is visible when the gate would see it with chance `POWER`: on the holdout by one question at
the level that the ledger allows next, on fresh rows by the bets of `flywheel.stats.e_process`. What
is larger than the share of rows on which the contenders differ cannot be gained; so where a gain
is, they are taken to differ on that many rows at least.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import NormalDist
from typing import Literal

from flywheel.config import GateConfig, UseCase
from flywheel.gate import cold_start
from flywheel.influence.quorum import Quorum, short_of_customers, speakers, speaking_for
from flywheel.records import Reason, Snapshot
from flywheel.stats.alpha_budget import Told, question_alpha, trial_alpha, visible_gain
from flywheel.stats.e_process import STAKES

POWER = 0.8
ASSUMED_DISAGREEMENT = 0.15
"""Share of rows that only one contender gets right, until two were compared."""
ASSUMED_DISAGREEMENT_WRITTEN = 0.5
"""The same of written answers: rows that do not tie. Two nights' models that summarised 62 talks of
DialogSum (Chen et al. 2021) did not on 30."""
AFTER_NIGHTS = (2, 4, 7)
BY_SPLIT = ("enough_examples", "holdout_empty", "holdout_too_small")
"""Rules that skip a night for what may be the fault of too few groups."""
SETTINGS = "settings"
"""The fact of a night that names the settings it was judged by."""
_ONCE = {"holdout_share": "exam_share", "min_holdout_examples": "min_exam_examples"}
"""Settings by the names that nights before 0.2.0 judged them by: another name is nothing new."""
NOTHING_NEW = "something_new"
"""The rule that skips a night whose rows were judged before."""
LEARNED_FROM = "learned_from"
"""The fact of a night that names the snapshot of whoever stood before its gate."""


@dataclass(frozen=True)
class Standing:
    """Where a use case stands before a night, as the store counts it.

    ``classes`` is label → training examples of the snapshot, ``holdout`` label → holdout rows of
    it, ``judged`` the night in which that snapshot was judged, also with holdout rows of people who
    were forgotten since; ``judged_by`` the `settings` that it was judged by (None: not kept).
    ``questions`` were asked of the holdout, which left the share ``unspent`` of its budget (None:
    what they leave by today's rule), and ``told`` was told of it; ``trials`` were begun,
    ``open_alpha`` is what the levels of the one that goes on have become. In the last ``nights``
    nights came ``fresh_units`` pieces of evidence: groups with labels that count, or rows where
    `gate.unit` says so; ``fresh_own`` of them are of the company's own people, the others of
    ``fresh_by_customer`` (customer → pieces), where a win counts for ``won_weight`` of a loss
    (`flywheel.gate.coverage`). ``champion_rows`` is what the champion learned from.
    """

    classes: Mapping[str, int] = field(default_factory=dict)
    holdout: Mapping[str, int] = field(default_factory=dict)
    judged: datetime | None = None
    judged_by: str | None = None
    retrain_wanted: bool = False
    champion: bool = False
    champion_rows: int | None = None
    questions: int = 0
    unspent: float | None = None
    told: Told = field(default_factory=Told)
    trials: int = 0
    open_alpha: float | None = None
    nights: int = 0
    fresh_units: int = 0
    fresh_own: int = 0
    fresh_by_customer: Mapping[str, int] = field(default_factory=dict)
    won_weight: float = 1.0

    @property
    def win_counts(self) -> float:
        """What a win on a fresh piece counts for beside a loss, on average; in (0, 1]."""
        if not self.fresh_units:
            return 1.0
        own = min(self.fresh_own, self.fresh_units) / self.fresh_units
        return own + (1 - own) * self.won_weight

    @property
    def fresh_per_night(self) -> float | None:
        """Pieces of evidence per night; None before there was a night to count in."""
        return self.fresh_units / self.nights if self.nights else None

    def speaking_per_night(self, rules: GateConfig) -> float | None:
        """Those of them that can speak for a gain, by `flywheel.influence.quorum`."""
        rate = self.fresh_per_night
        if rate is None or not self.fresh_by_customer:
            return rate
        most = speaking_for(self.fresh_by_customer, self.fresh_own, Quorum.of(rules))
        return min(rate, most / self.nights)

    def short_of(self, rules: GateConfig) -> str:
        """What of the fresh evidence can speak for no gain, in words; empty where all of it can."""
        rate, jury = self.speaking_per_night(rules), Quorum.of(rules)
        if rate is None or rate == self.fresh_per_night:
            return ""
        few = short_of_customers(len(speakers([self.fresh_by_customer])), jury)
        said = f"; {rate:.1f} a night can speak for a gain"
        shares = "gate.dishonest_customers, gate.max_evidence_share"
        return f"{said}, the others are {few}" if few else f"{said} ({shares})"


@dataclass(frozen=True)
class LabelUncertainty:
    """How sure a snapshot's training labels are.

    ``single`` of ``rows`` rest on one reaction; ``unsure`` is the mean chance that a label is
    wrong, as curation believes; ``reactions`` is how many the snapshot looked at. Of ``texts`` with
    several raters ``disagreeing`` is the sum of their shares of pairs that disagree.
    """

    rows: int
    single: int
    unsure: float
    reactions: int
    texts: int
    disagreeing: float


@dataclass(frozen=True)
class DetectableEffect:
    """The smallest gain in accuracy that can be shown by night ``night`` (1: tonight).

    ``rows`` are those of the holdout, or the pieces of fresh evidence expected until then. ``gain``
    in (0, 1]; None when even the largest could not be shown.
    """

    night: int
    where: Literal["holdout", "fresh"]
    rows: int
    gain: float | None


# ---- What can be proven


def assumed_disagreement(rules: GateConfig) -> float:
    """Share of rows on which one contender does better, until two were compared."""
    return ASSUMED_DISAGREEMENT if rules.min_rouge_l is None else ASSUMED_DISAGREEMENT_WRITTEN


def next_question_alpha(standing: Standing, rules: GateConfig) -> float:
    """Level at which the holdout may be asked tonight."""
    return question_alpha(
        standing.questions + 1,
        standing.told.chance,
        budget=rules.alpha * rules.holdout_share,
        left=standing.unspent,
    )


def next_trial_alpha(standing: Standing, rules: GateConfig) -> float:
    """Level of the trial on fresh rows that goes on, else of the next one."""
    if standing.open_alpha is not None:
        return standing.open_alpha
    budget = rules.alpha * (1 - rules.holdout_share)
    return trial_alpha(standing.trials + 1, carried=0.0, budget=budget)


def visible_on_holdout(
    rows: int, alpha: float, *, disagreement: float, margin: float = 0.0
) -> float | None:
    """The smallest gain that one question at ``alpha`` shows on ``rows`` rows; None: none."""
    beyond = visible_gain(alpha, rows, disagreement=disagreement, power=POWER)
    if beyond > disagreement:
        # they differ on at least as many rows as one gains on: beyond = reach * sqrt(beyond / rows)
        beyond = beyond**2 / disagreement
    return beyond + margin if beyond + margin <= 1 and rows > 0 else None


def groups_to_show(
    gain: float, alpha: float, *, disagreement: float, margin: float = 0.0, won: float = 1.0
) -> int | None:
    """How many pieces of fresh evidence bring wealth to ``1 / alpha`` with chance `POWER`.

    The wealth of a stake multiplies by ``1 + stake * (right less right - margin)`` with each group,
    so that its logarithm is a sum of independent parts, of which a normal law is good enough. The
    best stake holds one of eight parts of the money, whence the factor ``len(STAKES)``; that others
    earn too, and that one looks more than once, only makes it sooner. A win counts ``won`` of a
    loss. None when no number would do.
    """
    differ = max(disagreement, abs(gain))
    chances = ((won, (differ + gain) / 2), (0.0, 1 - differ), (-1.0, (differ - gain) / 2))
    wanted = math.log(len(STAKES) / alpha)
    reach = NormalDist().inv_cdf(POWER)
    most = 1.0 / (1.0 + margin)
    found = []
    for stake in STAKES:
        logs = [(math.log1p(stake * most * (v - margin)), chance) for v, chance in chances]
        growth = math.fsum(log * chance for log, chance in logs)
        if growth > 0:
            spread = math.sqrt(math.fsum(chance * (log - growth) ** 2 for log, chance in logs))
            root = reach * spread + math.sqrt((reach * spread) ** 2 + 4 * growth * wanted)
            found.append(math.ceil((root / (2 * growth)) ** 2))
    return min(found, default=None)


def visible_on_fresh(
    groups: float, alpha: float, *, disagreement: float, margin: float = 0.0, won: float = 1.0
) -> float | None:
    """The smallest gain that a trial at ``alpha`` shows on ``groups`` fresh groups; None: none."""

    def shown(gain: float) -> bool:
        needed = groups_to_show(gain, alpha, disagreement=disagreement, margin=margin, won=won)
        return needed is not None and needed <= groups

    if not shown(1.0):
        return None
    low, high = margin, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def detectable_effects(
    standing: Standing, holdout_rows: int, rules: GateConfig, *, disagreement: float
) -> list[DetectableEffect]:
    """What can be shown tonight on the holdout, and later on fresh rows if they come as they did.

    Of fresh rows those count that can speak for a gain, whoever is left out.
    """
    asked = holdout_rows >= rules.min_holdout_examples
    tonight = visible_on_holdout(
        holdout_rows if asked else 0,
        next_question_alpha(standing, rules),
        disagreement=disagreement,
        margin=rules.margin,
    )
    found = [DetectableEffect(1, "holdout", holdout_rows, tonight)]
    rate = standing.speaking_per_night(rules)
    if rate is not None and standing.fresh_units:
        alpha = next_trial_alpha(standing, rules)
        longest = rules.max_trial_nights
        for night in sorted({min(night, longest) for night in AFTER_NIGHTS}):
            groups = night * rate
            gain = visible_on_fresh(
                groups,
                alpha,
                disagreement=disagreement,
                margin=rules.margin,
                won=standing.win_counts,
            )
            found.append(DetectableEffect(night, "fresh", round(groups), gain))
    return found


def within(sight: DetectableEffect, headroom: float | None) -> DetectableEffect:
    """A sight without a gain that is larger than what the champion leaves to gain."""
    if headroom is None or sight.gain is None or sight.gain <= headroom:
        return sight
    return replace(sight, gain=None)


# ---- Whether to train tonight


def settings(case: UseCase) -> str:
    """A name for what decides a night beside its rows: recipe, gate, prompt, labels, golden rows.

    The same rows under other settings are something new: a lower floor, say, or another base.
    """
    decisive = case.model_dump(
        mode="json", include={"training", "gate", "prompt", "labels", "golden"}
    )
    gate = {_ONCE.get(key, key): value for key, value in decisive["gate"].items()}
    # JSON without sorting: the order of labels decides, too
    return hashlib.sha256(json.dumps(decisive | {"gate": gate}).encode()).hexdigest()[:16]


def why_not_tonight(case: UseCase, snapshot: Snapshot, standing: Standing) -> Reason | None:
    """The reason to skip training on ``snapshot``, None when there is none.

    What cannot be promoted is not always worth skipping. Without a champion a night trains although
    the holdout is too small, for its figures are the first that anybody has. With one, and a
    holdout too small to be asked, it trains as long as fresh rows could decide before the
    challenger has to give way; it is skipped where they come so rarely that not even one that is
    right on every row where the champion is wrong, and wrong on none, would be seen. How many come
    is not known before a second night, and then it trains.
    """
    return (
        _enough_examples(case, snapshot, standing)
        or _some_holdout(case, snapshot, standing)
        or _something_new(case, snapshot, standing)
        or _every_class(case, standing)
        or _holdout_too_small(case, snapshot, standing)
    )


def _enough_examples(case: UseCase, snapshot: Snapshot, standing: Standing) -> Reason | None:
    if snapshot.train >= case.training.min_examples:
        return None
    shown = [f"{standing.classes.get(label, 0)} {label}" for label in case.label_names]
    of = f" ({_listed(shown)})" if shown else ""
    how = f"label {case.training.min_examples - snapshot.train} more, or wait for feedback"
    if not standing.champion:
        number = cold_start.labels_needed(case, train=snapshot.train, holdout=snapshot.holdout)
        how = f"label about {number} more texts, by {cold_start.by_file(case, to_train=True)}"
    return Reason(
        "enough_examples",
        None,
        f"snapshot {snapshot.snapshot_id[:12]} has {snapshot.train} training examples{of}; "
        f"training needs at least {case.training.min_examples} (training.min_examples): {how}",
    )


def _some_holdout(case: UseCase, snapshot: Snapshot, standing: Standing) -> Reason | None:
    """A first model that nothing could be asked of is not trained."""
    if snapshot.holdout or standing.champion:
        return None
    least = case.gate.min_holdout_examples
    number = cold_start.to_seat(least, case.split.holdout)
    of = "" if case.is_generation else f", some of each of the {len(case.label_names)} labels"
    return Reason(
        "holdout_empty",
        None,
        f"the holdout has 0 rows, and the gate asks none below {least} "
        "(gate.min_holdout_examples); "
        f"{snapshot.train} rows train and {snapshot.validation} are for validation. Label about "
        f"{number} more texts, so that {least} of them are held out{of}: "
        f"{cold_start.by_file(case)}. They must be of new groups, of which "
        f"{case.split.holdout:.0%} "
        "are held out (split.holdout): groups that are here keep their side",
    )


def _something_new(case: UseCase, snapshot: Snapshot, standing: Standing) -> Reason | None:
    if standing.judged is None or standing.retrain_wanted:
        return None
    if standing.judged_by not in (None, settings(case)):
        return None
    ends = f"Reactions to answers, or labels (flywheel queue -u {case.name}), end"
    if not standing.champion and not case.serving.unproven:
        ends = f"Labels ({cold_start.by_file(case)}), or other settings, end"
    return Reason(
        NOTHING_NEW,
        None,
        f"what snapshot {snapshot.snapshot_id[:12]} teaches was judged in the night of "
        f"{standing.judged}; "
        f"no feedback has come since that changes what there is to learn. {ends} this",
    )


def _every_class(case: UseCase, standing: Standing) -> Reason | None:
    least = case.training.min_per_class
    few = [label for label in case.label_names if standing.classes.get(label, 0) < least]
    if not few:
        return None
    shown = _listed([f"{standing.classes.get(label, 0)} {label}" for label in few])
    how = "" if standing.champion else f", by {cold_start.by_file(case, to_train=True)}"
    return Reason(
        "every_class",
        None,
        f"too few training examples of {shown}; "
        f"training needs at least {least} of each (training.min_per_class). Label more of these "
        f"first{how}; or go on without them (training.min_per_class: 0), or take a label that "
        "nobody uses out of the use case",
    )


def _listed(shown: Sequence[str]) -> str:
    more = f" and {len(shown) - 5} further labels" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more


def _by_label(case: UseCase, standing: Standing) -> str:
    """The labels that the holdout has fewest rows of."""
    if case.is_generation or not standing.holdout:
        return ""
    fewest = sorted(case.label_names, key=lambda label: standing.holdout.get(label, 0))
    return f" ({_listed([f'{standing.holdout.get(label, 0)} {label}' for label in fewest])})"


def _holdout_too_small(case: UseCase, snapshot: Snapshot, standing: Standing) -> Reason | None:
    rules = case.gate
    rate = standing.fresh_per_night
    if not standing.champion or snapshot.holdout >= rules.min_holdout_examples or rate is None:
        return None
    alpha = next_trial_alpha(standing, rules)
    fewest = groups_to_show(1.0, alpha, disagreement=1.0, margin=rules.margin)
    coming = rate * rules.max_trial_nights
    if fewest is not None and fewest <= coming:
        return None
    return Reason(
        "holdout_too_small",
        None,
        f"the holdout has {snapshot.holdout} rows{_by_label(case, standing)}, and the gate asks "
        f"none below {rules.min_holdout_examples} (gate.min_holdout_examples); fresh {rules.unit}s "
        "could "
        f"decide instead, but {coming:.0f} are expected in {rules.max_trial_nights} nights and "
        f"the clearest gain needs {fewest}. Nothing that training made could be "
        "promoted. What ends this: about "
        f"{cold_start.to_seat(rules.min_holdout_examples - snapshot.holdout, case.split.holdout)} "
        "labels, "
        f"so that {rules.min_holdout_examples - snapshot.holdout} of them are held out, drawn "
        f"without bias (flywheel queue -u {case.name} --audit-share 1), or sources named in "
        "gate.evidence_sources, where nearly every answer gets a reaction",
    )
