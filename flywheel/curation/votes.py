"""Which reactions are votes, on which texts, and on which side of the exam."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from flywheel.curation.context import Desk, Seats, Vote, majority_labels
from flywheel.dataset import image_duplicates
from flywheel.dataset.splits import merge
from flywheel.influence.speakers import speaker
from flywheel.ingestion.labeling_queue import AUDIT
from flywheel.records import Reaction
from flywheel.text import language_id, near_duplicates, pii
from flywheel.text.normalize import is_longer, normalise, text_id

_NAMING = ("accept", "reject", "correct", "label")
_VOTING = (*_NAMING, "withdraw")


def read_texts(desk: Desk, reactions: Sequence[Reaction], golden: Sequence[str]) -> None:
    """Put placeholders for personal data, then find which texts are almost alike.

    Texts that `within_limits` leaves out for their length stay as they are: neither costs more
    with a text's length than its reading.
    """
    found: Counter[str] = Counter()
    redacted: dict[tuple[str, tuple[str, ...]], str] = {}
    changed = []

    def shown(reaction: Reaction, text: str) -> str:
        key = (text, _names(desk, reaction))
        if _is_too_long(desk, text):
            return text
        if desk.rules.personal_data and desk.images is None and key not in redacted:
            result = pii.redact(text, names=key[1])
            redacted[key] = result.text
            found.update(result.found)
        return redacted.get(key, text)

    for reaction in reactions:
        named = _named(reaction) if desk.writes else None
        text = desk.texts[reaction.feedback_id] = shown(reaction, reaction.text)
        if named is not None:
            desk.references[reaction.feedback_id] = shown(reaction, named).strip()
        written = desk.references.get(reaction.feedback_id)
        if text != reaction.text or (named or "").strip() != (written or ""):
            changed.append(reaction.feedback_id)
    if desk.images is not None:
        desk.skip("personal_data", "pictures: what they show is not looked at")
    elif desk.rules.personal_data:
        detail = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        desk.note("personal_data", {}, changed=changed, detail=detail)
    else:
        desk.skip("personal_data", "switched off")
    _cluster(desk, reactions)
    desk.golden = _golden(desk, reactions, golden)


def _names(desk: Desk, reaction: Reaction) -> tuple[str, ...]:
    # who reacts may be another customer than who wrote the text
    given = {
        "rater_id": (reaction.rater_id,),
        "customer_id": (reaction.customer_id, reaction.asked_by),
    }
    named = (name for field in desk.rules.names_in for name in given[field] if name)
    return tuple(dict.fromkeys(named))


def _cluster(desk: Desk, reactions: Sequence[Reaction]) -> None:
    every = sorted(set(desk.texts.values()))
    desk.ids = {text: text_id(text) for text in every}
    # a rating or a comment never becomes an example, and so must not join texts that may
    named = {desk.texts[r.feedback_id] for r in reactions if r.kind in _NAMING}
    distinct = [text for text in every if text in named and not _is_too_long(desk, text)]
    if desk.images is not None:
        numbers = image_duplicates.clusters(distinct, desk.images)
    else:
        numbers = near_duplicates.clusters(distinct, threshold=desk.rules.near_duplicates)
    names: dict[int, str] = {}
    for text, number in zip(distinct, numbers, strict=True):
        names[number] = min(names.get(number, desk.ids[text]), desk.ids[text])
    desk.clusters = {text: desk.ids[text] for text in every}
    desk.clusters.update({text: names[n] for text, n in zip(distinct, numbers, strict=True)})
    _place(desk, reactions)
    lone = {desk.ids[text] for text in distinct if desk.ids[text] != desk.clusters[text]}
    alike = [r.feedback_id for r in reactions if desk.ids[desk.texts[r.feedback_id]] in lone]
    desk.note(
        "near_duplicates",
        {},
        changed=alike,
        detail=f"{len(set(desk.ids.values()))} texts, {len(lone)} of them almost alike to another",
    )


def _place(desk: Desk, reactions: Sequence[Reaction]) -> None:
    """Put each cluster on a side: by gold and audits, else by the groups of other labels."""
    links: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for one in reactions:
        if one.kind in _NAMING:
            ours = one.source in desk.rules.gold_sources or one.source == AUDIT
            links[ours].append((desk.clusters[desk.texts[one.feedback_id]], one.group_id))
    desk.sides = merge(links[True], links[False], desk.splits)


def _golden(desk: Desk, reactions: Sequence[Reaction], golden: Sequence[str]) -> frozenset[str]:
    """The feedback on a golden text, as it was written or with placeholders, or on one alike.

    Golden texts are compared and never clustered: they could join texts that are not alike.
    """
    if not golden:
        return frozenset()
    written = {text_id(text) for text in golden}
    if desk.rules.personal_data and desk.images is None:
        golden = [*golden, *(pii.redact(text).text for text in golden)]
    texts = [text for text in desk.clusters if not _is_too_long(desk, text)]
    if desk.images is not None:
        near = image_duplicates.alike(texts, golden, desk.images)
    else:
        near = near_duplicates.alike(texts, golden, threshold=desk.rules.near_duplicates)
    clusters = {desk.clusters[text] for text, is_near in zip(texts, near, strict=True) if is_near}
    return frozenset(
        reaction.feedback_id
        for reaction in reactions
        if desk.clusters[desk.texts[reaction.feedback_id]] in clusters
        or text_id(reaction.text) in written
    )


def within_limits(desk: Desk, reactions: Iterable[Reaction]) -> list[Reaction]:
    """Leave out what says nothing about a label, or is about a text of the wrong kind."""
    dropped: dict[str, str] = {}
    kept = []
    for reaction in reactions:
        fault = _fault(desk, reaction)
        if fault is None:
            kept.append(reaction)
        else:
            dropped[reaction.feedback_id] = fault
    desk.note("limits", dropped)
    return kept


def _fault(desk: Desk, reaction: Reaction) -> str | None:
    if reaction.kind == "withdraw":
        return None
    label = _label(desk, reaction)
    if reaction.kind not in _VOTING or not label:
        return "no_label"
    if not desk.writes and label not in desk.labels:
        return "unknown_label"
    if desk.writes and len(label) > desk.rules.max_chars:
        return "too_long"
    if desk.images is not None:
        return None
    text = desk.texts[reaction.feedback_id]
    length = len(normalise(text))
    if length < desk.rules.min_chars:
        return "too_short"
    if length > desk.rules.max_chars:
        return "too_long"
    if language_id.truncated(text):
        return "truncated"
    if language_id.foreign(text, languages=desk.rules.languages):
        return "other_language"
    return None


def _is_too_long(desk: Desk, text: str) -> bool:
    """Whether its length alone keeps a text out, whatever placeholders would make of it."""
    return desk.images is None and is_longer(text, desk.rules.max_chars)


def _label(desk: Desk, reaction: Reaction) -> str | None:
    return desk.references.get(reaction.feedback_id) if desk.writes else _named(reaction)


def _named(reaction: Reaction) -> str | None:
    return reaction.predicted_label if reaction.kind in ("accept", "reject") else reaction.value


def latest_votes(desk: Desk, reactions: Sequence[Reaction]) -> list[Vote]:
    """Each speaker's last word on each text, unless it takes the earlier ones back."""
    # Standing is part of the key: a click in the app must not displace the same person's gold
    # label, nor a vote in a training group one in the exam, for the row would then be lost.
    keys = {
        reaction.feedback_id: (
            desk.ids[desk.texts[reaction.feedback_id]],
            speaker(reaction),
            reaction.source in desk.rules.gold_sources,
            desk.splits[reaction.group_id] == "exam",
        )
        for reaction in reactions
    }
    last: dict[tuple[str, str, bool, bool], Reaction] = {}
    since: dict[tuple[str, str, bool, bool], int] = {}
    for reaction in reactions:
        key = keys[reaction.feedback_id]
        since[key] = min(since.get(key, reaction.arrived), reaction.arrived)
        last[key] = max(
            last.get(key, reaction), reaction, key=lambda r: (r.given_at, r.feedback_id)
        )
    dropped: dict[str, str] = {}
    kept = []
    for reaction in reactions:
        final = last[keys[reaction.feedback_id]]
        if final.kind == "withdraw":
            dropped[reaction.feedback_id] = "withdrawn"
        elif final is not reaction:
            dropped[reaction.feedback_id] = "superseded"
        else:
            kept.append(_vote(desk, reaction, since=since[keys[reaction.feedback_id]]))
    desk.note("revisions", dropped)
    return kept


