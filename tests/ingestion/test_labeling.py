"""The queue: audits are a uniform draw with its probability, the rest is the most useful, once."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.ingest import ingest
from flywheel.config import Home, UseCase
from flywheel.dataset import splits
from flywheel.errors import DataError
from flywheel.ingestion import labeling_queue
from flywheel.ingestion.labeling_queue import Candidate, rank
from flywheel.reports.console import status, status_lines
from flywheel.store import open_store
from flywheel.store.feedback.audits import QueueLabels, queue_labels
from tasks.ingest import ingest_inbox
from tasks.use_case.labeling import import_labels, make_queue, put_aside
from tests.strategies import prediction

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
VOWELS, CONSONANTS = "aeiou", "bcdfghklmnprstvw"


def candidate(number: int, *, sure: float = 0.5) -> Candidate:
    """A text of made-up words, unlike that of any other number."""
    rng = random.Random(number)
    words = [
        "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in "abc") for _ in "12345678"
    ]
    spread = {"a": (1 + sure) / 2, "b": (1 - sure) / 2}
    return Candidate(" ".join(words), f"g{number}", "a", spread)


def ranked(
    candidates: list[Candidate], size: int = 10, audit_share: float = 0.2, **given: object
) -> list[labeling_queue.Item]:
    usual = {"disputed": set(), "suspects": {}, "learned": [], "seed": "s", **given}
    return rank(candidates, size=size, audit_share=audit_share, **usual)  # type: ignore[arg-type]


@given(
    st.integers(0, 60), st.integers(1, 30), st.sampled_from([0.0, 0.2, 1.0]), st.text(max_size=3)
)
def test_nothing_is_asked_twice_and_audits_carry_their_probability(
    pool: int, size: int, share: float, seed: str
) -> None:
    items = ranked([candidate(n) for n in range(pool)], size, share, seed=seed)
    assert len(items) <= size
    assert len({item.item_id for item in items}) == len(items)
    audits = [item for item in items if item.reason == "audit"]
    assert len(audits) == min(pool, round(size * share))
    for item in items:
        drawn = len(audits) / pool if item.reason == "audit" else None
        assert item.probability == drawn
        assert 0 <= item.score <= 1


def test_the_draw_is_uniform_and_the_same_for_the_same_seed() -> None:
    pool = [candidate(n, sure=n / 20) for n in range(20)]
    drawn: Counter[str] = Counter()
    for seed in range(100):
        audits = [i for i in ranked(pool, 20, 0.25, seed=str(seed)) if i.reason == "audit"]
        drawn.update(item.item_id for item in audits)
    # 100 draws of 5 in 20: 25 each, standard deviation 4.3
    assert all(abs(drawn[one.item_id] - 25) < 22 for one in pool)
    assert ranked(pool, seed="x") == ranked(pool[::-1], seed="x")


def test_audits_are_drawn_from_what_came_since_the_audits_before() -> None:
    """Of older texts most were learned from, so that they are no evidence."""
    pool = [replace(candidate(n), asked_at=AT + timedelta(days=n // 10)) for n in range(40)]
    drawn = [AT + timedelta(days=days, hours=-1) for days in (3, 2)]

    def sources(size: int, draws: list[datetime]) -> tuple[Counter[int], set[float | None]]:
        items = [i for i in ranked(pool, size, 1.0, draws=draws) if i.reason == "audit"]
        days = {one.item_id: n // 10 for n, one in enumerate(pool)}
        return Counter(days[i.item_id] for i in items), {i.probability for i in items}

    assert sources(5, drawn) == ({3: 5}, {0.5})
    days, chances = sources(15, drawn)
    assert set(days) == {2, 3}
    assert days.total() == 15
    assert chances == {0.75}
    assert sources(30, drawn)[1] == {0.75}
    assert sources(30, [])[1] == {0.75}
    of_unknown_time = [replace(one, asked_at=None) for one in pool]
    assert {i.probability for i in ranked(of_unknown_time, 5, 1.0, draws=drawn)} == {5 / 40}


def test_who_floods_since_the_audits_before_has_no_more_than_a_share_of_them() -> None:
    """Over all history they are few."""
    before = [replace(candidate(n), asked_at=AT, customer=f"c{n % 50}") for n in range(1_000)]
    later = AT + timedelta(days=1)
    today = [
        replace(candidate(n), asked_at=later, customer="flood" if n % 4 else f"c{n % 50}")
        for n in range(1_000, 1_400)
    ]
    draws = [AT + timedelta(hours=1)]
    items = ranked([*before, *today], 40, 1.0, share=0.2, draws=draws)
    theirs = {one.item_id for one in today if one.customer == "flood"}
    assert {i.item_id for i in items} <= {one.item_id for one in today}
    assert sum(i.item_id in theirs for i in items) <= 4


def test_what_is_disputed_suspected_or_uncertain_comes_first() -> None:
    pool = [candidate(n, sure=0.99) for n in range(100, 140)]
    unsure, doubted, fought = candidate(7, sure=0.01), candidate(58), candidate(365)
    items = ranked(
        [*pool, unsure, doubted, fought],
        size=3,
        audit_share=0.0,
        disputed={fought.item_id},
        suspects={doubted.item_id: 0.02},
        learned=[candidate(912).text],
    )
    assert [item.reason for item in items] == ["disagreement", "new", "suspect"]
    assert [item.item_id for item in items] == [fought.item_id, unsure.item_id, doubted.item_id]


def test_of_texts_almost_alike_one_is_asked() -> None:
    said = "the battery died after two days and nobody at the shop would take it back"
    pool = [Candidate(f"{said} {n}", f"g{n}", "a", {"a": 0.5, "b": 0.5}) for n in range(10)]
    assert len(ranked(pool, audit_share=0.0)) == 1


def test_a_text_unlike_any_learned_is_worth_more_than_a_familiar_one() -> None:
    known, strange = candidate(1), candidate(999)
    items = ranked([known, strange], audit_share=0.0, learned=[known.text])
    assert [(item.item_id, item.reason) for item in items] == [
        (strange.item_id, "new"),
        (known.item_id, "uncertain"),
    ]


# ---- Out and back


@pytest.fixture
def served(home: Home, use_case: UseCase) -> Home:
    labels = use_case.label_names
    answers = [
        replace(
            prediction(f"p{n}", text=f"{candidate(n).text}, mail ann{n}@example.org"),
            group_id=f"g{n}",
            label=labels[0],
            probabilities={labels[0]: 0.4, labels[1]: 0.35, labels[2]: 0.25},
        )
        for n in range(40)
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(use_case.name, answers)
    return home


def test_a_page_looks_at_the_newest_texts_alone(served: Home, use_case: UseCase) -> None:
    items = make_queue(use_case, served, size=40, audit_share=0.0, at=AT, newest=5)
    assert 0 < len(items) <= 5


def test_the_warehouse_is_free_while_texts_are_compared(
    served: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever labels keeps a night, and a night whoever labels, from the warehouse."""
    free = []

    def looked_at(*given: Any, **named: Any) -> list[labeling_queue.Item]:
        code = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"
        asked = [sys.executable, "-c", code, str(served.warehouse)]
        free.append(subprocess.run(asked, capture_output=True).returncode == 0)
        return rank(*given, **named)

    monkeypatch.setattr(labeling_queue, "rank", looked_at)
    assert make_queue(use_case, served, size=5, audit_share=0.5, at=AT)
    assert free == [True]


