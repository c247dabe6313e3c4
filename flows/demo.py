"""One full turn of the default use case on real data: a day of traffic, then a night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow

from flows.retrain import flywheel
from flywheel.config import Home, load_use_case
from flywheel.dataset import product_reviews, splits
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.collect import drop
from tasks.outputs.predict import predict

USE_CASE = "product-reviews"
FIRST_NIGHT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
SEED = 0


@flow(name="turn")
def turn() -> list[dict[str, Any]]:
    """Turn the wheel once: seed labels and night 0 if there is none yet, then one day and night."""
    home, case = Home(), load_use_case(USE_CASE)
    sentences = product_reviews.read_reviews(product_reviews.ensure_reviews(home))
    sides = splits.assign_by(case.split, {s.review_id for s in sentences}, known={})
    with open_store(home.warehouse) as store:
        lived = [n.as_of for n in night_runs.nights(store, case.name) if not n.failed]
    nights = len(lived)
    ended = []
    if nights == 0:
        rows = product_reviews.gold_rows(sentences, sides, given_at=FIRST_NIGHT)
        rows += product_reviews.seed_rows(sentences, sides, seed=SEED, given_at=FIRST_NIGHT)
        drop(home.inbox(case.name), "day-000.jsonl", rows)
        ended.append(flywheel(case, FIRST_NIGHT))
        lived, nights = [FIRST_NIGHT], 1
    # after a night that was lived by today's clock, too
    as_of = max(FIRST_NIGHT + timedelta(days=nights), max(lived) + timedelta(days=1))
    file = f"day-{nights:03}.jsonl"
    # a turn that died after its day of traffic must not live that day twice
    if not any(home.inbox(case.name).rglob(f"*{file}")):
        asked = product_reviews.day_of(sentences, sides, day=nights, seed=SEED)
        answers = predict(case, home, [(s.review_id, s.text) for s in asked], at=as_of)
        reactions = product_reviews.reaction_rows(sentences, answers, seed=SEED, given_at=as_of)
        drop(home.inbox(case.name), file, reactions)
    ended.append(flywheel(case, as_of))
    return ended
