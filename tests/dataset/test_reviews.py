"""The default data: read as it was published, drawn by seed, reacted to by another person."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flywheel.dataset import product_reviews
from flywheel.dataset.product_reviews import Sentence
from flywheel.errors import NotEnoughData
from flywheel.records import Prediction, Split

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


def added(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def archive(folder: Path, *, truth: bytes, ratings: bytes) -> Path:
    """A source archive in the published layout, with other sentences in it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        added(tar, product_reviews.TRUTH, truth)
        added(tar, product_reviews.RATINGS, ratings)
    path = folder / "source.tar.gz"
    with tarfile.open(path, "w:gz") as outer:
        added(outer, product_reviews.ARCHIVE, inner.getvalue())
    return path


def sentences(*, per_review: int = 4, in_all: int = 12) -> list[Sentence]:
    """``in_all`` reviews whose raters are of every mind."""
    return [
        Sentence(
            sentence_id=f"{review}_{i}",
            review_id=f"review-{review}",
            text=f"sentence {i} of {review}",
            mean=0.0,
            ratings=(-3, -1, 0, 0, 1, 4),
        )
        for review in range(in_all)
        for i in range(per_review)
    ]


def train_side(of: list[Sentence]) -> dict[str, Split]:
    return {sentence.review_id: "train" for sentence in of}


def prediction(of: Sentence, label: str) -> Prediction:
    return Prediction(
        prediction_id=f"p-{of.sentence_id}",
        text=of.text,
        group_id=of.review_id,
        customer_id=of.review_id,
        label=label,
        probabilities={label: 1.0},
        model_version="1",
        digest="d",
        predicted_at=AT,
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_both_published_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = archive(
        tmp_path,
        truth="7_1\t-1.5\tThe café closed.\n7_2\t0.2\tIt is red.\n".encode(encoding),
        ratings=b"7_1\t-1.5\t0.5\t[-1, -2]\n7_2\t0.2\t0.4\t[0, 0, 1]\n",
    )

    first, second = product_reviews.read_reviews(path)

    assert first == Sentence("7_1", "review-7", "The café closed.", -1.5, (-1, -2))
    assert second.ratings == (0, 0, 1)


@pytest.mark.parametrize(
    ("mean", "label"),
    [
        (-0.5, "negative"),
        (-0.49, "neutral"),
        (0.0, "neutral"),
        (0.49, "neutral"),
        (0.5, "positive"),
    ],
)
def test_gold_has_a_direction_from_half_a_point_on(mean: float, label: str) -> None:
    assert product_reviews.gold_label(mean) == label


@pytest.mark.parametrize(("rating", "label"), [(-1, "negative"), (0, "neutral"), (1, "positive")])
def test_a_rater_has_a_direction_from_one_point_on(rating: int, label: str) -> None:
    assert product_reviews.rater_label(rating) == label


def test_gold_is_given_for_the_holdout_only() -> None:
    rated = [replace(s, mean=2.0) for s in sentences()]
    sides: dict[str, Split] = {**train_side(rated), "review-3": "holdout"}

    rows = product_reviews.gold_rows(rated, sides, given_at=AT)

    assert {row["group_id"] for row in rows} == {"review-3"}
    assert {(row["value"], row["source"]) for row in rows} == {("positive", "gold")}


def test_no_two_days_share_a_review_sentence() -> None:
    known = sentences()
    days = [
        product_reviews.day_of(known, train_side(known), day=day, seed=0, rows=16)
        for day in range(3)
    ]

    drawn = [sentence.sentence_id for day in days for sentence in day]
    assert len(drawn) == len(set(drawn)) == 48


def test_a_day_takes_nothing_from_the_holdout_and_something_for_validation() -> None:
    known = sentences()
    sides: dict[str, Split] = {**train_side(known), "review-3": "holdout", "review-2": "validation"}

    day = product_reviews.day_of(known, sides, day=0, seed=0, rows=44)

    asked = {sentence.review_id for sentence in day}
    assert "review-3" not in asked
    assert "review-2" in asked


def test_the_last_review_ends_the_traffic() -> None:
    known = sentences()

    with pytest.raises(NotEnoughData, match="days of traffic"):
        product_reviews.day_of(known, train_side(known), day=3, seed=0, rows=16)


def test_the_same_seed_draws_the_same_rows() -> None:
    known = sentences(per_review=30)
    sides = train_side(known)

    first = product_reviews.seed_rows(known, sides, seed=0, given_at=AT)
    again = product_reviews.seed_rows(list(reversed(known)), sides, seed=0, given_at=AT)
    other = product_reviews.seed_rows(known, sides, seed=1, given_at=AT)

    assert first == again
    assert len(first) == 300
    assert [row["value"] for row in first] != [row["value"] for row in other]


def test_who_agrees_accepts_and_who_does_not_corrects() -> None:
    known = [replace(s, ratings=(3, 3)) for s in sentences(in_all=1)]
    answers = [prediction(known[0], "positive"), prediction(known[1], "negative")]

    accepted, corrected = product_reviews.reaction_rows(known, answers, seed=0, given_at=AT)

    assert accepted["kind"] == "accept"
    assert "value" not in accepted
    assert (corrected["kind"], corrected["value"]) == ("correct", "positive")
    assert corrected["prediction_id"] == f"p-{known[1].sentence_id}"
