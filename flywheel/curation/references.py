"""Which text becomes the reference, where answers are written: trusted people first.

There are no labels, so that nobody's votes can be counted against another's: the rules on
campaigns, raters and label noise are skipped, and what guards against the loud are the caps on
weight. An accepted answer is a reference, as is an edited one; a rejected one teaches nothing.

Nobody overrides what somebody else wrote by being the last. Of trusted people the newest counts.
Of others the reference that most of them name, and of those named alike the one whose giver spoke
on the text first, in the order of arrival: times are sent along, and could be set back. Whoever
revises what they wrote keeps their place. Who is proven cannot be asked here as it is of labels
(`flywheel.curation.rater_model`): two references can differ in every word and both be right, so
that gold shows nobody wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from flywheel.curation.context import CurationContext, SplitVotes, Vote, by_text
from flywheel.records import Example, Split
from flywheel.text.normalize import normalise

_WHY = "answers are written: there are no labels to compare"


def choose_references(context: CurationContext, by_split: SplitVotes) -> list[Example]:
    """One example for each text for which somebody wrote, edited or accepted an answer."""
    for rule in ("poison", "label_noise"):
        context.skip(rule, _WHY)
    dropped: dict[str, str] = {}
    examples = []
    for votes in (by_split.holdout, by_split.learned):
        for same in by_text(votes).values():
            side = (
                same[0].split
                if votes is by_split.holdout
                else context.sides[context.clusters[same[0].text]]
            )
            chosen = _chosen(same)
            if isinstance(chosen, str):
                dropped.update((vote.feedback_id, chosen) for vote in same)
                continue
            backing = [v for v in same if not v.against and _same(v, chosen)]
            kept = {vote.feedback_id for vote in backing}
            dropped.update(
                (vote.feedback_id, "only_rejected" if vote.against else "other_reference")
                for vote in same
                if vote.feedback_id not in kept
            )
            examples.append(_example(context, backing, side, chosen.label))
    detail = "trusted people's newest reference counts, else what most name, else the first"
    context.note("raters", dropped, detail=detail)
    return examples


def _chosen(votes: Sequence[Vote]) -> Vote | str:
    """The vote whose text is the reference, or the reason why there is none."""
    against = Counter(normalise(vote.label) for vote in votes if vote.against)
    named = [vote for vote in votes if not vote.against]
    if not named:
        return "only_rejected"
    backed = Counter(normalise(vote.label) for vote in named)
    standing = [
        vote
        for vote in named
        if vote.trusted or backed[normalise(vote.label)] > against[normalise(vote.label)]
    ]
    if not standing:
        return "disagreement"
    if any(vote.trusted for vote in standing):
        return max(standing, key=lambda v: (v.trusted, v.reaction.given_at, v.feedback_id))

    def rank(vote: Vote) -> tuple[int, int, datetime, str]:
        named_by = backed[normalise(vote.label)]
        return -named_by, vote.since, vote.reaction.given_at, vote.feedback_id

    return min(standing, key=rank)


def _same(vote: Vote, other: Vote) -> bool:
    return normalise(vote.label) == normalise(other.label)


def _example(
    context: CurationContext, votes: Iterable[Vote], side: Split, reference: str
) -> Example:
    votes = list(votes)
    text = min(vote.text for vote in votes)
    here = [vote.reaction.group_id for vote in votes if vote.split == side]
    return Example(
        example_id=votes[0].text_id,
        text=text,
        label=reference,
        confidence=1.0,
        group_id=min(here or [vote.reaction.group_id for vote in votes]),
        split=side,
        feedback_ids=tuple(sorted(vote.feedback_id for vote in votes)),
        cluster_id=context.clusters[text],
    )
