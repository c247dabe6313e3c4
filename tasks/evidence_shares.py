"""Who spoke on a night's fresh rows, how many of them each may have, and what they count for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.gate import coverage
from flywheel.gate.coverage import Weights
from flywheel.influence import quorum
from flywheel.influence.row_caps import own_sources
from flywheel.records import Example, FreshRow, Reason
from flywheel.stats import design_effect
from flywheel.store import open_store
from flywheel.store.nights import fresh_rows, reaction_fates, trials
from flywheel.store.nights.trials import Standing


def speakers(use_case: UseCase, home: Home, fresh: Sequence[Example]) -> dict[str, tuple[str, ...]]:
    """Example id → the customers who spoke on it; none where only the company's own people did."""
    own = own_sources(use_case.curation)
    everything = [name for example in fresh for name in example.feedback_ids]
    with open_store(home.warehouse) as store:
        found = fresh_rows.speakers(store, use_case.name, everything, trusted=own)
    return {
        example.example_id: tuple(
            sorted({found[name] for name in example.feedback_ids if name in found})
        )
        for example in fresh
    }


def reaction_weights(
    use_case: UseCase, home: Home, fresh: Sequence[Example], *, at: datetime
) -> dict[str, Weights]:
    """Example id → what it counts for: less than 1 where reactions to answers are selective.

    Labels of the company's own people count 1, and so do those that were given with no answer to
    react to: of those nobody can measure who gives none.
    """
    everything = [name for example in fresh for name in example.feedback_ids]
    with open_store(home.warehouse) as store:
        known = reaction_fates.coverage(store, use_case, until=at)
        cells = reaction_fates.answered(store, use_case, everything) if known else {}
    found = {}
    for example in fresh:
        cell = next((cells[name] for name in sorted(example.feedback_ids) if name in cells), None)
        found[example.example_id] = known.weights(cell) if known and cell else Weights()
    return found


def reactions_told(use_case: UseCase, home: Home, *, at: datetime) -> Reason | None:
    """What share of served answers is evidence, for the night's page; None where none can be."""
    with open_store(home.warehouse) as store:
        known = reaction_fates.coverage(store, use_case, until=at)
    return Reason("reactions", None, coverage.in_words(known), on=False) if known else None


def not_kept_before(
    use_case: UseCase, home: Home, fresh: Sequence[Example], one: Standing, *, at: datetime
) -> tuple[list[Example], tuple[FreshRow, ...]]:
    """Those that no other night has kept as evidence: of tonight's rows a customer has a share.

    And the rows of earlier nights that are bet on, by the trial and those that it adds up with.
    """
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    with open_store(home.warehouse) as store:
        kept = fresh_rows.evidence(store, use_case.name, **pair)
        trial = trials.as_trial(store, use_case.name, one)
    known = {row.example_id for row in kept if row.as_of != at}
    rows = tuple(row for row in trial.since(0) if row.as_of < at)
    return [example for example in fresh if example.example_id not in known], rows


def within_shares(
    use_case: UseCase, rows: Sequence[FreshRow], *, at: datetime, before: Sequence[FreshRow] = ()
) -> list[FreshRow]:
    """The rows of a night, marked where a customer has more than its share: those are no bets.

    A share is one of bets; ``before`` are the rows of earlier nights, which tell what is one.
    """
    apart = use_case.gate.unit == "row" and design_effect.near_one(before)
    names = [row.example_id if apart else row.group_id for row in rows]
    whose: dict[str, frozenset[str]] = {}
    for name, row in zip(names, rows, strict=True):
        if not row.is_canary:
            whose[name] = whose.get(name, frozenset()).union(row.customers)
    kept = quorum.counted(whose, share=use_case.gate.max_evidence_share, night=at.isoformat())
    return [
        replace(row, counted=row.is_canary or name in kept)
        for name, row in zip(names, rows, strict=True)
    ]
