"""What the gate has asked and learned: questions to the exam, trials, and fresh rows as evidence.

All of it is written before it is acted on, and writing it again changes nothing, so that a night
that was killed and lives again asks the same question and comes to the same verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from flywheel import ledger
from flywheel.config import GateConfig
from flywheel.evidence import group_gains, log_wealth
from flywheel.records import Decision, FreshRow, Question, Served
from flywheel.store.columns import from_us, incoming, strings, times
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

Kind = Literal["challenge", "brake"]
Ending = Literal["promoted", "rejected", "superseded", "braked", "over"]

_ASKED = """
SELECT
    epoch_us(as_of),
    digest,
    champion_digest,
    number,
    told,
    alpha,
    rows,
    decision
FROM questions
WHERE use_case = $use_case
ORDER BY as_of
"""
_ASK = """
INSERT OR IGNORE INTO questions
VALUES ($use_case, $as_of, $digest, $champion, $number, $told, $alpha, $rows, NULL)
"""
_ANSWERED = """
UPDATE questions SET decision = $decision
WHERE use_case = $use_case AND as_of = $as_of
"""
_TRIALS = """
SELECT
    digest,
    champion_digest,
    number,
    alpha,
    snapshot_id,
    adapter,
    train_examples,
    epoch_us(started_as_of),
    epoch_us(ended_as_of),
    ending
FROM trials
WHERE use_case = $use_case AND kind = $kind
ORDER BY number
"""
_START = """
INSERT OR IGNORE INTO trials
VALUES (
    $use_case, $kind, $digest, $champion, $number, $alpha, $snapshot, $adapter, $examples,
    $started, NULL, NULL
)
"""
_END = """
UPDATE trials SET ended_as_of = $as_of, ending = $ending
WHERE use_case = $use_case AND kind = $kind AND digest = $digest AND champion_digest = $champion
    AND (ended_as_of IS NULL OR ended_as_of = $as_of)
"""
_EVIDENCE = """
SELECT
    epoch_us(as_of),
    example_id,
    group_id,
    source,
    challenger_right,
    champion_right,
    probability,
    shown,
    coalesce(recorded, false),
    differs
FROM evidence
WHERE use_case = $use_case AND digest = $digest AND champion_digest = $champion
ORDER BY as_of, example_id
"""
_ADD_EVIDENCE = "INSERT OR IGNORE INTO evidence BY NAME SELECT * FROM incoming"
# Feedback that a snapshot had seen when the trial began is not fresh.
_SEEN_BEFORE = """
SELECT DISTINCT c.feedback_id
FROM consumed AS c
JOIN snapshots AS s ON s.use_case = c.use_case AND s.snapshot_id = c.snapshot_id
JOIN incoming AS i ON c.feedback_key = md5_number_lower(i.feedback_id)
WHERE
    c.use_case = $use_case
    AND c.feedback_id = i.feedback_id
    AND s.committed_at <= $started::TIMESTAMPTZ
"""
_KNOWN_TEXTS = """
SELECT example_id, cluster_id
FROM snapshot_rows
WHERE use_case = $use_case AND list_contains($snapshots, snapshot_id)
"""
_ORIGINS = """
SELECT f.feedback_id, f.source, epoch_us(f.given_at)
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
WHERE f.use_case = $use_case AND f.feedback_id = i.feedback_id
"""
_ABOUT_ANSWERS = """
SELECT f.feedback_id
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
WHERE
    f.use_case = $use_case
    AND f.feedback_id = i.feedback_id
    AND (f.prediction_id IS NOT NULL OR f.kind <> 'label')
"""
# The answers that feedback was given on, and what was answered beside them unseen.
_SERVED = """
WITH asked AS (
    SELECT f.feedback_id, f.prediction_id, md5_number_lower(f.prediction_id) AS prediction_key
    FROM feedback AS f
    JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
    WHERE
        f.use_case = $use_case
        AND f.feedback_id = i.feedback_id
        AND f.prediction_id IS NOT NULL
)
SELECT a.feedback_id, p.prediction_id, p.digest, true, p.probabilities
FROM asked AS a
JOIN predictions AS p USING (prediction_key, prediction_id)
WHERE p.use_case = $use_case AND list_contains($digests, p.digest)
UNION ALL
SELECT a.feedback_id, s.prediction_id, s.digest, false, s.probabilities
FROM asked AS a
JOIN shadow_answers AS s USING (prediction_key, prediction_id)
WHERE s.use_case = $use_case AND list_contains($digests, s.digest)
"""
_DRAWN = """
SELECT a.item_id, a.probability
FROM audits AS a
JOIN incoming AS i ON a.item_id = i.item_id
WHERE a.use_case = $use_case
"""
_NEWEST_REQUESTS = """
SELECT prediction_id, text
FROM predictions
WHERE use_case = $use_case
ORDER BY predicted_at DESC, prediction_id
LIMIT $newest
"""


@dataclass(frozen=True)
class Asked:
    """One verdict's question to the exam, as the ledger keeps it."""

    as_of: datetime
    digest: str
    champion_digest: str | None
    number: int
    told: int
    alpha: float | None
    rows: int
    decision: Decision | None