@pytest.mark.parametrize("form", ["queue.csv", "excel.csv", "queue.json"])
def test_a_queue_goes_out_and_its_labels_come_back_once(
    served: Home, use_case: UseCase, tmp_path: Path, form: str
) -> None:
    items = make_queue(use_case, served, size=10, audit_share=0.3, at=AT)
    assert Counter(item.reason for item in items) == {"audit": 3, "new": 7}
    chosen = {item.group_id for item in items if item.reason == "new"}
    sides = splits.assign(
        chosen, known={}, salt=use_case.split.salt, holdout=use_case.split.holdout, validation=0.1
    )
    assert "holdout" not in sides.values(), "a label that is no audit could not be held out"
    assert not any("example.org" in item.text for item in items), "texts carry placeholders"
    label = use_case.label_names[1]
    path = tmp_path / form
    if form.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(labeling_queue.as_csv(items))))
        for row in rows[:-1]:
            row["label"] = label
        out = io.StringIO(newline="")
        by, encoding = (";", "utf-16") if form == "excel.csv" else (",", "utf-8")
        writer = csv.DictWriter(out, labeling_queue.COLUMNS, delimiter=by)
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(out.getvalue(), encoding)
    else:
        tasks = json.loads(labeling_queue.as_label_studio(items))
        for task in tasks[:-1]:
            result = [{"type": "choices", "value": {"choices": [label]}}]
            task["annotations"] = [{"id": 1, "result": result}]
        path.write_text(json.dumps(tasks))

    done = import_labels(use_case, served, path, rater="ann", at=AT)
    assert done.line() == (
        "9 labels imported: 3 audits, 6 no audits (chosen, not drawn: 6 new); "
        "1 lines without a label were left out"
    )
    later = import_labels(use_case, served, path, rater="ann", at=AT + timedelta(hours=1))
    assert later.counts() == done.counts()
    meanwhile = make_queue(use_case, served, size=40, audit_share=0.0, at=AT)
    assert {item.item_id for item in meanwhile}.isdisjoint(item.item_id for item in items[:-1])
    assert ingest_inbox(use_case, served, at=AT).ingested == 9
    with open_store(served.warehouse) as store:
        sources = Counter(r.source for r in store.reactions(use_case.name))
        assert queue_labels(store, use_case.name) == QueueLabels(audits=3, undrawn=0, chosen=6)
    assert sources == {"audit": 3, "queue": 6}
    again = make_queue(use_case, served, size=40, audit_share=0.0, at=AT)
    assert {item.item_id for item in again}.isdisjoint(item.item_id for item in items[:-1])


