"""What a night's feedback would change of what was learned before, and how much is too much.

Feedback of customers adds to what is learned. It rarely takes much of it away: now and then two
disagree on a text, a rater turns out worse than chance. Where one night's feedback would take away
or turn round more of the last snapshot's training rows than `curation.max_change`, something is
going on that a person should see first: an attack on who is believed, a broken integration, labels
that mean something else since a release. Such a night ends before anything is learned from it.
What would change all the same without tonight's rows of strangers, as after a setting was edited,
is not their doing. How few rows they are says nothing: thirty that contradict a rater can cost all
that the rater ever said.

Where one stranger who disputes others alone brings that about, those rows are set aside until
somebody has looked, and the night goes on without them: else whoever holds one key could end
learning for everybody.

Rows that are lost for other reasons do not count: taken back by who gave them, forgotten, too many,
too long. A label that its giver revised counts as turned round. Not counted is what the company's
own labels did (gold, trusted sources, queues), nor a snapshot of fewer than `FEWEST` training rows,
in a company's first days. More rows, or other labels, are no sign by themselves: they are shown,
and bounded by shares.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.config import CurationConfig
from flywheel.influence.row_caps import own_sources
from flywheel.influence.speakers import speaker
from flywheel.records import Curated, Reaction, Step

RULE = "change"
ASIDE = "set_aside"
FEWEST = 100
"""Training rows of the last snapshot from which on a night can be unusual."""
_MOVED = ("contaminated", "not_gold", "answer_in_sight", "gold_outside_holdout")
"""Drop reasons of rows whose text is on the holdout's side now."""
_DISPUTED = ("disagreement", "only_rejected", "unreliable_rater", "campaign")
_BY_OTHERS = (*_DISPUTED, *_MOVED)
"""Drop reasons that what others said brings about."""


@dataclass(frozen=True)
class Learned:
    """A training row of the last snapshot."""

    example_id: str
    label: str | None = field(repr=False)
    feedback_ids: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What tonight's feedback changes of the last snapshot, which had ``before`` training rows.

    ``rows`` came in since, ``strangers`` of them not from the company's own people; of those
    ``loudest`` in [0, 1] is the share of the loudest customer, ``disputed`` how many were dropped
    because others spoke against them. ``lost`` is drop reason → training rows that are none any
    more, ``turned`` have another label. ``shift`` in [0, 1] is how far the labels moved (total
    variation).
    """

    before: int
    after: int
    rows: int
    strangers: int
    customers: int
    raters: int
    loudest: float
    disputed: int
    lost: Mapping[str, int]
    turned: int
    shift: float | None

    @property
    def affected(self) -> int:
        """Training rows of before that are lost or turned round."""
        return sum(self.lost.values()) + self.turned

    @property
    def share(self) -> float:
        """The share of the last snapshot's training rows that are; 0 in a company's first days."""
        return self.affected / self.before if self.before >= FEWEST else 0.0

    def beyond(self, most: float, *, anyway: int = 0) -> bool:
        """Whether tonight's strangers change more than ``most``, a share.

        ``anyway`` training rows are affected without them, too.
        """
        by_them = (self.affected - anyway) / max(1, self.before)
        return self.strangers > 0 and self.share > most and by_them > most


def compare(
    before: Sequence[Learned],
    curated: Curated,
    reactions: Sequence[Reaction],
    new: Collection[str],
    rules: CurationConfig,
    *,
    writes: bool = False,
) -> Change:
    """Compare tonight's examples with the training rows ``before``; ``new`` reactions came since.

    ``writes``: answers are texts, of which each is a label of its own.
    """
    own = own_sources(rules)
    came = [one for one in reactions if one.feedback_id in new]
    strangers = [one for one in came if one.source not in own]
    ours = {one.feedback_id for one in came if one.source in own}
    reasons = {drop.feedback_id: drop.reason for drop in curated.drops}
    now = {one.example_id: one for one in curated.examples if one.split == "train"}
    lost: Counter[str] = Counter()
    turned = 0
    for row in before:
        one = now.get(row.example_id)
        if one is None:
            lost.update(_why([reasons.get(name, "") for name in row.feedback_ids], bool(ours)))
        elif one.label != row.label and ours.isdisjoint(one.feedback_ids):
            turned += 1
    by_customer = Counter(one.customer_id for one in strangers if one.customer_id)
    return Change(
        before=len(before),
        after=len(now),
        rows=len(came),
        strangers=len(strangers),
        customers=len(by_customer),
        raters=len({one.rater_id for one in strangers}),
        loudest=max(by_customer.values(), default=0) / max(1, len(strangers)),
        disputed=sum(reasons.get(one.feedback_id) in _BY_OTHERS for one in strangers),
        lost=dict(lost),
        turned=turned,
        shift=None
        if writes
        else _distance((row.label for row in before), (one.label for one in now.values())),
    )


def without_strangers(
    reactions: Sequence[Reaction], new: Collection[str], rules: CurationConfig
) -> list[Reaction]:
    """The reactions less the ``new`` ones that are not of the company's own people."""
    own = own_sources(rules)
    return [one for one in reactions if one.feedback_id not in new or one.source in own]


