"""What of a night is evidence: nothing like what was learned, one of copies, audits whatever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from mlflow import MlflowClient

from flywheel.config import Home, UseCase
from flywheel.records import Example, Snapshot
from flywheel.store import open_store
from flywheel.store.nights import trials
from flywheel.text.normalize import text_id
from tasks import learned_rows
from tasks.curate import curate_snapshot
from tasks.fresh_evidence import fresh_examples
from tasks.ingest import ingest_inbox
from tests.challengers import go_on_trial
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other, predicted

ALIKE = JOB.model_copy(
    update={
        "curation": JOB.curation.model_copy(update={"near_duplicates": 0.7}),
        "split": JOB.split.model_copy(update={"holdout": 0.01}),
    }
)
ORDER = "my order number 4711 has not arrived, please tell me where it is"


def example(name: str, text: str, *, cluster: str = "", source: str = "app") -> Example:
    return Example(
        name, text, "card", 1.0, name, "train", (f"{source}-{name}",), cluster_id=cluster
    )


def test_a_near_copy_of_what_was_learned_is_known_whatever_its_cluster_is_called() -> None:
    learned = [example("zz", ORDER, cluster="zz")]
    copy = example("aa", ORDER.replace("4711", "4712"), cluster="aa")
    other_one = example("bb", "the card was refused at the till", cluster="bb")
    assert learned_rows.almost_alike(ALIKE, [copy, other_one], learned, []) == {"aa"}
    picture = ALIKE.model_copy(update={"kind": "image-classification"})
    tonight = [replace(learned[0], cluster_id="aa"), copy, other_one]
    assert learned_rows.almost_alike(picture, tonight[1:], learned, tonight) == {"aa"}


def test_of_near_copies_of_a_night_one_is_evidence_and_an_audit_first() -> None:
    copies = [example(f"e{n}", ORDER.replace("4711", f"47{n}")) for n in range(10, 15)]
    drawn = example("f", ORDER, source="drawn")
    sources = {"drawn-f": "audit"}
    assert learned_rows.one_of_each(ALIKE, copies, {}) == [copies[0]]
    assert learned_rows.one_of_each(ALIKE, [*copies, drawn], sources) == [drawn]


def labels_of(home: Home, case: UseCase, *rows: dict[str, object]) -> dict[str, str | None]:
    """Text → label of what is fresh of rows that came after a trial began."""
    with open_store(home.warehouse) as store:
        one = go_on_trial(store, case.name, case.gate, as_of=AT - timedelta(days=1))
    drop(home, "rows.jsonl", json_lines(*rows))
    ingest_inbox(case, home, at=AT)
    snapshot = curate_snapshot.fn(case, home, at=AT)
    return {e.text: e.label for e in fresh_examples(case, home, snapshot, one, AT)}


@pytest.mark.parametrize("reacted", ["card", "cash"])
def test_an_audit_counts_whatever_customers_said_of_the_text(home: Home, reacted: str) -> None:
    drawn = other(1, text=ORDER, source="audit", value="card", rater_id="ann")
    said = other(2, text=ORDER, source="app", value=reacted)
    found = labels_of(home, ALIKE, drawn, said, other(3, text="another thing altogether"))
    assert found[ORDER] == "card"


WRITTEN = ALIKE.model_copy(
    update={
        "kind": "text-generation",
        "labels": {},
        # as `init` proposes it
        "curation": ALIKE.curation.model_copy(
            update={"gold_sources": ["desk", "audit"], "train_on_gold": True}
        ),
    }
)


@pytest.mark.parametrize(
    ("kind", "value"), [("accept", None), ("correct", "He asks."), ("reject", None)]
)
def test_a_reference_written_for_an_audit_counts_whatever_became_of_the_answer(
    home: Home, kind: str, value: str | None
) -> None:
    text, edited = f"{ORDER} soon", "somebody asks where the parcel of last week is"
    with open_store(home.warehouse) as store:
        for name, asked in (("p-1", text), ("p-2", edited)):
            answered = replace(predicted(name, "c-1", asked), label="He asks.", probabilities={})
            store.add_predictions(WRITTEN.name, [answered])
    drawn = other(1, text=text, source="audit", value="He asks.", rater_id="ann")
    said = other(2, text=None, prediction_id="p-1", kind=kind, value=value, source="app")
    own_edit = other(3, text=None, prediction_id="p-2", kind="correct", value="Who?", source="desk")
    assert labels_of(home, WRITTEN, drawn, said, own_edit) == {text: "He asks."}


def test_what_training_has_no_place_for_is_evidence(home: Home) -> None:
    case = ALIKE.model_copy(
        update={
            "curation": ALIKE.curation.model_copy(update={"max_examples": 4}),
            "gate": ALIKE.gate.model_copy(update={"evidence_sources": ["app"]}),
        }
    )
    words = [
        "river",
        "glass",
        "window",
        "tiger",
        "paper",
        "silver",
        "garden",
        "engine",
        "pillow",
        "basket",
    ]
    rows = [
        other(
            n, text=f"{word} {word}s and {words[n - 1]} beside {word}", source="app", value="card"
        )
        for n, word in enumerate(words)
    ]
    assert len(labels_of(home, case, *rows)) == len(rows)


def test_what_the_champion_learned_is_not_fresh_where_its_snapshot_is_gone(home: Home) -> None:
    case = ALIKE.model_copy(
        update={"gate": ALIKE.gate.model_copy(update={"evidence_sources": ["app"]})}
    )
    with open_store(home.warehouse) as store:
        one = go_on_trial(store, case.name, case.gate, as_of=AT - timedelta(days=1))
    drop(home, "rows.jsonl", json_lines(other(1, text=ORDER, source="app")))
    ingest_inbox(case, home, at=AT)
    snapshot = curate_snapshot.fn(case, home, at=AT)
    assert fresh_examples(case, home, snapshot, one, AT)
    learned = trials.Standing(**{**vars(one), "snapshot_id": snapshot.snapshot_id})
    assert fresh_examples(case, home, snapshot, learned, AT) == []
    for file in (home.snapshots / snapshot.snapshot_id).rglob("*.parquet"):
        file.write_bytes(b"damaged")
    empty = Snapshot(snapshot.snapshot_id, 0, 0, 0)
    assert fresh_examples(case, home, empty, learned, AT) == []


def test_holdout_rows_that_the_champion_learned_from_do_not_count(home: Home) -> None:
    """Customers reacted first; then the company's own people labeled texts almost alike."""
    case = ALIKE.model_copy(update={"split": JOB.split})
    drop(home, "a.jsonl", json_lines(other(4, text=ORDER, source="app", group_id="group-4")))
    ingest_inbox(case, home, at=AT)
    first = curate_snapshot.fn(case, home, at=AT)
    client = MlflowClient(home.mlflow_uri)
    client.create_registered_model(case.name)
    tags = {"digest": "d1", "snapshot_id": first.snapshot_id}
    client.create_model_version(case.name, home.adapters.as_uri(), tags=tags)
    desk = {"source": "desk", "group_id": "group-6"}
    copy, new = ORDER.replace("4711", "4712"), "the card was refused at the till"
    drop(home, "b.jsonl", json_lines(other(6, text=copy, **desk), other(9, text=new, **desk)))
    ingest_inbox(case, home, at=AT)
    second = curate_snapshot.fn(case, home, at=AT + timedelta(days=1))
    seen, told = learned_rows.already_learned(case, home, second, ["d1"])
    assert seen == {text_id(copy)}
    assert told is not None
    assert "1 of 2 holdout rows do not count" in told.detail
    assert learned_rows.already_learned(case, home, second, ["unknown"]) == (frozenset(), None)
