"""From reactions to examples: what may be learned from, and a reason for all that may not.

A reaction becomes a vote for (or, a rejection, against) a label; the votes on one text become one
example with a weight. The rules, in the order in which they apply, and the drop reasons they give:

    limits           no_label (rate, comment), unknown_label, too_short, too_long, other_language
    revisions        superseded: the same rater spoke on the same text later, with equal standing;
                     withdrawn: took it back
    personal_data    nothing is dropped: placeholders stand for what names a person
    near_duplicates  nothing is dropped: texts almost alike are on one side of the exam
    exam             not_gold: the exam takes only gold; gold_outside_exam: and gold trains only
                     where that is allowed; contaminated: the text, or one almost alike, is in an
                     exam group. Before any model looks, so that none learns from the exam
    poison           unreliable_rater: worse than chance where others can tell; campaign: one of
                     many votes that push one label together, which nothing else supports
    raters           disagreement: the likeliest label is tied, or no likelier than min_agreement;
                     only_rejected: nobody said what it is
    label_noise      nothing is dropped: a doubtful label of one rater alone weighs less
    balance          over_limit: not among the max_examples; loud customers and the like weigh less

Every reaction ends in exactly one example or exactly one drop. Order of input never matters.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flywheel import balance, duplicates, language, noise, personal, poison, raters
from flywheel.config import CurationConfig
from flywheel.errors import DataError
from flywheel.records import Curated, Drop, Example, Reaction, Split, Step, Suspect
from flywheel.splits import merge
from flywheel.text import normalise, text_id

_VOTING = ("accept", "reject", "correct", "label", "withdraw")
_FEWEST_VOTES = 10
"""A rater with fewer votes is never called unreliable."""


@dataclass(frozen=True)
class _Vote:
    reaction: Reaction
    text: str
    text_id: str
    label: str
    against: bool
    split: Split
    gold: bool
    trusted: bool

    @property
    def feedback_id(self) -> str:
        return self.reaction.feedback_id


def curate(
    reactions: Sequence[Reaction],
    *,
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
) -> Curated:
    """Turn reactions into weighted examples, and account for every reaction left out.

    Args:
        reactions: All that may be learned from, including those without a label: the exam's texts
            are recognised by them too. ``feedback_id`` is unique.
        splits: The split of every group that occurs.
        labels: The labels of the use case.
        rules: What may become an example.

    Returns:
        Examples ordered by ``example_id``, drops ordered by ``feedback_id``, one step per rule.

    Raises:
        DataError: a ``feedback_id`` occurs twice, or a group has no split.
    """
    _refuse_repeats(reactions)
    desk = _Desk(len(reactions))
    texts = _without_personal_data(reactions, rules, desk)
    clusters = _clusters(texts.values(), rules)
    ids = {text: text_id(text) for text in clusters}

    voting = _within_limits(reactions, texts, labels, rules, desk)
    votes = [
        _vote(reaction, texts[reaction.feedback_id], ids, splits, labels, rules)
        for reaction in _latest(voting, texts, splits, rules, desk)
    ]
    desk.steps[2:2] = [desk.personal, _near_duplicates(clusters, rules)]

    sides = merge(((clusters[texts[r.feedback_id]], r.group_id) for r in reactions), splits)
    exam, learned, audits = _seated(votes, sides, clusters, rules, desk)
    gold = _gold_labels(exam)
    learned = _without_poison(learned, audits, gold, clusters, labels, rules, desk)
    examples, unclear = _exam_examples(exam, gold, clusters, rules)
    weighed = _believed(learned, audits, gold, unclear, sides, clusters, labels, rules, desk)
    weighed, suspects = _doubted(weighed, clusters, labels, rules, desk)
    examples += _balanced(weighed, learned, clusters, rules, desk)
    return Curated(
        examples=tuple(sorted(examples, key=lambda example: example.example_id)),
        drops=tuple(Drop(name, desk.dropped[name]) for name in sorted(desk.dropped)),
        steps=tuple(desk.steps),
        suspects=tuple(suspects),
    )


class _Desk:
    """Where every drop and every step is written down."""

    def __init__(self, seen: int) -> None:
        self.left = seen
        self.dropped: dict[str, str] = {}
        self.steps: list[Step] = []
        self.personal = Step("personal_data", on=False)

    def close(
        self, rule: str, dropped: Mapping[str, str], *, changed: int = 0, detail: str = ""
    ) -> None:
        """End a rule's work: what it dropped, why, and what it changed."""
        reasons = Counter(dropped.values())
        counts = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
        self.steps.append(
            Step(
                rule,
                on=True,
                seen=self.left,
                dropped=len(dropped),
                changed=changed,
                detail="; ".join([*counts, detail] if detail else counts),
                example=min(dropped, default=None),
            )
        )
        self.dropped.update(dropped)
        self.left -= len(dropped)

    def skip(self, rule: str, why: str) -> None:
        """Say that a rule did nothing, and why."""
        self.steps.append(Step(rule, on=False, seen=self.left, detail=why))


