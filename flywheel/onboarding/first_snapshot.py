"""What a first snapshot will hold, by the split and the rules of curation themselves.

Neither every reaction has a label, nor does every labeled row train: some are for validation, and
some are held out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flywheel import curation
from flywheel.config import UseCase
from flywheel.dataset import splits
from flywheel.dataset.images import Images
from flywheel.records import Feedback, Reaction, Split


@dataclass(frozen=True)
class FirstSnapshot:
    """Label → examples of each split. ``answers`` are reactions whose text is not known yet."""

    holdout: Counter[str] = field(default_factory=Counter)
    validation: Counter[str] = field(default_factory=Counter)
    train: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    refused: int = 0


def expected(
    case: UseCase,
    stored: Iterable[Reaction],
    inbox: Iterable[Feedback | tuple[str, str]],
    *,
    known: Mapping[str, Split],
    images: Images | None = None,
) -> FirstSnapshot:
    """Seat the reactions of the store, and the rows of the inbox, that name a text.

    Of rows that come twice the first counts. ``known`` are splits that were decided before.
    """
    found = {one.feedback_id: one for one in stored}
    answers = refused = 0
    for row in inbox:
        if not isinstance(row, Feedback):
            refused += 1
        elif row.text is None or row.group_id is None:
            answers += 1
        else:
            found.setdefault(row.feedback_id, _reaction(row, row.text, row.group_id))
    reactions = list(found.values())
    sides = splits.assign_by(case.split, {one.group_id for one in reactions}, known=known)
    counts = curation.count_splits(
        reactions,
        splits=sides,
        labels=case.label_names,
        rules=case.curation,
        golden=[one.text for one in case.golden],
        images=images,
    )
    return FirstSnapshot(counts.holdout, counts.validation, counts.train, answers, refused)


def _reaction(row: Feedback, text: str, group: str) -> Reaction:
    return Reaction(
        feedback_id=row.feedback_id,
        kind=row.kind,
        value=row.value,
        text=text,
        group_id=group,
        rater_id=row.rater_id,
        source=row.source,
        given_at=row.given_at,
        prediction_id=row.prediction_id,
        customer_id=row.customer_id,
    )
