"""Which reactions are votes, on which texts, and on which side of the holdout."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from flywheel.curation.context import CurationContext, SplitVotes, Vote, majority_labels
from flywheel.dataset import image_duplicates
from flywheel.dataset.splits import merge
from flywheel.influence.speakers import speaker
from flywheel.ingestion.labeling_queue import AUDIT
from flywheel.records import Reaction
from flywheel.text import language_id, near_duplicates, pii
from flywheel.text.normalize import is_longer, normalise, text_id, visible

_NAMING = ("accept", "reject", "correct", "label")
_VOTING = (*_NAMING, "withdraw")


def read_texts(
    context: CurationContext, reactions: Sequence[Reaction], golden: Sequence[str]
) -> None:
    """Put placeholders for personal data, then find which texts are almost alike.

    Texts that `within_limits` leaves out for their length stay as they are: neither costs more
    with a text's length than its reading.
    """
    found: Counter[str] = Counter()
    redacted: dict[tuple[str, tuple[str, ...]], str] = {}
    changed = []

    def shown(reaction: Reaction, text: str) -> str:
        key = (text, _names(context, reaction))
        if _is_too_long(context, text):
            return text
        if context.rules.personal_data and context.images is None and key not in redacted:
            result = pii.redact(text, names=key[1])
            redacted[key] = result.text
            found.update(result.found)
        return redacted.get(key, text)

    for reaction in reactions:
        named = _named(reaction) if context.is_generation else None
        text = context.texts[reaction.feedback_id] = shown(reaction, reaction.text)
        if named is not None:
            context.references[reaction.feedback_id] = shown(reaction, named).strip()
        written = context.references.get(reaction.feedback_id)
        if text != reaction.text or (named or "").strip() != (written or ""):
            changed.append(reaction.feedback_id)
    if context.images is not None:
        context.skip("personal_data", "pictures: what they show is not looked at")
    elif context.rules.personal_data:
        detail = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        context.note("personal_data", {}, changed=changed, detail=detail)
    else:
        context.skip("personal_data", "switched off")
    _cluster(context, reactions)
    context.golden = _golden(context, reactions, golden)


def _names(context: CurationContext, reaction: Reaction) -> tuple[str, ...]:
    # who reacts may be another customer than who wrote the text
    given = {
        "rater_id": (reaction.rater_id,),
        "customer_id": (reaction.customer_id, reaction.asked_by),
    }
    named = (name for field in context.rules.names_in for name in given[field] if name)
    return tuple(dict.fromkeys(named))


def _cluster(context: CurationContext, reactions: Sequence[Reaction]) -> None:
    every = sorted(set(context.texts.values()))
    context.ids = {text: text_id(text) for text in every}
    # a rating or a comment never becomes an example, and so must not join texts that may
    named = {context.texts[r.feedback_id] for r in reactions if r.kind in _NAMING}
    distinct = [text for text in every if text in named and not _is_too_long(context, text)]
    if context.images is not None:
        numbers = image_duplicates.clusters(distinct, context.images)
    else:
        numbers = near_duplicates.clusters(distinct, threshold=context.rules.near_duplicates)
    names: dict[int, str] = {}
    for text, number in zip(distinct, numbers, strict=True):
        names[number] = min(names.get(number, context.ids[text]), context.ids[text])
    context.clusters = {text: context.ids[text] for text in every}
    context.clusters.update({text: names[n] for text, n in zip(distinct, numbers, strict=True)})
    _place(context, reactions)
    lone = {context.ids[text] for text in distinct if context.ids[text] != context.clusters[text]}
    alike = [r.feedback_id for r in reactions if context.ids[context.texts[r.feedback_id]] in lone]
    context.note(
        "near_duplicates",
        {},
        changed=alike,
        detail=f"{len(set(context.ids.values()))} texts, {len(lone)} of them almost alike to "
        "another",
    )


def _place(context: CurationContext, reactions: Sequence[Reaction]) -> None:
    """Put each cluster on a side: by gold and audits, else by the groups of other labels."""
    links: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for one in reactions:
        if one.kind in _NAMING:
            ours = one.source in context.rules.gold_sources or one.source == AUDIT
            links[ours].append((context.clusters[context.texts[one.feedback_id]], one.group_id))
    context.sides = merge(links[True], links[False], context.splits)


def _golden(
    context: CurationContext, reactions: Sequence[Reaction], golden: Sequence[str]
) -> frozenset[str]:
    """The feedback on a golden text, as it was written or with placeholders, or on one alike.

    Golden texts are compared and never clustered: they could join texts that are not alike.
    """
    if not golden:
        return frozenset()
    written = {text_id(text) for text in golden}
    if context.rules.personal_data and context.images is None:
        golden = [*golden, *(pii.redact(text).text for text in golden)]
    texts = [text for text in context.clusters if not _is_too_long(context, text)]
    if context.images is not None:
        near = image_duplicates.alike(texts, golden, context.images)
    else:
        near = near_duplicates.alike(texts, golden, threshold=context.rules.near_duplicates)
    clusters = {
        context.clusters[text] for text, is_near in zip(texts, near, strict=True) if is_near
    }
    return frozenset(
        reaction.feedback_id
        for reaction in reactions
        if context.clusters[context.texts[reaction.feedback_id]] in clusters
        or text_id(reaction.text) in written
    )


def within_limits(context: CurationContext, reactions: Iterable[Reaction]) -> list[Reaction]:
    """Leave out what says nothing about a label, or is about a text of the wrong kind."""
    dropped: dict[str, str] = {}
    kept = []
    for reaction in reactions:
        fault = _fault(context, reaction)
        if fault is None:
            kept.append(reaction)
        else:
            dropped[reaction.feedback_id] = fault
    context.note("limits", dropped)
    return kept


def _fault(context: CurationContext, reaction: Reaction) -> str | None:
    if reaction.kind == "withdraw":
        return None
    label = _label(context, reaction)
    if reaction.kind not in _VOTING or not label:
        return "no_label"
    if not context.is_generation and label not in context.labels:
        return "unknown_label"
    if context.is_generation and len(label) > context.rules.max_chars:
        return "too_long"
    if context.images is not None:
        return None
    text = context.texts[reaction.feedback_id]
    length = len(normalise(text))
    # what nobody sees is no text, however long it is
    seen = length if text.isascii() else len(normalise(visible(text)))
    if seen < max(1, context.rules.min_chars):
        return "too_short"
    if length > context.rules.max_chars:
        return "too_long"
    if language_id.truncated(text):
        return "truncated"
    if language_id.foreign(text, languages=context.rules.languages):
        return "other_language"
    return None


def _is_too_long(context: CurationContext, text: str) -> bool:
    """Whether its length alone keeps a text out, whatever placeholders would make of it."""
    return context.images is None and is_longer(text, context.rules.max_chars)


def _label(context: CurationContext, reaction: Reaction) -> str | None:
    return (
        context.references.get(reaction.feedback_id) if context.is_generation else _named(reaction)
    )


def _named(reaction: Reaction) -> str | None:
    return reaction.predicted_label if reaction.kind in ("accept", "reject") else reaction.value


_Place = tuple[str, str, bool, bool]
"""Of a speaker's words on a text, those of one standing: gold or not, held out or not."""


