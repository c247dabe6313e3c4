"""A forgotten customer is in no file, table or free page; a run that is killed is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import tasks.erasure.erase
from flywheel import reports
from flywheel.config import Home
from flywheel.config.home import COMPILED
from flywheel.dataset import snapshots
from flywheel.errors import StoreBusy
from flywheel.exports import export_tags
from flywheel.privacy import erasure_plan
from flywheel.reports.console import status, status_lines
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.feedback import labeling
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import Registry
from flywheel.vendors import jsonl as vendor_lines
from flywheel.vendors import reply_cache
from tasks.erasure.erase import certificate_path, forget, plan
from tasks.report import write_page
from tests.erasure_fixtures import (
    AT,
    CANARY,
    JOB,
    SHARED,
    WHO,
    hashes,
    json_lines,
    other,
    places,
    tables,
    theirs,
)


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
    write_page(home, JOB.name, AT, reports.page({"description": "for customer-77 alone"}))
    found = plan(home, "customer-77")
    assert not found.is_empty
    assert "report reports/job/20260103T0000Z.html: what they said is taken out of it" in (
        erasure_plan.plan_lines(found)
    )


def test_answers_bought_for_the_person_go_and_what_they_cost_stays(home: Home) -> None:
    with open_store(home.warehouse, read_only=True) as store:
        newest = labeling.newest_snapshot(store, JOB.name)
    assert newest is not None
    examples = snapshots.read(home.snapshots, newest)
    folder = home.vendors(JOB.name)
    folder.mkdir(parents=True)
    for example in examples:
        vendor_lines.append(reply_cache.path(folder, "acme"), {"text_id": example.example_id})
        vendor_lines.append(reply_cache.spent_path(folder, "acme"), {"price": 1.0})
    gone = {e.example_id for e in examples if e.group_id == WHO or CANARY in e.text}
    assert gone

    planned = plan(home, WHO)
    forget(home, WHO, at=AT)

    (file,) = [one for one in planned.files if one.path == "vendors/job/acme.jsonl"]
    assert (file.rows, file.others) == (len(gone), len(examples) - len(gone))
    kept = {line["text_id"] for line in vendor_lines.read(reply_cache.path(folder, "acme"))}
    assert kept == {e.example_id for e in examples} - gone
    assert len(vendor_lines.read(reply_cache.spent_path(folder, "acme"))) == len(examples)


def test_converted_models_go(home: Home) -> None:
    (home.compiled(JOB.name) / "key").mkdir(parents=True)
    (home.compiled("other") / "key").mkdir(parents=True)
    forget(home, WHO, at=AT)
    assert [path.name for path in (home.root / COMPILED).iterdir()] == ["other"]


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
    for name, (_, _, _, *sizes, _) in after.items():
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
        export_tags.key(to): export_tags.value(to, form="adapter", at=AT.isoformat())
        for to in (place, theirs_too)
    }
    Registry(home).tag(JOB.name, "2", tags)
    shown = "\n".join(erasure_plan.plan_lines(plan(home, WHO)))
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
    assert done["holdout_changed"] == any(one["holdout_removed"] for one in done["snapshots"])


STEPS = (
    "_open_journal", "_remember", "_rewrite_pages", "_erase_files", "_rewrite_snapshots",
    "_mark_versions", "_delete_artifacts", "_delete_rows", "_rewrite_warehouse", "_search",
    "_certify",
)  # fmt: skip
# a name that is gone fails here, at collection
PLACES = {step: getattr(tasks.erasure.erase, step) for step in STEPS}
# this one runs by default; the others are slow only because there are many
ALWAYS = ("_rewrite_snapshots", "after")


class PowerCut(BaseException):
    """What no code handles."""


@pytest.mark.parametrize(
    ("step", "when"),
    [
        pytest.param(step, when, marks=() if (step, when) == ALWAYS else pytest.mark.slow)
        for step in PLACES
        for when in ("before", "after")
    ],
)
def test_killed_at_any_step_the_next_run_finishes(
    step: str, when: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Any] = PLACES[step]

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            whole(*args, **kwargs)
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(tasks.erasure.erase, step, deadly)
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
        assert night_runs.retrain_wanted(store, JOB.name)
    marks = [one.tags for one in Registry(home).versions(JOB.name)]
    assert {tags["certificate_id"] for tags in marks} == {done["certificate_id"]}


@pytest.mark.parametrize(
    "statement",
    [pytest.param(n, marks=() if n == 4 else pytest.mark.slow) for n in range(8)],
)
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
