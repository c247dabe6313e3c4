"""The brake: a champion that is worse than its predecessor on fresh rows, night after night."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

import tasks.champion.auto_rollback
import tasks.champion.move
from flows.retrain import flywheel
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.records import Example, FreshRow, NightRecord, Outcome, Promotion, Reason, Snapshot
from flywheel.store import open_store
from flywheel.store.nights import contender_scores, fresh_rows, trials
from flywheel.tracking.champion_history import untold_brakes
from flywheel.tracking.version_tags import MOVING
from tasks.champion.auto_rollback import watch_champion
from tasks.champion.reconcile import settle
from tasks.curate import curate_snapshot
from tasks.ingest import ingest
from tests import champions, nights
from tests.champions import by_hand, champion, promote, story, tags, tamper, version
from tests.nights import AS_OF, CASE, DAY

PER_NIGHT = 12
PROMOTED = [("promoted", "1", None), ("promoted", "2", "1")]
BRAKED = ("braked", "1", "2")


def case(brake: Literal["off", "warn", "rollback"] = "rollback", **changes: Any) -> UseCase:
    gate = CASE.gate.model_copy(update={"evidence_sources": ["app"], "brake": brake, **changes})
    return CASE.model_copy(update={"gate": gate})


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Version 2 was promoted over version 1 on the first day."""
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        promote(home, "2", against="1", day=1)
        yield home


def freeze(home: Home, night: int, customers: tuple[str, ...] = ()) -> Snapshot:
    """Take in the night's own rows, and freeze them with every one before them."""
    take_in(home, night, customers)
    return curate_snapshot.fn(CASE, home, at=AS_OF + night * DAY)


def take_in(home: Home, night: int, customers: tuple[str, ...] = ()) -> None:
    """Take in the night's own rows, of these ``customers`` in turn."""
    rows = nights.seed_rows(topic=0)[(night - 2) * PER_NIGHT : (night - 1) * PER_NIGHT]
    at = AS_OF + night * DAY
    given = (at - timedelta(hours=1)).isoformat()
    rows = [{**row, "given_at": given} for row in rows]
    if customers:
        rows = [{**row, "customer_id": customers[n % len(customers)]} for n, row in enumerate(rows)]
    nights.drop(home, f"day-{night}.jsonl", rows)
    ingest.fn(CASE, home, at=at)


def answer(
    home: Home, examples: Sequence[Example], *, wrong: Callable[[int], tuple[str, ...]]
) -> None:
    """Let both versions have answered every row; ``wrong`` says who failed on the n-th."""
    examples = [example for example in examples if example.label]
    for number in ("1", "2"):
        answers = {}
        for n, example in enumerate(examples):
            right = number not in wrong(n)
            answers[example.example_id] = {
                label: 0.9 if (label == example.label) == right else 0.1
                for label in CASE.label_names
            }
        with open_store(home.warehouse) as store:
            contender_scores.add(store, CASE.name, version(home, number).digest, answers, 1.0)


def live(
    home: Home,
    night: int,
    use_case: UseCase,
    *,
    wrong: Callable[[int], tuple[str, ...]] = lambda n: ("2",) if n % 3 else (),
    customers: tuple[str, ...] = (),
) -> Reason | None:
    """What a night does between curation and training, on faked answers."""
    at = AS_OF + night * DAY
    snapshot = freeze(home, night, customers)
    answer(home, snapshots.read(home.snapshots, snapshot.snapshot_id), wrong=wrong)
    settle.fn(use_case, home, at=at)
    return watch_champion.fn(use_case, home, snapshot, at=at)


def watches(home: Home) -> list[tuple[datetime | None, str | None]]:
    with open_store(home.warehouse) as store:
        found = trials.trials(store, CASE.name, kind="brake")
    return [(one.ended_as_of, one.ending) for one in found]


# ---- A champion that is worse


