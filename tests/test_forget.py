"""A forgotten customer is in no file, table or free page, and no ingest brings them back."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

import tasks.forget
from flows.__main__ import cli
from flywheel import erasure, forgetting, report, snapshots
from flywheel.config import Home, UseCase
from flywheel.errors import DataError, FlywheelError, StoreBusy
from flywheel.exports import record
from flywheel.feedback_files import SUFFIXES
from flywheel.forgetting import Forgotten, name_hash, names_in
from flywheel.personal import redact
from flywheel.quotations import find_quotes, within
from flywheel.records import Curated, Example, Prediction, Snapshot
from flywheel.registry import CHAMPION, Registry
from flywheel.store import contenders, diary, labelling, open_store
from flywheel.store import forgetting as warehouse
from flywheel.summary import status, status_lines
from flywheel.vendors import answers
from flywheel.vendors import lines as vendor_lines
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.forget import certificate_path, forget, plan
from tasks.ingest import ingest_inbox
from tasks.lock import only_night
from tasks.report import ARTIFACT_FOLDER, ARTIFACT_NAME, write_page
from tests.strategies import LABELS, row

AT = datetime(2026, 1, 3, tzinfo=UTC)
WHO = "customer-0017"
CANARY = "violet heron sings at midnight"
MARKED = f'{CANARY} & it\'s <so>,\n"indeed"'
ASKED = f"asked: {CANARY}, by heron@example.org"
SHARED = "two people wrote these very same words to us"
OTHERS = 24

JOB = UseCase.model_validate(
    {
        "name": "job",
        "kind": "text-classification",
        "description": "a job",
        "labels": {label: f"about {label}" for label in LABELS},
        "prompt": "{text}",
        "split": {"salt": "salt", "exam": 0.4},
        "curation": {"gold_sources": ["desk"], "near_duplicates": 1.0, "poison": False},
        "training": {"base": "tiny", "min_examples": 1, "min_per_class": 0},
        "gate": {"min_accuracy": 0.5, "min_exam_examples": 1},
    }
)

# ---- A home in which somebody is everywhere


def theirs(number: int, **changes: Any) -> dict[str, Any]:
    text = f"Once more, number {number}: the {CANARY} over the lake"
    named = {"feedback_id": f"theirs-{number}", "customer_id": WHO, "rater_id": WHO}
    return row(**{**named, "text": text, "source": "app", **changes})


def other(number: int, **changes: Any) -> dict[str, Any]:
    named = {
        "feedback_id": f"other-{number}",
        "customer_id": f"customer-1{number:03}",
        "rater_id": f"rater-{number}",
        "group_id": f"group-{number}",
        "value": LABELS[number % 2],
        "source": "desk" if number % 3 == 0 else "app",
    }
    return row(**{**named, "text": f"plain words of somebody else, no. {number}", **changes})


def predicted(name: str, customer: str, text: str) -> Prediction:
    return Prediction(
        prediction_id=name,
        text=text,
        group_id=customer,
        customer_id=customer,
        label="card",
        probabilities={"card": 0.7, "cash": 0.2, "other": 0.1},
        model_version="1",
        digest="d1",
        predicted_at=AT,
    )


def json_lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


def comma_separated(*rows: dict[str, Any]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({name for one in rows for name in one}))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def drop(home: Home, name: str, content: bytes) -> None:
    inbox = home.inbox(JOB.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_bytes(content)


def files_of_first_day() -> dict[str, bytes]:
    broken = json.dumps(theirs(7)).encode()[:-20] + b"\n"
    quote = f'He told me: "{theirs(1)["text"]}", and I agree'
    return {
        "a.jsonl": json_lines(theirs(1), *(other(n) for n in range(8)), theirs(2)),
        "b.csv": comma_separated(theirs(3, text=MARKED), *map(other, range(8, 12))),
        "c.jsonl.gz": gzip.compress(json_lines(*map(other, range(12, 16)), theirs(4))),
        "d.parquet": parquet(theirs(5), *map(other, range(16, 20))),
        "e.csv.gz": gzip.compress(comma_separated(theirs(6))),
        "f.jsonl": json_lines(other(20), theirs(8, value="nonsense")) + broken,
        "g.jsonl": json_lines(other(21, text=quote), theirs(9, text=SHARED)),
        f"from-{WHO}.jsonl": json_lines(
            other(22, text=SHARED),
            theirs(10, kind="comment", value=f"I said so, {CANARY}"),
            other(23, text=None, prediction_id="p-theirs", kind="accept", value=None),
        ),
    }


def report_page() -> str:
    """A night's page that quotes the person, names them, and quotes others."""
    said = [theirs(1)["text"], MARKED, other(1)["text"]]
    rows = [{"text": t, "label": "card", "champion": "cash", "challenger": "card"} for t in said]
    return report.page(
        {
            "use_case": JOB.name,
            "reasons": [{"rule": "leave_one_out", "passed": True, "detail": f"without {WHO}"}],
            "changed": {"where": "fresh rows", "won": rows, "lost": [], "won_count": 3},
            "data": {"steps": [{"rule": "limits", "on": True, "example": "theirs-2"}]},
            "queue": [
                {"reason": "unsure", "score": 0.5, "text": theirs(2)["text"].upper()},
                {"reason": "unsure", "score": 0.5, "text": redact(ASKED).text},
            ],
        }
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two nights, two versions, the second champion; and a file that still waits."""
    home = Home(tmp_path_factory.mktemp("forget") / "home")
    home.root.mkdir()
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name,
            [
                predicted("p-theirs", WHO, ASKED),
                predicted("p-other", "customer-1001", "asked by another"),
            ],
        )
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    ingest_inbox(JOB, home, at=AT)
    first = curate_snapshot.fn(JOB, home, at=AT)
    drop(home, "h.jsonl", json_lines(theirs(11), other(40), other(41)))
    ingest_inbox(JOB, home, at=AT)
    second = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=1))
    assert first != second
    # not home.mlflow_uri, which follows what an earlier test left in the environment
    client = MlflowClient(f"sqlite:///{home.root / 'mlflow.db'}")
    client.create_registered_model(JOB.name)
    with open_store(home.warehouse) as store:
        for number, snapshot in enumerate((first, second), start=1):
            digest = f"d{number}"
            exam = [e for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
            contenders.add(
                store, JOB.name, digest, {e.example_id: {"card": 1.0} for e in exam}, 1.0
            )
            folder = home.mlflow_artifacts / JOB.name / str(number) / "adapter"
            folder.mkdir(parents=True)
            (folder / "adapter_model.safetensors").write_bytes(b"weights")
            tags = {"digest": digest, "snapshot_id": snapshot.snapshot_id}
            client.create_model_version(JOB.name, folder.as_uri(), tags=tags)
            diary.record(
                store,
                JOB.name,
                AT + timedelta(days=number),
                "promoted",
                [],
                {"version": str(number)},
                snapshot.snapshot_id,
                digest,
                AT,
            )
    client.set_registered_model_alias(JOB.name, CHAMPION, "2")
    note = home.mlflow_artifacts / JOB.name / "2" / "worst.json"
    note.write_text(json.dumps({"text": theirs(2)["text"]}))
    html = report_page()
    write_page(home, JOB.name, AT, html)
    (home.reports(JOB.name) / "20260101T0000Z.html.open").write_text(html[: len(html) // 2])
    artifact = home.mlflow_artifacts / "3" / "run" / "artifacts" / ARTIFACT_FOLDER / ARTIFACT_NAME
    artifact.parent.mkdir(parents=True)
    artifact.write_text(html)
    write_page(home, JOB.name, AT + timedelta(days=1), report.page({"use_case": JOB.name}))
    uncommitted = Example("1", theirs(1)["text"], "card", 1.0, WHO, "train", ("theirs-1",))
    snapshots.write(Curated((uncommitted,), ()), home.snapshots)
    drop(home, "waits.jsonl", json_lines(theirs(12), other(42)))
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    shutil.copytree(template.root, tmp_path / "home")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return Home()


@pytest.fixture(autouse=True)
def without_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def hashes(home: Home) -> dict[str, str]:
    return {
        str(path.relative_to(home.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.root.rglob("*"))
        if path.is_file()
    }


def everything(home: Home) -> Iterator[tuple[str, bytes]]:
    """Every file as it lies there and unpacked, every table, and every name."""
    for path in sorted(home.root.rglob("*")):
        name = str(path.relative_to(home.root))
        yield "names", name.encode()
        if path.is_file():
            yield name, path.read_bytes()
            if path.suffix in (".gz", ".zst"):
                yield name, _unpacked(path)
            if path.suffix == ".parquet":
                yield name, str(pq.read_table(path).to_pylist()).encode()
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield f"table {table}", str(con.execute(f'FROM "{table}"').fetchall()).encode()


def places(home: Home, text: str) -> set[str]:
    return {name for name, content in everything(home) if text.encode() in content}


def tables(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """Every table but what a certificate is named by."""
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        names = [
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        return {name: sorted(con.execute(f'FROM "{name}"').fetchall(), key=repr) for name in names}


# ---- The whole of it


def test_the_dry_run_lists_every_place_and_changes_nothing(home: Home) -> None:
    before = hashes(home)
    found = plan(home, WHO)
    assert hashes(home) == before
    counts = found.rows[JOB.name]
    assert {name for name, count in counts.items() if not count} <= {"drops", "evidence"}
    assert counts["predictions"] == 1
    # 8 and 7 are in quarantine; others: a reaction to an answer given to them, and a quote
    assert counts["feedback"] == 9 + 2
    assert counts["quarantine"] == 2
    assert found.quotes[JOB.name] == 1
    assert {Path(file.path).name.partition("-")[2] or file.path for file in found.files} == {
        "a.jsonl", "b.csv", "c.jsonl.gz", "d.parquet", "e.csv.gz", "f.jsonl", "g.jsonl", "h.jsonl",
        "from-forgotten.jsonl", "inbox/job/waits.jsonl",
    }  # fmt: skip
    assert [one.version for one in found.versions] == ["1", "2"]
    assert len(found.snapshots) == 2
    assert any(place.endswith("worst.json") for place in found.artifacts)
    assert any(place.startswith("snapshots/") for place in found.artifacts)
    assert found.pages == (
        "mlflow-artifacts/3/run/artifacts/report/night.html",
        "reports/job/20260103T0000Z.html",
    )
    assert not [place for place in found.artifacts if place.endswith(".html")]


def test_nothing_of_the_person_is_left_anywhere(home: Home) -> None:
    assert len(places(home, CANARY)) > 10
    assert len(places(home, WHO)) > 10
    done = forget(home, WHO, at=AT)
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()
    assert done["searched_afterwards"]["found"] == []
    assert done["searched_afterwards"]["texts"] > 5
    assert done["searched_afterwards"]["files"] > 10


def test_a_report_stays_without_what_the_person_said(home: Home) -> None:
    untouched = home.reports(JOB.name) / "20260104T0000Z.html"
    before = untouched.read_bytes()
    escaped = "violet heron sings at midnight &amp; it&#39;s &lt;so&gt;,\n&#34;indeed&#34;"
    assert places(home, escaped) >= set(plan(home, WHO).pages)
    done = forget(home, WHO, at=AT)
    assert places(home, escaped) == places(home, "theirs-2") == set()
    assert places(home, theirs(2)["text"].upper()) == set()
    for place in done["reports_rewritten"]:
        html = (home.root / place).read_text()
        assert html.count("[forgotten]") == 6
        assert other(1)["text"] in html
    assert len(done["reports_rewritten"]) == 2
    assert untouched.read_bytes() == before
    assert not [*home.root.rglob("*.html.open")]
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert "- reports/job/20260103T0000Z.html" in page


def test_a_person_only_a_report_quotes_is_not_nowhere(home: Home) -> None:
    write_page(home, JOB.name, AT, report.page({"description": "for customer-77 alone"}))
    found = plan(home, "customer-77")
    assert not found.is_empty
    assert "report reports/job/20260103T0000Z.html: what they said is taken out of it" in (
        forgetting.plan_lines(found)
    )


def test_answers_bought_for_the_person_go_and_what_they_cost_stays(home: Home) -> None:
    with open_store(home.warehouse, read_only=True) as store:
        newest = labelling.newest_snapshot(store, JOB.name)
    assert newest is not None
    examples = snapshots.read(home.snapshots, newest)
    folder = home.vendors(JOB.name)
    folder.mkdir(parents=True)
    for example in examples:
        vendor_lines.append(answers.path(folder, "acme"), {"text_id": example.example_id})
        vendor_lines.append(answers.spent_path(folder, "acme"), {"price": 1.0})
    gone = {e.example_id for e in examples if e.group_id == WHO or CANARY in e.text}
    assert gone

    planned = plan(home, WHO)
    forget(home, WHO, at=AT)

    (file,) = [one for one in planned.files if one.path == "vendors/job/acme.jsonl"]
    assert (file.rows, file.others) == (len(gone), len(examples) - len(gone))
    kept = {line["text_id"] for line in vendor_lines.read(answers.path(folder, "acme"))}
    assert kept == {e.example_id for e in examples} - gone
    assert len(vendor_lines.read(answers.spent_path(folder, "acme"))) == len(examples)


def test_a_cell_of_a_benchmark_that_was_killed_goes(home: Home) -> None:
    cell = home.bench("small") / ".tmp-cell"
    cell.mkdir(parents=True)
    (cell / "examples.parquet").write_bytes(b"packed")
    (home.bench("small") / "done.json").write_text("{}")
    forget(home, WHO, at=AT)
    assert [path.name for path in home.bench("small").iterdir()] == ["done.json"]


def test_nobody_is_forgotten_while_a_vendor_is_asked(home: Home) -> None:
    with vendor_lines.only_writer(home.vendors(JOB.name)), pytest.raises(StoreBusy):
        forget(home, WHO, at=AT)


def test_everybody_else_keeps_what_is_theirs(home: Home) -> None:
    before = tables(home)["feedback"]
    forget(home, WHO, at=AT)
    after = tables(home)["feedback"]
    gone = {one[1] for one in before} - {one[1] for one in after}
    assert gone == {f"theirs-{n}" for n in (1, 2, 3, 4, 5, 6, 9, 10, 11)} | {"other-21", "other-23"}
    assert [one for one in before if one[1] not in gone] == after
    with open_store(home.warehouse) as store:
        kept = {r.feedback_id: r.text for r in store.reactions(JOB.name)}
    assert kept["other-22"] == SHARED
    names = {row[1] for row in tables(home)["predictions"]}
    assert names == {"p-other"}
    waiting = (home.inbox(JOB.name) / "waits.jsonl").read_bytes()
    assert waiting == json_lines(other(42))


def test_snapshots_are_whole_and_without_the_person(home: Home) -> None:
    before = {row[1]: row for row in tables(home)["snapshots"]}
    done = forget(home, WHO, at=AT)
    after = {row[1]: row for row in tables(home)["snapshots"]}
    assert before.keys().isdisjoint(after)
    assert {p.name for p in home.snapshots.iterdir()} == set(after)
    for name, (_, _, _, *sizes) in after.items():
        examples = snapshots.read(home.snapshots, name)
        rows = [row for row in tables(home)["snapshot_rows"] if row[1] == name]
        assert {e.example_id for e in examples} == {row[2] for row in rows}
        assert sum(sizes) == len(examples) > 3
        assert not [e for e in examples for f in e.feedback_ids if f.startswith("theirs-")]
    assert {one["snapshot_id_before"] for one in done["snapshots"]} == set(before)
    assert {one["snapshot_id_after"] for one in done["snapshots"]} == set(after)


def test_versions_are_marked_and_status_says_so(home: Home) -> None:
    done = forget(home, WHO, at=AT)
    marks = {one.version: one.tags for one in Registry(home).versions(JOB.name)}
    assert {tags["forgotten_data"] for tags in marks.values()} == {"true"}
    assert {tags["certificate_id"] for tags in marks.values()} == {done["certificate_id"]}
    said = "\n".join(status_lines(status(JOB, home)))
    assert f"certificate {done['certificate_id']}" in said
    assert any("champion" in one for one in done["not_undone"])


def test_the_certificate_names_where_versions_were_exported_to(home: Home) -> None:
    place = Path("/elsewhere/reviews")
    theirs_too = Path(f"/elsewhere/{WHO}")
    tags = {
        record.key(to): record.value(to, form="adapter", at=AT.isoformat())
        for to in (place, theirs_too)
    }
    Registry(home).tag(JOB.name, "2", tags)
    shown = "\n".join(forgetting.plan_lines(plan(home, WHO)))
    assert f"exported: adapter in {place} since 2026-01-03; it stays there" in shown
    done = forget(home, WHO, at=AT)
    said = "\n".join(done["not_undone"])
    assert f"job version 2 was exported as adapter in {place} since 2026-01-03" in said
    assert "adapter in /elsewhere/forgotten" in said, "the person's own name is not told"
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert str(place) in page
    for text in (said, page, shown):
        assert WHO not in text
    exported = {one["version"]: len(one["exports"]) for one in done["versions_marked"]}
    assert exported == {"1": 0, "2": 2}


def test_the_next_night_trains_without_the_person(home: Home) -> None:
    assert reason_to_skip(JOB, home, Snapshot(tables(home)["nights"][1][5], 100, 0, 0)) is not None
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    assert reason_to_skip(JOB, home, snapshot) is None
    texts = [e.text for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
    assert SHARED in texts
    assert not [text for text in texts if CANARY in text]


def test_a_snapshot_judged_before_is_trained_on_again_until_that_night_lands(home: Home) -> None:
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT)
    night = [JOB.name, AT + timedelta(days=5), "rejected", [], {}, snapshot.snapshot_id]
    with open_store(home.warehouse) as store:
        diary.record(store, *night, None, AT)
        assert diary.retrain_wanted(store, JOB.name)
        diary.record(store, *night, "d5", AT)
        assert not diary.retrain_wanted(store, JOB.name)
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is not None
    with open_store(home.warehouse) as store:
        warehouse.delete_rows(store, [], WHO, retrain=[JOB.name], certificate_id="another")
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is None


def test_the_certificate_names_nobody_and_says_what_changed(home: Home) -> None:
    before = hashes(home)
    done = forget(home, WHO, at=AT)
    page = certificate_path(home, done["certificate_id"])
    content = json.loads(page.with_suffix(".json").read_text())
    assert content == done
    for said in (page.read_text(), json.dumps(content), page.name):
        assert WHO not in said
        assert CANARY not in said
    assert f"`{done['person_hash']}`" in page.read_text()
    after = hashes(home)
    for file in done["files"]:
        assert file["sha256_before"] in before.values()
        assert file["sha256_after"] == after.get(file["path"])
    deleted = [file["path"] for file in done["files"] if file["sha256_after"] is None]
    # in no order: files are named by their hash, and a packed one holds the time it was packed
    assert {Path(path).name.partition("-")[2] for path in deleted} == {"g.jsonl", "e.csv.gz"}
    assert done["warehouse"]["sha256_before"] == before["warehouse.duckdb"]
    assert done["warehouse"]["sha256_after"] == after["warehouse.duckdb"]
    assert done["exam_changed"] == any(one["exam_removed"] for one in done["snapshots"])


STEPS = (
    "_open_journal", "_remember", "_rewrite_pages", "_erase_files", "_rewrite_snapshots",
    "_mark_versions", "_delete_artifacts", "_delete_rows", "_rewrite_warehouse", "_search",
    "_certify",
)  # fmt: skip


class PowerCut(BaseException):
    """What no code handles."""


@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.slow), "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_run_finishes(
    step: str, when: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Any] = getattr(tasks.forget, step)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            whole(*args, **kwargs)
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(tasks.forget, step, deadly)
        with pytest.raises(PowerCut):
            forget(home, WHO, at=AT)
    done = forget(home, WHO, at=AT + timedelta(hours=1))
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()
    assert done["searched_afterwards"]["found"] == []
    assert done["rows_deleted"][JOB.name]["feedback"] == 11
    assert [one["version"] for one in done["versions_marked"]] == ["1", "2"]
    assert len(done["snapshots"]) == 2
    assert all(one["snapshot_id_after"] for one in done["snapshots"])
    assert not [*home.forget.glob("*.journal")]
    assert len([*home.forget.glob("*.md")]) == 1
    with open_store(home.warehouse) as store:
        assert diary.retrain_wanted(store, JOB.name)
    marks = [one.tags for one in Registry(home).versions(JOB.name)]
    assert {tags["certificate_id"] for tags in marks} == {done["certificate_id"]}


@pytest.mark.parametrize("statement", range(8))
def test_killed_between_two_deletions_nothing_is_half_done(
    statement: int, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        broken = (*warehouse._DELETE[:statement], "SELECT error('cut')")
        patched.setattr(warehouse, "_DELETE", broken)
        with pytest.raises(duckdb.Error):
            forget(home, WHO, at=AT)
    assert "table feedback" in places(home, WHO)
    assert forget(home, WHO, at=AT)["complete"]
    assert places(home, CANARY) == set()


# ---- Not brought back


def test_the_same_files_do_not_bring_the_person_back(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    before = tables(home)["feedback"]
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    counts = ingest_inbox(JOB, home, at=AT)
    assert counts.ingested == 0
    assert tables(home)["feedback"] == before
    assert places(home, CANARY) == set()
    assert places(home, WHO) == {"names"}, "the name of a file that somebody else chose"


def test_a_changed_file_does_not_bring_the_person_back_and_every_row_is_counted(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    quote = f'He told me: "{theirs(1)["text"]}", and I agree'
    rows = [
        theirs(1, given_at="2026-01-05T00:00:00Z"),
        theirs(50),
        theirs(51, customer_id=None),
        theirs(52, rater_id="clerk"),
        theirs(53, value="nonsense"),
        other(21, text=quote),
        other(54, text=f"{CANARY}", prediction_id="p-theirs"),
        other(55),
    ]
    drop(home, "again.jsonl", json_lines(*rows) + json.dumps(theirs(56)).encode()[:-9] + b"\n")
    counts = ingest_inbox(JOB, home, at=AT)
    assert (counts.read, counts.ingested, counts.quarantined) == (9, 1, 8)
    assert counts.read == (counts.ingested + counts.duplicate + counts.quarantined + counts.parked)
    refused = [row for row in tables(home)["quarantine"] if row[1] == "again.jsonl"]
    assert {(row[4], row[5]) for row in refused} == {("forgotten", "")}
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()


def test_an_answer_to_the_person_is_not_kept(home: Home) -> None:
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name, [predicted("p3", WHO, CANARY), predicted("p4", "customer-9", "hello")]
        )
    assert places(home, CANARY) == set()
    assert {row[1] for row in tables(home)["predictions"]} == {"p-other", "p4"}


def test_a_use_case_that_comes_later_forgets_too_unless_one_was_named(home: Home) -> None:
    forget(home, WHO, at=AT, use_cases=[JOB.name])
    with open_store(home.warehouse) as store:
        assert not store.forgotten("later").knows("person", WHO)
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        assert store.forgotten("later").knows("person", WHO)
        assert not store.forgotten("later").knows("person", "customer-1001")


def test_without_the_key_nothing_is_taken_in(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.forget / "key").unlink()
    with pytest.raises(DataError, match="the key that recognises"):
        ingest_inbox(JOB, home, at=AT)


# ---- Who must wait, and what was not there


def test_a_running_night_is_not_disturbed(home: Home) -> None:
    with only_night(home, JOB.name):
        before = hashes(home)
        with pytest.raises(StoreBusy):
            forget(home, WHO, at=AT)
        assert hashes(home) == before


def test_somebody_unknown_leaves_no_trace_in_the_plan(home: Home) -> None:
    assert plan(home, "nobody-here").is_empty
    done = forget(home, "nobody-here", at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert done["versions_marked"] == []
    with open_store(home.warehouse) as store:
        assert not diary.retrain_wanted(store, JOB.name)


def test_an_empty_home_has_nothing_to_forget(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert plan(home, WHO).is_empty
    assert [*tmp_path.iterdir()] == []


def test_a_blank_name_is_refused(home: Home) -> None:
    with pytest.raises(FlywheelError, match="blank"):
        plan(home, "  ")


def test_two_people_one_after_the_other(home: Home) -> None:
    forget(home, WHO, at=AT)
    first = tables(home)["rewrites"]
    forget(home, "customer-1001", at=AT + timedelta(hours=1))
    rewritten = {row[1]: row[2] for row in tables(home)["rewrites"]}
    left = {row[1] for row in tables(home)["snapshots"]}
    # what versions learned from leads to what is left of it, however often it was rewritten
    assert {rewritten[row[1]] for row in first} <= left
    assert places(home, "customer-1001") == set()
    assert len([*home.forget.glob("*.md")]) == 2


def test_near_duplicates_of_others_are_shown_and_go_only_when_asked(home: Home) -> None:
    near = theirs(1)["text"].replace("lake", "sea")
    drop(home, "near.jsonl", json_lines(other(60, text=near)))
    ingest_inbox(JOB, home, at=AT)
    (closest,) = _alike(home)
    assert closest == "other-60"
    assert forget(home, WHO, at=AT, alike=True)["near_duplicates_by_others_kept"] == {JOB.name: 0}
    assert "other-60" not in {row[1] for row in tables(home)["feedback"]}


def _alike(home: Home) -> tuple[str, ...]:
    return plan(home, WHO).alike[JOB.name]


# ---- The command


def test_the_command_shows_first_and_does_it_with_yes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri)
    before = hashes(home)
    shown = CliRunner().invoke(cli, ["forget", WHO])
    assert shown.exit_code == 0
    assert "Add --yes to do it" in shown.stdout
    assert CANARY not in shown.output
    assert hashes(home) == before
    done = CliRunner().invoke(cli, ["forget", WHO, "-u", JOB.name, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert Path(content["path"]).is_file()
    assert places(home, CANARY) == set()


def test_what_cannot_be_deleted_is_said_and_fails(home: Home) -> None:
    (home.inbox(JOB.name) / "notes.txt").write_text(f"call {WHO} back: {theirs(1)['text']}")
    done = CliRunner().invoke(cli, ["forget", WHO, "--yes"])
    assert done.exit_code == 1
    (page,) = home.forget.glob("*.md")
    assert "still found in inbox/job/notes.txt" in page.read_text()


# ---- Its parts


def test_every_table_is_known_to_hold_people_or_not(tmp_path: Path) -> None:
    with open_store(tmp_path / "w.duckdb") as store:
        names = store.con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert sorted(warehouse.HOLDING + warehouse.HARMLESS) == sorted(name for (name,) in names)


def test_deleted_bytes_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    with open_store(path) as store:
        store.add_predictions("u", [predicted(f"p{n}", WHO, f"{CANARY} {n}") for n in range(9)])
        store.add_predictions("u", [predicted("kept", "x", "kept words")])
    assert CANARY.encode() in path.read_bytes()
    with open_store(path) as store:
        store.con.execute("DELETE FROM predictions WHERE customer_id = ?", [WHO])
        warehouse.rewrite_file(store)
    assert CANARY.encode() not in path.read_bytes()
    assert b"kept words" in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with open_store(path) as store:
        store.add_predictions("u", [predicted("kept", "x", "kept words")])
        assert store.rows("SELECT count(*) FROM predictions", {}) == [(1,)]


named = st.sampled_from([WHO, "a", "b"])
bodies = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(deadline=None)
@given(st.lists(st.tuples(named, bodies), max_size=8), st.sampled_from(SUFFIXES))
def test_rows_of_others_stay_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    content = [{"customer_id": who, "text": f"x{text}"} for who, text in rows]
    written, wanted = folder / f"all{suffix}", folder / f"kept{suffix}"
    kept = [one for one in content if one["customer_id"] != WHO]
    for path, some in ((written, content), (wanted, kept)):
        path.write_bytes(_packed(suffix, some))
    gone = erasure.erase_rows(written, lambda fields, raw: (fields or {})["customer_id"] == WHO)
    assert gone == len(content) - len(kept)
    if gone and not kept:
        assert not written.exists()
    elif ".parquet" in suffix:
        one, other = (pq.read_table(io.BytesIO(_unpacked(path))) for path in (written, wanted))
        assert one.equals(other)
    else:
        assert _unpacked(written) == _unpacked(wanted)


def _packed(suffix: str, rows: list[dict[str, Any]]) -> bytes:
    if ".parquet" in suffix:
        schema = pa.schema([("customer_id", pa.string()), ("text", pa.string())])
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
        return _pack(suffix, out.getvalue())
    head = [{"customer_id": "customer_id", "text": "text"}]
    if "csv" in suffix:
        out_text = io.StringIO(newline="")
        csv.writer(out_text).writerows([*one.values()] for one in [*head, *rows])
        plain = out_text.getvalue().encode()
    else:
        plain = json_lines(*rows)
    return _pack(suffix, plain)


def _pack(suffix: str, plain: bytes) -> bytes:
    if suffix.endswith(".zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            packed.write(plain)
        return bytes(sink.getvalue().to_pybytes())
    return gzip.compress(plain) if suffix.endswith(".gz") else plain


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".zst":
        return bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())
    return gzip.decompress(content) if path.suffix == ".gz" else content


def test_a_broken_file_keeps_the_rows_before_the_break(tmp_path: Path) -> None:
    rows = [
        {"customer_id": f"{n % 3}", "text": name_hash(b"", "person", f"{n}")} for n in range(999)
    ]
    whole = gzip.compress(json_lines(*rows))
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    gone = erasure.erase_rows(file, lambda fields, raw: (fields or {}).get("customer_id") == "1")
    left = gzip.decompress(file.read_bytes()).splitlines()
    assert gone > 100
    others = [row for row in rows if row["customer_id"] != "1"]
    assert [json.loads(line) for line in left[:-1]] == others[: len(left) - 1]


def test_a_failing_disk_does_not_cut_a_file_short(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"{}"
        raise OSError(errno.EIO, "the disk failed")

    with pytest.raises(OSError, match="the disk failed"):
        list(erasure._until_broken(failing()))  # type: ignore[arg-type]


def test_a_quote_holds_a_whole_text_and_more() -> None:
    said = "The  Heron sings at midnight over the lake"
    texts = [
        "he wrote: the heron SINGS at midnight over the lake!",
        "the heron sings at midnight over the lake",
        "the heron sings at midnight",
        "something else altogether, but of some length",
    ]
    assert find_quotes(texts, [said, "too short"]) == [0]
    assert find_quotes(texts, ["too short"]) == []
    # cut out of longer words it is no quote
    numbered = "the heron sings at midnight, number 1"
    assert find_quotes([f"{numbered}2", f"{numbered}.", f"a{numbered}."], [numbered]) == [1]


@given(st.lists(st.text("ab ", min_size=3, max_size=5), max_size=60), st.text("ab ", max_size=30))
def test_many_texts_are_found_as_few_are(wanted: list[str], text: str) -> None:
    one_by_one = {one for one in wanted if within([one])(text)}
    assert within(set(wanted))(text) == one_by_one


@given(bodies.filter(str.strip))
def test_a_name_is_found_in_a_row_however_it_is_written(name: str) -> None:
    assert name in names_in(json.dumps({"customer_id": name}))
    assert name in names_in(json.dumps({"deep": [{"who": name}]}))
    assert name in names_in(json.dumps({"customer_id": name})[:-1])


@given(st.text(), st.text())
def test_only_the_same_name_of_the_same_kind_is_known(name: str, another: str) -> None:
    gone = Forgotten(b"key", frozenset({name_hash(b"key", "person", name)}))
    assert gone.knows("person", name)
    assert gone.knows("person", another) == (name == another)
    assert not gone.knows("prediction", name)
    assert not Forgotten(b"other key", gone.hashes).knows("person", name)


def test_a_plan_survives_the_journal(home: Home) -> None:
    from dataclasses import asdict

    found = plan(home, WHO)
    assert forgetting.plan_from(json.loads(json.dumps(asdict(found)))) == found