def _refuse_repeats(reactions: Iterable[Reaction]) -> None:
    counts = Counter(reaction.feedback_id for reaction in reactions)
    repeated = sorted(feedback_id for feedback_id, count in counts.items() if count > 1)
    if repeated:
        raise DataError(
            f"Each feedback_id must occur once; {len(repeated)} occur more often, first "
            f"{repeated[0]!r}. Nothing was curated; remove the repeats where they were read.",
            feedback_ids=repeated,
        )


# ---- Personal data and near-duplicates: what counts as which text


def _without_personal_data(
    reactions: Sequence[Reaction], rules: CurationConfig, desk: _Desk
) -> dict[str, str]:
    """Feedback id → its text with placeholders."""
    if not rules.personal_data:
        desk.personal = Step("personal_data", on=False, detail="switched off")
        return {r.feedback_id: r.text for r in reactions}
    found: Counter[str] = Counter()
    known: dict[str, str] = {}
    touched = []
    for reaction in reactions:
        if reaction.text not in known:
            redacted = personal.redact(reaction.text)
            known[reaction.text] = redacted.text
            found.update(redacted.found)
        if known[reaction.text] != reaction.text:
            touched.append(reaction.feedback_id)
    desk.personal = Step(
        "personal_data",
        on=True,
        seen=len(reactions),
        changed=len(touched),
        detail=", ".join(f"{count} {kind}" for kind, count in sorted(found.items())),
        example=min(touched, default=None),
    )
    return {r.feedback_id: known[r.text] for r in reactions}


def _clusters(texts: Iterable[str], rules: CurationConfig) -> dict[str, str]:
    """Text → the id of its cluster: the smallest text id of the texts almost alike."""
    distinct = sorted(set(texts))
    if rules.near_duplicates == 1:
        return {text: text_id(text) for text in distinct}
    numbers = duplicates.clusters(distinct, threshold=rules.near_duplicates)
    name: dict[int, str] = {}
    ids = [text_id(text) for text in distinct]
    for number, identity in zip(numbers, ids, strict=True):
        name[number] = min(name.get(number, identity), identity)
    return {text: name[number] for text, number in zip(distinct, numbers, strict=True)}


def _near_duplicates(clusters: Mapping[str, str], rules: CurationConfig) -> Step:
    alike = len({normalise(text) for text in clusters}) - len(set(clusters.values()))
    return Step(
        "near_duplicates",
        on=rules.near_duplicates < 1,
        seen=len(clusters),
        changed=alike,
        detail=f"{len(clusters)} texts, {alike} of them almost alike to another",
    )


# ---- Limits and revisions: which reactions are votes


def _within_limits(
    reactions: Iterable[Reaction],
    texts: Mapping[str, str],
    labels: tuple[str, ...],
    rules: CurationConfig,
    desk: _Desk,
) -> list[Reaction]:
    dropped: dict[str, str] = {}
    kept = []
    for reaction in reactions:
        fault = _fault(reaction, texts[reaction.feedback_id], labels, rules)
        if fault is None:
            kept.append(reaction)
        else:
            dropped[reaction.feedback_id] = fault
    desk.close("limits", dropped)
    return kept


def _fault(
    reaction: Reaction, text: str, labels: tuple[str, ...], rules: CurationConfig
) -> str | None:
    if reaction.kind == "withdraw":
        return None
    label = _label(reaction)
    if reaction.kind not in _VOTING or not label:
        return "no_label"
    if label not in labels:
        return "unknown_label"
    length = len(normalise(text))
    if length < rules.min_chars:
        return "too_short"
    if length > rules.max_chars:
        return "too_long"
    if rules.languages and language.is_foreign(text, rules.languages):
        return "other_language"
    return None


def _label(reaction: Reaction) -> str | None:
    return reaction.predicted_label if reaction.kind in ("accept", "reject") else reaction.value


