"""A snapshot whose content was there before is the newest again, and nothing is seen twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pytest

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.diagnostics import backlog
from flywheel.privacy.erasure_plan import EVERYWHERE
from flywheel.records import Curated, Drop, Example, NightRecord, Snapshot
from flywheel.store import Store, open_store, snapshot_order
from flywheel.store.feedback import changes, labeling
from flywheel.store.migrations import MIGRATIONS, migrate, transaction
from flywheel.store.nights import fresh_rows, night_runs
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other

DAY = timedelta(days=1)
NAME = JOB.name


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    with open_store(home.warehouse) as opened:
        yield opened


def commit(store: Store, name: str, night: int, *used: str, dropped: str = "") -> None:
    made = Example("e", "a text", "card", 1.0, "g", "train", used)
    drops = (Drop(dropped, "disagreement"),) if dropped else ()
    at = AT + night * DAY
    store.commit_snapshot(NAME, Snapshot(name, 1, 0, 0), Curated((made,), drops), {}, at)


def there_and_back(store: Store) -> None:
    commit(store, "a", 0, "f1")
    commit(store, "b", 1, "f1", "f2")
    commit(store, "a", 2, "f1", dropped="f3")


def test_a_snapshot_that_is_taken_again_is_the_newest(store: Store) -> None:
    there_and_back(store)
    assert labeling.newest_snapshot(store, NAME) == "a"
    assert store.learned_from(NAME) == ["f1"]


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_of_two_snapshots_of_one_moment_the_second_is_the_newest(store: Store, names: str) -> None:
    """A night that failed lives again, and others have reacted meanwhile."""
    for name in names:
        commit(store, name, 0, f"f-{name}")
    assert labeling.newest_snapshot(store, NAME) == names[1]
    assert store.learned_from(NAME) == [f"f-{names[1]}"]


def test_what_a_snapshot_that_is_taken_again_sees_is_seen_then_and_not_before(store: Store) -> None:
    there_and_back(store)
    for night, seen in ((0, {"f1"}), (1, {"f1", "f2"}), (2, {"f1", "f2", "f3"})):
        started = AT + night * DAY
        assert fresh_rows.seen_before(store, NAME, ["f1", "f2", "f3"], started=started) == seen


def test_who_looked_looked_at_what_came_until_the_next_snapshot(store: Store) -> None:
    """Else what comes after the same snapshot, weeks later, would pass unseen."""
    commit(store, "a", 0, "f1")
    changes.look_at(store, NAME, "a", at=AT, who="ann")
    assert changes.looked_at(store, NAME, "a")
    commit(store, "b", 1, "f1", "f2")
    commit(store, "a", 2, "f1", dropped="f3")
    assert not changes.looked_at(store, NAME, "a")


def test_what_is_left_of_a_snapshot_without_somebody_is_as_new_as_it_was(store: Store) -> None:
    commit(store, "without", 0, "f1")
    commit(store, "other", 1, "f2")
    commit(store, "with", 2, "f1", "theirs")
    with transaction(store.con):
        snapshot_order.replace(store.con, NAME, "with", Snapshot("without", 1, 0, 0))
        store.con.execute("DELETE FROM snapshots WHERE snapshot_id = 'with'")
    assert labeling.newest_snapshot(store, NAME) == "without"
    assert snapshot_order.newest_other(store.con, NAME, "without") == "other"
    assert snapshot_order.newest_other(store.con, EVERYWHERE, "without") is None


def test_a_warehouse_of_before_learns_from_its_nights_which_snapshot_is_the_newest() -> None:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    before = [one for one in MIGRATIONS if one[0] < "0016"]
    migrate(con, migrations=tuple(before))
    for name, night in (("a", 0), ("b", 1)):
        con.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, 1, 0, 0)", [NAME, name, AT + night * DAY]
        )
        con.execute(
            "INSERT INTO consumed VALUES (?, ?, ?, md5_number_lower(?))", [NAME, name, name, name]
        )
    store = Store(con)
    for night, name in enumerate("aba"):
        night_runs.record(
            store,
            NAME,
            NightRecord(AT + night * DAY, "skipped", [], snapshot_id=name, recorded_at=AT),
        )
    migrate(con)
    assert labeling.newest_snapshot(store, NAME) == "a"
    assert fresh_rows.seen_before(store, NAME, ["a", "b"], started=AT) == {"a"}
    commit(store, "c", 3, "f1")
    assert labeling.newest_snapshot(store, NAME) == "c"


# ---- Nights


def night(case: UseCase, home: Home, number: int, *rows: dict[str, object]) -> str:
    at = AT + number * DAY
    drop(home, f"{number}.jsonl", json_lines(*rows))
    ingest_inbox(case, home, at=at)
    snapshot = curate_snapshot.fn(case, home, at=at).snapshot_id
    with open_store(home.warehouse) as store:
        night_runs.record(
            store, case.name, NightRecord(at, "rejected", [], snapshot_id=snapshot, recorded_at=at)
        )
    return snapshot


def with_rules(**rules: object) -> UseCase:
    split = JOB.split.model_copy(update={"holdout": 0.01})
    curation = JOB.curation.model_copy(update=rules)
    return JOB.model_copy(update={"curation": curation, "split": split})


def test_a_row_that_was_taken_back_is_not_replayed(home: Home) -> None:
    case = with_rules(newest=2)
    first = [other(n, source="app") for n in range(2)]
    said = {"customer_id": "ann", "rater_id": "ann", "group_id": "anns", "text": "taken back"}
    a = night(case, home, 0, *first)
    b = night(case, home, 1, other(2, source="app", **said))
    back = other(3, source="app", kind="withdraw", value=None, **said)
    assert night(case, home, 2, back) == a != b, "what is left is what there was before"
    last = night(case, home, 3, *(other(n, source="app") for n in (4, 5)))
    texts = {example.text for example in snapshots.read(home.snapshots, last)}
    assert "taken back" not in texts
    assert {one["text"] for one in first} <= texts


def test_a_withdrawal_behind_rows_of_the_customer_that_wait_is_heard_at_once(home: Home) -> None:
    """Also where the snapshot of before comes again, and is replayed the night after."""
    case = with_rules(newest=2, max_customer_rows=2)
    first = [other(n, source="app") for n in range(2)]
    ann = {"customer_id": "ann", "rater_id": "ann", "group_id": "anns", "source": "app"}
    a = night(case, home, 0, *first)
    b = night(case, home, 1, other(2, text="taken back", **ann))
    many = [other(n, kind="comment", text="a text of nobody", **ann) for n in range(10, 20)]
    back = other(3, kind="withdraw", value=None, text="taken back", **ann)
    assert night(case, home, 2, *many, back) == a != b
    for number in (3, 4):
        last = night(case, home, number, other(20 + number, source="app"))
        assert "taken back" not in {one.text for one in snapshots.read(home.snapshots, last)}


@pytest.mark.parametrize("kind", ["withdraw", "correct"])
def test_what_was_changed_before_the_newest_rows_is_heard(home: Home, kind: str) -> None:
    """A busy day must not keep a customer's word from what is learned from again."""
    case = with_rules(newest=2)
    said = {"source": "app", "rater_id": "ann", "group_id": "anns", "text": "of ann"}
    night(case, home, 0, other(0, value="card", **said))
    value = None if kind == "withdraw" else "cash"
    later = (AT + timedelta(hours=1)).isoformat()
    changed = other(1, kind=kind, **{**said, "value": value, "given_at": later})
    many = [other(n, source="app") for n in range(2, 6)]
    last = night(case, home, 1, changed, *many)
    found = {one.text: one.label for one in snapshots.read(home.snapshots, last)}
    assert found.get("of ann") == value


def test_a_clock_that_is_years_ahead_has_not_the_last_word(home: Home) -> None:
    case = with_rules()
    said = {"source": "app", "rater_id": "ann", "group_id": "anns", "text": "of ann"}
    night(case, home, 0, other(0, value="card", given_at="2062-01-01T00:00:00Z", **said))
    now = (AT + DAY).isoformat()
    last = night(case, home, 1, other(1, value="cash", given_at=now, **said))
    assert {one.text: one.label for one in snapshots.read(home.snapshots, last)} == {
        "of ann": "cash"
    }


def test_rows_that_led_to_a_snapshot_of_before_were_taken_in_that_night(home: Home) -> None:
    """Else a customer's backlog never ended, by what was said of it."""
    case = with_rules(max_customer_rows=5)
    a = night(case, home, 0, other(0, source="app"))
    ours = {"customer_id": "big", "rater_id": "big", "source": "app", "kind": "comment"}
    rows = [other(n, text="a text of nobody", **ours) for n in range(1, 13)]
    assert night(case, home, 1, *rows, other(99, source="app", kind="comment")) == a
    (found,) = backlog.finding(case, home)
    assert "7 of big, where 12 come in a usual night and 5 were taken in the last" in found.detail
