"""Feedback that takes away what was learned: the night refuses it until a person has looked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from flows.retrain import flywheel
from flywheel.config import CurationConfig, Home, UseCase
from flywheel.curation import curate
from flywheel.dataset import snapshots
from flywheel.diagnostics import backlog, senders
from flywheel.errors import UnusualFeedback
from flywheel.influence import row_caps, unusual_feedback
from flywheel.influence.unusual_feedback import Learned
from flywheel.records import Curated, Drop, Example, NightRecord, Reaction, Reason, Split
from flywheel.store import open_store
from flywheel.store.feedback import labeling, set_aside
from flywheel.store.nights import night_runs
from tasks.curate import curate_snapshot
from tasks.failure import failure_recorded
from tasks.ingest import ingest_inbox
from tasks.refused_night import told_whatever_fails
from tasks.unusual_feedback import go_on
from tests import nights
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other
from tests.strategies import LABELS

DAY = timedelta(days=1)
RULES = JOB.curation


def said(number: int, customer: str | None, **changes: Any) -> Reaction:
    facts = {
        "feedback_id": f"{customer}-{number}",
        "kind": "label",
        "value": "card",
        "text": f"text {number}",
        "group_id": "g",
        "rater_id": customer or "r",
        "source": "app",
        "given_at": AT + timedelta(seconds=number),
        "customer_id": customer,
    }
    return Reaction(**{**facts, **changes})


def waits(rows: Sequence[Reaction], rules: CurationConfig = RULES) -> frozenset[str]:
    return row_caps.waiting(rows, {one.feedback_id for one in rows}, rules)[0]


# ---- Rows of one customer and night


def test_of_a_flood_a_night_takes_the_first_rows_and_the_others_wait() -> None:
    flood = [said(n, "mallory") for n in range(540)]
    honest = [said(n, f"c{n % 4}") for n in range(40)]
    late = waits([*reversed(flood), *honest])
    assert late == {one.feedback_id for one in flood[200:]}
    told = row_caps.step(late, 1, 580)
    assert told.changed == 340
    assert (
        "340 rows of 1 customers wait for later nights (curation.max_customer_rows)" in told.detail
    )


def test_nobody_waits_who_is_alone_or_as_loud_as_another_or_the_companys_own() -> None:
    alone = [said(n, "the only one") for n in range(1_200)]
    assert not waits(alone)
    desk = [said(n, None, feedback_id=f"d-{n}", source="queue") for n in range(20)]
    back = said(1, "the only one", feedback_id="w", kind="withdraw", value=None)
    assert not waits([*alone, *desk, back]), "one name for all users, and somebody who labels"
    assert len(waits([*alone, said(1, None)])) == 1_000
    two = [said(n, f"c{n % 2}") for n in range(1_200)]
    assert not waits(two)
    assert not waits([said(n, None) for n in range(1_200)])
    own = [said(n, "a", source=source) for n, source in enumerate(["desk", "audit", "queue"] * 400)]
    assert not waits([*own, said(1, "b")])
    many = [said(n, f"c{n % 40}") for n in range(8_000)]
    assert not waits(many), "200 each"


def test_what_takes_feedback_back_never_waits() -> None:
    rows = [said(n, "a", kind="withdraw", value=None) for n in range(500)]
    assert not waits([*rows, said(1, "b")])


# ---- What a night changes


def learned(count: int) -> list[Learned]:
    return [Learned(f"e{n}", "card", (f"old-{n}",)) for n in range(count)]


def tonight(
    count: int, *, kept: int, turned: int = 0, reason: str = "disagreement", extra: str = "new"
) -> Curated:
    """Of ``count`` rows that were learned from ``kept`` still are, ``turned`` of them as cash."""
    examples = [
        Example(
            f"e{n}",
            "",
            "cash" if n < turned else "card",
            1.0,
            "g",
            "train",
            (f"old-{n}", f"{extra}-{n}"),
        )
        for n in range(kept)
    ]
    return Curated(tuple(examples), tuple(Drop(f"old-{n}", reason) for n in range(kept, count)))


def compared(
    before: int, curated: Curated, *, rows: int = 100, source: str = "app"
) -> unusual_feedback.Change:
    came = [said(n, "mallory", feedback_id=f"new-{n}", source=source) for n in range(rows)]
    new = {one.feedback_id for one in came}
    return unusual_feedback.compare(learned(before), curated, came, new, RULES)


@pytest.mark.parametrize("reason", ["disagreement", "contaminated", "campaign", "unreliable_rater"])
def test_votes_that_take_away_what_was_learned_are_unusual(reason: str) -> None:
    """100 requests: 378 disagreements, nothing left to train on; 598: all of it held out."""
    change = compared(556, tonight(556, kept=178, reason=reason))
    assert change.lost == {reason: 378}
    assert change.beyond(RULES.max_change)
    assert f"378 lost (378 {reason})" in unusual_feedback.in_words(change)


def test_votes_that_turn_round_what_was_learned_are_unusual() -> None:
    """Three ids under one key flipped 556 of 556 labels."""
    change = compared(556, tonight(556, kept=556, turned=556), rows=556)
    assert (change.turned, change.shift) == (556, 1.0)
    assert change.beyond(RULES.max_change)


def test_what_a_company_does_itself_and_its_first_days_are_never_unusual() -> None:
    assert not compared(99, tonight(99, kept=0)).beyond(RULES.max_change)
    turned = compared(556, tonight(556, kept=556, turned=556), rows=556, source="desk")
    assert turned.affected == 0, "a second table of your own may correct every label"
    moved = compared(556, tonight(556, kept=0, reason="contaminated"), source="audit")
    assert moved.affected == 0, "and bring texts to the holdout"
    for reason in ("withdrawn", "superseded", "too_long", "over_limit", "copied"):
        assert compared(556, tonight(556, kept=0, reason=reason)).affected == 0
    forgotten = Curated(tonight(556, kept=0).examples, ())
    assert compared(556, forgotten).affected == 0
    assert not compared(556, tonight(556, kept=450)).beyond(RULES.max_change), "19 % are not"
    setting = compared(556, tonight(556, kept=0))
    assert not setting.beyond(RULES.max_change, anyway=500), "without the feedback it is as much"
    assert not compared(556, tonight(556, kept=0), rows=0).beyond(RULES.max_change)


def test_a_setting_that_takes_rows_away_is_not_the_feedbacks_doing(home: Home) -> None:
    case = JOB.model_copy(update={"split": JOB.split.model_copy(update={"holdout": 0.01})})
    drop(home, "a.jsonl", texts(120))
    curated_at(case, home, 0)
    strict = case.curation.model_copy(update={"min_agreement": 0.999})
    drop(home, "b.jsonl", texts(5, by="b"))
    curated_at(case.model_copy(update={"curation": strict}), home, 1)


def test_a_few_rows_that_cost_a_rater_all_that_was_ever_said_are_unusual() -> None:
    """30 votes against an app's only name took away 600 of 600, and were too few to be seen."""
    old = [said(n, None, value=LABELS[n % 3]) for n in range(260)]
    new = [
        said(n, name, value=LABELS[(n + 1) % 3]) for n in range(10) for name in ("mallory", "trudy")
    ]
    splits: dict[str, Split] = {"g": "train"}
    before, after = (
        curate(rows, splits=splits, labels=LABELS, rules=RULES) for rows in (old, [*old, *new])
    )
    rows = [Learned(e.example_id, e.label, e.feedback_ids) for e in before.examples]
    change = unusual_feedback.compare(rows, after, new, {one.feedback_id for one in new}, RULES)
    assert change.affected > 10 * len(new)
    assert change.beyond(RULES.max_change)