def latest_votes(context: CurationContext, reactions: Sequence[Reaction]) -> list[Vote]:
    """Each speaker's last word on each text, unless it takes the earlier ones back.

    Of words of the same instant the one that arrived later counts. Where they arrived together and
    name different labels, nobody knows which was meant.
    """
    places = {reaction.feedback_id: _places(context, reaction) for reaction in reactions}
    last: dict[_Place, Reaction] = {}
    since: dict[_Place, int] = {}
    for reaction in reactions:
        for place in places[reaction.feedback_id]:
            since[place] = min(since.get(place, reaction.arrived), reaction.arrived)
            last[place] = max(last.get(place, reaction), reaction, key=_order)
    torn = _contradicted(context, reactions, places, last)
    dropped: dict[str, str] = {}
    kept = []
    for reaction in reactions:
        place, *others = places[reaction.feedback_id]
        final = last[place]
        if all(last[at].kind == "withdraw" for at in (place, *others)):
            dropped[reaction.feedback_id] = "withdrawn"
        elif place in torn and _came_with(reaction, final):
            dropped[reaction.feedback_id] = "disagreement"
        elif final is not reaction:
            dropped[reaction.feedback_id] = "superseded"
        elif reaction.kind == "withdraw":
            # on the other side of the holdout something later was said, which stands
            dropped[reaction.feedback_id] = "withdrawn"
        else:
            kept.append(_vote(context, reaction, since=since[place]))
    context.note("revisions", dropped)
    return kept


