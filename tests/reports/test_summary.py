"""What happened, as facts for programs and as lines for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import Home, UseCase
from flywheel.exports import export_tags as exported
from flywheel.records import NightRecord, Reason
from flywheel.reports import console
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.versions import Listed, Version
from tasks.ingest import ingest_inbox
from tests.strategies import row

FIRST = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
JUDGED: dict[str, Any] = {
    "snapshot_id": "s1",
    "train_examples": 300,
    "holdout_examples": 740,
    "train_seconds": 58.4,
    "peak_memory_mb": 1900.2,
    "tokens_per_second": 812.7,
    "challenger_accuracy": 0.7,
    "challenger_macro_f1": 0.65,
    "champion_accuracy": 0.5,
    "baselines": {"majority": 0.45, "zero_shot": 0.3},
}
SKIPPED: dict[str, Any] = {"snapshot_id": "s1", "train_examples": 12, "holdout_examples": 740}
REASONS = [
    {"rule": "min_accuracy", "passed": True, "detail": "0.700, at least 0.600"},
    {"rule": "min_macro_f1", "passed": False, "detail": "0.450, at least 0.500"},
    {"rule": "better_than_champion", "passed": None, "detail": "too few rows differ"},
]


@dataclass(frozen=True)
class OneVersion:
    """A registry in which ``champion`` is what it is told to be."""

    champion: Version | None
    listed: tuple[Listed, ...] = ()

    def __call__(self, home: Home) -> OneVersion:
        return self

    def by_alias(self, name: str, alias: str) -> Version | None:
        return self.champion if alias == "champion" else None

    def versions(self, name: str) -> tuple[Listed, ...]:
        return self.listed


@pytest.fixture
def champion_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Version | None], None]:
    def install(champion: Version | None) -> None:
        monkeypatch.setattr("flywheel.tracking.registry.Registry", OneVersion(champion))

    return install


def night(facts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A night as the flow returns it."""
    ended = {"use_case": "job", "as_of": FIRST.isoformat(), "outcome": "promoted", "reasons": []}
    return {**ended, **facts, **changes}


def record(home: Home, use_case: UseCase, day: int, facts: dict[str, Any], **changes: Any) -> None:
    ended: dict[str, Any] = {"outcome": "promoted", "reasons": REASONS, **changes}
    ended["reasons"] = [Reason(**one) for one in ended["reasons"]]
    at = FIRST + timedelta(days=day)
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                at, facts=facts, snapshot_id=facts.get("snapshot_id"), recorded_at=at, **ended
            ),
        )


# ---- Facts