# ---- A night


def texts(count: int, *, by: str = "honest", value: str = "card") -> bytes:
    """A label of each of the same texts, by raters and customers of as many names."""
    return json_lines(
        *(
            other(n, text=f"plain words, no. {n}", value=value, source="app", group_id=f"group-{n}")
            | {"feedback_id": f"{by}-{n}", "rater_id": f"{by}-{n}", "customer_id": f"{by}-{n}"}
            for n in range(count)
        )
    )


def curated_at(case: UseCase, home: Home, night: int) -> int:
    ingest_inbox(case, home, at=AT + night * DAY)
    return curate_snapshot.fn(case, home, at=AT + night * DAY).train


def test_a_night_refuses_unusual_feedback_and_goes_on_when_somebody_looked(home: Home) -> None:
    case = JOB.model_copy(update={"split": JOB.split.model_copy(update={"holdout": 0.1})})
    drop(home, "a.jsonl", texts(200))
    before = curated_at(case, home, 0)
    assert before > 100, "a first import is never unusual"
    assert senders.finding(case, home) == []
    folder = sorted(home.snapshots.iterdir())

    drop(home, "b.jsonl", texts(200, by="mallory", value="cash"))
    for night in (1, 2):
        with (
            pytest.raises(UnusualFeedback, match=r"night -u job --looked") as refused,
            failure_recorded(case, home, AT + night * DAY),
        ):
            curated_at(case, home, night)
        assert "disagreement" in str(refused.value)
    assert sorted(home.snapshots.iterdir()) == folder, "nothing was learned from it"
    with open_store(home.warehouse) as store:
        assert store.waiting(case.name) == 200
        assert [one.outcome for one in night_runs.nights(store, case.name)] == ["failed"] * 2
    (found,) = senders.finding(case, home)
    assert not found.ok
    assert "200 rows that wait" in found.detail
    assert "by customer: mallory-" in found.detail
    assert "190 more" in found.detail
    assert "by label: cash 200" in found.detail

    go_on(case, home, at=AT, who="ann")
    (found,) = senders.finding(case, home)
    assert found.ok
    curated_at(case, home, 2)
    with open_store(home.warehouse) as store:
        assert store.waiting(case.name) == 0


