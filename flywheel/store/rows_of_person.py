"""What the warehouse holds of a person, by key.

A person is a ``customer_id``, ``rater_id`` or ``group_id`` in whatever spelling; feedback on
answers given to them is theirs too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flywheel.privacy.erasure_plan import names_in
from flywheel.privacy.person_ids import canonical_id, other_case
from flywheel.privacy.personal_texts import forms, written
from flywheel.store import anonymous_evidence
from flywheel.store.anonymous_evidence import Hanging
from flywheel.store.warehouse import Store
from flywheel.text.normalize import text_id

_BLANK = " \t\n\v\f\r"
# All ids that may be the same in another spelling; these are few, and told apart one by one.
_IDS = """
SELECT DISTINCT name
FROM (
    SELECT customer_id AS name FROM predictions WHERE use_case = $use_case
    UNION ALL SELECT group_id FROM predictions WHERE use_case = $use_case
    UNION ALL SELECT customer_id FROM feedback WHERE use_case = $use_case
    UNION ALL SELECT rater_id FROM feedback WHERE use_case = $use_case
    UNION ALL SELECT group_id FROM feedback WHERE use_case = $use_case
)
WHERE strlen(name) <> length(name) OR lower(trim(name, $blank)) = $folded
"""
_ANSWERS = """
SELECT DISTINCT label
FROM shadow_answers
WHERE use_case = $use_case AND prediction_id IN (SELECT unnest($predictions))
"""
_CLUSTERS = """
SELECT DISTINCT snapshot_id
FROM snapshot_rows
WHERE use_case = $use_case AND cluster_id IN (SELECT unnest($gone))
    AND example_id NOT IN (SELECT unnest($gone))
ORDER BY snapshot_id
"""
_PREDICTIONS = """
SELECT
    prediction_id,
    text,
    group_id,
    label
FROM predictions
WHERE use_case = $use_case AND (
    customer_id IN (SELECT unnest($people))
    OR group_id IN (SELECT unnest($people))
    OR prediction_id IN (SELECT unnest($also))
)
"""
_FEEDBACK = """
SELECT
    feedback_id,
    text,
    CASE WHEN kind IN ('comment', 'correct', 'label') THEN value END,
    group_id,
    coalesce(
        customer_id IN (SELECT unnest($people))
        OR group_id IN (SELECT unnest($people))
        OR prediction_id IN (SELECT unnest($predictions))
        OR feedback_id IN (SELECT unnest($also)),
        false
    )
FROM feedback
WHERE use_case = $use_case AND (
    customer_id IN (SELECT unnest($people))
    OR rater_id IN (SELECT unnest($people))
    OR group_id IN (SELECT unnest($people))
    OR prediction_id IN (SELECT unnest($predictions))
    OR feedback_id IN (SELECT unnest($also))
)
"""
_QUARANTINE = "SELECT file_sha256, row_number, raw FROM quarantine WHERE use_case = ? AND raw <> ''"
_EXAMPLES = """
SELECT DISTINCT
    snapshot_id,
    example_id,
    split
