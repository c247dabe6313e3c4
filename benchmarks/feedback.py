"""What feedback costs to take in, and whether a night's cost follows the history.

    python -m benchmarks.feedback --json

``ingest_share_of_bare_read``: speed of an ingest, as a share of DuckDB reading the same JSON
Lines into a table. ``history_ratio``: ingest and curation of 10,000 new rows on the longest
history, over the same on the shortest. ``peak_memory_mb``: of a process that ingests the file.
All data is made here from a seed, in a temporary folder; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import near_duplicates
from flywheel.config import Home, UseCase, load_use_case
from flywheel.records import Prediction
from flywheel.store import open_store
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox

ROOT = Path(__file__).resolve().parent.parent
AT = datetime(2026, 1, 2, tzinfo=UTC)
NEW_ROWS = 10_000
GOLD_ROWS = 2_000
_VOCABULARY = """
battery bright broke button cable camera charge cheap clear color comfortable delivery display
easy every excellent expected feature fits good great handle heavy instructions junk keyboard
last light loud love menu month never nice noise often picture plastic poor price product
quality quick quiet really recommend remote replace return screen sharp size slow software sound
stopped sturdy support sturdier terrible though tiny useless very voice volume waste weak week
well wireless works worse worth zoom café naïve
"""
_WORDS = _VOCABULARY.split()
_LABELS = ("negative", "neutral", "positive")

# As much history as a warehouse would hold: half of it labels with a text, half reactions to
# predictions; every row consumed, every group with its split. Gold comes first, as many as ever.
_HISTORY = """
CREATE TEMP TABLE made AS
SELECT
    i,
    md5(i::VARCHAR) AS id,
    concat_ws(
        ' ',
        $words[1 + (hash(i) % len($words))::INT],
        $words[1 + (hash(i + 1000000000) % len($words))::INT],
        $words[1 + (hash(i + 2000000000) % len($words))::INT],
        $words[1 + (hash(i + 3000000000) % len($words))::INT],
        $words[1 + (hash(i + 4000000000) % len($words))::INT],
        $words[1 + (hash(i + 5000000000) % len($words))::INT],
        i
    ) AS text,
    'review-' || (i // 7) AS group_id,
    ['negative', 'neutral', 'positive'][1 + (hash(i) % 3)::INT] AS label,
    i < $gold AS gold,
    i >= $gold AND i % 2 = 1 AS answered
FROM range($rows) AS r(i);
"""
_HISTORY_FEEDBACK = """
INSERT INTO feedback BY NAME
SELECT
    $use_case AS use_case,
    id AS feedback_id,
    CASE WHEN answered THEN 'accept' ELSE 'label' END AS kind,
    CASE WHEN answered THEN NULL ELSE label END AS value,
    CASE WHEN answered THEN 'p-' || id END AS prediction_id,
    CASE WHEN NOT answered THEN text END AS text,
    CASE WHEN NOT answered THEN group_id END AS group_id,
    'rater-' || (i % 5000) AS rater_id,
    CASE WHEN gold THEN 'gold' ELSE 'app' END AS source,
    $at::TIMESTAMPTZ AS given_at,
    $at::TIMESTAMPTZ AS ingested_at,
    'history-' || (i // 10000) AS file_sha256,
    i AS row_number,
    md5_number_lower(id) AS feedback_key,
    i + 1 AS seq
FROM made
ORDER BY i
"""
_HISTORY_PREDICTIONS = """
INSERT INTO predictions BY NAME
SELECT
    $use_case AS use_case,
    'p-' || id AS prediction_id,
    text,
    group_id,
    label,
    '{}' AS probabilities,
    '1' AS model_version,
    'd' AS digest,
    $at::TIMESTAMPTZ AS predicted_at,
    md5_number_lower('p-' || id) AS prediction_key
FROM made
WHERE answered
ORDER BY i
"""
_HISTORY_SPLITS = """
INSERT INTO splits BY NAME
SELECT
    $use_case AS use_case,
    group_id,
    CASE WHEN bool_or(gold) THEN 'holdout' ELSE 'train' END AS split,
    md5_number_lower(group_id) AS group_key
FROM made
GROUP BY group_id
"""
_HISTORY_CONSUMED = """
INSERT INTO consumed BY NAME
SELECT
    $use_case AS use_case,
    id AS feedback_id,
    'snapshot-' || (i // 10000) AS snapshot_id,
    md5_number_lower(id) AS feedback_key,
    $at::TIMESTAMPTZ AS consumed_at
FROM made
ORDER BY i
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file to ingest")
    parser.add_argument(
        "--history",
        type=int,
        nargs=2,
        default=(1_000_000, 10_000_000),
        metavar=("SHORT", "LONG"),
        help="rows of history to compare a night on",
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement; medians count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    use_case = load_use_case("product-reviews", folder=ROOT / "usecases")
    found: dict[str, Any] = {"rows": asked.rows, "history": list(asked.history), "seed": asked.seed}
    with tempfile.TemporaryDirectory(prefix="flywheel-benchmark-") as folder:
        found |= ingest_figures(
            use_case, Path(folder), rows=asked.rows, repeats=asked.repeats, seed=asked.seed
        )
        found |= history_figures(
            use_case, Path(folder), sizes=asked.history, repeats=asked.repeats, seed=asked.seed
        )
    say("near-duplicates of 100,000 texts beside datasketch")
    found |= near_duplicates.measure(seed=asked.seed)
    say(f"near-duplicates of {asked.rows:,} texts")
    found |= near_duplicates.measure_memory(rows=asked.rows, seed=asked.seed)
    if asked.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28} {value}")


# ---- Ingest against a bare read


def ingest_figures(
    use_case: UseCase, folder: Path, *, rows: int, repeats: int, seed: int
) -> dict[str, float]:
    """Time an ingest and a bare read of one file in turn, each into a fresh DuckDB file."""
    file = folder / "feedback.jsonl"
    say(f"writing {rows:,} rows")
    write_rows(file, made_rows(rows, seed=seed))
    bare: list[float] = []
    ingest: list[float] = []
    peak_mb = 0.0
    for repeat in range(repeats):
        bare.append(_in_child(_bare_read, file, folder / f"bare-{repeat}.duckdb")[0])
        seconds, memory_mb = _in_child(_ingest, use_case, file, folder / f"home-{repeat}", rows)
        ingest.append(seconds)
        peak_mb = max(peak_mb, memory_mb)
        say(f"bare read {bare[-1]:.2f} s, ingest {seconds:.2f} s, peak {memory_mb:.0f} MB")
    file.unlink()
    return {
        "bare_read_seconds": round(statistics.median(bare), 3),
        "ingest_seconds": round(statistics.median(ingest), 3),
        "ingest_share_of_bare_read": round(
            statistics.median(b / i for b, i in zip(bare, ingest, strict=True)), 3
        ),
        "peak_memory_mb": round(peak_mb),
    }


def _in_child(measure: Callable[..., float], *arguments: object) -> tuple[float, float]:
    """Run a measurement in a process of its own; its seconds and its peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_with_peak, (measure, *arguments))


def _with_peak(measure: Callable[..., float], *arguments: object) -> tuple[float, float]:
    seconds = measure(*arguments)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _bare_read(file: Path, target: Path) -> float:
    begin = time.perf_counter()
    with duckdb.connect(str(target)) as con:
        con.execute("SET enable_progress_bar = false")
        con.execute("CREATE TABLE feedback AS SELECT * FROM read_json(?)", [str(file)])
    seconds = time.perf_counter() - begin
    target.unlink()
    return seconds


def _ingest(use_case: UseCase, file: Path, root: Path, rows: int) -> float:
    home = Home(root)
    with open_store(home.warehouse):
        pass
    begin = time.perf_counter()
    counts = ingest_inbox(use_case, home, at=AT, files=[file])
    seconds = time.perf_counter() - begin
    if counts.ingested != rows:
        raise SystemExit(f"{counts.ingested} of {rows} rows were ingested")
    home.warehouse.unlink()
    return seconds


# ---- A night against the history


def history_figures(
    use_case: UseCase, folder: Path, *, sizes: Sequence[int], repeats: int, seed: int
) -> dict[str, float]:
    """Time nights of new rows on a short and on a long history, in turn."""
    homes = []
    for size in sizes:
        say(f"building a history of {size:,} rows")
        home = Home(folder / f"history-{size}")
        build_history(use_case, home, rows=size)
        homes.append(home)
    seconds: list[list[float]] = [[] for _ in homes]
    for repeat in range(repeats + 1):
        for home, size, taken in zip(homes, sizes, seconds, strict=True):
            taken.append(_night(use_case, home, night=repeat, seed=seed))
            say(f"night {repeat} on {size:,} rows: {taken[-1]:.2f} s")
    # the first night on each history warms the disk cache
    nights = [statistics.median(taken[1:]) for taken in seconds]
    ratios = [long / short for short, long in zip(seconds[0][1:], seconds[-1][1:], strict=True)]
    return {
        "night_seconds_short": round(nights[0], 3),
        "night_seconds_long": round(nights[-1], 3),
        "history_ratio": round(statistics.median(ratios), 3),
    }


def build_history(use_case: UseCase, home: Home, *, rows: int) -> None:
    """Fill a warehouse with ``rows`` feedbacks that earlier nights have seen."""
    with open_store(home.warehouse):
        pass
    told = {"use_case": use_case.name}
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        con.execute(_HISTORY, {"words": _WORDS, "rows": rows, "gold": GOLD_ROWS})
        con.execute(_HISTORY_FEEDBACK, told | {"at": AT})
        con.execute(_HISTORY_PREDICTIONS, told | {"at": AT})
        con.execute(_HISTORY_SPLITS, told)
        con.execute(_HISTORY_CONSUMED, told | {"at": AT})


def _night(use_case: UseCase, home: Home, *, night: int, seed: int) -> float:
    """Ingest and curate new rows, half of them reactions to new predictions; the seconds."""
    at = AT + timedelta(days=1 + night)
    rows = list(made_rows(NEW_ROWS, seed=seed + 1 + night))
    predictions = []
    for row in rows[::2]:
        prediction_id = f"p-{row['feedback_id']}"
        predictions.append(
            Prediction(
                prediction_id=prediction_id,
                text=row.pop("text"),
                group_id=row.pop("group_id"),
                customer_id=row["customer_id"],
                label=row["value"],
                probabilities={label: 1 / 3 for label in _LABELS},
                model_version="1",
                digest="d",
                predicted_at=at,
            )
        )
        row |= {"prediction_id": prediction_id, "kind": "correct"}
    with open_store(home.warehouse) as store:
        store.add_predictions(use_case.name, predictions)
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    write_rows(inbox / f"night-{night}.jsonl", rows)
    begin = time.perf_counter()
    ingest_inbox(use_case, home, at=at)
    curate_snapshot.fn(use_case, home, at=at)
    return time.perf_counter() - begin


# ---- Data


def made_rows(rows: int, *, seed: int) -> Iterator[dict[str, str]]:
    """Make labels for sentences of reviews, about 15 words each, 5 to a review."""
    rng = random.Random(seed)
    salt = hashlib.sha256(str(seed).encode()).hexdigest()[:8]
    for number in range(rows):
        given_at = AT + timedelta(seconds=rng.randrange(86_400))
        yield {
            "feedback_id": str(uuid.UUID(int=rng.getrandbits(128))),
            "kind": "label",
            "value": rng.choice(_LABELS),
            "text": " ".join(rng.choices(_WORDS, k=rng.randint(5, 25))) + f" {number}",
            "group_id": f"{salt}-review-{number // 5}",
            "customer_id": f"customer-{rng.randrange(1 + rows // 20)}",
            "rater_id": f"rater-{rng.randrange(5_000)}",
            "source": "app",
            "given_at": given_at.isoformat(),
        }


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of JSON Lines."""
    with file.open("w", encoding="utf-8") as target:
        for row in rows:
            target.write(json.dumps(row, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """Tell the progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
