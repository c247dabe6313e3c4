"""What a person should label next, and the labels that come back.

Most of a queue is chosen: texts whose raters disagree, labels that other texts contradict, answers
between two labels, and texts unlike anything learned from. What is chosen says nothing about the
whole, so a share of every queue is an audit: drawn uniformly from the unlabeled texts that came
since the draw before, of a customer who floods from a share of its texts, and the probability of
the draw is kept. Only audits may enter the holdout.

A draw from all history would mostly find texts that a challenger has learned from already, so that
they are no evidence, and would say how answers fared long ago.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel.dataset import stratified_draws
from flywheel.errors import DataError
from flywheel.files.csv_cells import cell, content
from flywheel.ingestion import tables
from flywheel.ingestion.queue_annotations import BY, annotated
from flywheel.ingestion.readers.dialect import SEPARATORS
from flywheel.text import near_duplicates
from flywheel.text.label_spelling import match
from flywheel.text.normalize import text_id

COLUMNS = ("item_id", "text", "label", "answered", "reason", "score", "probability", "group_id")
AUDIT = "audit"
SOURCES = (AUDIT, "queue")
"""The sources of labels that came back from queues: the company's own people gave them."""
REASONS = (AUDIT, "disagreement", "suspect", "uncertain", "new")
_OF_A_QUEUE = {"item_id", "text", "label", "reason"}
_BETWEEN_CELLS = re.compile(f"[{re.escape(''.join(SEPARATORS))}]")
_SHOWN_ROWS = 10
"""Rows of a queue that are named where they are wrong; the others are counted."""
_SHOWN_CHARS = 40


@dataclass(frozen=True)
class Candidate:
    """A text nobody trusted has labeled. ``probabilities`` is of the newest answer, if any.

    ``holdout``: its group is held out, where only an audit is of use. ``customer`` is whose text it
    is, None where that is not known. ``asked_at`` is when it came last, None where nobody knows.
    """

    text: str = field(repr=False)
    group_id: str
    answered: str | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    holdout: bool = False
    customer: str | None = None
    asked_at: datetime | None = None

    @property
    def item_id(self) -> str:
        return text_id(self.text)


@dataclass(frozen=True)
class Item:
    """One line of the queue.

    ``score`` in [0, 1] says how much a label is worth, within its reason; ``probability`` is that
    of the uniform draw, for audits only.
    """

    item_id: str
    text: str = field(repr=False)
    group_id: str
    answered: str | None
    reason: str
    score: float
    probability: float | None = None


def rank(
    candidates: Sequence[Candidate],
    *,
    size: int,
    audit_share: float,
    disputed: Collection[str],
    suspects: Mapping[str, float],
    learned: Sequence[str],
    seed: str,
    share: float = 1.0,
    draws: Sequence[datetime] = (),
) -> list[Item]:
    """Choose what to label, audits first; a text, or one almost alike, is chosen once.

    Of a customer no more than ``share`` is drawn from for audits
    (`flywheel.dataset.stratified_draws`), and no more chosen as long as there is anything of
    others.

    Args:
        candidates: Equal texts count once.
        size: Lines wanted, at most.
        audit_share: Share of ``size`` drawn uniformly, in [0, 1], from the candidates that were
            asked since the last of ``draws``; where they are fewer than wanted, since the one
            before that, and so on; from all of them where no draw is so long ago.
        disputed: Item ids whose raters disagree.
        suspects: Item id → out-of-fold probability of its label, low for doubtful ones.
        learned: Texts that train already.
        seed: Names the draw; the same seed, the same audits.
        draws: When audits were drawn before, the newest first.
    """
    pool = {one.item_id: one for one in sorted(candidates, key=lambda c: (c.text, c.group_id))}
    whose = {name: one.customer for name, one in pool.items()}
    asked = round(size * audit_share)
    heard = _drawn_from(pool, asked, draws, share=share, seed=seed)
    wanted = min(len(heard), asked)
    drawn = stratified_draws.spread(heard, wanted, seed=seed)
    chosen = [_item(pool[name], AUDIT, 1.0, wanted / len(heard)) for name in drawn]
    clusters = _clusters([one.text for one in pool.values()], learned)
    familiar = {clusters[text] for text in learned}
    ranked = sorted(
        (
            found
            for one in pool.values()
            if not one.holdout
            and (found := _reasoned(one, disputed, suspects, clusters[one.text] in familiar))
        ),
        key=lambda item: (-item.score, REASONS.index(item.reason), item.item_id),
    )
    taken = {clusters[item.text] for item in chosen}
    shares = stratified_draws.Shares(size, share, len({*whose.values()} - {None}))
    for within in (True, False):
        for item in ranked:
            if len(chosen) >= size:
                break
            allowed = shares.allows(whose[item.item_id]) or not within
            if allowed and clusters[item.text] not in taken:
                taken.add(clusters[item.text])
                shares.add(whose[item.item_id])
                chosen.append(item)
    return chosen