def test_nights_come_oldest_first_with_every_key_even_when_little_is_known(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(None)
    record(home, use_case, 1, SKIPPED, outcome="skipped", reasons=[])
    record(home, use_case, 0, JUDGED)

    judged, skipped = console.status(use_case, home)["nights"]

    assert judged == {
        "as_of": "2026-01-01T02:30:00+00:00",
        "outcome": "promoted",
        # a reason of before that does not say whether its rule was on is of one that was
        "reasons": [{**reason, "on": True} for reason in REASONS],
        "train_examples": 300,
        "train_seconds": 58.4,
        "peak_memory_mb": 1900.2,
        "champion_accuracy": 0.5,
        "challenger_accuracy": 0.7,
        "baselines": {"majority": 0.45, "zero_shot": 0.3},
    }
    assert skipped == {
        "as_of": "2026-01-02T02:30:00+00:00",
        "outcome": "skipped",
        "reasons": [],
        "train_examples": 12,
        "train_seconds": None,
        "peak_memory_mb": None,
        "champion_accuracy": None,
        "challenger_accuracy": None,
        "baselines": {},
    }


def test_the_champions_holdout_is_that_of_the_night_that_judged_it(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(Version(use_case.name, "2", "d2", "s2", Path("nowhere")))
    record(home, use_case, 0, JUDGED | {"challenger_accuracy": 0.6}, digest="d1")
    record(home, use_case, 1, JUDGED | {"challenger_macro_f1": 0.61}, digest="d2")
    record(home, use_case, 2, JUDGED | {"challenger_accuracy": 0.8}, digest="d3")

    facts = console.status(use_case, home)

    assert facts["champion"] == {
        "version": "2",
        "digest": "d2",
        "snapshot_id": "s2",
        "holdout": {"n": 740, "accuracy": 0.7, "macro_f1": 0.61},
        "forgotten_in": None,
    }
    assert "champion is version 2, 0.700 on 740 holdout rows" in console.status_lines(facts)[0]


def test_a_champion_that_no_night_judged_has_no_holdout(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(Version(use_case.name, "1", "d9", "s1", Path("nowhere")))
    record(home, use_case, 0, JUDGED, digest="d1")

    facts = console.status(use_case, home)

    assert facts["champion"]["holdout"] is None
    assert console.status_lines(facts)[0] == f"{use_case.name}: champion is version 1"


def test_what_left_the_house_is_told(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = exported.value(Path("/srv/support"), form="adapter", at="2026-01-03T08:00:00+00:00")
    tags = {exported.key(Path("/srv/support")): said, "digest": "d1"}
    listed = (Listed("1", {"digest": "d0"}, ()), Listed("2", tags, ()))
    monkeypatch.setattr("flywheel.tracking.registry.Registry", OneVersion(None, listed))

    facts = console.status(use_case, home)

    assert facts["exports"] == {"2": ["adapter in /srv/support since 2026-01-03"]}
    expected = "  version 2 was exported: adapter in /srv/support since 2026-01-03"
    assert expected in console.status_lines(facts)


def test_before_a_champion_the_status_says_why_the_last_night_trained_nothing(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(None)
    short = {"rule": "enough_examples", "passed": None, "detail": "label about 10 more texts"}
    with open_store(home.warehouse) as store:
        off = {"rule": "brake", "passed": None, "detail": "switched off (gate.brake)", "on": False}
        said = [Reason(**short), Reason(**off)]
        night_runs.record(
            store,
            use_case.name,
            NightRecord(FIRST, "skipped", said, SKIPPED, snapshot_id="s1", recorded_at=FIRST),
        )
    shown = console.status_lines(console.status(use_case, home))
    assert "  enough examples: label about 10 more texts" in shown
    assert not any("brake" in line for line in shown), "what is off ends nothing"


def test_another_use_case_is_not_told_of(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(None)
    record(home, use_case.model_copy(update={"name": "another"}), 0, JUDGED)

    assert console.status(use_case, home)["nights"] == []


def test_feedback_is_counted_by_what_became_of_it(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(None)
    rows = [
        row(feedback_id="f1", value="positive"),
        row(feedback_id="f2", value="negative"),
        row(feedback_id="f3", value=None, kind="accept", text=None, prediction_id="p9"),
        row(feedback_id="f4", value="no such label"),
    ]
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True)
    (inbox / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    ingest_inbox(use_case, home, at=FIRST)

    facts = console.status(use_case, home)

    assert facts["feedback"] == {"ingested": 2, "quarantined": 1, "parked": 1, "waiting": 2}
    assert console.status_lines(facts)[-2:] == [
        "  feedback: 2 ingested, 1 quarantined, 1 parked, 2 waiting",
        "    quarantined: 1 rows: value of label must be one of positive, neutral, negative",
    ]


def test_a_status_can_be_written_as_json_and_read_again(
    home: Home, use_case: UseCase, champion_is: Callable[[Version | None], None]
) -> None:
    champion_is(Version(use_case.name, "1", "d1", "s1", Path("nowhere")))
    record(home, use_case, 0, JUDGED, digest="d1")

    facts = console.status(use_case, home)

    assert json.loads(json.dumps(facts)) == facts


# ---- Lines


def test_the_last_seven_nights_are_listed() -> None:
    nights = [
        {"as_of": (FIRST + timedelta(days=day)).isoformat(), "outcome": f"outcome-{day}"}
        for day in range(9)
    ]
    facts = {
        "use_case": "job",
        "champion": None,
        "awaiting_approval": [],
        "exports": {},
        "promotions": [],
        "nights": nights,
        "feedback": {"waiting": 3},
        "inbox": {"files": 0, "rows": 0, "being_written": 0},
    }

    lines = console.status_lines(facts)

    assert lines[0] == "job: no champion yet"
    assert lines[1] == "  night 2026-01-03T02:30  outcome-2"
    assert [line.split()[-1] for line in lines[1:-1]] == [f"outcome-{day}" for day in range(2, 9)]
    assert lines[-1] == "  feedback: 3 waiting"


def test_a_judged_night_shows_training_scores_and_every_reason() -> None:
    lines = console.night_lines(night(JUDGED, reasons=REASONS))

    assert lines[0] == "job, night of 2026-01-01T02:30: promoted"
    assert lines[1] == "  trained on 300 examples in 58 s, peak 1900 MB, 813 tokens/s"
    assert "740 holdout rows" in lines[2]
    scores = {line.split()[0]: line.split()[1:] for line in lines[3:7]}
    assert scores == {
        "challenger": ["0.700", "█" * 28],
        "champion": ["0.500", "█" * 20],
        "majority": ["0.450", "█" * 18],
        "zero_shot": ["0.300", "█" * 12],
    }
    assert lines[7:] == [
        "  pass  min_accuracy: 0.700, at least 0.600",
        "  fail  min_macro_f1: 0.450, at least 0.500",
        "  open  better_than_champion: too few rows differ",
    ]


def test_a_first_night_shows_no_champion() -> None:
    lines = console.night_lines(night(JUDGED | {"champion_accuracy": None}))

    assert any("challenger" in line for line in lines)
    assert not any("champion" in line for line in lines)


def test_a_skipped_night_shows_why_and_no_scores() -> None:
    reason = {"rule": "enough_examples", "passed": None, "detail": "12 of 100"}

    lines = console.night_lines(night(SKIPPED, outcome="skipped", reasons=[reason]))

    assert lines == [
        "job, night of 2026-01-01T02:30: skipped",
        "  open  enough_examples: 12 of 100",
    ]
