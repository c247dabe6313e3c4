"""Worlds that feed the gate badly: rows that go together, near-copies, reactions that choose.

    python -m benchmarks.evidence       # python -m benchmarks.gate --json has the same

Every challenger is exactly as good as its champion, so that each promotion is wrong. What is real
here: the product's functions from a night's rows on: which texts count (`tasks.learned_rows`),
one bet of a group, design effect and weights (`flywheel.stats.e_process`), wealth
(`flywheel.influence.quorum`), what selective reactions count for (`flywheel.gate.coverage`), which
gold is held out (`flywheel.curation`), the holdout's p-value and veto, and the levels of trials and
questions (`flywheel.stats.alpha_budget`).
What is modelled: who is right about which row, who reacts, and that each night another challenger
stands trial. No store and no model.

    design_effect     gate.unit: row; of groups of 12 rows three in ten go right or wrong as one
    near_copies       of a night's rows two fifths are written by 20 templates, for seven nights
    censored_audits   40 audits a night, drawn from all requests. Customers reacted to 50 % of right
                      and 10 % of wrong answers; no audit is dropped for that
    coverage_80       reactions to 300 answers a night: 95 % of wrong ones, 76 % of right ones
    label_shift       a label of 10 % of requests is 45 % of reactions; the challenger is better on
                      it and worse on the others
    shared_error      2 points worse by gold, 2 better by customers' labels; 500 rows held out
    season            4 points better on five nights of a week, 10 worse on two; 120 rows a night
    accepted_exam     500 gold rows, half of them said of an answer in sight, of which half of the
                      wrong ones were accepted; the challenger gives those answers again
    best_of_100       the best of 100 by the holdout that is asked

``without`` is the same world with the part switched off: rows taken at their word, copies kept,
audits with a reaction dropped, reactions believed, no veto, every gold row held out, the whole
level for the best. For ``season`` the part is ``gate.whole_weeks``, which is off as shipped.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.config import GateConfig, load_use_case
from flywheel.curation import curate
from flywheel.gate import comparison, rules, trial_progress
from flywheel.gate.comparison import Pair
from flywheel.gate.coverage import Cell, Coverage, Fates, Weights
from flywheel.records import EarlierTrial, Example, FreshRow, Reaction, Trial
from flywheel.stats import alpha_budget
from flywheel.stats.paired_tests import wilson_interval
from tasks import learned_rows

BUDGET = 0.025
FIRST_MODEL = alpha_budget.Told(moved=(True,)).chance
"""What is told when the first model was promoted."""
"""Half of ``gate.alpha``, as shipped: the other half is the holdout's."""
TRIAL_NIGHTS, DIFFERS = 14, 0.15
SHIPPED = GateConfig(min_accuracy=0.0)
VOCABULARY = ["".join(word) for word in product("bdfklmnprstv", "aeiou", "nrst", "aeiou", "kmpz")]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CASE = load_use_case("product-reviews", folder=Path(__file__).parent.parent / "usecases")


def _fates(rng: np.random.Generator, number: int) -> list[int]:
    """1 where only the challenger is right, -1 the champion; as often the one as the other."""
    half = DIFFERS / 2
    return [int(one) for one in rng.choice([1, -1, 0], p=[half, half, 1 - DIFFERS], size=number)]


def _row(
    night: int, name: str, fate: int, *, group: str | None = None, probability: float | None = None
) -> FreshRow:
    at = FIRST + timedelta(days=night)
    return FreshRow(at, name, group or name, "gold", fate > 0, fate < 0, probability=probability)


def _trial_of_groups(rng: np.random.Generator) -> Iterator[list[FreshRow]]:
    """120 rows a night in groups of 12; the rows of three groups in ten share one fate."""
    for night in range(TRIAL_NIGHTS):
        fates = np.array(_fates(rng, 120)).reshape(10, 12)
        alike = rng.random(10) < 0.3
        fates[alike] = fates[alike, :1]
        yield [
            _row(night, f"{night}-{g}-{i}", int(fates[g, i]), group=f"{night}-{g}")
            for g in range(10)
            for i in range(12)
        ]


def _trial_of_copies(rng: np.random.Generator, *, kept: bool) -> Iterator[list[FreshRow]]:
    """60 rows a night, 24 of them written by 20 templates that stay for seven nights."""

    def words(number: int) -> str:
        return " ".join(VOCABULARY[at] for at in rng.integers(len(VOCABULARY), size=number))

    before: list[Example] = []
    for night in range(TRIAL_NIGHTS):
        if night % 7 == 0:
            templates, fates = [words(12) for _ in range(20)], _fates(rng, 20)
        came, fate = [], {}
        for number, own in enumerate(_fates(rng, 60)):
            which = int(rng.integers(20))
            of_template = number < 24
            text = f"{templates[which]} {words(1)}" if of_template else words(13)
            name = f"{night}-{number}"
            fate[name] = fates[which] if of_template else own
            came.append(Example(name, text, "positive", 1.0, name, "train", (name,)))
        if not kept:
            alike = learned_rows.almost_alike(CASE, came, before, came)
            new = [one for one in came if one.example_id not in alike]
            came = learned_rows.one_of_each(CASE, new, {})
        before += came
        yield [_row(night, one.example_id, fate[one.example_id]) for one in came]