def suspected(
    curated: Curated, reactions: Sequence[Reaction], new: Collection[str], rules: CurationConfig
) -> list[frozenset[str]]:
    """Tonight's feedback ids of each stranger whose doing it may be, the likeliest first.

    Of every honest sender some rows are in holdout groups, more of whoever sends more. So those
    come first who dispute what others said, and only then those whose texts are on the holdout's
    side.
    """
    found = (loudest(curated, reactions, new, rules, by=why) for why in (_DISPUTED, _MOVED))
    return list(dict.fromkeys(one for one in found if one))


def loudest(
    curated: Curated,
    reactions: Sequence[Reaction],
    new: Collection[str],
    rules: CurationConfig,
    *,
    by: Collection[str] = _BY_OTHERS,
) -> frozenset[str]:
    """Tonight's feedback ids of the stranger who disputes most, told ``by`` the drop reasons.

    None where nobody disputes anything, as where one revises all that they said themselves, or
    where only one stranger ever spoke. What takes feedback back is not among them: that is its
    giver's own.
    """
    own = own_sources(rules)
    disputed = {drop.feedback_id for drop in curated.drops if drop.reason in by}
    said: dict[str, list[str]] = defaultdict(list)
    for one in reactions:
        if one.source not in own and one.kind != "withdraw":
            theirs = said[one.customer_id or speaker(one)]
            theirs.extend([one.feedback_id] if one.feedback_id in new else [])
    loud = {who: len(disputed.intersection(theirs)) for who, theirs in said.items()}
    if len(said) < 2 or not max(loud.values()):
        return frozenset()
    return frozenset(said[max(sorted(said), key=lambda who: loud[who])])


def _why(reasons: Iterable[str], by_ours: bool) -> list[str]:
    """Why a training row is none any more, where others than who gave it brought that about."""
    found = [one for one in reasons if one in _BY_OTHERS and not (by_ours and one in _MOVED)]
    return found[:1]


def _distance(before: Iterable[str | None], after: Iterable[str | None]) -> float:
    """Half the sum of the differences of shares, over all labels."""
    one, other = Counter(before), Counter(after)
    if not one or not other:
        return 0.0
    return sum(abs(one[k] / one.total() - other[k] / other.total()) for k in {*one, *other}) / 2


def step(change: Change | None, rules: CurationConfig) -> Step:
    """What the night's page says of it."""
    if change is None:
        return Step(RULE, on=False, detail="there is no snapshot before this one")
    return Step(
        RULE,
        on=rules.max_change < 1,
        seen=change.before,
        changed=change.affected,
        detail=in_words(change),
    )


def aside_step(
    aside: Collection[str], use_case: str, change: Change | None, *, before: int = 0
) -> Step:
    """What the night's page says of rows that wait until somebody has looked.

    ``before`` rows are of nights before.
    """
    found = []
    if aside and change is not None:
        found.append(
            f"{len(aside)} rows of one customer or rater would take away or turn round "
            f"{change.share:.0%} of what was learned from before (curation.max_change)"
        )
    if before:
        found.append(f"{before} rows were set aside in nights before")
    wait = (
        f". They wait until somebody has looked: flywheel doctor -u {use_case} says whose they "
        f"are, flywheel night -u {use_case} --looked learns from them"
    )
    return Step(
        ASIDE,
        on=True,
        changed=len(aside) + before,
        detail="; ".join(found) + wait if found else "",
        example=min(aside, default=None),
    )


def in_words(change: Change) -> str:
    """The change in words."""
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(change.lost.items()))
    moved = "" if change.shift is None else f"; labels moved by {change.shift:.0%}"
    return (
        f"{change.rows} new rows, {change.strangers} of them of {change.customers} named customers "
        f"and {change.raters} raters (the loudest customer {change.loudest:.0%}), "
        f"{change.disputed} of them in dispute; training rows {change.before} to {change.after}, "
        f"of those before {sum(change.lost.values())} lost{f' ({lost})' if lost else ''} and "
        f"{change.turned} with another label{moved}"
    )