@pytest.mark.model
def test_a_champion_proven_worse_over_nights_gives_way_to_its_predecessor(home: Home) -> None:
    first = live(home, 2, case())
    assert first is not None
    assert first.passed is True
    assert "not proven" in first.detail
    assert champion(home) == "2"

    second = live(home, 3, case())
    assert second is not None
    assert second.passed is False
    assert second.detail.startswith("on 24 fresh rows of 2 nights the predecessor, version 1,")
    assert second.detail.endswith("proven, and rolled back")
    assert champion(home) == "1"
    assert story(home) == [*PROMOTED, BRAKED]
    assert watches(home) == [(AS_OF + 3 * DAY, "braked")]
    assert live(home, 4, case()) is None, "who came back is not asked whether the other was better"


@pytest.mark.slow
@pytest.mark.model
def test_warned_of_nothing_moves_and_every_night_says_so(home: Home) -> None:
    found = [live(home, night, case("warn")) for night in (2, 3, 4)]
    assert [one is not None and one.passed for one in found] == [True, False, False]
    for one in found[1:]:
        assert one is not None
        assert "on 24 fresh rows of 2 nights" in one.detail, "what is proven is not asked again"
        assert one.detail.endswith(f"flywheel rollback -u {CASE.name} --yes")
    assert champion(home) == "2"
    assert story(home) == PROMOTED
    # and whoever lets it go back later needs no new evidence
    assert live(home, 5, case("rollback")) == Reason(
        "brake", False, f"{_gain(found[2])}: proven, and rolled back"
    )
    assert champion(home) == "1"


def _gain(reason: Reason | None) -> str:
    assert reason is not None
    return reason.detail.partition(": ")[0]


@pytest.mark.model
def test_switched_off_nobody_is_asked(home: Home) -> None:
    found = [live(home, night, case("off")) for night in (2, 3)]
    assert {one and (one.passed, one.on) for one in found} == {(None, False)}
    assert champion(home) == "2"
    assert watches(home) == []


@pytest.mark.model
@pytest.mark.parametrize(
    "who",
    [("1",), *(pytest.param(who, marks=pytest.mark.slow) for who in (("1", "2"), ()))],
)
@pytest.mark.slow
def test_a_champion_that_is_better_or_alike_stays_and_the_watch_ends(
    home: Home, who: tuple[str, ...]
) -> None:
    use_case = case(brake_nights=2)
    found = [live(home, night, use_case, wrong=lambda n: who) for night in (2, 3)]
    assert [one and one.passed for one in found] == [True, True]
    assert watches(home) == [(AS_OF + 3 * DAY, "over")]
    assert live(home, 4, use_case) is None, "its nights are over"
    assert champion(home) == "2"


@pytest.mark.slow
@pytest.mark.model
def test_a_person_who_puts_the_champion_back_is_not_overruled(home: Home) -> None:
    for night in (2, 3):
        live(home, night, case())
    by_hand(home, "2")
    found = live(home, 4, case())
    assert found is not None
    assert found.passed is False
    assert "it was put back since, which stands" in found.detail
    assert champion(home) == "2"


@pytest.mark.model
@pytest.mark.slow
def test_a_person_who_goes_back_in_mlflow_is_not_overruled(home: Home) -> None:
    """Neither by rows that had made the successor champion, nor by any that come later."""
    rows = [
        FreshRow(AS_OF + DAY, f"e{n}", f"g{n}", "app", challenger_right=True, champion_right=False)
        for n in range(100)
    ]
    pair = {"digest": version(home, "2").digest, "champion_digest": version(home, "1").digest}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, CASE.name, rows, **pair)
    by_hand(home, "1")

    for night in (2, 3, 4):
        found = live(home, night, case(), wrong=lambda n: ("1",) if n % 3 else ())
        assert champion(home) == "1"

    assert found is not None
    assert "24 fresh rows of 2 nights" in found.detail
    assert "which stands; to undo that: flywheel rollback" in found.detail
    assert "--to 2 --yes" in found.detail


@pytest.mark.slow
@pytest.mark.model
def test_a_predecessor_that_was_tampered_with_does_not_come_back(home: Home) -> None:
    for night in (2, 3):
        live(home, night, case("warn"))
    tamper(home, "1")
    found = live(home, 4, case())
    assert found is not None
    assert found.passed is False
    assert "cannot be champion again" in found.detail
    assert champion(home) == "2"
    assert story(home) == PROMOTED