def _latest(
    reactions: Sequence[Reaction],
    texts: Mapping[str, str],
    splits: Mapping[str, Split],
    rules: CurationConfig,
    desk: _Desk,
) -> list[Reaction]:
    # Standing is part of the key: a click in the app must not displace the same person's gold
    # label, nor a vote in a training group one in the exam, for the row would then be lost.
    last: dict[tuple[str, str, bool, bool], Reaction] = {}
    keys = {}
    for reaction in reactions:
        _refuse_unassigned(reaction, splits)
        key = (
            normalise(texts[reaction.feedback_id]),
            reaction.rater_id,
            reaction.source in rules.gold_sources,
            splits[reaction.group_id] == "exam",
        )
        keys[reaction.feedback_id] = key
        last[key] = max(
            last.get(key, reaction), reaction, key=lambda r: (r.given_at, r.feedback_id)
        )
    dropped = {}
    kept = []
    for reaction in reactions:
        final = last[keys[reaction.feedback_id]]
        if final.kind == "withdraw":
            dropped[reaction.feedback_id] = "withdrawn"
        elif final is not reaction:
            dropped[reaction.feedback_id] = "superseded"
        else:
            kept.append(reaction)
    desk.close("revisions", dropped)
    return kept


def _refuse_unassigned(reaction: Reaction, splits: Mapping[str, Split]) -> None:
    if reaction.group_id not in splits:
        raise DataError(
            f"Group {reaction.group_id!r} has no split; every group must be assigned before its "
            "texts are curated. Nothing was changed; run splits.assign on it first.",
            group=reaction.group_id,
        )


def _vote(
    reaction: Reaction,
    text: str,
    ids: Mapping[str, str],
    splits: Mapping[str, Split],
    labels: tuple[str, ...],
    rules: CurationConfig,
) -> _Vote:
    label = _label(reaction) or ""
    against = reaction.kind == "reject"
    if against and len(labels) == 2:
        # not this one of two is the other one
        label, against = next(other for other in labels if other != label), False
    gold = reaction.source in rules.gold_sources
    return _Vote(
        reaction=reaction,
        text=text,
        text_id=ids[text],
        label=label,
        against=against,
        split=splits[reaction.group_id],
        gold=gold,
        trusted=gold or reaction.source in rules.trusted_sources,
    )


# ---- The exam: who sits it, and what must not train


def _seated(
    votes: Iterable[_Vote],
    sides: Mapping[str, Split],
    clusters: Mapping[str, str],
    rules: CurationConfig,
    desk: _Desk,
) -> tuple[list[_Vote], list[_Vote], list[_Vote]]:
    """Votes that make the exam, votes to learn from, and others' votes on texts of the exam."""
    exam, learned, audits = [], [], []
    dropped: dict[str, str] = {}
    for vote in votes:
        if vote.split == "exam":
            if vote.gold and not vote.against:
                exam.append(vote)
            else:
                audits.append(vote)
                dropped[vote.feedback_id] = "not_gold"
        elif vote.gold and not rules.train_on_gold:
            dropped[vote.feedback_id] = "gold_outside_exam"
        elif sides[clusters[vote.text]] == "exam":
            dropped[vote.feedback_id] = "contaminated"
        else:
            learned.append(vote)
    desk.close("exam", dropped)
    return exam, learned, audits


