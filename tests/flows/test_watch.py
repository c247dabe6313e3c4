"""A night starts early for a reason, and once for each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate

from flows import schedules
from flows.cli.schedule import schedule as command
from flows.watch import start, watch
from flywheel.config import Home, UseCase
from flywheel.errors import ConfigError
from flywheel.evaluation import drift
from flywheel.home.schedules import nightly
from flywheel.records import NightRecord, Prediction, Promotion
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import add_promotion
from tasks.coordination.locks import only_night
from tasks.watch import Early, reason_to_start
from tests import nights
from tests.flows.test_schedule import remove_deployments
from tests.nights import CASE, ROOT

NIGHT = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
NOON = NIGHT + timedelta(hours=10)


def watched(**rules: Any) -> UseCase:
    return UseCase.model_validate(CASE.model_dump() | {"watch": rules})


def label(number: int, **changes: Any) -> dict[str, Any]:
    plain = {
        "feedback_id": f"f{number}",
        "kind": "label",
        "value": "positive",
        "text": f"order {number} works",
        "rater_id": "ann",
        "source": "app",
        "given_at": NIGHT.isoformat(),
    }
    return plain | changes


def looked(case: UseCase, home: Home, rows: list[dict[str, Any]], *, at: datetime = NOON) -> Any:
    nights.drop_rows(home, case, f"{at:%H%M%S}.jsonl", rows)
    return reason_to_start(case, home, at=at)


def record(home: Home, at: datetime, outcome: str = "rejected") -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(store, CASE.name, NightRecord(at, outcome, [], recorded_at=at))


# ---- New feedback


def test_enough_usable_feedback_is_a_reason(home: Home) -> None:
    case = watched(new_feedback=10)
    record(home, NIGHT)

    assert looked(case, home, [label(n) for n in range(9)]) is None
    early = looked(case, home, [label(9)], at=NOON + timedelta(minutes=15))

    assert early == Early(
        "new_feedback",
        "10 usable rows came since the last night (watch.new_feedback: 10)",
        "after 2026-03-01T02:30:00",
    )


def test_what_no_night_can_use_is_none(home: Home) -> None:
    """Rejections say no label, a flood of one customer waits, and a night has seen what is old."""
    case = watched(new_feedback=4)
    case = case.model_copy(
        update={"curation": case.curation.model_copy(update={"max_customer_rows": 2})}
    )
    assert looked(case, home, [label(n) for n in range(3)], at=NIGHT) is None
    record(home, NIGHT)

    flood = [label(n, customer_id="loud") for n in range(10, 90)]
    odd = [
        {**label(99), "value": "no such label"},
        {**label(98), "kind": "reject", "value": None, "prediction_id": "gone"},
    ]
    assert looked(case, home, flood + odd) is None
    assert looked(case, home, [label(100), label(101)], at=NOON + timedelta(minutes=1)) is not None


def test_a_failed_night_leaves_the_reason_as_it_was(home: Home) -> None:
    """So that it starts no second one: what it is known by does not change."""
    case = watched(new_feedback=2)
    first = looked(case, home, [label(1), label(2)])
    record(home, NOON, "failed")
    again = looked(case, home, [label(3)], at=NOON + timedelta(hours=1))

    assert first.once == again.once
    record(home, NOON + timedelta(hours=2))
    later = looked(case, home, [label(4), label(5)], at=NOON + timedelta(hours=3))
    assert later.once != first.once


def test_nothing_is_looked_at_while_a_night_runs_or_where_nobody_asked(home: Home) -> None:
    case = watched(new_feedback=1)
    nights.drop_rows(home, case, "a.jsonl", [label(1)])

    assert reason_to_start(CASE, home, at=NOON) is None
    with only_night(home, CASE.name):
        assert reason_to_start(case, home, at=NOON) is None
    with open_store(home.warehouse) as store:
        assert store.waiting(CASE.name) == 0
    assert reason_to_start(case, home, at=NOON) is not None


# ---- Fewer accepted


def test_a_champion_that_is_accepted_less_is_a_reason(home: Home) -> None:
    case = watched(fewer_accepted=0.1)
    crown(home)
    answered(home, 400)
    assert looked(case, home, fates(range(200), lost=10), at=NIGHT) is None
    record(home, NIGHT)

    assert looked(case, home, fates(range(200, 260), lost=10)) is None
    worse = looked(case, home, fates(range(260, 330), lost=1), at=NOON + timedelta(minutes=15))

    assert worse.why == "fewer_accepted"
    assert worse.once == "version 1 of 2026-02-01T02:30:00"
    assert "(130 reactions) and 90% before (200)" in worse.detail


def test_one_customer_who_rejects_everything_is_no_reason(home: Home) -> None:
    case = watched(fewer_accepted=0.1)
    crown(home)
    answered(home, 400)
    looked(case, home, fates(range(200), lost=10), at=NIGHT)
    record(home, NIGHT)

    loud = [{**row, "customer_id": "loud"} for row in fates(range(200, 400), lost=1)]
    assert looked(case, home, loud) is None


def crown(home: Home) -> None:
    at = datetime(2026, 2, 1, 2, 30, tzinfo=UTC)
    step = Promotion(at, "promoted", "1", "d", None, "flywheel", "it was better")
    with open_store(home.warehouse) as store:
        add_promotion(store, CASE.name, step)
    record(home, at, "promoted")


def answered(home: Home, count: int) -> None:
    made = [
        Prediction(
            f"p{n}",
            f"order {n} works",
            f"g{n}",
            None,
            "positive",
            {"positive": 0.9, "negative": 0.1},
            "1",
            "d",
            NIGHT - timedelta(days=1),
        )
        for n in range(count)
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(CASE.name, made)


def fates(numbers: range, *, lost: int) -> list[dict[str, Any]]:
    """Reactions to answers; each ``lost``-th one corrects."""
    return [
        {
            "feedback_id": f"r{n}",
            "kind": "correct" if n % lost == 0 else "accept",
            "value": "negative" if n % lost == 0 else None,
            "prediction_id": f"p{n}",
            "rater_id": f"c{n}",
            "source": "app",
            "given_at": NIGHT.isoformat(),
        }
        for n in numbers
    ]


def test_where_nothing_fell_looks_rarely_see_a_fall() -> None:
    """At the margin itself, looking after every reaction: at most the share that is promised."""
    draws, by = random.Random(7), 0.1
    false = 0
    for _ in range(300):
        before = [draws.random() >= 0.1 for _ in range(200)]
        since: list[bool] = []
        for _ in range(100):
            since.append(draws.random() >= 0.1 + by)
            if drift.fall(before, since, by=by):
                false += 1
                break
    assert false / 300 <= 3 * drift.ALPHA


def test_what_is_usual_is_not_known_from_few() -> None:
    assert drift.fall([True] * (drift.LEAST - 1), [False] * 100, by=0.1) is None
    assert drift.fall([True] * drift.LEAST, [False] * 100, by=0.1) is not None
    assert drift.fall([False] * 100, [False] * 100, by=0.5) is None


# ---- Deployments


@pytest.fixture
def client(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    nights.prefect_server()
    (home.root / "usecases").mkdir()
    monkeypatch.chdir(home.root)
    case = yaml.safe_load((ROOT / "usecases/product-reviews.yaml").read_text())
    case |= {"name": "support", "watch": {"new_feedback": 3, "every_minutes": 20}}
    (home.root / "usecases/support.yaml").write_text(yaml.safe_dump(case, sort_keys=False))
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="cpu", type="process"), overwrite=True)
        remove_deployments(client)
        yield client
        remove_deployments(client)


def early_runs(client: SyncPrefectClient) -> list[Any]:
    return [run for run in client.read_flow_runs() if "early" in run.tags]


@pytest.mark.prefect
def test_the_watch_starts_one_night_for_one_reason(client: SyncPrefectClient, home: Home) -> None:
    done = CliRunner().invoke(command, ["-u", "support", "--at", "02:30"], catch_exceptions=False)
    assert "watched every 20 min (flywheel/retrain-support)" in done.stdout
    made = client.read_deployment_by_name("watch/inbox-support")
    (cron,) = made.schedules
    assert cron.schedule.cron == "1-59/20 * * * *"
    assert made.entrypoint == "flows.watch.watch"
    (one,) = schedules.scheduled(client)
    assert one.watched == 20

    support = UseCase.model_validate(
        yaml.safe_load((home.root / "usecases/support.yaml").read_text())
    )
    assert watch("support") is None
    nights.drop_rows(home, support, "a.jsonl", [label(n) for n in range(4)])
    assert watch("support")["why"] == "new_feedback"
    assert watch("support") is None
    (run,) = early_runs(client)
    assert run.deployment_id == client.read_deployment_by_name("flywheel/retrain-support").id
    assert set(run.tags) == {"early", "new feedback"}
    names = [run.state.name for run in client.read_flow_runs() if run.name == "watch support"]
    assert sorted(names) == ["Nothing to do", "Started", "Started before"]

    schedules.schedule(client, "support", nightly("support", "02:30", "UTC"))
    assert "watch/inbox-support" not in schedules._all(client)


@pytest.mark.prefect
def test_without_its_deployment_an_early_night_is_a_sentence(client: SyncPrefectClient) -> None:
    with pytest.raises(ConfigError, match="flywheel schedule -u gone"):
        start("gone", Early("new_feedback", "", ""))
