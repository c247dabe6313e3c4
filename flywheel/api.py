"""What other programs may import: ``import flywheel`` gives these names, and they stay.

Nothing here needs Prefect, and nothing but `load_champion` needs a home. docs/guides/python.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel.config import GateConfig, Home, UseCase, load_use_case
from flywheel.errors import DataError, NotEnoughData
from flywheel.records import (
    Contender,
    Curated,
    Decision,
    Feedback,
    Question,
    Reaction,
    Row,
    Verdict,
)

Scores = Mapping[str, Mapping[str, float]]
"""example_id → label → probability."""


@dataclass(frozen=True)
class Champion:
    """A loaded champion. It is what a night measured, and keeps nothing of what it is asked."""

    version: str
    use_case: UseCase
    _loaded: Any = field(repr=False)

    def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Label → probability for each text, in order; of written answers the text → 1."""
        answers: list[dict[str, float]] = self._loaded.answer(texts)
        return answers


@dataclass(frozen=True)
class ReadFeedback:
    """Rows as feedback, and the others as (raw row, reason)."""

    feedback: tuple[Feedback, ...]
    refused: tuple[tuple[str, str], ...] = field(repr=False)


def load_champion(use_case: str, *, home: Path | None = None) -> Champion:
    """Load the champion of a use case by name, from a home; by default ``FLYWHEEL_HOME``.

    Raises:
        NotEnoughData: there is no champion yet.
        DigestMismatch: it is not what was measured; the message says what differs.
        RegistryUnavailable: MLflow did not answer.
    """
    from flywheel.home.environment import prepare
    from flywheel.serving.models.engine import RegistryModelSource
    from flywheel.store import open_store
    from flywheel.store.nights import measured_versions as table
    from flywheel.tracking import measured_versions
    from flywheel.tracking.registry import CHAMPION

    place = Home(home)
    prepare(place)
    source = RegistryModelSource(place, use_case)
    version = source.aliases().get(CHAMPION) if place.warehouse.exists() else None
    if version is None:
        raise NotEnoughData(
            f"{use_case} has no champion in {place.root}. Run a night: flywheel night -u {use_case}"
        )
    with open_store(place.warehouse, read_only=True) as store:
        known = table.measured_versions(store, use_case)
    measured_versions.write(place.measured, use_case, known)
    loaded = source.load(version)
    return Champion(version, loaded.use_case, loaded)


def read_feedback(source: Path | str | Any, *, use_case: UseCase) -> ReadFeedback:
    """Read feedback as a night does: a file, a data frame, or rows as mappings.

    A file is JSON Lines, CSV or Parquet, also packed. Nothing is stored.
    """
    from flywheel.ingestion.readers import chunks, judge, rows_of

    if isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            found = [row for chunk in chunks(Path(source).name, stream) for row in rows_of(chunk)]
    else:
        found = [(str(row), _given(row)) for row in _records(source)]
    by_customer, labels = use_case.split.by_customer, use_case.label_names
    judged = [judge(row, labels, by_customer=by_customer) for row in found]
    return ReadFeedback(
        tuple(one for one in judged if isinstance(one, Feedback)),
        tuple(one for one in judged if not isinstance(one, Feedback)),
    )


def curate(feedback: Iterable[Feedback], *, use_case: UseCase) -> Curated:
    """Turn feedback on texts into weighted examples, and account for each that is left out.

    Feedback about a prediction has no text here, and is left out: only a home knows what was asked.
    """
    from flywheel import curation
    from flywheel.dataset import splits

    reactions = [
        _reaction(one, place)
        for place, one in enumerate(feedback)
        if one.text is not None and one.group_id is not None
    ]
    split = use_case.split
    sides = splits.assign_by(split, {one.group_id for one in reactions}, known={})
    return curation.curate(
        reactions,
        splits=sides,
        labels=use_case.label_names,
        rules=use_case.curation,
        golden=[one.text for one in use_case.golden],
    )


