"""Make a labeling queue, and bring its labels back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots, splits
from flywheel.errors import DataError
from flywheel.ingestion import labeling_queue
from flywheel.ingestion.contract import names_nobody
from flywheel.ingestion.inbox import Inbox
from flywheel.ingestion.labeling_queue import Candidate, Item, Returned
from flywheel.ingestion.readers.dialect import text_of
from flywheel.records import Feedback, Split
from flywheel.store import open_store
from flywheel.store.feedback import labeling as warehouse
from flywheel.text import pii
from flywheel.text.normalize import is_longer, text_id
from tasks.collect import digest, drop


def make_queue(
    use_case: UseCase,
    home: Home,
    *,
    size: int,
    audit_share: float,
    at: datetime,
    newest: int = warehouse.NEWEST,
) -> list[Item]:
    """Choose what a person should label next; the audits' probabilities are stored.

    Texts carry placeholders where they named a person. One that is too long to be learned from
    (`curation.max_chars`) is not asked about, nor more than a share of one customer's
    (`curation.max_customer_share`). Only the ``newest`` texts are looked at, and audits are drawn
    from those that came since the audits before.
    """
    rules = use_case.curation
    trusted = [*rules.gold_sources, *rules.trusted_sources, "queue", "audit"]
    known = _known(use_case, home, trusted, newest)
    # long work without the warehouse, for which others may be waiting
    shown = _Shown(use_case)
    labeled = known.labeled | _labeled_in_the_inbox(use_case, home, trusted)
    # labels come back on the text as it was shown
    done = {text_id(shown(text)) for text in labeled if _may_be_learned(use_case, text)}
    candidates = [
        replace(
            one,
            text=shown(one.text),
            holdout=known.sides[one.group_id] == "holdout",
            # who writes after an answer writes like it, and that could not be evidence
            answered="" if use_case.is_generation else one.answered,
        )
        for one in known.candidates
    ]
    items = labeling_queue.rank(
        [one for one in candidates if one.item_id not in done],
        size=size,
        audit_share=audit_share,
        disputed={text_id(shown(text)) for text in known.disputed},
        suspects=known.suspects,
        learned=known.learned,
        seed=f"{use_case.name}:{at.isoformat()}",
        share=rules.max_customer_share,
        draws=known.draws,
    )
    if any(item.probability is not None for item in items):
        with open_store(home.warehouse) as store:
            warehouse.add_audits(store, use_case.name, items, at)
    return items


@dataclass(frozen=True)
class _Known:
    """What the warehouse says of the texts that may be asked about; ``sides`` is group → split."""

    candidates: list[Candidate] = field(repr=False)
    labeled: set[str] = field(repr=False)
    disputed: set[str] = field(repr=False)
    suspects: dict[str, float] = field(repr=False)
    sides: dict[str, Split] = field(repr=False)
    learned: list[str] = field(repr=False)
    draws: list[datetime]


def _known(use_case: UseCase, home: Home, trusted: Sequence[str], newest: int) -> _Known:
    with open_store(home.warehouse) as store:
        every, labeled = warehouse.candidates(store, use_case.name, trusted=trusted)
        found = [one for one in every[:newest] if _may_be_learned(use_case, one.text)]
        groups = {candidate.group_id for candidate in found}
        known = store.splits(use_case.name, groups)
        disputed = warehouse.disputed(store, use_case.name)
        suspects = warehouse.suspects(store, use_case.name)
        snapshot = warehouse.newest_snapshot(store, use_case.name)
        draws = warehouse.draws(store, use_case.name)
    examples = snapshots.read(home.snapshots, snapshot) if snapshot else ()
    sides = splits.assign_by(use_case.split, groups, known=known)
    learned = [example.text for example in examples if example.split == "train"]
    return _Known(found, labeled, disputed, suspects, sides, learned, draws)


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


class _Shown:
    """Texts as a queue shows them: without personal data, each looked at once."""

    def __init__(self, use_case: UseCase) -> None:
        self._redacts = use_case.curation.personal_data and not use_case.is_image
        self._seen: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if not self._redacts:
            return text
        if text not in self._seen:
            self._seen[text] = pii.redact(text).text
        return self._seen[text]


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
        DataError: the file is no queue, or names an unknown label, or the rater has no name;
            nothing was imported.
    """
    if names_nobody(rater):
        raise DataError(f"--rater {rater!r} names nobody. Nothing was imported.")
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