def _drawn_from(
    pool: Mapping[str, Candidate],
    wanted: int,
    draws: Sequence[datetime],
    *,
    share: float,
    seed: str,
) -> dict[str, str | None]:
    """Item → customer of those that came since the newest draw since which ``wanted`` came.

    Within that time no customer has more than their share: who floods a night is few over a year.
    """
    for since in (*draws, None):
        whose = {
            name: one.customer
            for name, one in pool.items()
            if since is None or (one.asked_at is not None and one.asked_at > since)
        }
        kept = stratified_draws.within_share(whose, share, seed=seed)
        if len(kept) >= wanted or since is None:
            break
    return {name: whose[name] for name in kept}


def _clusters(texts: Sequence[str], learned: Sequence[str]) -> dict[str, int]:
    every = sorted({*texts, *learned})
    return dict(zip(every, near_duplicates.clusters(every), strict=True))


def _reasoned(
    one: Candidate, disputed: Collection[str], suspects: Mapping[str, float], familiar: bool
) -> Item | None:
    if one.item_id in disputed:
        return _item(one, "disagreement", 1.0)
    if one.item_id in suspects:
        return _item(one, "suspect", 1 - suspects[one.item_id])
    if len(one.probabilities) < 2:
        return None
    first, second = sorted(one.probabilities.values(), reverse=True)[:2]
    uncertain = 1 - (first - second)
    # a text unlike any that trains is worth somewhat more than its answer's margin says
    return _item(one, "uncertain" if familiar else "new", uncertain * (0.8 if familiar else 1.0))


def _item(one: Candidate, reason: str, score: float, probability: float | None = None) -> Item:
    return Item(
        item_id=one.item_id,
        text=one.text,
        group_id=one.group_id,
        answered=one.answered,
        reason=reason,
        score=round(score, 6),
        probability=probability,
    )


# ---- Out to a person, and back


@dataclass(frozen=True)
class Returned:
    """A queue that came back: its labels as feedback ``rows``.

    ``chosen`` is reason → labels that are no audits, since the queue chose them; ``unlabeled`` are
    lines without a label.
    """

    rows: tuple[dict[str, str], ...] = field(repr=False)
    audits: int
    chosen: Mapping[str, int]
    unlabeled: int

    def counts(self) -> dict[str, Any]:
        """The same in numbers, without the rows."""
        return {
            "imported": len(self.rows),
            "audits": self.audits,
            "chosen": dict(self.chosen),
            "unlabeled": self.unlabeled,
        }

    def line(self) -> str:
        """How many became audits, how many did not, and why."""
        told = f"{len(self.rows)} labels imported: {self.audits} audits"
        if self.chosen:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.chosen.items())
            told += f", {sum(self.chosen.values())} no audits (chosen, not drawn: {reasons})"
        if self.unlabeled:
            told += f"; {self.unlabeled} lines without a label were left out"
        return told


def as_csv(items: Iterable[Item]) -> str:
    """The queue as CSV, its column ``label`` empty for a person to fill."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for item in items:
        writer.writerow({name: cell(getattr(item, name, "")) for name in COLUMNS})
    return out.getvalue()


def as_label_studio(items: Iterable[Item]) -> str:
    """The queue as Label Studio tasks (JSON)."""
    tasks = [
        {
            "data": {"text": item.text},
            "meta": {
                "item_id": item.item_id,
                "reason": item.reason,
                "probability": item.probability,
                "group_id": item.group_id,
            },
        }
        for item in items
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def label_studio_config(labels: Iterable[str]) -> str:
    """Label Studio's labeling interface for the labels of a use case; with none, for a text."""
    from xml.sax.saxutils import quoteattr

    labels = list(labels)
    if not labels:
        return (
            '<View>\n  <Text name="text" value="$text"/>\n'
            '  <TextArea name="label" toName="text" maxSubmissions="1"/>\n</View>'
        )
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="label" toName="text" choice="single">\n{choices}\n'
        "  </Choices>\n</View>"
    )