def _trial_of_audits(rng: np.random.Generator, *, dropped: bool) -> Iterator[list[FreshRow]]:
    """40 audits of 1,000 requests; who is right alone decides whether a customer had reacted."""
    for night in range(TRIAL_NIGHTS):
        rows = []
        for number, fate in enumerate(_fates(rng, 40)):
            right = fate < 0 or (fate == 0 and rng.random() < 0.9)
            reacted = rng.random() < (0.5 if right else 0.1)
            if not (dropped and reacted):
                rows.append(_row(night, f"{night}-{number}", fate, probability=0.04))
        yield rows


# ---- Reactions


def _answers(
    rng: np.random.Generator, number: int, shift: bool
) -> Iterator[tuple[bool, int, bool, float]]:
    """Whether the true label is the rare one, the fate, whether the champion is right, a chance."""
    rare = rng.random(number) < 0.1
    won = np.where(rare, 0.30, 0.0625) if shift else np.full(number, DIFFERS / 2)
    lost = np.where(rare, 0.075, 0.0875) if shift else won
    drawn = rng.random(number)
    fate = np.where(drawn < won, 1, np.where(drawn < won + lost, -1, 0))
    right = (fate < 0) | ((fate == 0) & (rng.random(number) < 0.9))
    columns = (rare, fate, right, rng.random(number))
    yield from zip(*(column.tolist() for column in columns), strict=True)


def _trial_of_reactions(
    rng: np.random.Generator, *, shift: bool, believed: bool
) -> Iterator[list[FreshRow]]:
    """300 answers a night; what a reaction counts for is measured on all nights so far."""
    so_far = Counter[tuple[Cell, str]]()
    for night in range(TRIAL_NIGHTS):
        heard = []
        for rare, fate, right, chance in _answers(rng, 300, shift):
            cell = ("rare" if rare == right else "common", True)
            share = (0.95 if rare else 0.13) if shift else (0.76 if right else 0.95)
            if chance < share:
                heard.append((cell, fate))
            kind = "silent" if chance >= share else "right" if right else "wrong"
            so_far[cell, kind] += 1
        known = Coverage.of(
            {
                cell: Fates(so_far[cell, "right"], so_far[cell, "wrong"], 0, so_far[cell, "silent"])
                for cell, _ in so_far
            }
        )
        counts = {cell: Weights() if believed else known.weights(cell) for cell, _ in so_far}
        rows = []
        for number, (cell, fate) in enumerate(heard):
            row = _row(night, f"{night}-{number}", fate)
            rows.append(replace(row, won_weight=counts[cell].won, lost_weight=counts[cell].lost))
        yield rows


def _trial_of(
    rng: np.random.Generator, gains: Sequence[float], *, rows: int = 120
) -> Iterator[list[FreshRow]]:
    """Rows by themselves; each night has its gain."""
    for night in range(TRIAL_NIGHTS):
        gain = gains[night % len(gains)]
        chances = [(DIFFERS + gain) / 2, (DIFFERS - gain) / 2, 1 - DIFFERS]
        fates = rng.choice([1, -1, 0], p=chances, size=rows)
        yield [_row(night, f"{night}-{n}", int(fate)) for n, fate in enumerate(fates)]


def _veto(rng: np.random.Generator) -> bool:
    """Whether 500 rows of gold stop what is 2 points worse."""
    chances = [(DIFFERS - 0.02) / 2, (DIFFERS + 0.02) / 2, 1 - DIFFERS]
    pairs = _pairs(rng.choice([1, -1, 0], p=chances, size=500).tolist())
    return rules.holdout_veto(pairs, SHIPPED).passed is False


# ---- The holdout


def _pairs(fates: Sequence[int]) -> list[Pair]:
    return [Pair(str(n), "gold", fate, str(n)) for n, fate in enumerate(fates)]


def _accepted(rng: np.random.Generator, *, every: bool) -> bool:
    """Whether a question is won on 500 rows of gold, half of them said with an answer in sight."""
    fates, said = [], []
    for number, fate in enumerate(_fates(rng, 500)):
        seen = number % 2 == 0
        # the answer that was seen is wrong where the challenger, which gives it again, is
        accepted = seen and fate < 0 and bool(rng.random() < 0.5)
        fates.append(1 if accepted else fate)
        words = " ".join(VOCABULARY[at] for at in rng.integers(len(VOCABULARY), size=9))
        kind = "accept" if accepted else "correct" if seen else "label"
        said.append(
            Reaction(
                f"f{number}", kind, "positive", words, f"g{number}", "ann", "gold", FIRST,
                predicted_label="positive",
            )
        )  # fmt: skip
    if not every:
        seated = curate(
            said,
            splits=dict.fromkeys((one.group_id for one in said), "holdout"),
            labels=CASE.label_names,
            rules=CASE.curation.model_copy(
                update={"gold_sources": ["gold"], "languages": [], "poison": False}
            ),
        )
        kept = {one.group_id for one in seated.examples if one.split == "holdout"}
        fates = [fate for n, fate in enumerate(fates) if f"g{n}" in kept]
    level = alpha_budget.question_alpha(1, FIRST_MODEL, budget=BUDGET)
    return comparison.paired(_pairs(fates)).p_value <= level


