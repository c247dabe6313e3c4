"""From reactions to examples: what may be learned from, and a reason for all that may not.

A reaction becomes a vote for (or, a rejection, against) a label; the votes on one text become one
example with a weight. The rules, in the order in which they apply, and the drop reasons they give:

    limits           no_label (rate, comment), unknown_label, too_short, too_long, truncated,
                     other_language
    revisions        superseded: the same rater spoke on the same text later, with equal standing;
                     withdrawn: took it back
    personal_data    nothing is dropped: placeholders stand for what names a person
    near_duplicates  nothing is dropped: texts almost alike are on one side of the exam
    exam             not_gold: the exam takes only gold; gold_outside_exam: and gold trains only
                     where that is allowed; contaminated: the text, or one almost alike, is gold or
                     an audit in an exam group, or a golden example. Before any model looks, so that
                     none learns from the exam
    poison           unreliable_rater: worse than chance where others can tell; campaign: one of
                     many votes that push one label together, which nothing else supports. Before
                     labels are settled, so that a campaign settles none
    raters           disagreement: the likeliest label is tied, or no likelier than min_agreement;
                     only_rejected: nobody said what it is
    label_noise      nothing is dropped: a doubtful label of one rater alone weighs less
    balance          copied: three texts almost alike train already; over_limit: not among the
                     max_examples. Copies weigh as one, loud customers and the like weigh less

Of pictures the text is an address: limits on words, personal_data and label_noise do not apply,
poison looks at votes alone, and near-duplicates are found by what they look like
(`flywheel.dataset.image_duplicates`).
Where answers are written there are no labels: what a reaction names is a reference, poison and
label_noise are skipped, and raters gives other_reference to all but the one chosen
(`flywheel.curation.references`). The exam then takes only what was written without an answer in
sight: an edited answer is near that answer, and would favour the model that gave it.

Every reaction ends in exactly one example or exactly one drop. Order of input never matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config import CurationConfig
from flywheel.curation.aggregate import believe_votes, exam_examples, without_poison
from flywheel.curation.context import Desk, majority_labels
from flywheel.curation.references import choose_references
from flywheel.curation.votes import latest_votes, read_texts, seat, within_limits
from flywheel.curation.weights import balanced, doubt
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.records import Curated, Reaction, Split

__all__ = ["Seating", "curate", "seating"]


@dataclass(frozen=True)
class Seating:
    """Label → examples that sit the exam, that are for validation, and that may train.

    ``dropped`` is drop reason → reactions.

    Where answers are written the only label is the empty one.
    """

    exam: Counter[str]
    validation: Counter[str]
    train: Counter[str]
    dropped: Counter[str]


def curate(
    reactions: Sequence[Reaction],
    *,
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
    golden: Sequence[str] = (),
    images: Images | None = None,
) -> Curated:
    """Turn reactions into weighted examples, and account for every reaction left out.

    Args:
        reactions: All that may be learned from, including those without a label, which are
            accounted for. ``feedback_id`` is unique.
        splits: The split of every group that occurs.
        labels: The labels of the use case; none where answers are written.
        rules: What may become an example.
        golden: Texts of the golden examples. Nothing like them trains; what people said of them
            still tells who is reliable, so that no other text changes its label, and the exam's
            rows stay as they are.
        images: Where the pictures lie that the texts are addresses of. Rules on words are skipped.

    Returns:
        Examples ordered by ``example_id``, drops ordered by ``feedback_id``, a step for each rule.

    Raises:
        DataError: a ``feedback_id`` occurs twice, or a group has no split.
    """
    _refuse_repeats(reactions)
    _refuse_unassigned(reactions, splits)
    desk = Desk(rules, labels, splits, images)
    read_texts(desk, reactions, golden)
    votes = latest_votes(desk, within_limits(desk, reactions))
    seats = seat(desk, votes)
    if desk.writes:
        examples = choose_references(desk, seats)
        return desk.curated(balanced(desk, examples, seats.learned), ())
    learned = without_poison(desk, seats)
    tested, unclear = exam_examples(desk, seats)
    examples, suspects = doubt(desk, believe_votes(desk, seats, learned, unclear))
    return desk.curated([*tested, *balanced(desk, examples, learned)], suspects)


def seating(
    reactions: Sequence[Reaction],
    *,
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
    golden: Sequence[str] = (),
    images: Images | None = None,
) -> Seating:
    """Who would sit the exam and what could train, by the same rules, without weighing anything.

    The exam is exact. What trains is not: poison and copies are not looked for, and of votes that
    disagree the commonest label counts.
    """
    desk = Desk(rules, labels, splits, images)
    read_texts(desk, reactions, golden)
    seats = seat(desk, latest_votes(desk, within_limits(desk, reactions)))
    if desk.writes:
        sides = Counter(example.split for example in choose_references(desk, seats))
        exam, validation, train = (
            Counter({"": sides[side]}) for side in ("exam", "validation", "train")
        )
        return Seating(exam, validation, train, desk.dropped)
    tested, unclear = exam_examples(desk, seats)
    kept, learned = (
        [v for v in seats.learned if desk.sides[desk.clusters[v.text]] == side]
        for side in ("validation", "train")
    )
    return Seating(
        Counter(example.label or "" for example in tested),
        Counter(majority_labels(kept).values()),
        Counter(majority_labels(learned).values()),
        desk.dropped + Counter(unclear.values()),
    )


def _refuse_repeats(reactions: Iterable[Reaction]) -> None:
    counts = Counter(reaction.feedback_id for reaction in reactions)
    repeated = sorted(feedback_id for feedback_id, count in counts.items() if count > 1)
    if repeated:
        raise DataError(
            f"Each feedback_id must occur once; {len(repeated)} occur more often, first "
            f"{repeated[0]!r}. Nothing was curated; remove the repeats where they were read.",
            feedback_ids=repeated,
        )


def _refuse_unassigned(reactions: Iterable[Reaction], splits: Mapping[str, Split]) -> None:
    missing = sorted({r.group_id for r in reactions if r.group_id not in splits})
    if missing:
        raise DataError(
            f"Group {missing[0]!r} has no split; every group must be assigned before its texts are "
            "curated. Nothing was changed; run splits.assign on it first.",
            group=missing[0],
        )