@dataclass(frozen=True)
class Standing:
    """A trial as it was begun. For a brake, ``digest`` is the predecessor's."""

    digest: str
    champion_digest: str
    number: int
    alpha: float
    snapshot_id: str
    adapter: str
    train_examples: int
    started_as_of: datetime
    ended_as_of: datetime | None = None
    ending: Ending | None = None


# ---- Questions


def asked(store: Store, use_case: str) -> list[Asked]:
    """Every question so far, the oldest first."""
    return [Asked(from_us(row[0]), *row[1:]) for row in store.rows(_ASKED, {"use_case": use_case})]


def ask(
    store: Store,
    use_case: str,
    *,
    as_of: datetime,
    digest: str,
    champion_digest: str | None,
    rows: int,
    rules: GateConfig,
) -> Question | None:
    """Spend from the ledger, before the answer is known, what a question costs tonight.

    None when there is nothing to compare (no champion), or when this pair has asked before; either
    way the night tells a verdict, which counts. A night that lives again is granted the same.
    """
    before = [one for one in asked(store, use_case) if one.as_of != as_of]
    pairs = {(one.digest, one.champion_digest) for one in before}
    question = None
    if champion_digest is not None and (digest, champion_digest) not in pairs:
        number = 1 + sum(one.alpha is not None for one in before)
        budget = rules.alpha * rules.exam_share
        question = Question(number, ledger.question_alpha(number, len(before), budget=budget))
    told: dict[str, Any] = {
        "use_case": use_case,
        "as_of": as_of,
        "digest": digest,
        "champion": champion_digest,
        "number": question.number if question else 0,
        "told": len(before),
        "alpha": question.alpha if question else None,
        "rows": rows,
    }
    with transaction(store.con):
        store.con.execute(_ASK, told)
    return question


def answered(store: Store, use_case: str, *, as_of: datetime, decision: Decision) -> None:
    """Keep what the gate decided on the night's question; nothing if it asked none."""
    here = {"use_case": use_case, "as_of": as_of, "decision": decision}
    with transaction(store.con):
        store.con.execute(_ANSWERED, here)


# ---- Trials


def trials(store: Store, use_case: str, *, kind: Kind) -> list[Standing]:
    """Every trial of a kind, the oldest first."""
    names = [field.name for field in fields(Standing)]
    found = []
    for row in store.rows(_TRIALS, {"use_case": use_case, "kind": kind}):
        facts = dict(zip(names, row, strict=True))
        for moment in ("started_as_of", "ended_as_of"):
            facts[moment] = None if facts[moment] is None else from_us(facts[moment])
        found.append(Standing(**facts))
    return found


def standing(store: Store, use_case: str, *, kind: Kind, as_of: datetime) -> Standing | None:
    """The trial that runs, or that ended in this very night; None when there is none."""
    for one in reversed(trials(store, use_case, kind=kind)):
        if one.started_as_of < as_of and one.ended_as_of in (None, as_of):
            return one
    return None


def of_pair(
    store: Store, use_case: str, *, kind: Kind, digest: str, champion_digest: str
) -> Standing | None:
    """The trial of these two, whether it runs or not."""
    for one in trials(store, use_case, kind=kind):
        if (one.digest, one.champion_digest) == (digest, champion_digest):
            return one
    return None


def start(
    store: Store,
    use_case: str,
    *,
    kind: Kind,
    as_of: datetime,
    digest: str,
    champion_digest: str,
    snapshot_id: str,
    adapter: str,
    train_examples: int,
    rules: GateConfig,
) -> None:
    """Begin a trial; one that was begun stays as it is."""
    before = trials(store, use_case, kind=kind)
    if any((one.digest, one.champion_digest) == (digest, champion_digest) for one in before):
        return
    number = len(before) + 1
    if kind == "brake":
        alpha = rules.brake_alpha
    else:
        alpha = ledger.trial_alpha(
            number,
            carried=_left_by(store, use_case, before[-1], rules) if before else 0.0,
            budget=rules.alpha * (1 - rules.exam_share),
        )
    told = {
        "use_case": use_case,
        "kind": kind,
        "digest": digest,
        "champion": champion_digest,
        "number": number,
        "alpha": alpha,
        "snapshot": snapshot_id,
        "adapter": adapter,
        "examples": train_examples,
        "started": as_of,
    }
    with transaction(store.con):
        store.con.execute(_START, told)


