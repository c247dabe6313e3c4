"""What each example weighs: less when doubtful, when copied, or when its giver is too loud."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flywheel.curation import balancing, label_noise
from flywheel.curation.context import CurationContext, Vote
from flywheel.records import Example, Suspect

_COPIES = 3
"""Texts almost alike, with one label, that train at most; together they weigh as one."""
_DECIMALS = 6
"""As many as a snapshot keeps."""


def weigh_suspects(
    context: CurationContext, examples: list[Example]
) -> tuple[list[Example], list[Suspect]]:
    """Lower the weight of labels that one rater alone gave and that other texts contradict."""
    if context.images is not None:
        context.skip("label_noise", "pictures: no cheap model of them tells which labels are wrong")
        return examples, []
    if context.rules.suspect_weight == 1:
        context.skip("label_noise", "switched off")
        return examples, []
    rows = [i for i, e in enumerate(examples) if e.label is not None and e.split == "train"]
    targets = [context.labels.index(examples[i].label or "") for i in rows]
    found = label_noise.out_of_fold(
        [examples[i].text for i in rows],
        targets,
        [examples[i].cluster_id for i in rows],
        labels=len(context.labels),
    )
    if found is None or not found.knows_something:
        context.skip("label_noise", "too few labels to tell which are wrong")
        return examples, []
    doubtful = label_noise.suspects(found, targets)
    result, suspects, lowered = list(examples), [], []
    for row, i in enumerate(rows):
        one = examples[i]
        if doubtful[row] and len(one.feedback_ids) == 1:
            result[i] = replace(one, weight=one.weight * context.rules.suspect_weight)
            score = float(found.probabilities[row, targets[row]])
            suspects.append(Suspect(one.example_id, score))
            lowered.append(one.feedback_ids[0])
    detail = f"out-of-fold accuracy {found.accuracy:.3f}, commonest label {found.majority:.3f}"
    context.note("label_noise", {}, changed=lowered, detail=detail)
    return result, suspects


def balanced(
    context: CurationContext, examples: Sequence[Example], votes: Sequence[Vote]
) -> list[Example]:
    """Leave out copies and what is over max_examples, and cap the weight of the loud."""
    rules = context.rules
    train = [example for example in examples if example.split == "train"]
    dropped: dict[str, str] = {}
    alike: Counter[tuple[str, str | None]] = Counter()
    for example in sorted(train, key=lambda example: example.example_id):
        alike[_copied(context, example)] += 1
        if alike[_copied(context, example)] > _COPIES:
            dropped.update((feedback_id, "copied") for feedback_id in example.feedback_ids)
    train = [example for example in train if example.feedback_ids[0] not in dropped]
    kept = balancing.choose(
        [example.example_id for example in train],
        ["" if context.is_generation else example.label or "" for example in train],
        most=rules.max_examples,
        salt="max_examples",
    )
    dropped |= {
        feedback_id: "over_limit"
        for example, keep in zip(train, kept, strict=True)
        if not keep
        for feedback_id in example.feedback_ids
    }
    train = [example for example, keep in zip(train, kept, strict=True) if keep]
    copies = Counter(_copied(context, example) for example in train)
    weights = np.array([example.weight / copies[_copied(context, example)] for example in train])
    giver = {vote.feedback_id: vote for vote in votes}
    first = [giver[example.feedback_ids[0]] for example in train]
    before = weights.copy()
    most = {
        "customer": rules.max_customer_share,
        "rater": rules.max_customer_share,
        "source": rules.max_source_share,
        "day": rules.max_day_share,
    }
    caps = [of for of in most if most[of] < 1]
    capped = balancing.cap_together(
        weights, [([_owner(vote, of) for vote in first], most[of]) for of in caps]
    )
    weights = capped.weights
    lowered = [
        example.feedback_ids[0]
        for example, was, now in zip(train, before, weights, strict=True)
        if now < was - 1e-12
    ]
    over = sum(reason == "over_limit" for reason in dropped.values())
    told = [f"{over} over curation.max_examples ({rules.max_examples})"] if over else []
    # customer and rater have one setting
    away = dict.fromkeys("customer" if of == "rater" else of for of in caps[capped.held :])
    told += [f"curation.max_{of}_share cannot hold beside the caps before it" for of in away]
    context.note("balance", dropped, changed=lowered, detail="; ".join(told))
    # nothing that trains weighs nothing
    weighed = [
        replace(example, weight=max(round(float(weight), _DECIMALS), 10**-_DECIMALS))
        for example, weight in zip(train, weights, strict=True)
    ]
    return [*weighed, *(example for example in examples if example.split != "train")]


def _copied(context: CurationContext, example: Example) -> tuple[str, str | None]:
    """What copies of one text share: with labels also the label, for else they are no copies."""
    return example.cluster_id, None if context.is_generation else example.label


def _owner(vote: Vote, of: str) -> str | None:
    """Whose share a vote counts toward; None for those that are never capped."""
    if vote.trusted:
        return None
    reaction = vote.reaction
    return {
        "customer": reaction.customer_id or reaction.group_id,
        "rater": vote.speaker,
        "source": reaction.source,
        "day": reaction.given_at.date().isoformat(),
    }[of]