def test_the_probability_of_an_audit_is_kept_as_it_was_first(
    served: Home, use_case: UseCase
) -> None:
    for hours in range(3):
        make_queue(use_case, served, size=40, audit_share=1.0, at=AT + timedelta(hours=hours))
    with open_store(served.warehouse) as store:
        kept = store.rows("SELECT item_id, probability, sampled_at FROM audits", {})
    assert len(kept) == 40
    assert {(probability, at) for _, probability, at in kept} == {(1.0, AT)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,label\na,positive\n", "lacks the columns item_id, reason"),
        ("item_id,text,label,reason\ni,a,great,audit\n", "none of positive, neutral, negative"),
        ("item_id,text,label,reason\ni,a,positive,mine\n", "no line of a queue"),
        ("item_id,text,label,reason\n,a,positive,audit\n", "no line of a queue"),
    ],
)
def test_what_is_no_queue_is_refused_whole(
    home: Home, use_case: UseCase, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "queue.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        import_labels(use_case, home, path, rater="ann", at=AT)
    assert not home.inbox(use_case.name).exists()


def test_wrong_labels_are_quoted_with_their_rows_as_a_spreadsheet_counts(
    home: Home, use_case: UseCase, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    given = ["positive", "", "grand", "negative", *["awful"] * 12]
    rows = [f"i{n},text {n},{label},new" for n, label in enumerate(given)]
    path.write_text("\n".join(["item_id,text,label,reason", *rows]) + "\n")
    with pytest.raises(DataError) as refused:
        import_labels(use_case, home, path, rater="ann", at=AT)
    assert "row 4 'grand', row 6 'awful', row 7 'awful'" in str(refused.value)
    assert "and 3 more" in str(refused.value)


def test_labels_alike_are_taken_as_init_takes_them(
    home: Home, use_case: UseCase, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    head = "item_id,text,label,reason"
    path.write_text(f"{head}\ni,a, Positive\u00a0,audit\nj,b,NEGATIVE,new\n", "utf-8-sig")
    assert import_labels(use_case, home, path, rater="ann", at=AT).counts() == {
        "imported": 2,
        "audits": 1,
        "chosen": {"new": 1},
        "unlabeled": 0,
    }
    (file,) = home.inbox(use_case.name).iterdir()
    values = [json.loads(line)["value"] for line in file.read_text().splitlines()]
    assert values == ["positive", "negative"]


def test_each_annotator_in_label_studio_is_heard_and_several_choices_are_no_label(
    home: Home, use_case: UseCase, tmp_path: Path
) -> None:
    def annotated(by: object, *choices: str) -> dict[str, object]:
        result = [{"type": "choices", "value": {"choices": choices}}]
        return {"id": 1, "completed_by": by, "result": result}

    data = {"item_id": "i", "text": "a", "reason": "new"}
    both = [annotated({"id": 4, "email": "kim@example.org"}, "positive"), annotated(7, "negative")]
    path = tmp_path / "queue.json"
    path.write_text(json.dumps([{"data": data, "annotations": both}]))
    for rater in ("ann", "bob"):
        assert import_labels(use_case, home, path, rater=rater, at=AT).counts()["imported"] == 2
    files = sorted(home.inbox(use_case.name).iterdir())
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    told = sorted((row["rater_id"], row["value"]) for row in rows)
    assert told == [
        ("ann:7", "negative"),
        ("ann:kim@example.org", "positive"),
        ("bob:7", "negative"),
        ("bob:kim@example.org", "positive"),
    ]
    ticked = annotated(7, "positive", "negative")
    path.write_text(json.dumps([{"data": data, "annotations": [ticked]}]))
    with pytest.raises(DataError, match=r"none of positive, .*row 1 'positive, negative'"):
        import_labels(use_case, home, path, rater="ann", at=AT)


def test_an_empty_home_has_an_empty_queue(home: Home, use_case: UseCase) -> None:
    assert make_queue(use_case, home, size=10, audit_share=0.5, at=AT) == []


def test_label_studio_is_told_the_labels() -> None:
    config = labeling_queue.label_studio_config(["a", 'b "&" <c>'])
    assert '<Choice value="a"/>' in config
    assert "&amp;" in config


def test_ingest_and_status_say_how_many_labels_of_a_queue_are_audits(
    served: Home, use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(served.root))
    items = make_queue(use_case, served, size=10, audit_share=0.3, at=AT)
    rows = list(csv.DictReader(io.StringIO(labeling_queue.as_csv(items))))
    for row in rows:
        row["label"] = use_case.label_names[0]
    # a text that was changed on its way is no text that was drawn
    rows[0]["text"] += " sic"
    path = tmp_path / "todo.csv"
    with path.open("w", encoding="utf-16", newline="") as file:
        writer = csv.DictWriter(file, labeling_queue.COLUMNS, delimiter=";")
        writer.writeheader()
        writer.writerows(rows)

    refused = CliRunner().invoke(ingest, ["-u", use_case.name, str(path)])
    assert f"flywheel queue -u {use_case.name} --import {path}" in str(refused.exception)
    import_labels(use_case, served, path, rater="ann", at=AT)
    done = CliRunner().invoke(ingest, ["-u", use_case.name])

    said = "labels from queues: 3 audits, 7 no audits (the queue chose them"
    assert said in done.stderr
    assert "1 of the audits have no draw on record" in done.stderr
    assert said in "\n".join(status_lines(status(use_case, served)))


def test_a_queue_that_a_person_has_filled_in_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "todo.csv"
    assert put_aside(file, at=AT) is None
    empty = "\ufeff" + labeling_queue.as_csv(ranked([candidate(n) for n in range(9)]))
    file.write_text(empty, encoding="utf-8")
    assert put_aside(file, at=AT) is None
    rows = list(csv.DictReader(io.StringIO(empty.lstrip("\ufeff"))))
    rows[2]["label"] = "a"
    with file.open("w", encoding="cp1252", newline="") as out:
        sheet = csv.DictWriter(out, list(rows[0]), delimiter=";")
        sheet.writeheader()
        sheet.writerows(rows)
    told = put_aside(file, at=AT)
    assert told == f"{file} held 1 labels; that file is now todo.before-20260101T023000.csv."
    assert not file.exists()
    assert labeling_queue.filled((tmp_path / "todo.before-20260101T023000.csv").read_text()) == 1


@pytest.mark.parametrize("rater", ["", " ", "-", "null"])
def test_a_rater_without_a_name_is_refused(
    use_case: UseCase, home: Home, tmp_path: Path, rater: str
) -> None:
    (tmp_path / "todo.csv").write_text("item_id,text,label,reason\n1,a,b,audit\n")
    with pytest.raises(DataError, match="names nobody"):
        import_labels(use_case, home, tmp_path / "todo.csv", rater=rater, at=AT)