def _best(rng: np.random.Generator, *, paid: bool) -> bool:
    """Whether the best of 100 by 500 rows wins the question that the same rows are asked."""
    half = DIFFERS / 2
    fates = rng.choice([1, -1, 0], p=[half, half, 1 - DIFFERS], size=(100, 500))
    best = fates[int(fates.sum(axis=1).argmax())].tolist()
    level = alpha_budget.question_alpha(1, FIRST_MODEL, budget=BUDGET, chosen_of=100 if paid else 1)
    return comparison.paired(_pairs(best)).p_value <= level


def wrong(
    trial: Callable[[np.random.Generator], Iterator[list[FreshRow]]],
    *,
    trials: int,
    seed: int,
    veto: Callable[[np.random.Generator], bool] | None = None,
    limits: GateConfig = SHIPPED,
) -> bool:
    """Whether in a life of so many times 14 nights an equal challenger is ever promoted.

    Each night another challenger stands, with a level of its own that is bet on from then on. A
    holdout that vetoes one vetoes all: they are alike.
    """
    rng = np.random.default_rng(seed)
    if veto is not None and veto(rng):
        return False
    earlier: list[EarlierTrial] = []
    for fortnight in range(trials):
        later = timedelta(days=TRIAL_NIGHTS * fortnight)
        for night in trial(rng):
            rows = tuple(replace(row, as_of=row.as_of + later) for row in night)
            number = len(earlier) + 1
            level = alpha_budget.trial_alpha(number, carried=0.0, budget=BUDGET)
            tonight = Trial(number, level, rows, earlier=tuple(earlier))
            if trial_progress.stand(tonight, limits).proven:
                return True
            earlier.append(EarlierTrial(level, rows))
    return False


def _at_their_word(
    trial: Callable[[np.random.Generator], Iterator[list[FreshRow]]], rng: np.random.Generator
) -> Iterator[list[FreshRow]]:
    """The nights of a trial with each row for a group of its own."""
    for night in trial(rng):
        yield [replace(row, group_id=row.example_id) for row in night]


def _life(trial: Any, **given: Any) -> Callable[..., bool]:
    return partial(wrong, trial, **given)


def _questions(ask: Callable[[np.random.Generator], bool]) -> Callable[..., bool]:
    """One question in each life; its seed is the life's."""
    return lambda *, trials, seed: ask(np.random.default_rng(seed))


_SHARED = partial(_trial_of, gains=[0.02], rows=300)
_WEEK = partial(_trial_of, gains=[0.04] * 5 + [-0.10] * 2)
SCENARIOS: dict[str, tuple[Callable[..., bool], Callable[..., bool] | None]] = {
    "design_effect": (
        _life(_trial_of_groups, limits=SHIPPED.model_copy(update={"unit": "row"})),
        _life(partial(_at_their_word, _trial_of_groups)),
    ),
    "near_copies": (
        _life(partial(_trial_of_copies, kept=False)),
        _life(partial(_trial_of_copies, kept=True)),
    ),
    "censored_audits": (
        _life(partial(_trial_of_audits, dropped=False)),
        _life(partial(_trial_of_audits, dropped=True)),
    ),
    "coverage_80": (
        _life(partial(_trial_of_reactions, shift=False, believed=False)),
        _life(partial(_trial_of_reactions, shift=False, believed=True)),
    ),
    "label_shift": (
        _life(partial(_trial_of_reactions, shift=True, believed=False)),
        _life(partial(_trial_of_reactions, shift=True, believed=True)),
    ),
    "shared_error": (_life(_SHARED, veto=_veto), _life(_SHARED)),
    "season": (_life(_WEEK, limits=SHIPPED.model_copy(update={"whole_weeks": True})), _life(_WEEK)),
    "accepted_exam": (
        _questions(partial(_accepted, every=False)),
        _questions(partial(_accepted, every=True)),
    ),
    "best_of_100": (_questions(partial(_best, paid=True)), _questions(partial(_best, paid=False))),
}


def measure(
    *, lives: int = 20, trials: int = 1, only: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Scenario → the share of lives with a wrong promotion, and the same ``without`` the part."""
    found = {}
    for name, (ours, without) in SCENARIOS.items():
        if only and name not in only:
            continue
        count = sum(ours(trials=trials, seed=life) for life in range(lives))
        other = without and sum(without(trials=trials, seed=life) for life in range(lives))
        found[name] = {
            "lives": lives,
            "nights": trials * TRIAL_NIGHTS,
            "wrong_promotion_rate": count / lives,
            "wrong_95": list(wilson_interval(count, lives)),
            "without": None if other is None else other / lives,
        }
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lives", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1, help="one after another, of 14 nights")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="repeatable")
    asked = parser.parse_args()
    found = measure(lives=asked.lives, trials=asked.trials, only=asked.scenario or ())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
