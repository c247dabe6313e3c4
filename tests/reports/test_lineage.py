"""A version leads to the people behind it, a feedback to what became of it; texts only if asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.records import Curated, Drop, Example, Feedback, NightRecord, Snapshot, Step
from flywheel.reports.lineage import find, render_text
from flywheel.store import erasure, lineage, open_store
from flywheel.store.nights import night_runs
from tests.examples import examples
from tests.store.test_store import take
from tests.strategies import prediction

AT = datetime(2026, 1, 3, tzinfo=UTC)
SECRET = "quokka"


def feedback(name: str, **changes: Any) -> Feedback:
    usual: dict[str, Any] = {
        "kind": "label",
        "given_at": AT,
        "rater_id": f"rater of {name}",
        "source": "app",
        "text": f"{SECRET} {name}",
        "group_id": "g",
        "value": "card",
        "customer_id": "somebody",
    }
    return Feedback(feedback_id=name, **{**usual, **changes})


def example(name: str, *feedback_ids: str, split: Any = "train") -> Example:
    return Example(name, f"{SECRET} {name}", "card", 0.9, "g", split, feedback_ids)


FEEDBACK = (
    feedback("a"),
    feedback("b", source="desk"),
    feedback("c", rater_id="rater of b"),
    feedback("late"),
    feedback("5", kind="accept", value=None, text=None, prediction_id="p1"),
    feedback("parked", kind="accept", value=None, text=None, prediction_id="p9"),
    feedback("comment", kind="comment", value=f"{SECRET} says the customer"),
)
# snapshot → its content; version 2 learned from the second, version 3 was made in the third night
FIRST = Curated((example("x", "a"),), (Drop("b", "not_gold"),))
SECOND = Curated(
    (example("x", "a", "c"), example("y", "b", split="holdout"), example("z", "5")),
    (Drop("comment", "no_label"),),
    (Step("limits", True, 5, 1, 0, "1 no_label", "comment"), Step("poison", False)),
)


@pytest.fixture
def filled(home: Home, use_case: UseCase) -> Home:
    name = use_case.name
    with open_store(home.warehouse) as store:
        store.add_predictions(name, [prediction("p1", text=f"{SECRET} asked")])
        take(store, "f" * 64, *FEEDBACK, use_case=name)
        for number, (identity, curated) in enumerate([("s1", FIRST), ("s2", SECOND)], start=1):
            day = AT + timedelta(days=number)
            snapshot = Snapshot(identity, len(curated.examples), 0, 0)
            store.commit_snapshot(name, snapshot, curated, {"g": "train"}, day)
            facts = {"version": str(number)}
            night_runs.record(
                store,
                name,
                NightRecord(
                    day,
                    "promoted",
                    [],
                    facts,
                    snapshot_id=identity,
                    digest=f"d{number}",
                    recorded_at=day,
                ),
            )
        night_runs.record(
            store, name, NightRecord(AT, "skipped", [], snapshot_id="s1", recorded_at=AT)
        )
    return home


def test_a_version_leads_to_everything_behind_it(filled: Home, use_case: UseCase) -> None:
    found = find(use_case, filled, "2")
    assert found["snapshot_id"] == "s2"
    assert found["digest"] == "d2"
    assert found["night"] == {"as_of": "2026-01-05T00:00:00+00:00", "outcome": "promoted"}
    assert found["example_counts"] == {"train": 2, "holdout": 1}
    assert found["feedback_count"] == 4
    # b and c are of one rater
    assert found["people"] == {"raters": 3, "customers": 1}
    assert found["sources"] == {"app": 3, "desk": 1}
    assert found["left_out"] == {"no_label": 1}
    assert [(rule["rule"], rule["on"], rule["dropped"]) for rule in found["rules"]] == [
        ("limits", True, 1),
        ("poison", False, 0),
    ]
    assert [
        (one["example_id"], [vote["feedback_id"] for vote in one["feedback"]])
        for one in found["examples"]
    ] == [("x", ["a", "c"]), ("z", ["5"]), ("y", ["b"])]


@pytest.mark.parametrize(
    ("name", "used", "left_out", "versions"),
    [
        ("a", ["s1", "s2"], [], ["1", "2"]),
        ("b", ["s2"], [("s1", "not_gold")], ["2"]),
        ("c", ["s2"], [], ["2"]),
        ("comment", [], [("s2", "no_label")], []),
        ("late", [], [], []),
        ("5", ["s2"], [], ["2"]),
    ],
)
def test_a_feedback_leads_to_what_became_of_it(
    name: str,
    used: list[str],
    left_out: list[tuple[str, str]],
    versions: list[str],
    filled: Home,
    use_case: UseCase,
) -> None:
    found = find(use_case, filled, name)
    assert [one["snapshot_id"] for one in found["used"]] == used
    assert [(one["snapshot_id"], one["reason"]) for one in found["left_out"]] == left_out
    assert [one["version"] for one in found["versions"]] == versions
    assert found["feedback"]["row_number"] == [f.feedback_id for f in FEEDBACK].index(name) + 1
    assert found["feedback"]["is_parked"] is False


def test_what_only_was_in_the_holdout_was_not_learned(filled: Home, use_case: UseCase) -> None:
    (last,) = render_text(find(use_case, filled, "b"))[-1:]
    assert last == "└─ learned by no version; judged on it: version 2 (promoted)"


def test_a_night_that_only_judges_a_version_again_taught_it_nothing(
    filled: Home, use_case: UseCase
) -> None:
    before = [one["version"] for one in find(use_case, filled, "b")["versions"]]
    day = AT + timedelta(days=9)
    third = Curated((example("x", "a", "c"), example("w", "late")), ())
    with open_store(filled.warehouse) as store:
        snapshot = Snapshot("s3", 2, 0, 0)
        store.commit_snapshot(use_case.name, snapshot, third, {"g": "train"}, day)
        # on trial: version 2, made of the second snapshot, sits beside tonight's
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                day,
                "undecided",
                [],
                {"version": "2"},
                snapshot_id="s3",
                digest="d2",
                recorded_at=day,
            ),
        )
    assert find(use_case, filled, "late")["versions"] == []
    assert [one["version"] for one in find(use_case, filled, "b")["versions"]] == before
    (second,) = [one for one in find(use_case, filled, "c")["versions"] if one["version"] == "2"]
    assert (second["outcome"], second["as_of"]) == ("undecided", "2026-01-05T00:00:00+00:00")


def test_a_parked_and_a_waiting_feedback_say_so(filled: Home, use_case: UseCase) -> None:
    assert find(use_case, filled, "parked")["feedback"]["is_parked"] is True
    assert "parked" in "\n".join(render_text(find(use_case, filled, "parked")))
    assert "no night has seen it" in "\n".join(render_text(find(use_case, filled, "late")))


@pytest.mark.parametrize("identity", ["1", "2", "a", "comment", "5"])
def test_what_customers_wrote_is_shown_only_when_asked(
    identity: str, filled: Home, use_case: UseCase
) -> None:
    hidden = find(use_case, filled, identity)
    assert SECRET not in json.dumps(hidden) + "\n".join(render_text(hidden))
    shown = find(use_case, filled, identity, texts=True)
    assert SECRET in json.dumps(shown)
    assert SECRET in "\n".join(render_text(shown)) or identity == "comment"


@pytest.mark.parametrize("identity", ["nobody", "77", "", "٣"])
def test_what_is_neither_raises_and_names_it(
    identity: str, filled: Home, use_case: UseCase
) -> None:
    with pytest.raises(DataError, match="neither a version nor a feedback"):
        find(use_case, filled, identity)


def test_only_the_first_examples_are_shown_and_all_are_counted(
    filled: Home, use_case: UseCase
) -> None:
    many = Curated(tuple(example(f"e{n:03}", f"f{n}") for n in range(50)), ())
    with open_store(filled.warehouse) as store:
        store.commit_snapshot(use_case.name, Snapshot("s3", 50, 0, 0), many, {}, AT)
        night_runs.record(
            store,
            use_case.name,
            NightRecord(
                AT, "rejected", [], {"version": "3"}, snapshot_id="s3", digest="d3", recorded_at=AT
            ),
        )
    found = find(use_case, filled, "3")
    assert found["example_counts"] == {"train": 50}
    assert [one["example_id"] for one in found["examples"]] == [f"e{n:03}" for n in range(20)]
    assert f"examples, {lineage.SHOWN} of 50" in "\n".join(render_text(found))


@pytest.mark.parametrize("left", [True, False])
def test_a_version_whose_snapshot_was_rewritten_is_still_traced(
    left: bool, filled: Home, use_case: UseCase
) -> None:
    with open_store(filled.warehouse) as store:
        held = erasure.held(store, use_case.name, "rater of a")
        assert [(s, e) for s, e, _ in held.examples] == [("s1", "x"), ("s2", "x")]
        new = Snapshot("s4", 1, 0, 1) if left else None
        erasure.replace_snapshot(store, held, "s2", new, "certificate-1")
    found = find(use_case, filled, "2")
    assert found["rewritten"] == {"snapshot_id": "s2", "certificate_id": "certificate-1"}
    assert found["snapshot_id"] == ("s4" if left else None)
    assert [one["example_id"] for one in found["examples"]] == (["z", "y"] if left else [])
    assert [one["version"] for one in find(use_case, filled, "5")["versions"]] == ["2"] * left
    assert ("certificate-1" in "\n".join(render_text(found))) == left


@examples(8)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=512).filter(
        str.strip
    )
)
def test_any_name_of_a_feedback_is_found(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    with open_store(tmp_path_factory.mktemp("any") / "w.duckdb") as store:
        take(store, "f", feedback("other"), feedback(name), use_case="u")
        found = lineage.of_feedback(store, "u", name)
        assert found is not None
        assert found["feedback"]["feedback_id"] == name
