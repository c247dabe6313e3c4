"""From reactions to examples: what may be learned from, and a reason for all that may not.

A reaction becomes a vote for a label; the votes on one text (equal after normalisation) become one
example. The first rule that applies names the drop:

    no_label            the reaction names no label (reject, rate, comment, or an empty value)
    unknown_label       the label is not one of the use case's
    too_short, too_long the normalised text is outside min_chars..max_chars
    superseded          the same rater voted on the same text later, with equal standing
    not_gold            an exam group, but the source is not gold: the exam takes only gold
    gold_outside_exam   a gold source, but no exam group: gold never trains
    contaminated        the text also occurs in an exam group
    disagreement        the leading label is tied, or has no more than min_agreement of the votes

Every reaction ends in exactly one example or exactly one drop. Order of input never matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config import CurationConfig
from flywheel.errors import DataError
from flywheel.records import Curated, Drop, Example, Reaction, Split
from flywheel.splits import merge
from flywheel.text import normalise, text_id


@dataclass(frozen=True)
class _Vote:
    reaction: Reaction
    text_id: str
    label: str
    split: Split
    gold: bool


def curate(
    reactions: Sequence[Reaction],
    *,
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
) -> Curated:
    """Turn reactions into examples, and account for every reaction left out.

    Curating only the reactions that were used gives the same examples again. An example counts
    dissenting votes too: ``feedback_ids`` names all, ``confidence`` is the share that agrees.

    Args:
        reactions: All that is known so far, including reactions without a label: the exam's texts
            are recognised by them too. ``feedback_id`` is unique.
        splits: The split of every group that occurs.
        labels: The labels of the use case.
        rules: What may become an example.

    Returns:
        Examples ordered by ``example_id`` and drops ordered by ``feedback_id``.

    Raises:
        DataError: a ``feedback_id`` occurs twice, or a group has no split.
    """
    _refuse_repeats(reactions)
    ids = {text: text_id(text) for text in {reaction.text for reaction in reactions}}
    sides = merge(((ids[r.text], r.group_id) for r in reactions), splits)

    dropped: dict[str, str] = {}
    votes: list[_Vote] = []
    for reaction in reactions:
        label = _label(reaction)
        fault = _fault(reaction, label, labels, rules)
        if label is None or fault is not None:
            dropped[reaction.feedback_id] = fault or "no_label"
            continue
        gold = reaction.source in rules.gold_sources
        votes.append(_Vote(reaction, ids[reaction.text], label, splits[reaction.group_id], gold))

    latest = _latest(votes)
    by_text: dict[str, list[_Vote]] = defaultdict(list)
    for vote in votes:
        reason = _misplaced(vote, sides[vote.text_id])
        if vote.reaction.feedback_id not in latest:
            reason = "superseded"
        if reason is None:
            by_text[vote.text_id].append(vote)
        else:
            dropped[vote.reaction.feedback_id] = reason

    examples: list[Example] = []
    for same in by_text.values():
        example = _example(same, rules.min_agreement)
        if example is None:
            dropped.update((vote.reaction.feedback_id, "disagreement") for vote in same)
        else:
            examples.append(example)
    return Curated(
        examples=tuple(sorted(examples, key=lambda example: example.example_id)),
        drops=tuple(Drop(feedback_id, dropped[feedback_id]) for feedback_id in sorted(dropped)),
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


def _label(reaction: Reaction) -> str | None:
    if reaction.kind == "accept":
        return reaction.predicted_label or None
    if reaction.kind in ("correct", "label"):
        return reaction.value or None
    return None


def _fault(
    reaction: Reaction, label: str | None, labels: tuple[str, ...], rules: CurationConfig
) -> str | None:
    if label is None:
        return "no_label"
    if label not in labels:
        return "unknown_label"
    length = len(normalise(reaction.text))
    if length < rules.min_chars:
        return "too_short"
    return "too_long" if length > rules.max_chars else None


def _latest(votes: Iterable[_Vote]) -> set[str]:
    # Standing is part of the key: a click in the app must not displace the same person's gold
    # label, nor a vote in a training group one in the exam, for the row would then be lost.
    last: dict[tuple[str, str, bool, bool], Reaction] = {}
    for vote in votes:
        reaction = vote.reaction
        key = (vote.text_id, reaction.rater_id, vote.gold, vote.split == "exam")
        last[key] = max(
            last.get(key, reaction), reaction, key=lambda r: (r.given_at, r.feedback_id)
        )
    return {reaction.feedback_id for reaction in last.values()}


def _misplaced(vote: _Vote, side: Split) -> str | None:
    if vote.split == "exam":
        return None if vote.gold else "not_gold"
    if vote.gold:
        return "gold_outside_exam"
    return "contaminated" if side == "exam" else None


def _example(votes: Sequence[_Vote], min_agreement: float) -> Example | None:
    # Labels are counted per rater: one vote each, since earlier ones are superseded.
    (label, top), *others = Counter(vote.label for vote in votes).most_common()
    confidence = top / len(votes)
    tied = bool(others) and others[0][1] == top
    if tied or confidence <= min_agreement:
        return None
    example_id = votes[0].text_id
    groups: dict[str, Split] = {vote.reaction.group_id: vote.split for vote in votes}
    split = merge(((example_id, group) for group in groups), groups)[example_id]
    return Example(
        example_id=example_id,
        text=min(vote.reaction.text for vote in votes),
        label=label,
        confidence=confidence,
        group_id=min(group for group, side in groups.items() if side == split),
        split=split,
        feedback_ids=tuple(sorted(vote.reaction.feedback_id for vote in votes)),
    )