def _places(context: CurationContext, reaction: Reaction) -> tuple[_Place, ...]:
    """Where a reaction speaks.

    Standing is part of it: a click in the app must not displace the same person's gold label, nor
    a vote in a training group one in the holdout, for the row would then be lost. Whoever takes
    something back need not name the group that it was put into.
    """
    text, who = context.ids[context.texts[reaction.feedback_id]], speaker(reaction)
    gold = reaction.source in context.rules.gold_sources
    if reaction.kind == "withdraw":
        return (text, who, gold, False), (text, who, gold, True)
    return ((text, who, gold, context.splits[reaction.group_id] == "holdout"),)


def _order(reaction: Reaction) -> tuple[datetime, bool, datetime, int, str]:
    """The last word is the greatest.

    Clocks differ and many give whole seconds: within one second a withdrawal is the last.
    """
    second = reaction.given_at.replace(microsecond=0)
    withdraws = reaction.kind == "withdraw"
    return second, withdraws, reaction.given_at, reaction.arrived, reaction.feedback_id


def _came_with(one: Reaction, other: Reaction) -> bool:
    """Whether nothing tells which of two came later."""
    return _order(one)[:-1] == _order(other)[:-1]


def _contradicted(
    context: CurationContext,
    reactions: Iterable[Reaction],
    places: Mapping[str, Sequence[_Place]],
    last: Mapping[_Place, Reaction],
) -> frozenset[_Place]:
    """Places whose last words came together and name different labels.

    Written answers may differ and all be good.
    """
    if context.is_generation:
        return frozenset()
    said: dict[_Place, set[tuple[str | None, bool]]] = defaultdict(set)
    for reaction in reactions:
        for place in places[reaction.feedback_id]:
            if _came_with(reaction, last[place]):
                said[place].add((_label(context, reaction), reaction.kind == "reject"))
    return frozenset(place for place, words in said.items() if len(words) > 1)


def _vote(context: CurationContext, reaction: Reaction, *, since: int) -> Vote:
    label = _label(context, reaction) or ""
    against = reaction.kind == "reject"
    if against and len(context.labels) == 2:
        # not this one of two is the other one
        label, against = next(other for other in context.labels if other != label), False
    text = context.texts[reaction.feedback_id]
    gold = reaction.source in context.rules.gold_sources
    return Vote(
        reaction=reaction,
        speaker=speaker(reaction),
        text=text,
        text_id=context.ids[text],
        label=label,
        against=against,
        split=context.splits[reaction.group_id],
        gold=gold,
        trusted=gold or reaction.source in context.rules.trusted_sources,
        since=since,
    )


def split_votes(context: CurationContext, votes: Iterable[Vote]) -> SplitVotes:
    """Tell the holdout's votes from those that may be learned from; nothing is on both sides."""
    holdout, learned, audits = [], [], []
    dropped: dict[str, str] = {}
    for vote in votes:
        if vote.split == "holdout":
            if vote.gold and not vote.against and not _seen(vote):
                holdout.append(vote)
            else:
                # elsewhere it would be one more voice on a text that others' votes settle
                if context.sides[context.clusters[vote.text]] == "holdout":
                    audits.append(vote)
                dropped[vote.feedback_id] = "answer_in_sight" if _seen(vote) else "not_gold"
        elif vote.gold and not context.rules.train_on_gold:
            dropped[vote.feedback_id] = "gold_outside_holdout"
        elif context.sides[context.clusters[vote.text]] == "holdout":
            dropped[vote.feedback_id] = "contaminated"
        elif vote.feedback_id in context.golden:
            audits.append(vote)
            dropped[vote.feedback_id] = "contaminated"
        else:
            learned.append(vote)
    context.note("holdout", dropped)
    return SplitVotes(holdout, learned, audits, majority_labels(holdout))


def _seen(vote: Vote) -> bool:
    """Whether somebody gold said it with an answer in sight, which speaks for who gave that.

    Accepted answers would be right for a model that is wrong alike; corrected ones alone would all
    be its errors.
    """
    return vote.gold and vote.reaction.kind != "label"