def _left_by(store: Store, use_case: str, one: Standing, rules: GateConfig) -> float:
    """What the trial before has left of its level: all that was won, or not lost."""
    rows = evidence(store, use_case, digest=one.digest, champion_digest=one.champion_digest)
    if one.ending == "promoted":
        return one.alpha
    gains = group_gains((r for r in rows if not r.is_canary), by_row=rules.unit == "row")
    return ledger.handed_on(one.alpha, log_wealth(gains, margin=rules.margin))


def end(
    store: Store, use_case: str, one: Standing, *, kind: Kind, as_of: datetime, ending: Ending
) -> None:
    """End a trial that runs; one that ended on another night stays as it is."""
    told = {
        "use_case": use_case,
        "kind": kind,
        "digest": one.digest,
        "champion": one.champion_digest,
        "as_of": as_of,
        "ending": ending,
    }
    with transaction(store.con):
        store.con.execute(_END, told)


# ---- Fresh rows


def evidence(
    store: Store, use_case: str, *, digest: str, champion_digest: str
) -> tuple[FreshRow, ...]:
    """All fresh rows that the two were compared on, by night."""
    here = {"use_case": use_case, "digest": digest, "champion": champion_digest}
    return tuple(FreshRow(from_us(row[0]), *row[1:]) for row in store.rows(_EVIDENCE, here))


def add_evidence(
    store: Store, use_case: str, rows: Sequence[FreshRow], *, digest: str, champion_digest: str
) -> None:
    """Keep fresh rows; a row counts once, on the night that it first came."""
    table = pa.table(
        {
            "use_case": strings([use_case] * len(rows)),
            "digest": strings([digest] * len(rows)),
            "champion_digest": strings([champion_digest] * len(rows)),
            "as_of": times(row.as_of for row in rows),
            "example_id": strings(row.example_id for row in rows),
            "group_id": strings(row.group_id for row in rows),
            "source": strings(row.source for row in rows),
            "challenger_right": pa.array([row.challenger_right for row in rows], pa.bool_()),
            "champion_right": pa.array([row.champion_right for row in rows], pa.bool_()),
            "probability": pa.array([row.probability for row in rows], pa.float64()),
            "shown": strings(row.shown for row in rows),
            "recorded": pa.array([row.recorded for row in rows], pa.bool_()),
            "differs": pa.array([row.differs for row in rows], pa.bool_()),
        }
    )
    with transaction(store.con), incoming(store.con, table):
        store.con.execute(_ADD_EVIDENCE)


def seen_before(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, started: datetime
) -> set[str]:
    """Those of ``feedback_ids`` that a snapshot had used or dropped by ``started``."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        found = store.rows(_SEEN_BEFORE, {"use_case": use_case, "started": started})
    return {name for (name,) in found}


def known_texts(
    store: Store, use_case: str, snapshot_ids: Sequence[str]
) -> tuple[set[str], set[str]]:
    """Example ids and cluster ids of these snapshots."""
    here = {"use_case": use_case, "snapshots": list(snapshot_ids)}
    rows = store.rows(_KNOWN_TEXTS, here)
    return {row[0] for row in rows}, {row[1] for row in rows if row[1]}


def origins(
    store: Store, use_case: str, feedback_ids: Iterable[str]
) -> dict[str, tuple[str, datetime]]:
    """Feedback id → its source and when it was given."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_ORIGINS, {"use_case": use_case})
    return {name: (source, from_us(at)) for name, source, at in rows}


def about_answers(store: Store, use_case: str, feedback_ids: Iterable[str]) -> set[str]:
    """Those of ``feedback_ids`` that were given on an answer, not on a text alone."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        return {name for (name,) in store.rows(_ABOUT_ANSWERS, {"use_case": use_case})}


def served(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, digests: Sequence[str]
) -> dict[str, list[Served]]:
    """Feedback id → what ``digests`` answered, shown or not, to the request that it was given on.

    What others answered is left out.
    """
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_SERVED, {"use_case": use_case, "digests": list(digests)})
    found: dict[str, list[Served]] = {}
    for feedback_id, prediction_id, digest, shown, probabilities in rows:
        one = Served(prediction_id, digest, shown, json.loads(probabilities))
        found.setdefault(feedback_id, []).append(one)
    return found


def drawn(store: Store, use_case: str, example_ids: Iterable[str]) -> dict[str, float]:
    """Example id → the probability with which it was drawn for an audit, where it was."""
    wanted = pa.table({"item_id": strings(sorted(set(example_ids)))})
    with incoming(store.con, wanted):
        return dict(store.rows(_DRAWN, {"use_case": use_case}))


def newest_requests(store: Store, use_case: str, *, newest: int) -> dict[str, str]:
    """Prediction id → text of the newest answers."""
    return dict(store.rows(_NEWEST_REQUESTS, {"use_case": use_case, "newest": newest}))