def _gold_labels(votes: Iterable[_Vote]) -> dict[str, str]:
    """Text id → the label that most gold raters give it; tied texts are left out."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for vote in votes:
        counted[vote.text_id][vote.label] += 1
    result = {}
    for identity, counts in counted.items():
        (label, top), *others = counts.most_common()
        if not others or others[0][1] < top:
            result[identity] = label
    return result


def _exam_examples(
    votes: Sequence[_Vote],
    gold: Mapping[str, str],
    clusters: Mapping[str, str],
    rules: CurationConfig,
) -> tuple[list[Example], dict[str, str]]:
    """Exam rows, with the share of gold raters that agree; and the drops of the others."""
    examples = []
    dropped: dict[str, str] = {}
    for same in _by_text(votes).values():
        label = gold.get(same[0].text_id)
        share = sum(vote.label == label for vote in same) / len(same)
        if label is None or share <= rules.min_agreement:
            dropped.update((vote.feedback_id, "disagreement") for vote in same)
        else:
            examples.append(_example(same, "exam", label, share, clusters))
    return examples, dropped


# ---- Poison: who pushes, and who cannot be believed


def _without_poison(
    votes: list[_Vote],
    audits: Sequence[_Vote],
    gold: Mapping[str, str],
    clusters: Mapping[str, str],
    labels: tuple[str, ...],
    rules: CurationConfig,
    desk: _Desk,
) -> list[_Vote]:
    if not rules.poison:
        desk.skip("poison", "switched off")
        return votes
    belief = raters.believe(_ballots([*votes, *audits]), labels=labels, known=gold)
    open_to_doubt = [vote for vote in votes if not vote.trusted]
    dropped = {
        vote.feedback_id: "unreliable_rater"
        for vote in open_to_doubt
        if belief.votes_of[vote.reaction.rater_id] >= _FEWEST_VOTES
        and belief.reliability[vote.reaction.rater_id] < 1 / len(labels)
    }
    judged = [(i, v) for i, v in enumerate(votes) if not v.against and v.feedback_id not in dropped]
    expected = _expected(
        [vote for _, vote in judged], belief.without[[i for i, _ in judged]], clusters, labels
    )
    untrusted = [row for row, (_, vote) in enumerate(judged) if not vote.trusted]
    campaigns, held = poison.find_campaigns(
        [_features(judged[row][1]) for row in untrusted],
        [judged[row][1].text_id for row in untrusted],
        [judged[row][1].reaction.rater_id for row in untrusted],
        [labels.index(judged[row][1].label) for row in untrusted],
        expected[untrusted],
    )
    for row, is_held in zip(untrusted, held, strict=True):
        if is_held:
            dropped[judged[row][1].feedback_id] = "campaign"
    shown = "; ".join(
        f"one {c.kind}: {c.texts} texts for {labels[c.label]}, {c.expected:.0f} expected"
        for c in campaigns[:3]
    )
    detail = f"{len(campaigns)} campaigns ({shown})" if campaigns else ""
    desk.close("poison", dropped, detail=detail)
    return [vote for vote in votes if vote.feedback_id not in dropped]


def _expected(
    votes: Sequence[_Vote],
    without: raters.Floats,
    clusters: Mapping[str, str],
    labels: tuple[str, ...],
) -> raters.Floats:
    """The chance of each label for each vote: by the other votes, else by a model of the texts."""
    alone = Counter(vote.text_id for vote in votes)
    found = noise.out_of_fold(
        [vote.text for vote in votes],
        [labels.index(vote.label) for vote in votes],
        [clusters[vote.text] for vote in votes],
        labels=len(labels),
    )
    if found is None:
        return without
    single = np.array([alone[vote.text_id] == 1 for vote in votes])
    result: raters.Floats = np.where(single[:, None], found.probabilities, without)
    return result


def _features(vote: _Vote) -> set[poison.Feature]:
    reaction = vote.reaction
    return poison.phrases(vote.text) | {
        ("rater", reaction.rater_id),
        ("customer", reaction.customer_id or reaction.group_id),
        ("source", reaction.source),
        ("hour", reaction.given_at.strftime("%Y-%m-%dT%H")),
    }


# ---- Raters: the likely label of each text


def _believed(
    votes: Sequence[_Vote],
    audits: Sequence[_Vote],
    gold: Mapping[str, str],
    unclear: Mapping[str, str],
    sides: Mapping[str, Split],
    clusters: Mapping[str, str],
    labels: tuple[str, ...],
    rules: CurationConfig,
    desk: _Desk,
) -> list[Example]:
    known = {**gold, **_gold_labels(vote for vote in votes if vote.gold)}
    belief = raters.believe(_ballots([*votes, *audits]), labels=labels, known=known)
    dropped = dict(unclear)
    examples = []
    for identity, same in _by_text(votes).items():
        posterior = dict(zip(labels, belief.posterior[identity], strict=True))
        named = sorted({vote.label for vote in same if not vote.against})
        ranked = sorted(named, key=lambda label: (-posterior[label], label))
        side = sides[clusters[same[0].text]]
        if not ranked:
            excluded = tuple(sorted({vote.label for vote in same}))
            if not rules.complementary or side != "train" or len(excluded) >= len(labels):
                dropped.update((vote.feedback_id, "only_rejected") for vote in same)
                continue
            sure = 1 - sum(posterior[label] for label in excluded)
            one = _example(same, side, None, sure, clusters)
            examples.append(replace(one, excluded=excluded))
            continue
        confidence = float(posterior[ranked[0]])
        tied = len(ranked) > 1 and math.isclose(posterior[ranked[1]], confidence, abs_tol=1e-9)
        if tied or confidence <= rules.min_agreement:
            dropped.update((vote.feedback_id, "disagreement") for vote in same)
        else:
            examples.append(_example(same, side, ranked[0], confidence, clusters))
    several = sum(count > 1 for count in Counter(v.text_id for v in votes).values())
    desk.close("raters", dropped, detail=f"{several} texts have several raters")
    return examples


def _ballots(votes: Iterable[_Vote]) -> list[raters.Vote]:
    return [
        raters.Vote(vote.text_id, vote.reaction.rater_id, vote.label, vote.against)
        for vote in votes
    ]


def _by_text(votes: Iterable[_Vote]) -> dict[str, list[_Vote]]:
    found: dict[str, list[_Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.text_id].append(vote)
    return found


def _example(
    votes: Sequence[_Vote],
    side: Split,
    label: str | None,
    confidence: float,
    clusters: Mapping[str, str],
) -> Example:
    text = min(vote.text for vote in votes)
    here = [vote.reaction.group_id for vote in votes if vote.split == side]
    return Example(
        example_id=votes[0].text_id,
        text=text,
        label=label,
        confidence=confidence,
        weight=1.0 if side == "exam" else confidence,
        group_id=min(here or [vote.reaction.group_id for vote in votes]),
        split=side,
        feedback_ids=tuple(sorted(vote.feedback_id for vote in votes)),
        cluster_id=clusters[text],
    )


# ---- Label noise and balance: what each example weighs


def _doubted(
    examples: list[Example],
    clusters: Mapping[str, str],
    labels: tuple[str, ...],
    rules: CurationConfig,
    desk: _Desk,
) -> tuple[list[Example], list[Suspect]]:
    if rules.suspect_weight == 1:
        desk.skip("label_noise", "switched off")
        return examples, []
    rows = [i for i, e in enumerate(examples) if e.label is not None and e.split == "train"]
    targets = [labels.index(examples[i].label or "") for i in rows]
    found = noise.out_of_fold(
        [examples[i].text for i in rows],
        targets,
        [examples[i].cluster_id for i in rows],
        labels=len(labels),
    )
    if found is None or not found.knows_something:
        desk.skip("label_noise", "too few labels to tell which are wrong")
        return examples, []
    doubtful = noise.suspects(found, targets)
    result, suspects = list(examples), []
    for row, i in enumerate(rows):
        one = examples[i]
        if doubtful[row] and len(one.feedback_ids) == 1:
            result[i] = replace(one, weight=one.weight * rules.suspect_weight)
            score = float(found.probabilities[row, targets[row]])
            suspects.append(Suspect(one.example_id, score))
    detail = f"out-of-fold accuracy {found.accuracy:.3f}, commonest label {found.majority:.3f}"
    desk.close("label_noise", {}, changed=len(suspects), detail=detail)
    return result, sorted(suspects, key=lambda s: (s.score, s.example_id))


def _balanced(
    examples: list[Example],
    votes: Sequence[_Vote],
    clusters: Mapping[str, str],
    rules: CurationConfig,
    desk: _Desk,
) -> list[Example]:
    train = [example for example in examples if example.split == "train"]
    others = [example for example in examples if example.split != "train"]
    kept = balance.choose(
        [e.example_id for e in train],
        [e.label or "" for e in train],
        most=rules.max_examples,
        salt="max_examples",
    )
    dropped = {
        feedback_id: "over_limit"
        for example, keep in zip(train, kept, strict=True)
        if not keep
        for feedback_id in example.feedback_ids
    }
    train = [example for example, keep in zip(train, kept, strict=True) if keep]
    alike = Counter((e.cluster_id, e.label) for e in train)
    weights = np.array([e.weight / alike[e.cluster_id, e.label] for e in train])
    giver = {vote.feedback_id: vote for vote in votes}
    first = [giver[example.feedback_ids[0]] for example in train]
    caps = {
        "customer": rules.max_customer_share,
        "rater": rules.max_customer_share,
        "source": rules.max_source_share,
        "day": rules.max_day_share,
    }
    before = weights.copy()
    for of, most in caps.items():
        if most < 1:
            weights = balance.cap_shares(weights, [_owner(v, of) for v in first], most=most)
    lowered = int((weights < before - 1e-12).sum())
    desk.close(
        "balance",
        dropped,
        changed=lowered,
        detail=f"{lowered} weigh less for a loud customer, rater, source or day",
    )
    # six decimals are what a snapshot keeps; nothing that trains weighs nothing
    return others + [
        replace(example, weight=max(round(float(weight), 6), 1e-6))
        for example, weight in zip(train, weights, strict=True)
    ]


def _owner(vote: _Vote, of: str) -> str | None:
    """Whose share a vote counts toward; None for those that are never capped."""
    if vote.trusted:
        return None
    reaction = vote.reaction
    return {
        "customer": reaction.customer_id or reaction.group_id,
        "rater": reaction.rater_id,
        "source": reaction.source,
        "day": reaction.given_at.date().isoformat(),
    }[of]
