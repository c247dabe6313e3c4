"""Make a labeling queue, and bring its labels back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots, splits
from flywheel.errors import DataError
from flywheel.ingestion import labeling_queue
from flywheel.ingestion.inbox import Inbox
from flywheel.ingestion.labeling_queue import Item, Returned
from flywheel.ingestion.readers.dialect import text_of
from flywheel.records import Feedback
from flywheel.store import open_store
from flywheel.store.feedback import labeling as warehouse
from flywheel.text import pii
from flywheel.text.normalize import is_longer, text_id
from tasks.collect import digest, drop


def make_queue(
    use_case: UseCase, home: Home, *, size: int, audit_share: float, at: datetime
) -> list[Item]:
    """Choose what a person should label next; the audits' probabilities are stored.

    Texts carry placeholders where they named a person. One that is too long to be learned from
    (`curation.max_chars`) is not asked about, nor more than a share of one customer's
    (`curation.max_customer_share`).
    """
    rules = use_case.curation
    trusted = [*rules.gold_sources, *rules.trusted_sources, "queue", "audit"]
    with open_store(home.warehouse) as store:
        every, labeled = warehouse.candidates(store, use_case.name, trusted=trusted)
        found = [one for one in every if _may_be_learned(use_case, one.text)]
        disputed = warehouse.disputed(store, use_case.name)
        suspects = warehouse.suspects(store, use_case.name)
        snapshot = warehouse.newest_snapshot(store, use_case.name)
        examples = snapshots.read(home.snapshots, snapshot) if snapshot else ()
        groups = {candidate.group_id for candidate in found}
        sides = splits.assign(
            groups,
            known=store.splits(use_case.name, groups),
            salt=use_case.split.salt,
            holdout=use_case.split.holdout,
            validation=use_case.split.validation,
        )
        labeled |= _labeled_in_the_inbox(use_case, home, trusted)
        # labels come back on the text as it was shown
        done = {
            text_id(_shown(use_case, text)) for text in labeled if _may_be_learned(use_case, text)
        }
        shown = [
            replace(
                c,
                text=_shown(use_case, c.text),
                holdout=sides[c.group_id] == "holdout",
                # who writes after an answer writes like it, and that could not be evidence
                answered="" if use_case.is_generation else c.answered,
            )
            for c in found
        ]
        items = labeling_queue.rank(
            [candidate for candidate in shown if candidate.item_id not in done],
            size=size,
            audit_share=audit_share,
            disputed={text_id(_shown(use_case, text)) for text in disputed},
            suspects=suspects,
            learned=[example.text for example in examples if example.split == "train"],
            seed=f"{use_case.name}:{at.isoformat()}",
            share=rules.max_customer_share,
        )
        warehouse.add_audits(store, use_case.name, items, at)
    return items


def _labeled_in_the_inbox(use_case: UseCase, home: Home, trusted: Sequence[str]) -> set[str]:
    """Texts that ``trusted`` sources have labeled and no night has taken in yet."""
    rows = Inbox.look(home.inbox(use_case.name)).feedback(
        use_case.label_names, by_customer=use_case.split.by_customer
    )
    return {
        row.text
        for row in rows
        if isinstance(row, Feedback) and row.text is not None and row.source in trusted
    }


def _may_be_learned(use_case: UseCase, text: str) -> bool:
    return use_case.is_image or not is_longer(text, use_case.curation.max_chars)


def _shown(use_case: UseCase, text: str) -> str:
    redacts = use_case.curation.personal_data and not use_case.is_image
    return pii.redact(text).text if redacts else text


def put_aside(file: Path, *, at: datetime) -> str | None:
    """Rename a queue that a person has filled in, so that no new one takes its labels away.

    Returns a sentence that says so; None where ``file`` is not there, or holds no labels.
    """
    if not file.is_file() or not labeling_queue.is_queue(file.read_bytes()):
        return None
    filled = labeling_queue.filled(text_of(file.read_bytes()) or "")
    if not filled:
        return None
    kept = file.with_name(f"{file.stem}.before-{at:%Y%m%dT%H%M%S}{file.suffix}")
    file.rename(kept)
    return f"{file} held {filled} labels; that file is now {kept.name}."


def import_labels(
    use_case: UseCase, home: Home, file: Path, *, rater: str, at: datetime
) -> Returned:
    """Put the labels of a queue that came back into the inbox; returns what they are.

    Raises:
        DataError: the file is no queue, or names an unknown label; nothing was imported.
    """
    content = text_of(file.read_bytes())
    if content is None:
        raise DataError(
            f"{file} is neither UTF-8 nor UTF-16 nor Windows-1252. Save it as CSV UTF-8 and import "
            "it again. Nothing was imported.",
            path=str(file),
        )
    found = labeling_queue.labeled_rows(
        file.name,
        content,
        rater=rater,
        given_at=at,
        labels=use_case.label_names,
    )
    if found.rows:
        name = f"queue-{at:%Y%m%dT%H%M%S}-{digest(found.rows)}.jsonl"
        drop(home.inbox(use_case.name), name, found.rows)
    return found
