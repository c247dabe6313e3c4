"""Whom to believe: campaigns held back, then the likely label of each text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from flywheel.curation import label_noise, poisoning, rater_model
from flywheel.curation.context import CurationContext, SplitVotes, Vote, by_text, majority_labels
from flywheel.records import Example, Split

_FEWEST_VOTES = 10
"""A rater with fewer votes is never called unreliable."""


def without_poison(context: CurationContext, by_split: SplitVotes) -> list[Vote]:
    """The votes to learn from, without campaigns and without raters that are worse than chance."""
    votes = by_split.learned
    if not context.rules.poison:
        context.skip("poison", "switched off")
        return list(votes)
    posterior = _posterior(context, [*votes, *by_split.audits], by_split.gold)
    dropped = {
        vote.feedback_id: "unreliable_rater"
        for vote in votes
        if not vote.trusted
        and posterior.votes_of[vote.voice] >= _FEWEST_VOTES
        and posterior.reliability[vote.voice] < 1 / len(context.labels)
    }
    rows = [
        row
        for row, vote in enumerate(votes)
        if not vote.against and vote.feedback_id not in dropped
    ]
    expected = _expected(
        context, [votes[row] for row in rows], posterior.without[rows], posterior.proven
    )
    suspected = [i for i, row in enumerate(rows) if not votes[row].trusted]
    judged = [votes[rows[i]] for i in suspected]
    campaigns, held = poisoning.find_campaigns(
        [_features(context, vote) for vote in judged],
        [context.clusters[vote.text] for vote in judged],
        [vote.speaker for vote in judged],
        [context.labels.index(vote.label) for vote in judged],
        expected[suspected],
    )
    for vote, is_held in zip(judged, held, strict=True):
        if is_held:
            dropped[vote.feedback_id] = "campaign"
    # a phrase is a customer's text and a rater a person: the report names neither
    shown = "; ".join(
        f"one {found.kind}: {found.texts} texts for {context.labels[found.label]}, "
        f"{found.expected:.0f} expected"
        for found in campaigns[:3]
    )
    detail = f"{len(campaigns)} campaigns ({shown})" if campaigns else ""
    context.note("poison", dropped, detail=detail)
    return [vote for vote in votes if vote.feedback_id not in dropped]


def _posterior(
    context: CurationContext, votes: Sequence[Vote], known: Mapping[str, str]
) -> rater_model.LabelPosterior:
    cluster = {vote.text_id: context.clusters[vote.text] for vote in votes}
    copies = Counter(cluster.values())
    return rater_model.aggregate_labels(
        [vote.ballot for vote in votes],
        labels=context.labels,
        known=known,
        worth={item: 1 / copies[name] for item, name in cluster.items()},
        trusted={vote.voice for vote in votes if vote.trusted},
    )


def _expected(
    context: CurationContext,
    votes: Sequence[Vote],
    without: rater_model.Floats,
    proven: Collection[str],
) -> rater_model.Floats:
    """The chance of each label for each vote: by the other votes, else by a model of the texts.

    As in ``without``, votes of the ``proven`` have only each other to answer to.
    """
    if context.images is not None:
        return without
    found = label_noise.out_of_fold(
        [vote.text for vote in votes],
        [context.labels.index(vote.label) for vote in votes],
        [context.clusters[vote.text] for vote in votes],
        labels=len(context.labels),
    )
    if found is None:
        return without
    votes_on = Counter(vote.text_id for vote in votes)
    proven_on = Counter(vote.text_id for vote in votes if vote.voice in proven)
    judges = (proven_on if vote.voice in proven else votes_on for vote in votes)
    alone = np.array([on[vote.text_id] == 1 for on, vote in zip(judges, votes, strict=True)])
    result: rater_model.Floats = np.where(alone[:, None], found.probabilities, without)
    return result


def _features(context: CurationContext, vote: Vote) -> set[poisoning.Feature]:
    reaction = vote.reaction
    words = poisoning.phrases(vote.text) if context.images is None else set()
    return words | {
        ("rater", vote.speaker),
        ("customer", reaction.customer_id or reaction.group_id),
        ("source", reaction.source),
        ("hour", reaction.given_at.strftime("%Y-%m-%dT%H")),
    }


def holdout_examples(
    context: CurationContext, by_split: SplitVotes
) -> tuple[list[Example], dict[str, str]]:
    """Holdout rows, with the share of gold raters that agree; and the drops of the others."""
    examples = []
    dropped: dict[str, str] = {}
    for same in by_text(by_split.holdout).values():
        label = by_split.gold.get(same[0].text_id)
        share = sum(vote.label == label for vote in same) / len(same)
        if label is None or share <= context.rules.min_agreement:
            dropped.update((vote.feedback_id, "disagreement") for vote in same)
        else:
            examples.append(_example(context, same, "holdout", label, share))
    return examples, dropped


def aggregate_votes(
    context: CurationContext,
    by_split: SplitVotes,
    votes: Sequence[Vote],
    unclear: Mapping[str, str],
) -> list[Example]:
    """One example for each text whose label is likely enough; ``unclear`` was dropped before."""
    gold = {**majority_labels(vote for vote in votes if vote.gold), **by_split.gold}
    found = _posterior(context, [*votes, *by_split.audits], gold)
    dropped = dict(unclear)
    examples = []
    texts = by_text(votes)
    told = {vote.text_id for vote in votes if vote.gold and not vote.against}
    for identity, same in texts.items():
        if identity in told and identity not in gold:
            # trusted people disagree: which label is commoner elsewhere does not settle it
            dropped.update((vote.feedback_id, "disagreement") for vote in same)
            continue
        shares = dict(zip(context.labels, map(float, found.posterior[identity]), strict=True))
        example = _settled(context, same, shares)
        if isinstance(example, str):
            dropped.update((vote.feedback_id, example) for vote in same)
        else:
            examples.append(example)
    several = sum(len(same) > 1 for same in texts.values())
    context.note("raters", dropped, detail=f"{several} texts with several raters")
    return examples


def _settled(
    context: CurationContext, votes: Sequence[Vote], posterior: Mapping[str, float]
) -> Example | str:
    """The example that the votes on one text make, or the reason why there is none."""
    side = context.sides[context.clusters[votes[0].text]]
    # only what somebody named can be the label: nothing is edited silently
    named = {vote.label for vote in votes if not vote.against}
    ranked = sorted(named, key=lambda label: (-posterior[label], label))
    if not ranked:
        excluded = tuple(sorted({vote.label for vote in votes}))
        if (
            not context.rules.complementary
            or side != "train"
            or len(excluded) == len(context.labels)
        ):
            return "only_rejected"
        sure = 1 - sum(posterior[label] for label in excluded)
        return _example(context, votes, side, None, sure, excluded)
    confidence = posterior[ranked[0]]
    tied = len(ranked) > 1 and math.isclose(posterior[ranked[1]], confidence, abs_tol=1e-9)
    if tied or confidence <= context.rules.min_agreement:
        return "disagreement"
    return _example(context, votes, side, ranked[0], confidence)


def _example(
    context: CurationContext,
    votes: Sequence[Vote],
    side: Split,
    label: str | None,
    confidence: float,
    excluded: tuple[str, ...] = (),
) -> Example:
    text = min(vote.text for vote in votes)
    here = [vote.reaction.group_id for vote in votes if vote.split == side]
    return Example(
        example_id=votes[0].text_id,
        text=text,
        label=label,
        confidence=confidence,
        group_id=min(here or [vote.reaction.group_id for vote in votes]),
        split=side,
        feedback_ids=tuple(sorted(vote.feedback_id for vote in votes)),
        weight=1.0 if side == "holdout" else confidence,
        excluded=excluded,
        cluster_id=context.clusters[text],
    )