FROM (
    SELECT
        snapshot_id,
        example_id,
        split,
        unnest(feedback_ids) AS feedback_id
    FROM snapshot_rows
    WHERE use_case = $use_case
)
WHERE feedback_id IN (SELECT unnest($feedback))
ORDER BY snapshot_id, example_id
"""
_DROPS = """
SELECT count(*) FROM drops
WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))
"""
_CONSUMED = """
SELECT count(*) FROM consumed
WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))
"""
_SCORES = """
SELECT count(*) FROM scores
WHERE use_case = $use_case AND example_id IN (SELECT unnest($examples))
"""


@dataclass(frozen=True)
class Held:
    """What one use case holds of a person, by key; their ``texts`` are in no ``repr``.

    ``groups`` are theirs, and those of texts that they labeled. Others gave the ``shared`` ones of
    the texts, too. ``regrouped`` is feedback of others that is kept, with the group it gets.
    ``people`` are the ids that are theirs, ``answers`` what was written for them.
    """

    use_case: str
    predictions: tuple[str, ...]
    feedback: tuple[str, ...]
    groups: tuple[str, ...]
    evidence: Hanging
    quarantine: tuple[tuple[str, int], ...]
    examples: tuple[tuple[str, str, str], ...]
    counts: dict[str, int]
    texts: frozenset[str] = field(repr=False)
    shared: frozenset[str] = field(default=frozenset(), repr=False)
    regrouped: tuple[tuple[str, str], ...] = ()
    people: tuple[str, ...] = field(default=(), repr=False)
    answers: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def gone(self) -> frozenset[str]:
        """The ids of examples and texts that nobody has any more."""
        ids = {example for _, example, _ in self.examples}
        return frozenset(ids | {text_id(one) for one in forms(self.texts - self.shared)})


def held(
    store: Store,
    use_case: str,
    person: str,
    *,
    predictions: Sequence[str] = (),
    feedback: Sequence[str] = (),
    waiting: Sequence[str] = (),
    labels: Collection[str] = (),
) -> Held:
    """Find all rows of a person, and of the predictions and feedback named besides.

    ``waiting`` are answers given to them that lie in files; ``labels`` are names of classes, which
    are nobody's words.
    """
    people = ids_of(store, use_case, person)
    here: dict[str, Any] = {"use_case": use_case, "people": list(people)}
    served = store.rows(_PREDICTIONS, {**here, "also": list(predictions)})
    ids = sorted({*(row[0] for row in served), *waiting})
    given = store.rows(_FEEDBACK, {**here, "predictions": ids, "also": list(feedback)})
    names = [row[0] for row in given]
    of = {"use_case": use_case, "feedback": names}
    examples = store.rows(_EXAMPLES, of)
    texts = {row[1] for row in served} | {t for row in given for t in row[1:3] if t is not None}
    shown = store.rows(_ANSWERS, {"use_case": use_case, "predictions": ids})
    quarantined = _quarantined(store, use_case, {*people, *ids, *feedback})
    vanishing = {"use_case": use_case, "examples": [row[1] for row in examples]}
    own = {*people, *(r[2] for r in served), *(r[3] for r in given if r[3] and _is_own(r))}
    labeled = {r[3] for r in given if r[3] is not None}
    evidence = anonymous_evidence.hanging(
        store,
        use_case,
        own=own,
        labeled=labeled,
        feedback=names,
        predictions=ids,
        examples=vanishing["examples"],
        texts=texts,
    )
    counts = {
        "feedback": len(names),
        "predictions": len(served),
        "quarantine": len(quarantined),
        "snapshot_rows": len(examples),
        "drops": store.rows(_DROPS, of)[0][0],
        "consumed": store.rows(_CONSUMED, of)[0][0],
        "scores": store.rows(_SCORES, vanishing)[0][0],
        "evidence": anonymous_evidence.count(store, use_case, evidence),
    }
    return Held(
        use_case=use_case,
        predictions=tuple(ids),
        feedback=tuple(sorted(names)),
        groups=tuple(sorted(own | labeled)),
        evidence=evidence,
        quarantine=quarantined,
        examples=tuple(examples),
        counts=counts,
        texts=frozenset(written(texts, labels)),
        people=people,
        answers=frozenset(written((row[0] for row in (*shown, *(r[3:] for r in served))), labels)),
    )


def ids_of(store: Store, use_case: str, person: str) -> tuple[str, ...]:
    """The ids in the warehouse that are a person's, in whatever spelling, and the one given."""
    wanted = canonical_id(person)
    spelled = _spelled(store, use_case, wanted)
    return tuple(sorted({person, wanted, *(n for n in spelled if canonical_id(n) == wanted)}))


def ids_in_another_case(store: Store, use_case: str, person: str) -> tuple[str, ...]:
    """The ids in the warehouse that differ from a person's by case alone: may be another's."""
    return other_case(person, _spelled(store, use_case, canonical_id(person)))


def _spelled(store: Store, use_case: str, wanted: str) -> set[str]:
    asked = {"use_case": use_case, "blank": _BLANK, "folded": wanted.lower()}
    return {name for (name,) in store.rows(_IDS, asked)}


def _is_own(row: tuple[str, str | None, str | None, str, bool]) -> bool:
    """Whether a feedback's group is the person's, who may have labeled others' texts only."""
    _, text, _, group, theirs = row
    return theirs or anonymous_evidence.is_group_of(group, text)


def _quarantined(store: Store, use_case: str, names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Rows that name them; those that hold words of theirs are told by `arrivals.quarantined`."""
    wanted = set(names)
    return tuple(
        (file_sha256, number)
        for file_sha256, number, raw in store.rows(_QUARANTINE, [use_case])
        if not wanted.isdisjoint(names_in(raw) | {canonical_id(one) for one in names_in(raw)})
    )


def clustered(store: Store, found: Held) -> set[str]:
    """The snapshots whose rows stay and are in a cluster named by a text that goes."""
    asked = {"use_case": found.use_case, "gone": sorted(found.gone)}
    return {name for (name,) in store.rows(_CLUSTERS, asked)}