def test_one_customer_who_disputes_much_is_set_aside_and_the_others_are_learned_from(
    home: Home,
) -> None:
    """One key ended the learning of everybody, until a person had looked."""
    case = JOB.model_copy(update={"split": JOB.split.model_copy(update={"holdout": 0.1})})
    before = [
        other(n, text=f"plain words, no. {n}", value="card", source="app", group_id=f"group-{n}")
        | {"rater_id": "the app", "customer_id": None}
        for n in range(150)
    ]
    drop(home, "a.jsonl", json_lines(*before))
    curated_at(case, home, 0)
    said = [
        other(n, text=f"plain words, no. {n}", value="cash", source="app", group_id=f"m/{n}")
        | {"feedback_id": f"m/{n}", "rater_id": "m/x", "customer_id": "m"}
        for n in range(120)
    ]
    others = [other(n, source="app", text=f"new words {n}", value="card") for n in (301, 302)]
    drop(home, "b.jsonl", json_lines(*said, *others))
    for night in (1, 1, 2):
        curated_at(case, home, night)
        with open_store(home.warehouse) as store:
            assert len(set_aside.before(store, case.name, AT + (night + 1) * DAY)) == 120
    with open_store(home.warehouse) as store:
        last = labeling.newest_snapshot(store, case.name)
        assert last is not None
        told = {step.rule: step for step in store.steps(case.name, last)}
        night_runs.record(
            store,
            case.name,
            NightRecord(AT + 2 * DAY, "rejected", [], snapshot_id=last, recorded_at=AT),
        )
        assert store.waiting(case.name) == 120
    assert told["set_aside"].changed == 120
    assert "120 rows were set aside in nights before" in told["set_aside"].detail
    learned_from = [e.text for e in snapshots.read(home.snapshots, last) if e.split == "train"]
    assert any(text.startswith("new words") for text in learned_from)
    assert len(learned_from) > 100, "what was learned before still is"
    (found,) = senders.finding(case, home)
    assert "set 120 rows aside and learned from the others" in found.detail
    assert "by customer: m 120" in found.detail
    assert backlog.finding(case, home) == [], "they wait for a person, not for their turn"
    go_on(case, home, at=AT, who="ann")
    curated_at(case, home, 3)
    with open_store(home.warehouse) as store:
        assert store.waiting(case.name) == 0


def test_nothing_is_set_aside_where_only_one_ever_spoke_or_nobody_disputes() -> None:
    rows = [said(n, "the only one") for n in range(20)]
    new = {one.feedback_id for one in rows}
    nothing = Curated((), ())
    disputed = Curated((), (Drop(rows[3].feedback_id, "disagreement"),))
    assert unusual_feedback.loudest(disputed, rows, new, RULES) == frozenset()
    both = [*rows, said(99, "the only one", kind="withdraw", value=None), said(98, "another")]
    assert unusual_feedback.loudest(disputed, both, new, RULES) == new
    assert unusual_feedback.loudest(nothing, both, new, RULES) == frozenset(), (
        "revised by themselves"
    )


def test_who_disputes_is_suspected_before_who_sends_much_of_which_some_is_in_the_holdout() -> None:
    """Whoever had fewer disputes than an honest sender holdout groups still ended the night."""
    rows = [said(n, "mallory") for n in range(40)] + [said(n, "honest") for n in range(400)]
    disputed = [Drop(f"mallory-{n}", "disagreement") for n in range(40)]
    seated = [Drop(f"honest-{n}", "not_gold") for n in range(60)]
    curated = Curated((), (*disputed, *seated))
    first, second = unusual_feedback.suspected(
        curated, rows, {one.feedback_id for one in rows}, RULES
    )
    assert first == {f"mallory-{n}" for n in range(40)}
    assert second == {f"honest-{n}" for n in range(400)}, "as who moves texts to the holdout's side"