def run_gate(
    gold: Mapping[str, str],
    challenger: Scores,
    champion: Scores | None,
    *,
    labels: Sequence[str],
    limits: GateConfig | None = None,
    question: int = 1,
    told: Sequence[Decision] = (),
    chosen_of: int = 1,
    groups: Mapping[str, str] | None = None,
    latency_ms: float | None = None,
) -> Verdict:
    """Decide by two score tables whether a challenger may replace a champion.

    Args:
        gold: example_id → right label of each holdout row.
        challenger: Its probabilities on the same rows.
        champion: The champion's; None where there is none, and the floors alone decide.
        labels: All labels.
        limits: The ``gate`` section of a use case; by default the shipped one.
        question: The how-many-th question to this holdout it is, from 1. Asking again costs level.
        told: Verdicts on this holdout that were told before, the oldest first.
        chosen_of: Of how many challengers this is the best by the same holdout, by which the level
            is divided; what was chosen on other rows is one.
        groups: example_id → group, where rows of a group are no separate evidence.
        latency_ms: The challenger's milliseconds per row, where ``limits`` bound time or cost.

    Raises:
        DataError: a row has no usable answer, or ``limits`` ask for what was not given.
    """
    from flywheel.gate import decision
    from flywheel.stats.alpha_budget import Told, question_alpha

    rules = limits or GateConfig()
    if latency_ms is None and not (rules.max_latency_ms is rules.max_cost_per_thousand is None):
        raise DataError(
            "The limits bound time or cost (max_latency_ms, max_cost_per_thousand), and no "
            "latency_ms was given. Nothing was decided."
        )
    budget = rules.alpha * rules.holdout_share
    so_far = Told(moved=tuple(verdict != "undecided" for verdict in told))
    level = question_alpha(question, so_far.chance, budget=budget, chosen_of=chosen_of)
    rows = {
        name: Row(name, label, (groups or {}).get(name, name), "gold", {"label": label})
        for name, label in gold.items()
    }
    return decision.decide(
        challenger=_contender("challenger", gold, challenger, labels, latency_ms),
        champion=None if champion is None else _contender("champion", gold, champion, labels),
        first=champion is None,
        rows=rows,
        question=Question(question, level),
        trial=None,
        limits=rules,
    )


def _contender(
    name: str,
    gold: Mapping[str, str],
    answers: Scores,
    labels: Sequence[str],
    latency_ms: float | None = None,
) -> Contender:
    from flywheel.evaluation import metrics

    made = metrics.report(
        digest=name, labels=tuple(labels), gold=gold, answers=answers, latency_ms=latency_ms or 0.0
    )
    return Contender(report=made)


def _reaction(one: Feedback, place: int) -> Reaction:
    return Reaction(
        feedback_id=one.feedback_id,
        kind=one.kind,
        value=one.value,
        text=one.text or "",
        group_id=one.group_id or "",
        rater_id=one.rater_id,
        source=one.source,
        given_at=one.given_at,
        customer_id=one.customer_id,
        arrived=place,
    )


def _records(frame: Any) -> list[Mapping[str, Any]]:
    """The rows of a pandas frame, an Arrow table, or an iterable of mappings."""
    if hasattr(frame, "to_pylist"):
        return list(frame.to_pylist())
    if hasattr(frame, "to_dict"):
        return list(frame.to_dict("records"))
    return list(frame)


def _given(row: Mapping[str, Any]) -> dict[str, object]:
    """A row without its empty cells, times as text; a frame holds NaN for what is not there."""
    there = {name: value for name, value in row.items() if value is not None and value == value}
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in there.items()
    }


__all__ = [
    "Champion",
    "Curated",
    "Feedback",
    "GateConfig",
    "ReadFeedback",
    "UseCase",
    "Verdict",
    "curate",
    "load_champion",
    "load_use_case",
    "read_feedback",
    "run_gate",
]
