"""Served answers taken in from a file: all of it or nothing, each answer once for ever."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from flywheel.ingestion.predictions import Answers
from flywheel.privacy.erasure_plan import FORGOTTEN
from flywheel.records import Ingested, Shadow
from flywheel.store.arrow_columns import incoming, strings, times
from flywheel.store.feedback.judged import rejected_table
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_COUNT = "SELECT count(*) FROM predictions WHERE use_case = $use_case"
_COUNT_SHADOWS = "SELECT count(*) FROM shadow_answers WHERE use_case = $use_case"
# what was answered to somebody who is forgotten has no prediction any more
_ADD_SHADOWS = """
INSERT INTO shadow_answers BY NAME
SELECT i.*, md5_number_lower(i.prediction_id) AS prediction_key, $use_case AS use_case
FROM incoming AS i
WHERE md5_number_lower(i.prediction_id) IN (
    SELECT p.prediction_key FROM predictions AS p WHERE p.use_case = $use_case
)
AND (md5_number_lower(i.prediction_id), i.digest) NOT IN (
    SELECT (s.prediction_key, s.digest) FROM shadow_answers AS s WHERE s.use_case = $use_case
)
"""
_QUARANTINE = "INSERT OR IGNORE INTO quarantine BY NAME SELECT * FROM incoming"
_ADD_FILE = "INSERT INTO ingested_files VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)"
_SHADOWS = """
SELECT prediction_id, label, probabilities, model_version, digest, epoch_us(answered_at)
FROM shadow_answers
WHERE use_case = ?
ORDER BY prediction_id, digest
"""


def ingest_answers(
    store: Store, use_case: str, answers: Answers, *, file: str, sha256: str, at: datetime
) -> Ingested:
    """Take in the answers of one file; feedback that waited for one becomes usable.

    A known file changes nothing, and all its rows count as duplicates, as do answers known from
    another file. Answers to the forgotten are counted as quarantined, without what they say.
    """
    if store.known_file(use_case, sha256):
        return Ingested(answers.read, 0, answers.read, 0, 0)
    gone = store.forgotten(use_case)
    rejected = [
        (number, "" if gone.raw(raw) else raw, FORGOTTEN if gone.raw(raw) else reason)
        for number, raw, reason in answers.rejected
    ]
    refused = sum(gone.answer(p) for p in answers.predictions)
    with transaction(store.con):
        before = answers_kept(store, use_case)
        insert_answers(store, use_case, answers)
        _quarantine(store, use_case, file, sha256, rejected)
        new = answers_kept(store, use_case) - before
        quarantined = len(rejected) + refused
        counts = Ingested(
            read=answers.read,
            ingested=new,
            duplicate=answers.read - new - quarantined,
            quarantined=quarantined,
            parked=0,
        )
        taken = [counts.read, counts.ingested, counts.duplicate, counts.quarantined]
        store.con.execute(_ADD_FILE, [use_case, sha256, file, *taken, at])
    return counts


def shadows(store: Store, use_case: str) -> list[Shadow]:
    """Every answer that was not shown, by prediction."""
    return [
        Shadow(
            prediction_id=prediction_id,
            label=label,
            probabilities=json.loads(probabilities),
            model_version=version,
            digest=digest,
            answered_at=store.moment(at_us),
        )
        for prediction_id, label, probabilities, version, digest, at_us in store.rows(
            _SHADOWS, [use_case]
        )
    ]


def insert_answers(store: Store, use_case: str, answers: Answers) -> None:
    """Keep answers that are not known, shown ones and others; to be called in a transaction."""
    store.insert_predictions(use_case, answers.predictions)
    _add_shadows(store, use_case, answers.shadows)


def answers_kept(store: Store, use_case: str) -> int:
    """How many answers there are, shown ones and others."""
    here = {"use_case": use_case}
    return sum(int(store.rows(query, here)[0][0]) for query in (_COUNT, _COUNT_SHADOWS))


def _add_shadows(store: Store, use_case: str, given: Sequence[Shadow]) -> None:
    first = {(one.prediction_id, one.digest): one for one in reversed(given)}.values()
    table = pa.table(
        {
            "prediction_id": strings(s.prediction_id for s in first),
            "label": strings(s.label for s in first),
            "probabilities": strings(json.dumps(dict(s.probabilities)) for s in first),
            "model_version": strings(s.model_version for s in first),
            "digest": strings(s.digest for s in first),
            "answered_at": times(s.answered_at for s in first),
        }
    )
    with incoming(store.con, table):
        store.con.execute(_ADD_SHADOWS, {"use_case": use_case})


def _quarantine(
    store: Store, use_case: str, file: str, sha256: str, rejected: Sequence[tuple[int, str, str]]
) -> None:
    table = rejected_table(use_case, file, sha256, rejected)
    with incoming(store.con, table):
        store.con.execute(_QUARANTINE)