def labeled_rows(
    name: str, content: str, *, rater: str, given_at: datetime, labels: Sequence[str]
) -> Returned:
    """Feedback rows of a queue that came back: CSV as exported, or a Label Studio export.

    Lines without a label are not done yet and are left out. Where several people annotated, each
    is a rater of their own. A label that differs from one of
    ``labels`` in case, width or blanks only is that one. Rows are counted as by
    `flywheel.ingestion.tables`.

    Raises:
        DataError: not a queue, or a label that is none of ``labels`` where there are some; which
            rows.
    """
    sheet = name.lower().endswith(".csv")
    rows, wrong, strange, unlabeled = [], [], [], 0
    reasons: Counter[str] = Counter()
    for number, item, given in _from_csv(content) if sheet else annotated(content):
        if not given:
            unlabeled += 1
            continue
        label = _meant(given, tuple(labels)) if labels else given
        if label is None:
            wrong.append(f"row {number} {_short(given)!r}")
        elif not _is_of_a_queue(item):
            strange.append(f"row {number}")
        else:
            who = f"{rater}:{item[BY]}" if BY in item else rater
            rows.append(_as_feedback(item, label, who, given_at))
            reasons[item["reason"]] += 1
    faults = []
    if wrong:
        faults.append(
            f"these labels are none of {', '.join(labels)}: {_some(wrong)}; correct them, or empty "
            "the cell where nobody knows"
        )
    if strange:
        faults.append(
            f"no line of a queue is {_some(strange)}; item_id, text and reason must stand as they "
            "were exported"
        )
    if faults:
        raise DataError(f"{name}: {'. And '.join(faults)}. Nothing was imported.")
    chosen = {reason: reasons[reason] for reason in REASONS if reason != AUDIT and reasons[reason]}
    return Returned(tuple(rows), reasons[AUDIT], chosen, unlabeled)


def is_queue(head: bytes) -> bool:
    """Whether a sheet that begins so is a queue as `as_csv` writes it, by its first line."""
    # names of columns are ASCII: every encoding has the same letters, UTF-16 with NULs between
    text = head.decode("latin-1").replace("\0", "").lstrip("\xef\xbb\xbf\xff\xfe")
    names = {name.strip(' "\r') for name in _BETWEEN_CELLS.split(text.partition("\n")[0])}
    return names.issuperset(COLUMNS)


def filled(content: str) -> int:
    """Rows of a queue, as a sheet, into which a person has put a label."""
    return sum(bool(given) for _, _, given in _from_csv(content))


def _meant(given: str, labels: tuple[str, ...]) -> str | None:
    """The label that a cell names; copied from ``answered`` it may have a quote in front."""
    return match(given, labels) or match(content(given), labels)


def _short(label: str) -> str:
    return label if len(label) <= _SHOWN_CHARS else f"{label[:_SHOWN_CHARS]}…"


def _some(rows: Sequence[str]) -> str:
    more = f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
    return f"{', '.join(rows[:_SHOWN_ROWS])}{more}"


def _is_of_a_queue(item: Mapping[str, Any]) -> bool:
    return bool(item.get("text") and item.get("item_id") and item.get("reason") in REASONS)


def _as_feedback(
    item: Mapping[str, Any], label: str, rater: str, given_at: datetime
) -> dict[str, str]:
    content = f"{item['item_id']}\x1f{label}\x1f{rater}"
    row = {
        "feedback_id": f"queue-{hashlib.sha256(content.encode()).hexdigest()[:32]}",
        "kind": "label",
        "value": label,
        "text": item["text"],
        "rater_id": rater,
        "source": AUDIT if item["reason"] == AUDIT else "queue",
        "given_at": given_at.isoformat(),
    }
    return row | {"group_id": item["group_id"]} if item.get("group_id") else row


def _from_csv(content: str) -> Iterable[tuple[int, dict[str, str], str]]:
    table = tables.sheet(content)
    if table.refused:
        told = [f"row {one.number} ({one.why})" for one in table.refused]
        raise DataError(f"The file cannot be read: {_some(told)}. Nothing was imported.")
    missing = _OF_A_QUEUE.difference(*table.rows)
    if table.rows and missing:
        raise DataError(f"The file lacks the columns {', '.join(sorted(missing))} of a queue.")
    for number, row in zip(table.numbers, table.rows, strict=True):
        yield number, _as_exported(row), (row.get("label") or "").strip()


def _as_exported(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line as it was before `cells.cell`; one exported by an earlier release had no quotes."""
    text = row["text"] or ""
    whole = text_id(text) == row["item_id"]
    return {
        **row,
        "text": text if whole else content(text),
        "group_id": content(row.get("group_id") or ""),
    }
