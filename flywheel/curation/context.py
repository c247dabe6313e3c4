"""What the curation rules share: the votes, the texts they are about, and the account."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config import CurationConfig
from flywheel.curation.rater_model import Vote as Ballot
from flywheel.dataset.images import Images
from flywheel.records import Curated, Drop, Example, Reaction, Split, Step, Suspect

RULES = (
    "limits",
    "revisions",
    "personal_data",
    "near_duplicates",
    "holdout",
    "poison",
    "raters",
    "label_noise",
    "balance",
)


@dataclass(frozen=True)
class Vote:
    """A reaction that says something about a label: it is ``label``, or, ``against``, it is not.

    ``split`` is that of the reaction's own group. ``text`` holds placeholders for personal data.
    ``since`` is when its speaker's first word on the text arrived.
    """

    reaction: Reaction
    speaker: str
    text: str
    text_id: str
    label: str
    against: bool
    split: Split
    gold: bool
    trusted: bool
    since: int = 0

    @property
    def feedback_id(self) -> str:
        return self.reaction.feedback_id

    @property
    def voice(self) -> str:
        """Who is believed or not: a trusted name says nothing for who uses it elsewhere."""
        return f"trusted\x1f{self.speaker}" if self.trusted else self.speaker

    @property
    def ballot(self) -> Ballot:
        return Ballot(self.text_id, self.voice, self.label, self.against)


@dataclass(frozen=True)
class SplitVotes:
    """Votes by where they may count.

    ``holdout`` makes the holdout; ``learned`` may train; ``audits`` are other people's votes on
    texts of the holdout, and all on golden ones, good only to see who is reliable. ``gold`` is text
    id → label of the holdout's texts.
    """

    holdout: Sequence[Vote]
    learned: Sequence[Vote]
    audits: Sequence[Vote]
    gold: Mapping[str, str]


class CurationContext:
    """The rules, what is known of the texts, and where every drop and step is written down."""

    def __init__(
        self,
        rules: CurationConfig,
        labels: tuple[str, ...],
        splits: Mapping[str, Split],
        images: Images | None = None,
    ) -> None:
        self.rules = rules
        self.labels = labels
        self.splits = splits
        self.images = images
        """Where the pictures lie, when texts are addresses; rules on words then do not apply."""
        self.texts: dict[str, str] = {}
        """Feedback id → text with placeholders."""
        self.references: dict[str, str] = {}
        """Where answers are written: feedback id → the one it names, with placeholders."""
        self.ids: dict[str, str] = {}
        """Text with placeholders → text id."""
        self.clusters: dict[str, str] = {}
        """Text with placeholders → the smallest text id among those almost alike."""
        self.sides: dict[str, Split] = {}
        """Cluster → the side that it is on, for all that somebody labeled."""
        self.golden: frozenset[str] = frozenset()
        """Feedback ids on texts that a golden example is, or is almost alike to."""
        self._dropped: dict[str, str] = {}
        self._steps: dict[str, Step] = {}

    @property
    def is_generation(self) -> bool:
        """Whether answers are written, not chosen from labels."""
        return not self.labels

    @property
    def dropped(self) -> Counter[str]:
        """Drop reason → reactions, so far."""
        return Counter(self._dropped.values())

    def note(
        self,
        rule: str,
        dropped: Mapping[str, str],
        *,
        changed: Iterable[str] = (),
        detail: str = "",
    ) -> None:
        """Write down what a rule did: feedback id → reason, and the ids of what it changed."""
        changed = set(changed)
        reasons = Counter(dropped.values())
        counts = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
        self._steps[rule] = Step(
            rule,
            on=True,
            seen=len(self.texts) - len(self._dropped),
            dropped=len(dropped),
            changed=len(changed),
            detail="; ".join([*counts, detail] if detail else counts),
            example=min(dropped or changed, default=None),
        )
        self._dropped.update(dropped)

    def skip(self, rule: str, why: str) -> None:
        """Write down that a rule did nothing, and why."""
        self._steps[rule] = Step(rule, on=False, detail=why)

    def curated(self, examples: Iterable[Example], suspects: Iterable[Suspect]) -> Curated:
        """The result, each part in its order."""
        return Curated(
            examples=tuple(sorted(examples, key=lambda example: example.example_id)),
            drops=tuple(Drop(name, self._dropped[name]) for name in sorted(self._dropped)),
            steps=tuple(self._steps[rule] for rule in RULES),
            suspects=tuple(sorted(suspects, key=lambda s: (s.score, s.example_id))),
        )


def by_text(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    """Text id → its votes."""
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.text_id].append(vote)
    return found


def majority_labels(votes: Iterable[Vote]) -> dict[str, str]:
    """Text id → the label that most votes name; tied texts are left out."""
    result = {}
    for identity, same in by_text(votes).items():
        (label, top), *others = Counter(vote.label for vote in same).most_common()
        if not others or others[0][1] < top:
            result[identity] = label
    return result
