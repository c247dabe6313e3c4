"""Evidence of who is forgotten: it stays, without what names anybody.

What was bet stays spent, and rows that were lost stay lost: deleted, they would give a trial's
level back. Of a row stay the night, the source and who was right, one random word for all of a
group, one for each customer who spoke on it, and one for the text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flywheel.ingestion.feedback import text_group
from flywheel.store.warehouse import Store
from flywheel.text.normalize import text_id
from flywheel.text.pii import redact

ANONYMOUS = "forgotten-"
"""How the random words begin that stand for the ids in evidence of who was forgotten."""

# What others said on a text in one of these groups, or what was answered in it.
_NAMED_BY_OTHERS = """
SELECT group_id
FROM feedback
WHERE use_case = $use_case AND group_id IN (SELECT unnest($groups))
    AND feedback_id NOT IN (SELECT unnest($feedback))
UNION
SELECT group_id
FROM predictions
WHERE use_case = $use_case AND group_id IN (SELECT unnest($groups))
    AND prediction_id NOT IN (SELECT unnest($predictions))
"""
_TEXTS_REACTED_TO = """
SELECT DISTINCT p.text
FROM feedback AS f
JOIN predictions AS p ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE f.use_case = $use_case AND f.feedback_id IN (SELECT unnest($feedback))
"""
_NAMES_THEM = """
group_id IN (SELECT unnest($groups))
OR source IN (SELECT unnest($groups))
OR example_id IN (SELECT unnest($examples))
OR list_has_any(customers, $groups)
"""
_COUNT = f"SELECT count(*) FROM evidence WHERE use_case = $use_case AND ({_NAMES_THEM})"
# A row that has lost its text to one who labeled it still names its group, if that is another's,
# until that is forgotten.
_THEIRS = f"""
use_case = $use_case
AND (
    {_NAMES_THEM}
    OR (
        NOT starts_with(example_id, '{ANONYMOUS}')
        AND example_id NOT IN (SELECT example_id FROM snapshot_rows WHERE use_case = $use_case)
    )
)
"""
_SEEN = f"""
UPDATE trials SET seen_until = (
    SELECT max(moment)
    FROM (
        SELECT committed_at AS moment FROM snapshots WHERE use_case = $use_case
        UNION ALL SELECT consumed_at FROM consumed WHERE use_case = $use_case
        UNION ALL SELECT as_of FROM evidence WHERE use_case = $use_case
    )
)
WHERE use_case = $use_case AND (digest, champion_digest) IN (
    SELECT (digest, champion_digest) FROM evidence WHERE {_THEIRS}
)
"""
_MAKE_ANONYMOUS = f"""
UPDATE evidence SET
    example_id = '{ANONYMOUS}' || uuid(),
    group_id = coalesce(list_extract($words, list_position($groups, group_id)), group_id),
    source = CASE WHEN list_contains($groups, source) THEN '{ANONYMOUS}' ELSE source END,
    customers = list_transform(
        customers, lambda one: coalesce(list_extract($words, list_position($groups, one)), one)
    )
WHERE {_THEIRS}
"""


@dataclass(frozen=True)
class Hanging:
    """What evidence hangs on a person by: all of ``groups``, and ``examples`` in any group."""

    groups: tuple[str, ...]
    examples: tuple[str, ...] = field(repr=False)


def hanging(
    store: Store,
    use_case: str,
    *,
    own: Iterable[str],
    labeled: Iterable[str],
    feedback: Sequence[str],
    predictions: Sequence[str],
    examples: Iterable[str],
    texts: Iterable[str],
) -> Hanging:
    """Find what of the evidence is a person's; to be asked while their rows are still there.

    Args:
        store: The warehouse.
        use_case: Whose evidence.
        own: The person's groups.
        labeled: Groups of texts that they labeled, and had no other part in. Where others speak
            in such a group too, only the rows hang on the person whose texts they labeled.
        feedback: Ids of all feedback that goes.
        predictions: Ids of all answers that go.
        examples: Ids of the examples of snapshots that go.
        texts: What they asked, wrote or labeled.
    """
    here = {"use_case": use_case, "feedback": list(feedback)}
    mine = set(own)
    asked = {**here, "groups": sorted(set(labeled) - mine), "predictions": list(predictions)}
    others = {name for (name,) in store.rows(_NAMED_BY_OTHERS, asked)}
    said = {*texts, *(text for (text,) in store.rows(_TEXTS_REACTED_TO, here))}
    # whether a vote counted or not, and whatever snapshots are left that say so
    ids = {text_id(form) for text in said for form in (text, redact(text).text)}
    return Hanging(
        groups=tuple(sorted(mine | (set(labeled) - others))),
        examples=tuple(sorted(ids.union(examples))),
    )


def is_group_of(group: str, text: str | None) -> bool:
    """Whether a group is the text alone: then it is whose text it is."""
    return text is not None and group == text_group(text)


def count(store: Store, use_case: str, found: Hanging) -> int:
    """Rows of evidence that name the person."""
    return int(store.rows(_COUNT, _asked(use_case, found))[0][0])


def make_anonymous(store: Store, use_case: str, found: Hanging) -> None:
    """Take what names the person out of the evidence; their other rows must be gone before.

    What a trial's snapshots had seen until now is not bet on anew (`trials.seen_until`).
    """
    asked = _asked(use_case, found)
    store.con.execute(_SEEN, asked)
    words = [f"{ANONYMOUS}{secrets.token_hex(16)}" for _ in found.groups]
    store.con.execute(_MAKE_ANONYMOUS, {**asked, "words": words})


def _asked(use_case: str, found: Hanging) -> dict[str, object]:
    return {
        "use_case": use_case,
        "groups": list(found.groups),
        "examples": list(found.examples),
    }