def _vote(desk: Desk, reaction: Reaction, *, since: int) -> Vote:
    label = _label(desk, reaction) or ""
    against = reaction.kind == "reject"
    if against and len(desk.labels) == 2:
        # not this one of two is the other one
        label, against = next(other for other in desk.labels if other != label), False
    text = desk.texts[reaction.feedback_id]
    gold = reaction.source in desk.rules.gold_sources
    return Vote(
        reaction=reaction,
        speaker=speaker(reaction),
        text=text,
        text_id=desk.ids[text],
        label=label,
        against=against,
        split=desk.splits[reaction.group_id],
        gold=gold,
        trusted=gold or reaction.source in desk.rules.trusted_sources,
        since=since,
    )


def seat(desk: Desk, votes: Iterable[Vote]) -> Seats:
    """Tell the exam's votes from those that may be learned from; nothing sits on both sides."""
    exam, learned, audits = [], [], []
    dropped: dict[str, str] = {}
    for vote in votes:
        if vote.split == "exam":
            if vote.gold and not vote.against and _unseen(desk, vote):
                exam.append(vote)
            else:
                # elsewhere it would be one more voice on a text that others' votes settle
                if desk.sides[desk.clusters[vote.text]] == "exam":
                    audits.append(vote)
                dropped[vote.feedback_id] = "not_gold"
        elif vote.gold and not desk.rules.train_on_gold:
            dropped[vote.feedback_id] = "gold_outside_exam"
        elif desk.sides[desk.clusters[vote.text]] == "exam":
            dropped[vote.feedback_id] = "contaminated"
        elif vote.feedback_id in desk.golden:
            audits.append(vote)
            dropped[vote.feedback_id] = "contaminated"
        else:
            learned.append(vote)
    desk.note("exam", dropped)
    return Seats(exam, learned, audits, majority_labels(exam))


def _unseen(desk: Desk, vote: Vote) -> bool:
    """Whether it says nothing in favour of the model that answered: always so for labels."""
    return not desk.writes or vote.reaction.kind == "label"