# ---- Killed right after


class Killed(BaseException):
    """A power cut, as far as the code under it can tell."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, str], None]:
    """Let a process end before or after a call."""

    def plant(owner: Any, name: str, when: str) -> None:
        whole = getattr(owner, name)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            if when == "after":
                whole(*args, **kwargs)
            monkeypatch.undo()
            raise Killed

        monkeypatch.setattr(owner, name, deadly)

    return plant


STOPS = [
    (tasks.champion.auto_rollback, "promote_over", "before", "2"),
    (tasks.champion.move, "record", "before", "1"),
    pytest.param(tasks.champion.auto_rollback, "_end", "after", "1", marks=pytest.mark.slow),
    pytest.param(tasks.champion.move, "record", "after", "1", marks=pytest.mark.slow),
    pytest.param(
        tasks.champion.auto_rollback, "promote_over", "after", "1", marks=pytest.mark.slow
    ),
]
# a name that is gone fails here, at collection
PLACES = [getattr(*getattr(stop, "values", stop)[:2]) for stop in STOPS]


@pytest.mark.model
@pytest.mark.prefect
@pytest.mark.parametrize(("owner", "name", "when", "left"), STOPS)
@pytest.mark.slow
def test_a_night_killed_around_the_rollback_is_told_of_by_the_next(
    home: Home,
    cut: Callable[[Any, str, str], None],
    owner: Any,
    name: str,
    when: str,
    left: str,
) -> None:
    nights.prefect_server()
    live(home, 2, case())
    cut(owner, name, when)
    with pytest.raises(Killed), nights.living_in(home):
        live(home, 3, case())
    assert champion(home) == left

    if left == "2":
        # nothing had happened yet: the next night brakes, on the rows that were kept
        found = live(home, 4, case())
        assert found is not None
        assert found.detail.endswith("proven, and rolled back")
        assert champion(home) == "1"
        return
    # too little to train on: the next nights are skipped, and tell of it all the same
    few = case().model_copy(
        update={"training": CASE.training.model_copy(update={"min_examples": 10_000})}
    )
    told = [flywheel(few, AS_OF + night * DAY) for night in (4, 5)]
    assert [night["outcome"] for night in told] == ["skipped", "skipped"]
    first, second = ([r for r in night["reasons"] if r["rule"] == "brake"] for night in told)
    assert len(first) == 1, "the next night says what happened"
    assert first[0]["passed"] is False
    assert "version 1, answered" in first[0]["detail"]
    assert "rolled back in the night of 2026-03-04 02:30 UTC" in first[0]["detail"]
    assert second == [], "it is said once"
    assert story(home) == [*PROMOTED, BRAKED]
    assert champion(home) == "1"
    assert MOVING not in tags(home, "1")
    page = (home.reports(CASE.name) / "20260305T0230Z.html").read_text()
    assert "The brake speaks" in page
    assert live(home, 6, case()) is None
    assert watches(home) == [(AS_OF + 3 * DAY, "braked")]


# ---- Which of them nobody was told of


def test_a_rollback_is_told_when_a_night_that_ended_has_said_so() -> None:
    step = Promotion(AS_OF + DAY, "braked", "1", "d", "2", "flywheel", "worse")
    said = [Reason("brake", False, "worse")]

    def night(day: int, outcome: Outcome, reasons: list[Reason]) -> NightRecord:
        return NightRecord(AS_OF + day * DAY, outcome, reasons)

    def untold(*past: NightRecord, day: int = 3) -> list[Promotion]:
        return untold_brakes([step], past, at=AS_OF + day * DAY)

    assert untold() == [step]
    assert untold(night(0, "skipped", said)) == [step], "of another one, before"
    assert untold(night(1, "failed", said)) == [step], "a failed night runs again"
    assert untold(night(2, "skipped", [])) == [step]
    assert untold(night(2, "undecided", [Reason("brake", True, "better")])) == [step]
    assert untold(night(1, "promoted", said)) == []
    assert untold(night(2, "skipped", said)) == []
    assert untold(night(1, "promoted", said), day=1) == [step], "it is that night, lived again"
    assert untold(day=0) == [], "it lies ahead"
