"""The warehouse: repeatable writes, parked feedback, exact accounting, safe migrations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import DataError, StoreBusy
from flywheel.ingestion.feedback import parse_feedback
from flywheel.ingestion.readers import Chunk
from flywheel.records import (
    Curated,
    Drop,
    Example,
    Feedback,
    Ingested,
    NightRecord,
    Reason,
    Snapshot,
    Split,
    Step,
    Suspect,
)
from flywheel.store import Store, open_store
from flywheel.store.migrations import MIGRATIONS, migrate, transaction
from flywheel.store.nights import contender_scores, night_runs
from tests.examples import examples
from tests.strategies import LABELS, any_text, feedbacks, names, prediction, row

AT = datetime(2026, 1, 3, tzinfo=UTC)
JOB = "job"


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "home" / "warehouse.duckdb"


@pytest.fixture
def store(warehouse: Path) -> Iterator[Store]:
    with open_store(warehouse) as opened:
        yield opened


def memory_store() -> Store:
    """A store without a file: property tests need a fresh one for each example."""
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    migrate(con)
    return Store(con)


def label(feedback_id: str, **changes: str | None) -> Feedback:
    return parse_feedback(row(feedback_id=feedback_id, **changes), labels=LABELS)


def take(
    store: Store,
    sha256: str,
    *accepted: Feedback,
    rejected: Sequence[tuple[int, str, str]] = (),
    file: str = "a.jsonl",
    use_case: str = JOB,
) -> Ingested:
    """Ingest rows that no table holds; the accepted are numbered from 1."""
    good = [
        (n, ("", asdict(f) | {"given_at": f.given_at.isoformat()}))
        for n, f in enumerate(accepted, 1)
    ]
    bad = [(n, (raw, DataError(reason))) for n, raw, reason in rejected]
    empty = pa.table({"row_number": pa.array([], pa.int64())})
    chunk = Chunk(empty, lambda number: ("", {}), (*good, *bad))
    return store.ingest_file(
        use_case,
        file=file,
        sha256=sha256,
        chunks=lambda: iter([chunk]),
        labels=LABELS,
        at=AT,
    )


# ---- Feedback


def test_a_file_is_taken_once(store: Store) -> None:
    rows = [label("f1"), label("f2"), label("f1")]
    broken = [(4, "{", "the row is not valid JSON")]
    first = take(store, "s1", *rows, rejected=broken, file="a")
    again = take(store, "s1", *rows, rejected=broken, file="b")
    assert first == Ingested(read=4, ingested=2, duplicate=1, quarantined=1, parked=0)
    assert again == Ingested(read=4, ingested=0, duplicate=4, quarantined=0, parked=0)
    assert store.known_file(JOB, "s1")
    assert not store.known_file("other", "s1")
    assert store.counts(JOB) == {"ingested": 2, "quarantined": 1, "parked": 0, "waiting": 2}
    assert store.counts("other") == {"ingested": 0, "quarantined": 0, "parked": 0, "waiting": 0}


def test_a_known_feedback_in_a_new_file_is_a_duplicate(store: Store) -> None:
    take(store, "s1", label("f1"))
    assert take(store, "s2", label("f1", value="cash"), label("f2")) == Ingested(2, 1, 1, 0, 0)
    assert [(r.feedback_id, r.value) for r in store.reactions(JOB)] == [
        ("f1", "card"),
        ("f2", "card"),
    ]


def test_a_file_that_fails_half_way_leaves_nothing(store: Store) -> None:
    clash = [(2, "x", "why"), (2, "y", "why")]
    with pytest.raises(duckdb.ConstraintException):
        take(store, "s1", label("f1"), rejected=clash)
    assert store.counts(JOB) == {"ingested": 0, "quarantined": 0, "parked": 0, "waiting": 0}
    assert not store.known_file(JOB, "s1")


def test_feedback_before_its_prediction_is_parked_and_joined_later(store: Store) -> None:
    early = label("f1", text=None, prediction_id="p1", kind="correct", value="cash")
    assert take(store, "s1", early) == Ingested(1, 0, 0, 0, parked=1)
    assert store.reactions(JOB) == []
    assert (store.parked(JOB), store.waiting(JOB)) == (1, 0)

    store.add_predictions(JOB, [prediction("p1", "cash please")])
    (reaction,) = store.reactions(JOB)
    assert (reaction.text, reaction.group_id) == ("cash please", "group of p1")
    assert (reaction.predicted_label, reaction.value) == ("card", "cash")
    assert (store.parked(JOB), store.waiting(JOB)) == (0, 1)


def test_feedback_after_its_prediction_is_not_parked(store: Store) -> None:
    store.add_predictions(JOB, [prediction("p1")])
    answer = label("f1", text=None, prediction_id="p1", kind="accept", value=None)
    assert take(store, "s1", answer) == Ingested(1, 1, 0, 0, 0)


def test_feedback_with_its_own_text_is_never_parked(store: Store) -> None:
    assert take(store, "s1", label("f1", prediction_id="p1")) == Ingested(1, 1, 0, 0, 0)
    (reaction,) = store.reactions(JOB)
    assert (reaction.text, reaction.predicted_label) == ("where is my card", None)


def test_a_known_prediction_is_left_as_it_is(store: Store) -> None:
    store.add_predictions(JOB, [])
    store.add_predictions(JOB, [prediction("p1", "first"), prediction("p1", "second")])
    store.add_predictions(JOB, [prediction("p1", "third")])
    take(store, "s1", label("f1", text=None, prediction_id="p1"))
    assert [reaction.text for reaction in store.reactions(JOB)] == ["first"]


@examples(8)
@given(st.lists(feedbacks(), max_size=8), st.randoms(use_true_random=False))
def test_the_store_returns_any_text_and_ignores_row_order(
    rows: list[Feedback], random: object
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    store, other = memory_store(), memory_store()
    counts = take(store, "s1", *rows)
    assert counts == take(other, "s2", *shuffled)
    assert counts.read == counts.ingested + counts.duplicate + counts.quarantined + counts.parked
    kept = store.reactions(JOB)
    assert kept == other.reactions(JOB)
    assert [r.feedback_id for r in kept] == sorted({r.feedback_id for r in rows})
    day = timedelta(days=1)
    # a clock that is days ahead is wrong: such a row is taken as of the day before it came
    sent = {
        (f.feedback_id, f.text, f.value, f.given_at if f.given_at <= AT + day else AT - day)
        for f in rows
    }
    assert {(r.feedback_id, r.text, r.value, r.given_at) for r in kept} <= sent


@examples(8)
@given(any_text, any_text, names)
def test_quarantine_keeps_the_raw_row(raw: str, reason: str, file: str) -> None:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    migrate(con)
    take(Store(con), "s", rejected=[(7, raw, reason)], file=file)
    query = "SELECT file, row_number, raw, reason FROM quarantine"
    assert con.execute(query).fetchall() == [(file, 7, raw, reason)]


def test_a_time_in_any_zone_comes_back_as_the_same_instant(store: Store) -> None:
    given_at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5)))
    take(store, "s1", replace(label("f1"), given_at=given_at))
    (reaction,) = store.reactions(JOB)
    assert reaction.given_at == given_at
    assert reaction.given_at.tzinfo is UTC


def test_rows_of_a_file_arrive_together_and_after_those_of_files_before(store: Store) -> None:
    take(store, "s1", label("f2"), label("f1"))
    take(store, "s2", label("f3"))
    first, other, later = (one.arrived for one in store.reactions(JOB))
    assert first == other < later


def test_a_prediction_and_a_customer_come_with_the_reaction(store: Store) -> None:
    store.add_predictions(JOB, [replace(prediction("p1"), customer_id="served")])
    take(store, "s1", label("f1", text=None, prediction_id="p1", customer_id="said"))
    take(store, "s2", label("f2", customer_id="said"))
    found = [(r.prediction_id, r.customer_id, r.asked_by) for r in store.reactions(JOB)]
    assert found == [("p1", "said", "served"), (None, "said", None)]


@examples(8)
@given(st.data())
def test_the_newest_the_gold_and_the_replayed_are_read_and_no_others(data: st.DataObject) -> None:
    store = memory_store()
    rows = data.draw(st.integers(0, 12))
    gold = data.draw(st.sets(st.integers(0, 12)))
    order = [f"f{n:02}" for n in data.draw(st.permutations(range(rows)))]
    for n, feedback_id in enumerate(order):
        source = "gold" if n in gold else "app"
        # of texts of their own: of one text the later word of the same rater is read with it
        take(store, f"s{n}", label(feedback_id, source=source, text=feedback_id))
        take(store, f"other {n}", label(f"other {n}"), use_case="other")
    replay = data.draw(st.sets(st.sampled_from([*order, "unknown"])))
    newest = data.draw(st.integers(0, 14))
    found = store.reactions(JOB, gold_sources=["gold"], newest=newest, replay=sorted(replay))
    golden = {feedback_id for n, feedback_id in enumerate(order) if n in gold}
    others = [feedback_id for feedback_id in order if feedback_id not in golden]
    wanted = golden | set(others[max(0, len(others) - newest) :]) | (replay - {"unknown"})
    assert [r.feedback_id for r in found] == sorted(wanted)
    everything = {r.feedback_id: r for r in store.reactions(JOB)}
    assert sorted(everything) == sorted(order)
    assert all(everything[r.feedback_id] == r for r in found)


def test_feedback_whose_prediction_arrives_late_is_among_the_newest(store: Store) -> None:
    take(store, "s1", label("early", text=None, prediction_id="p1"))
    take(store, "s2", *(label(f"f{n}") for n in range(5)))
    assert "early" not in {r.feedback_id for r in store.reactions(JOB, newest=5)}
    store.add_predictions(JOB, [prediction("p1")])
    assert [r.feedback_id for r in store.reactions(JOB, newest=1)] == ["early"]
    store.add_predictions(JOB, [prediction("p1")])
    assert [r.feedback_id for r in store.reactions(JOB, newest=1)] == ["early"]


def test_two_ids_with_one_key_are_two_feedbacks(store: Store, warehouse: Path) -> None:
    take(store, "s1", label("f1", text="another"))
    store._con.execute("UPDATE feedback SET feedback_key = md5_number_lower('f2')")
    assert take(store, "s2", label("f2")) == Ingested(1, 1, 0, 0, 0)
    assert [r.feedback_id for r in store.reactions(JOB, newest=0, replay=["f2"])] == ["f2"]


# ---- Snapshots


def curated() -> Curated:
    made = Example(
        example_id="e1",
        text="where is my card",
        label="card",
        confidence=1.0,
        group_id="g1",
        split="train",
        feedback_ids=("f1", "f2"),
    )
    return Curated(examples=(made,), drops=(Drop("f3", "duplicate"),))


def table(warehouse: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(warehouse)) as con:
        return con.execute(query).fetchall()


def test_a_snapshot_commits_once_and_consumes_what_it_used_or_dropped(warehouse: Path) -> None:
    with open_store(warehouse) as store:
        take(store, "s1", *(label(f"f{n}") for n in range(1, 5)))
        assert store.waiting(JOB) == 4
        for _ in range(2):
            store.commit_snapshot(JOB, Snapshot("n1", 1, 0, 0), curated(), {"g1": "train"}, AT)
        assert store.waiting(JOB) == 1
        assert store.splits(JOB) == {"g1": "train"}
        assert store.splits("other") == {}
    assert table(warehouse, "SELECT * FROM snapshot_rows") == [
        (JOB, "n1", "e1", "card", 1.0, "train", ["f1", "f2"], 1.0, [], "")
    ]
    assert table(warehouse, "SELECT * FROM drops") == [(JOB, "n1", "f3", "duplicate")]
    assert table(warehouse, "SELECT count(*) FROM snapshots") == [(1,)]
    assert table(warehouse, "SELECT feedback_id FROM consumed ORDER BY 1") == [
        ("f1",),
        ("f2",),
        ("f3",),
    ]


def test_the_same_snapshot_with_new_drops_consumes_them_too(store: Store) -> None:
    take(store, "s1", *(label(f"f{n}") for n in range(1, 5)))
    snapshot, first = Snapshot("n1", 1, 0, 0), curated()
    store.commit_snapshot(JOB, snapshot, first, {}, AT)
    more = Curated(first.examples, (*first.drops, Drop("f4", "too_long")))
    store.commit_snapshot(JOB, snapshot, more, {}, AT)
    assert store.waiting(JOB) == 0


def test_the_same_snapshot_curated_from_other_reactions_tells_of_the_newest(store: Store) -> None:
    take(store, "s1", *(label(f"f{n}") for n in range(1, 5)))
    snapshot, examples = Snapshot("n1", 1, 0, 0), curated().examples

    def curate(reason: str, *steps: Step) -> None:
        made = Curated(examples, (Drop("f3", reason),), steps, (Suspect("e1", len(steps) / 4),))
        store.commit_snapshot(JOB, snapshot, made, {}, AT)
        assert store.steps(JOB, "n1") == list(steps)
        assert store.rows("SELECT reason FROM drops", {}) == [(reason,)]
        assert store.rows("SELECT score FROM suspects", {}) == [(len(steps) / 4,)]

    limits, duplicates = Step("limits", True, seen=9), Step("duplicates", True, seen=9, dropped=2)
    curate("duplicate", limits, duplicates)
    curate("too_long", Step("limits", True, seen=8), Step("duplicates", True, seen=8))
    curate("too_long", Step("limits", True, seen=8))
    curate("duplicate", limits, duplicates)


def test_only_the_splits_asked_for_are_given(store: Store) -> None:
    fixed: dict[str, Split] = {"g1": "train", "g2": "holdout", "g3": "validation"}
    store.commit_snapshot(JOB, Snapshot("n1", 1, 0, 0), curated(), fixed, AT)
    assert store.splits(JOB, ["g3", "g1", "unknown"]) == {"g1": "train", "g3": "validation"}
    assert store.splits(JOB, []) == {}
    assert store.splits("other", ["g1"]) == {}


def test_a_split_is_decided_once(store: Store) -> None:
    store.commit_snapshot(JOB, Snapshot("n1", 1, 0, 0), curated(), {"g1": "train"}, AT)
    moved = {"g1": "holdout", "g2": "holdout"}
    store.commit_snapshot(JOB, Snapshot("n2", 0, 0, 2), curated(), moved, AT)  # type: ignore[arg-type]
    assert store.splits(JOB) == {"g1": "train", "g2": "holdout"}


# ---- Scores and nights


def test_scores_come_back_exactly(store: Store) -> None:
    answers = {"e1": {"card": 0.1 + 0.2, "cash": 1 / 3}, "e2": {"card": 1e-300, "cash": 1.0}}
    contender_scores.add(store, JOB, "d1", answers, 4.0)
    contender_scores.add(store, JOB, "d1", {"e1": {"card": 0.0}, "e3": {"card": 1.0}}, 10.0)
    contender_scores.add(store, JOB, "d1", {}, 10.0)
    assert contender_scores.scores(store, JOB, "d1") == answers | {"e3": {"card": 1.0}}
    assert contender_scores.latency_ms(store, JOB, "d1") == 6.0
    assert contender_scores.peak_memory_mb(store, JOB, "d1") is None
    contender_scores.add(store, JOB, "d1", {"e4": {"card": 1.0}}, 10.0, peak_memory_mb=7.0)
    assert contender_scores.peak_memory_mb(store, JOB, "d1") == 7.0
    assert contender_scores.runtimes(store, JOB, "d1") is None
    for name, by in (("e5", "torch"), ("e6", "openvino"), ("e7", "torch")):
        contender_scores.add(store, JOB, "d1", {name: {"card": 1.0}}, 1.0, runtime=by)
    assert contender_scores.runtimes(store, JOB, "d1") == "openvino, torch"
    assert contender_scores.scores(store, JOB, "d2") == {}
    with pytest.raises(DataError, match="d2 has no scores"):
        contender_scores.latency_ms(store, JOB, "d2")


def test_a_night_is_replaced_and_the_newest_is_last(store: Store) -> None:
    late = AT + timedelta(days=1)
    night_runs.record(store, JOB, NightRecord(late, "skipped", [], recorded_at=late))
    night_runs.record(
        store, JOB, NightRecord(AT, "failed", [], {"loss": float("nan")}, recorded_at=AT)
    )
    assert [night.facts for night in night_runs.nights(store, JOB)] == [{"loss": None}, {}]
    reasons = (Reason("floor", True, "0.9 ≥ 0.8"),)
    promoted = NightRecord(AT, "promoted", reasons, {"train": 3}, "n1", "d1", late)
    night_runs.record(store, JOB, promoted)
    assert night_runs.nights(store, JOB) == [
        promoted,
        NightRecord(late, "skipped", (), recorded_at=late),
    ]


# ---- Opening


def test_read_only_on_a_fresh_home_reads_an_empty_warehouse(warehouse: Path) -> None:
    with open_store(warehouse, read_only=True) as store:
        assert store.reactions(JOB) == []
        assert night_runs.nights(store, JOB) == []


def test_a_warehouse_held_by_another_process_is_busy(warehouse: Path) -> None:
    with open_store(warehouse):
        pass
    hold = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(warehouse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"held by another process \(PID {holder.pid}\)"
        with pytest.raises(StoreBusy, match=said):  # noqa: SIM117
            with open_store(warehouse, wait_s=0.2):
                pass
        holder.communicate("\n")
    with open_store(warehouse, wait_s=0.2) as store:
        assert store.parked(JOB) == 0


# ---- Migrations


def test_migrations_run_once() -> None:
    con = duckdb.connect()
    assert migrate(con) == tuple(name for name, _ in MIGRATIONS)
    assert migrate(con) == ()


def test_a_warehouse_of_before_keeps_its_rows_and_learns_their_order() -> None:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    migrate(con, migrations=MIGRATIONS[:3])
    for number, (feedback_id, text, prediction_id) in enumerate(
        [("f1", "one", None), ("f2", None, "p1"), ("f3", None, "unknown"), ("f0", "two", None)]
    ):
        values = [JOB, feedback_id, prediction_id, text, AT + timedelta(days=number), AT]
        con.execute(
            "INSERT INTO feedback BY NAME SELECT $1 AS use_case, $2 AS feedback_id, "
            "'comment' AS kind, 'v' AS value, $3 AS prediction_id, $4 AS text, 'g' AS group_id, "
            "'ann' AS rater_id, 'desk' AS source, $6::TIMESTAMPTZ AS given_at, "
            "$5::TIMESTAMPTZ AS ingested_at, 's' AS file_sha256, 1 AS row_number",
            values,
        )
    con.execute(
        "INSERT INTO predictions VALUES ('job', 'p1', 'served', 'g', NULL, 'card', '{}', '1', "
        "'d', now())"
    )
    con.execute("INSERT INTO consumed VALUES ('job', 'f1', 'n1')")
    con.execute("INSERT INTO splits VALUES ('job', 'g', 'exam')")
    con.execute("INSERT INTO snapshots VALUES ('job', 'n1', now(), 8, 1, 3)")
    con.execute("INSERT INTO snapshot_rows VALUES ('job', 'n1', 'e', 'exam', 1, 'exam', ['f1'])")
    con.execute(
        "INSERT INTO nights BY NAME SELECT 'job' AS use_case, $1 AS as_of, 'skipped' AS outcome, "
        "$2 AS reasons, $3 AS facts, 'n1' AS snapshot_id, $1 AS recorded_at",
        [
            AT,
            '[{"rule": "exam_too_small", "detail": "the exam has 3 rows"}]',
            '{"exam_examples": 3}',
        ],
    )
    assert migrate(con) == tuple(name for name, _ in MIGRATIONS[3:])
    store = Store(con)
    assert [r.text for r in store.reactions(JOB)] == ["two", "one", "served"]
    assert [r.feedback_id for r in store.reactions(JOB, newest=2)] == ["f0", "f2"]
    assert store.counts(JOB) == {"ingested": 3, "quarantined": 0, "parked": 1, "waiting": 2}
    # the exam of before is the holdout; a label of that name stays
    assert store.splits(JOB, ["g"]) == {"g": "holdout"}
    assert store.rows("SELECT holdout FROM snapshots", {}) == [(3,)]
    assert store.rows("SELECT label, split FROM snapshot_rows", {}) == [("exam", "holdout")]
    (night,) = night_runs.nights(store, JOB)
    assert [reason.rule for reason in night.reasons] == ["holdout_too_small"]
    assert night.facts == {"holdout_examples": 3}
    assert take(store, "s9", label("f1"), label("f9")) == Ingested(2, 1, 1, 0, 0)


def test_a_failing_migration_rolls_back_and_stays_pending() -> None:
    con = duckdb.connect()
    good, bad = ("1-good", "CREATE TABLE a (x INT)"), ("2-bad", "CREATE TABLE b (x INT); SELECT y")
    tables = "SELECT table_name FROM information_schema.tables ORDER BY 1"
    with pytest.raises(duckdb.BinderException):
        migrate(con, migrations=(good, bad))
    assert con.execute(tables).fetchall() == [("migrations",)], "a new one is made as a whole"
    assert migrate(con, migrations=(good,)) == ("1-good",)
    with pytest.raises(duckdb.BinderException):
        migrate(con, migrations=(good, bad))
    assert con.execute(tables).fetchall() == [("a",), ("migrations",)]
    mended = ("2-bad", "CREATE TABLE b (x INT)")
    assert migrate(con, migrations=(good, mended)) == ("2-bad",)
    assert con.execute(tables).fetchall() == [("a",), ("b",), ("migrations",)]


def test_a_transaction_that_is_cut_off_writes_nothing() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE a (x INT)")

    def cut_off() -> None:
        with transaction(con):
            con.execute("INSERT INTO a VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert con.execute("SELECT count(*) FROM a").fetchone() == (0,)