def test_a_refused_night_says_what_its_brake_found(home: Home) -> None:
    braked = Reason("brake", False, "proven, and rolled back")
    with pytest.raises(UnusualFeedback), failure_recorded(JOB, home, AT):
        raise UnusualFeedback("Unusual feedback: much.", brake=braked)
    with open_store(home.warehouse) as store:
        (night,) = night_runs.nights(store, JOB.name)
    assert [one.rule for one in night.reasons] == ["completed", "brake"]
    assert night.reasons[1].detail == braked.detail


@pytest.mark.parametrize("error", [MemoryError("a text"), RuntimeError("a text"), OSError()])
def test_what_the_brake_of_a_refused_night_fails_with_does_not_hide_why_it_ends(
    error: Exception,
) -> None:
    def brake() -> Reason | None:
        raise error

    said = told_whatever_fails(brake)
    assert said is not None
    assert said.passed is None
    assert type(error).__name__ in said.detail
    assert "text" not in said.detail.replace("traceback", ""), "only our own errors are quoted"


def test_a_refused_night_whose_brake_fails_as_nobody_expected_says_both(home: Home) -> None:
    def refused(brake: BaseException) -> None:
        try:
            raise UnusualFeedback("Unusual feedback: much.")
        except UnusualFeedback:
            raise brake  # noqa: B904 - as an error in the brake comes

    with pytest.raises(KeyError), failure_recorded(JOB, home, AT):
        refused(KeyError("a text"))
    with pytest.raises(KeyboardInterrupt), failure_recorded(JOB, home, AT + DAY):
        refused(KeyboardInterrupt())
    with open_store(home.warehouse) as store:
        night, stopped = night_runs.nights(store, JOB.name)
    assert [one.detail for one in night.reasons] == [
        "UnusualFeedback: Unusual feedback: much.",
        "the champion was not watched tonight: KeyError: see the traceback in the log",
    ]
    assert stopped.reasons[0].detail.startswith("KeyboardInterrupt")


@pytest.mark.slow
@pytest.mark.prefect
def test_a_whole_night_asks_its_brake_before_it_refuses(home: Home) -> None:
    nights.prefect_server()
    with nights.living_in(home):
        drop(home, "a.jsonl", texts(200))
        assert flywheel(JOB, AT)["outcome"] == "skipped"
        drop(home, "b.jsonl", texts(200, by="mallory", value="cash"))
        with pytest.raises(UnusualFeedback) as refused:
            flywheel(JOB, AT + DAY)
    assert refused.value.facts["brake"] is None, "there is no predecessor to go back to"
    with open_store(home.warehouse) as store:
        outcomes = [one.outcome for one in night_runs.nights(store, JOB.name)]
    assert outcomes == ["skipped", "failed"]


def test_the_page_shows_what_the_night_changes_and_a_night_that_lives_again_takes_the_same(
    home: Home,
) -> None:
    case = JOB.model_copy(
        update={"curation": JOB.curation.model_copy(update={"max_customer_rows": 5})}
    )
    big = [other(n, customer_id="a", source="app", text=f"first {n}") for n in range(50, 70)]
    drop(home, "a.jsonl", texts(3) + json_lines(*big))
    curated_at(case, home, 0)
    with open_store(home.warehouse) as store:
        assert store.waiting(case.name) == 0, "of what a company brings at first nothing waits"
    flood = [
        other(n, customer_id="mallory", source="app", text=f"spam {n}") for n in range(100, 130)
    ]
    drop(home, "b.jsonl", json_lines(*flood, other(200, source="app")))
    ingest_inbox(case, home, at=AT + DAY)
    lives = [curate_snapshot.fn(case, home, at=AT + DAY) for _ in range(2)]
    assert lives[0] == lives[1]
    with open_store(home.warehouse) as store:
        told = {s.rule: s for s in store.steps(case.name, lives[1].snapshot_id)}
        assert store.waiting(case.name) == 25
    assert "25 rows of 1 customers wait" in told["customer_rows"].detail
    assert told["change"].detail.startswith("6 new rows, 6 of them of 2 named customers")
    examples = snapshots.read(home.snapshots, lives[1].snapshot_id)
    assert sum(e.text.startswith("spam") for e in examples) <= 5
    curate_snapshot.fn(case, home, at=AT + 2 * DAY)
    with open_store(home.warehouse) as store:
        assert store.waiting(case.name) < 25, "the next night takes those that waited"
