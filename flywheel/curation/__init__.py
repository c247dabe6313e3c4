"""From reactions to examples: what may be learned from, and a reason for all that may not.

A reaction becomes a vote for (or, a rejection, against) a label; the votes on one text become one
example with a weight. The rules, in the order in which they apply, and the drop reasons they give:

    limits           no_label (rate, comment), unknown_label, too_short, too_long, truncated,
                     other_language
    revisions        superseded: the same rater spoke on the same text later, with equal standing;
                     withdrawn: took it back; disagreement: said two things at once
    personal_data    nothing is dropped: placeholders stand for what names a person
    near_duplicates  nothing is dropped: texts almost alike are on one side of the holdout
    holdout          not_gold: the holdout takes only gold; answer_in_sight: and of gold only
                     labels, not what was said of an answer; gold_outside_holdout: gold trains only
                     where that is allowed; contaminated: the text, or one almost alike, is gold or
                     an audit in a holdout group, or a golden example. Before any model looks, so
                     that none learns from the holdout
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
(`flywheel.curation.references`).

Every reaction ends in exactly one example or exactly one drop. Order of input never matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config import CurationConfig
from flywheel.curation.aggregate import aggregate_votes, holdout_examples, without_poison
from flywheel.curation.context import CurationContext, majority_labels
from flywheel.curation.references import choose_references
from flywheel.curation.votes import latest_votes, read_texts, split_votes, within_limits
from flywheel.curation.weights import balanced, weigh_suspects
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.records import Curated, Reaction, Split

__all__ = ["SplitCounts", "count_splits", "curate"]


@dataclass(frozen=True)
class SplitCounts:
    """Label → examples that are held out, that are for validation, and that may train.

    ``dropped`` is drop reason → reactions.

    Where answers are written the only label is the empty one.
    """

    holdout: Counter[str]
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
            still tells who is reliable, so that no other text changes its label, and the holdout's
            rows stay as they are.
        images: Where the pictures lie that the texts are addresses of. Rules on words are skipped.

    Returns:
        Examples ordered by ``example_id``, drops ordered by ``feedback_id``, a step for each rule.

    Raises:
        DataError: a ``feedback_id`` occurs twice, or a group has no split.
    """
    _refuse_repeats(reactions)
    _refuse_unassigned(reactions, splits)
    context = CurationContext(rules, labels, splits, images)
    read_texts(context, reactions, golden)
    votes = latest_votes(context, within_limits(context, reactions))
    by_split = split_votes(context, votes)
    if context.is_generation:
        examples = choose_references(context, by_split)
        return context.curated(balanced(context, examples, by_split.learned), ())
    learned = without_poison(context, by_split)
    tested, unclear = holdout_examples(context, by_split)
    examples, suspects = weigh_suspects(
        context, aggregate_votes(context, by_split, learned, unclear)
    )
    return context.curated([*tested, *balanced(context, examples, learned)], suspects)


def count_splits(
    reactions: Sequence[Reaction],
    *,
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
    golden: Sequence[str] = (),
    images: Images | None = None,
) -> SplitCounts:
    """What would be held out and what could train, by the same rules, without weighing anything.

    The holdout is exact. What trains is not: poison and copies are not looked for, and of votes
    that disagree the commonest label counts.
    """
    context = CurationContext(rules, labels, splits, images)
    read_texts(context, reactions, golden)
    by_split = split_votes(context, latest_votes(context, within_limits(context, reactions)))
    if context.is_generation:
        sides = Counter(example.split for example in choose_references(context, by_split))
        holdout, validation, train = (
            Counter({"": sides[side]}) for side in ("holdout", "validation", "train")
        )
        return SplitCounts(holdout, validation, train, context.dropped)
    tested, unclear = holdout_examples(context, by_split)
    kept, learned = (
        [v for v in by_split.learned if context.sides[context.clusters[v.text]] == side]
        for side in ("validation", "train")
    )
    return SplitCounts(
        Counter(example.label or "" for example in tested),
        Counter(majority_labels(kept).values()),
        Counter(majority_labels(learned).values()),
        context.dropped + Counter(unclear.values()),
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
