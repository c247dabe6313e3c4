"""What a certificate says is so; each test shows one way in which it was not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from flywheel import reports
from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.ingestion.predictions import prediction_row
from flywheel.store import open_store
from flywheel.text.normalize import text_id
from tasks.curate import curate_snapshot
from tasks.erasure.erase import certificate_path, forget, plan
from tasks.ingest import ingest_inbox
from tasks.report import write_page
from tests.erasure_fixtures import (
    AT,
    JOB,
    drop,
    json_lines,
    other,
    places,
    predicted,
    tables,
)

WHO = "customer-0077"
SAID = "the violet heron sings at midnight over the lake"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return Home()


def by(name: str, feedback_id: str, **changes: object) -> dict[str, object]:
    named = {"customer_id": name, "rater_id": name, "group_id": name, "source": "app"}
    return other(0, **{"feedback_id": feedback_id, **named, "text": SAID, **changes})


def take(home: Home, name: str, *rows: dict[str, object]) -> None:
    drop(home, name, json_lines(*rows))
    ingest_inbox(JOB, home, at=AT)


def test_written_references_and_answers_leave_reports_and_adapters(home: Home) -> None:
    reference = "Dear Ms Heron, your parcel waits at the lake"
    answer = "We are sorry about the violet parcel of yours"
    with open_store(home.warehouse) as store:
        answered = vars(predicted("p-1", WHO, SAID)) | {"label": answer}
        store.add_predictions(JOB.name, [predicted("p-1", WHO, SAID).__class__(**answered)])
    desk = other(1, kind="correct", value=reference, text=None, prediction_id="p-1")
    take(home, "a.jsonl", desk, other(2))
    folder = home.adapters / "3"
    folder.mkdir(parents=True)
    (folder / "shots.json").write_text(json.dumps([{"text": "hi", "label": reference}]))
    (folder / "tries.json").write_text(json.dumps({"answers": [answer]}))
    row = {"text": "hi", "label": reference, "champion": answer, "challenger": "no"}
    won = {"where": "fresh rows", "won": [row], "lost": [], "won_count": 1}
    write_page(home, JOB.name, AT, reports.page({"use_case": JOB.name, "changed": won}))
    assert forget(home, WHO, at=AT)["complete"]
    assert places(home, reference) == places(home, answer) == set()


def test_what_others_said_of_an_answer_that_waits_goes_and_stays_away(home: Home) -> None:
    row = prediction_row(predicted("p-waits", WHO, SAID))
    drop(home, "a.predictions.jsonl", json_lines(row))
    said = other(1, kind="correct", value="cash", text=None, prediction_id="p-waits")
    drop(home, "b.jsonl", json_lines(said, other(2)))
    assert forget(home, WHO, at=AT)["complete"]
    drop(home, "again.jsonl", json_lines(said | {"feedback_id": "another"}))
    ingest_inbox(JOB, home, at=AT)
    assert {row[1] for row in tables(home)["feedback"]} == {"other-2"}


def test_texts_leave_few_shot_files_in_the_form_that_is_learned_from(home: Home) -> None:
    text = "please answer to heron@example.org about the violet lake"
    take(home, "a.jsonl", by(WHO, "w-1", text=text), other(2))
    folder = home.adapters / "3"
    folder.mkdir(parents=True)
    shown = text.replace("heron@example.org", "[EMAIL]")
    (folder / "shots.json").write_text(json.dumps([{"text": shown}]))
    assert forget(home, WHO, at=AT)["complete"]
    assert places(home, shown) == set()


def test_a_quote_that_went_does_not_come_back_with_the_next_file(home: Home) -> None:
    take(home, "a.jsonl", by(WHO, "w-1"), other(2))
    quote = other(3, text=f"He said: {SAID}", source="app")
    take(home, "b.jsonl", quote)
    waiting = other(4, text=f"So {SAID}, they say", source="app")
    drop(home, "c.jsonl", json_lines(waiting, other(5)))
    assert forget(home, WHO, at=AT)["complete"]
    again = [{**row, "feedback_id": f"again-{n}"} for n, row in enumerate((quote, waiting))]
    take(home, "d.jsonl", *again, waiting, other(6, text=f"HE SAID:  {SAID}", source="app"))
    assert places(home, SAID) == set()
    assert {row[1] for row in tables(home)["feedback"]} == {"other-2", "other-5"}


def test_files_whose_names_differ_by_the_person_only_are_both_kept(home: Home) -> None:
    names = f"from-{WHO}.jsonl", "from-forgotten.jsonl", f"from-{WHO}.x.jsonl"
    for number, name in enumerate(names):
        drop(home, name, json_lines(other(number), by(WHO, f"w-{number}")))
    done = forget(home, WHO, at=AT)
    left = {path.name: path.read_bytes() for path in home.inbox(JOB.name).iterdir()}
    assert sorted(left.values()) == [json_lines(other(number)) for number in range(3)]
    assert not [name for name in left if WHO in name]
    assert {Path(one["path"]).name for one in done["files"]} == set(left)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("48213", " 48213"),
        ("josé", "jose\u0301"),
        pytest.param("48213 ", "48213", marks=pytest.mark.slow),
        pytest.param("A@x.org", "a@X.org", marks=pytest.mark.slow),
    ],
)
def test_an_id_is_the_same_in_any_spelling_now_and_later(home: Home, given: str, sent: str) -> None:
    take(home, "a.jsonl", by(sent, "w-1"), other(2))
    drop(home, "b.jsonl", json_lines(by(given, "w-2"), other(3)))
    done = forget(home, given, at=AT)
    assert done["complete"]
    assert done["rows_deleted"][JOB.name]["feedback"] == 1
    take(home, "c.jsonl", by(sent, "w-3"), by(given, "w-4"))
    assert {row[1] for row in tables(home)["feedback"]} == {"other-2", "other-3"}
    assert places(home, SAID) == set()


def test_a_short_id_is_searched_for_in_fields_of_ids_and_the_page_says_how(home: Home) -> None:
    take(home, "a.jsonl", by("7", "w-1"), other(2, value="card", text="7 times 7 is not 48"))
    (home.root / "export").mkdir()
    (home.root / "export" / "sheet.csv").write_text("customer_id,n\n8,7\n7,1\n")
    (home.root / "export" / "log.jsonl").write_text('{"user": {"user_id": 7}}\n')
    (home.root / "export" / "other.json").write_text('{"customer_id": "77", "count": 7}')
    done = forget(home, "7", at=AT)
    assert done["searched_afterwards"]["found"] == ["export/log.jsonl", "export/sheet.csv"]
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert "as values of fields and columns that hold ids" in page


def test_no_cluster_is_named_by_a_text_that_is_forgotten(home: Home) -> None:
    case = JOB.model_copy(
        update={"curation": JOB.curation.model_copy(update={"near_duplicates": 0.7})}
    )
    texts = [f"{SAID} and over the hills of our village, {word}" for word in "abcdefgh"]
    first = min(texts, key=text_id)
    rows = [
        by(WHO if text == first else f"customer-{n}", f"f-{n}", text=text, value="card")
        for n, text in enumerate(texts)
    ]
    take(home, "a.jsonl", *rows, *(other(n) for n in range(1, 9)))
    snapshot = curate_snapshot.fn(case, home, at=AT + timedelta(days=1))
    named = {e.cluster_id for e in snapshots.read(home.snapshots, snapshot.snapshot_id)}
    assert text_id(first) in named
    assert forget(home, WHO, at=AT, quotes="keep")["complete"]
    (left,) = home.snapshots.iterdir()
    kept = snapshots.read(home.snapshots, left.name)
    alike = {e.cluster_id for e in kept if e.text in texts}
    assert alike == {min(text_id(text) for text in texts if text != first)}
    assert places(home, text_id(first)) == set()


def test_words_within_longer_words_are_nobodys(home: Home) -> None:
    said = "they never fulfil the order"
    take(home, "a.jsonl", by(WHO, "w-1", text=said), other(2, text=f"{said}ed goods, I mean"))
    assert forget(home, WHO, at=AT)["complete"]
    assert {row[1] for row in tables(home)["feedback"]} == {"other-2"}


def test_all_texts_are_searched_for_however_many(home: Home) -> None:
    rows = [by(WHO, f"w-{n}", text=f"{SAID}, and that {n} times") for n in range(250)]
    take(home, "a.jsonl", *rows, other(2))
    for number in (0, 99, 249):
        (home.root / f"note-{number}.txt").write_text(f"- {SAID}, and that {number} times.")
    done = forget(home, WHO, at=AT)
    assert len(done["searched_afterwards"]["found"]) == 3
    assert not plan(home, WHO).versions


def test_what_somebody_else_said_in_another_use_case_is_not_theirs(home: Home) -> None:
    elsewhere = JOB.model_copy(update={"name": "elsewhere"})
    take(home, "theirs.jsonl", by(WHO, "f-1"))
    home.inbox("elsewhere").mkdir(parents=True)
    (home.inbox("elsewhere") / "a.jsonl").write_text(json.dumps(by("bob", "f-2")) + "\n")
    ingest_inbox(elsewhere, home, at=AT)

    done = forget(home, WHO, at=AT, use_cases=[JOB.name])

    assert done["complete"], done["searched_afterwards"]
    assert [row for row in tables(home)["feedback"] if SAID in row]
