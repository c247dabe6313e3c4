"""Every kind of source gives its rows once, in our fields, and loses none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
import pyarrow as pa
import pytest
from pyarrow import csv as pa_csv
from pyarrow import parquet as pq

from flywheel import sources
from flywheel.config import Home, SourceConfig, UseCase
from flywheel.errors import ConfigError
from flywheel.sources.files import rows_in
from flywheel.store import open_store
from tasks import collect
from tasks import pull as pulling
from tasks.ingest import ingest_inbox

AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
TABLE = [
    {
        "nr": 1,
        "body": "it broke",
        "verdict": "neg",
        "agent": "ann",
        "moment": "2026-01-01T00:00Z",
    },
    {
        "nr": 2,
        "body": "it works",
        "verdict": "pos",
        "agent": "bob",
        "moment": "2026-01-02T00:00Z",
    },
]
MAPPED: dict[str, Any] = {
    "fields": {
        "feedback_id": "nr",
        "text": "body",
        "value": "verdict",
        "rater_id": "agent",
        "given_at": "moment",
    },
    "values": {"value": {"neg": "negative", "pos": "positive"}},
    "constants": {"kind": "label"},
}


def source(kind: str, location: str | Path, **more: Any) -> SourceConfig:
    return SourceConfig.model_validate(
        {"name": "app", "kind": kind, "location": str(location), **more}
    )


def fed(use_case: UseCase, home: Home, one: SourceConfig, *, hours: int = 0) -> tuple[int, ...]:
    """Pull and ingest; rows pulled, then ingested, duplicate, quarantined, parked."""
    case = use_case.model_copy(update={"sources": [one]})
    at = AT + timedelta(hours=hours)
    pulled = pulling.pull.fn(case, home, at=at)["app"]
    done = ingest_inbox(case, home, at=at)
    assert done.read == done.ingested + done.duplicate + done.quarantined + done.parked
    return pulled, done.ingested, done.duplicate, done.quarantined, done.parked


def learned(use_case: UseCase, home: Home) -> list[tuple[str, str | None, str, str | None]]:
    with open_store(home.warehouse) as store:
        found = store.reactions(use_case.name)
    return sorted((r.kind, r.value, r.text, r.predicted_label) for r in found)


# ---- Tables with a mapping


def test_cells_of_a_tsv_are_separated_by_tabs_whatever_its_header_holds() -> None:
    content = io.BytesIO(b"name, first\ttext\nGross, Ann\thello\n")
    assert rows_in("a.tsv", content) == [{"name, first": "Gross, Ann", "text": "hello"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".csv"])
def test_a_mapped_file_becomes_feedback_once(
    use_case: UseCase, home: Home, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    lines = "".join(json.dumps(row) + "\n" for row in TABLE).encode()
    if suffix == ".csv":
        rows = [",".join(TABLE[0]), *(",".join(map(str, row.values())) for row in TABLE)]
        path.write_text("\n".join(rows))
    elif suffix == ".json":
        path.write_text(json.dumps({"data": TABLE}))
    else:
        path.write_bytes(gzip.compress(lines) if suffix.endswith("gz") else lines)
    one = source("files", path, **MAPPED)

    assert fed(use_case, home, one) == (2, 2, 0, 0, 0)
    assert learned(use_case, home) == [
        ("label", "negative", "it broke", None),
        ("label", "positive", "it works", None),
    ]
    assert fed(use_case, home, one, hours=1) == (0, 0, 0, 0, 0)


def test_a_spreadsheet_s_file_and_odd_line_ends_are_read(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    row = {**TABLE[0], "body": "Größe, Farbe; falsch"}
    sheet = io.StringIO(newline="")
    csv.writer(sheet, delimiter=";").writerows([row.keys(), row.values()])
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text(sheet.getvalue() + "1;2;3;4;5;6\n", "cp1252", newline="")
    odd = json.dumps({**TABLE[1], "body": "it\u2028works\x0c\x85"}, ensure_ascii=False)
    (drop / "b.jsonl").write_text(odd, "utf-16")
    one = source("files", drop / "*", **MAPPED)
    assert fed(use_case, home, one) == (3, 2, 0, 1, 0)
    assert learned(use_case, home) == [
        ("label", "negative", "Größe, Farbe; falsch", None),
        ("label", "positive", "it\u2028works\x0c\x85", None),
    ]


def test_any_file_system_and_only_what_changed(use_case: UseCase, home: Home) -> None:
    system = fsspec.filesystem("memory")
    one = source("files", "memory://drop/*.jsonl", **MAPPED)
    system.pipe("/drop/1.jsonl", json.dumps(TABLE[0]).encode())
    assert fed(use_case, home, one) == (1, 1, 0, 0, 0)
    system.pipe("/drop/2.jsonl", json.dumps(TABLE[1]).encode())
    assert fed(use_case, home, one, hours=1) == (1, 1, 0, 0, 0)
    system.rm("/drop", recursive=True)


def test_a_wrong_mapping_says_which_columns_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE))
    wrong = {**MAPPED, "fields": {**MAPPED["fields"], "text": "boddy"}}
    with pytest.raises(
        ConfigError, match=r"text from column 'boddy'.*'body'\?.*nr, body, verdict, agent, moment"
    ):
        sources.read(source("files", path, **wrong), None)


def test_a_row_that_cannot_be_used_is_set_apart(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*TABLE, {**TABLE[0], "nr": 3, "verdict": "who knows"}]))
    assert fed(use_case, home, source("files", path, **MAPPED)) == (3, 2, 0, 1, 0)


def test_killed_before_the_watermark_moved_nothing_is_lost_or_doubled(
    use_case: UseCase, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE))
    one = source("files", path, **MAPPED)
    write = collect.write

    def dying(path: Path, content: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pulling, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        fed(use_case, home, one)
    monkeypatch.setattr(pulling, "write", write)
    # the two files say the same, so the second is known
    assert fed(use_case, home, one, hours=1) == (2, 2, 0, 0, 0)
    assert fed(use_case, home, one, hours=2) == (0, 0, 0, 0, 0)


def test_pulled_twice_in_one_second_nothing_is_written_over(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    case = use_case.model_copy(update={"sources": [source("files", path, **MAPPED)]})
    for rows in (TABLE[:1], TABLE):
        path.write_text(json.dumps(rows))
        assert pulling.pull.fn(case, home, at=AT)["app"] == len(rows)
    assert ingest_inbox(case, home, at=AT).ingested == 2


def test_rows_that_were_set_apart_come_in_once_the_mapping_is_right(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE))
    wrong = {**MAPPED, "fields": {**MAPPED["fields"], "value": "agent"}}
    assert fed(use_case, home, source("files", path, **wrong)) == (2, 0, 0, 2, 0)
    one = source("files", path, **MAPPED)
    assert fed(use_case, home, one, hours=1) == (2, 2, 0, 0, 0)
    assert fed(use_case, home, one, hours=2) == (0, 0, 0, 0, 0)


def test_one_source_that_fails_does_not_keep_the_others_and_is_told(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE))
    broken = source("files", tmp_path / "absent.json").model_copy(update={"name": "broken"})
    unset = source("sql", "NO_SUCH_VARIABLE", query="SELECT 1").model_copy(update={"name": "db"})
    case = use_case.model_copy(update={"sources": [broken, source("files", path, **MAPPED), unset]})
    with pytest.raises(ConfigError, match=r"'broken'.*no file matches.*stays.*'db'.*no variable"):
        pulling.pull.fn(case, home, at=AT)
    assert ingest_inbox(case, home, at=AT).ingested == 2


@pytest.mark.parametrize("name", ["b.json", "b.csv.gz", "b.parquet"])
def test_a_half_written_file_does_not_keep_the_others_and_is_read_once_whole(
    name: str, use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    as_table = pa.Table.from_pylist([TABLE[1]])
    sheet, columnar = io.BytesIO(), io.BytesIO()
    pa_csv.write_csv(as_table, sheet)
    pq.write_table(as_table, columnar)
    whole = {
        "b.json": json.dumps([TABLE[1]]).encode(),
        "b.csv.gz": gzip.compress(sheet.getvalue()),
        "b.parquet": columnar.getvalue(),
    }[name]
    (tmp_path / "a.json").write_text(json.dumps([TABLE[0]]))
    (tmp_path / "c.json").write_text(json.dumps([{**TABLE[0], "nr": 3}]))
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    case = use_case.model_copy(update={"sources": [source("files", tmp_path / "?.*", **MAPPED)]})
    told = rf"'app': 1 of its files cannot be read: \S*{name} \(.*others were read"
    for hours, new in enumerate((2, 0)):
        with pytest.raises(ConfigError, match=told):
            pulling.pull.fn(case, home, at=AT + timedelta(hours=hours))
        assert ingest_inbox(case, home, at=AT + timedelta(hours=hours)).ingested == new
    (tmp_path / name).write_bytes(whole)
    assert pulling.pull.fn(case, home, at=AT) == {"app": 1}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE tickets (nr INTEGER, body, verdict, agent, moment)")
        con.executemany("INSERT INTO tickets VALUES (:nr, :body, :verdict, :agent, :moment)", TABLE)
    monkeypatch.setenv("APP_DB", f"sqlite:///{path}")
    return path


def test_a_query_gives_what_came_after_the_watermark(
    use_case: UseCase, home: Home, database: Path
) -> None:
    query = "SELECT * FROM db.tickets WHERE moment > $watermark"
    one = source("sql", "APP_DB", query=query, watermark="moment", **MAPPED)
    assert fed(use_case, home, one) == (2, 2, 0, 0, 0)
    with sqlite3.connect(database) as con:
        con.execute("INSERT INTO tickets VALUES (3, 'so so', 'pos', 'eve', '2026-01-03T00:00Z')")
    assert fed(use_case, home, one, hours=1) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("TIMESTAMP", ("2026-01-01 10:00:00", "2026-01-02 10:00:00")),
        ("DATE", ("2026-01-01", "2026-01-02")),
        ("BIGINT", (7, 8)),
        ("VARCHAR", ("2026-01-01", "2026-01-02")),
    ],
)
def test_a_watermark_is_of_its_column_s_type_and_loses_no_tie_nor_a_late_commit(
    use_case: UseCase,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    values: tuple[object, object],
) -> None:
    path = tmp_path / "app.db"
    first, second = values
    with sqlite3.connect(path) as con:
        con.execute(f"CREATE TABLE t (nr INTEGER, body TEXT, verdict TEXT, moved {kind})")
        con.execute("INSERT INTO t VALUES (1, 'a', 'pos', ?), (2, 'b', 'neg', NULL)", [second])
    monkeypatch.setenv("APP_DB", f"sqlite:///{path}")
    fields = {"feedback_id": "nr", "text": "body", "value": "verdict"}
    constants = {"kind": "label", "rater_id": "ann", "given_at": "2026-01-03T00:00:00Z"}
    query = "SELECT * FROM db.t WHERE moved > $watermark OR moved IS NULL"
    more = {"fields": fields, "values": MAPPED["values"], "constants": constants}
    one = source("sql", "APP_DB", query=query, watermark="moved", **more)
    assert fed(use_case, home, one) == (2, 2, 0, 0, 0)
    with sqlite3.connect(path) as con:
        con.execute("INSERT INTO t VALUES (3, 'c', 'pos', ?), (4, 'd', 'pos', ?)", [second, first])
        con.execute("UPDATE t SET verdict = 'pos' WHERE nr = 2")
    assert fed(use_case, home, one, hours=1) == (3, 3, 0, 0, 0)
    assert fed(use_case, home, one, hours=2) == (0, 0, 0, 0, 0)


def test_what_an_older_version_took_in_by_its_number_alone_is_known(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    row = {
        "feedback_id": "1",
        "kind": "label",
        "value": "negative",
        "text": "it broke",
        "rater_id": "ann",
        "source": "app",
        "given_at": "2026-01-01T00:00Z",
    }
    collect.drop(home.inbox(use_case.name), "app-20260101T000000.jsonl", [row])
    assert ingest_inbox(use_case, home, at=AT).ingested == 1
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE))
    assert fed(use_case, home, source("files", path, **MAPPED))[0] == 1


@pytest.mark.parametrize("kind", ["label-studio", "chat"])
def test_a_whole_export_after_an_upgrade_brings_only_what_is_new(
    use_case: UseCase, home: Home, tmp_path: Path, kind: str
) -> None:
    given = "2026-01-01T00:00:00+00:00"
    old = {"given_at": given, "source": "app"} | (
        {"feedback_id": "label-studio-7-31", "kind": "label", "value": "negative"}
        | {"text": "it broke", "rater_id": "annotator-ann"}
        if kind == "label-studio"
        else {"feedback_id": "chat-7", "kind": "accept", "prediction_id": "7", "rater_id": "eve"}
    )
    collect.drop(home.inbox(use_case.name), "app-20260101T000000.jsonl", [old])
    assert ingest_inbox(use_case, home, at=AT).read == 1

    def annotated(task: int, text: str) -> dict[str, Any]:
        result = [{"from_name": "l", "to_name": "text", "value": {"choices": ["negative"]}}]
        one = {"id": 31, "completed_by": "ann", "updated_at": given, "result": result}
        return {"id": task, "data": {"text": text}, "annotations": [one]}

    def rated(chat: int, text: str) -> dict[str, Any]:
        said = [{"role": "user", "content": text}, {"role": "assistant", "content": "negative"}]
        return {"id": chat, "user": "eve", "created_at": given, "messages": said, "rating": "up"}

    made = annotated if kind == "label-studio" else rated
    path = tmp_path / "export.json"
    path.write_text(json.dumps([made(7, "it broke"), made(8, "it is late")]))
    assert fed(use_case, home, source(kind, path))[0] == 1


def test_two_tables_count_from_one_and_a_ticket_may_be_sorted_anew(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TABLE[:1]))
    one = source("files", path, **MAPPED)
    assert fed(use_case, home, one)[1] == 1
    assert fed(use_case, home, one, hours=1)[1] == 0
    path.write_text(json.dumps([{**TABLE[0], "verdict": "pos", "moment": "2026-01-05T00:00Z"}]))
    assert fed(use_case, home, one, hours=2)[1] == 1
    (tmp_path / "b.json").write_text(json.dumps(TABLE[:1]))
    other = source("files", tmp_path / "b.json", **MAPPED).model_copy(update={"name": "other"})
    case = use_case.model_copy(update={"sources": [other]})
    assert pulling.pull.fn(case, home, at=AT) == {"other": 1}
    assert ingest_inbox(case, home, at=AT).ingested == 1


@pytest.mark.parametrize("kind", ["files", "chat"])
def test_a_word_that_is_said_again_without_a_new_time_is_heard(
    kind: str, use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    at = "2026-01-01T00:00:00Z"

    def said(up: bool) -> None:
        turns = [{"role": "user", "content": "it works"}, {"role": "assistant", "content": "pos"}]
        chat = {"id": "c", "messages": turns, "rating": "up" if up else "down", "created_at": at}
        row = {**TABLE[1], "verdict": "pos" if up else "neg"}
        others = [TABLE[0]] if kind == "files" else []
        lines = [json.dumps(one) for one in (chat if kind == "chat" else row, *others)]
        # a file is told to be new by its size and time
        (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n" * next(length))

    length = iter(range(1, 9))
    one = source(kind, tmp_path / "a.jsonl", **(MAPPED if kind == "files" else {}))
    heard = []
    for hours, up in enumerate((True, False, True, True, False)):
        said(up)
        heard.append(fed(use_case, home, one, hours=hours)[0])
    assert heard == [2 if kind == "files" else 1, 1, 1, 0, 1]
    with open_store(home.warehouse) as store:
        latest = max(store.reactions(use_case.name), key=lambda one: one.arrived)
    assert (latest.kind, latest.value) == (
        ("label", "negative") if kind == "files" else ("reject", None)
    )


def test_times_without_a_zone_and_as_a_country_writes_them_are_read(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    times = ("2026-02-03 14:22:00", "13.02.2026 14:22", "soon")
    path.write_text(json.dumps([{**TABLE[0], "nr": n, "moment": t} for n, t in enumerate(times)]))
    one = source("files", path, **MAPPED)
    assert "its times name no zone" in sources.read(one, None).notes[0]
    assert fed(use_case, home, one) == (3, 2, 0, 1, 0)


def test_an_export_s_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    answer = {"value": "negative", "user_id": "9", "status": "submitted"}
    path = tmp_path / "a.json"
    record = {"id": "1", "fields": {"text": "t"}, "responses": {"label": [answer]}}
    path.write_text(json.dumps([record | {"updated_at": "2026-01-02T10:00:00.5"}]))
    found = sources.read(source("argilla", path), None)
    assert [row["given_at"] for row in found.rows] == ["2026-01-02T10:00:00.500000+00:00"]
    assert any("taken as UTC" in note for note in found.notes)


def test_numbers_beside_a_gap_are_the_same_ids_and_labels(tmp_path: Path) -> None:
    columns = {"body": ["a", "b"], "verdict": [1.0, None], "who": [48213.0, None]}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    fields = {"text": "body", "value": "verdict", "customer_id": "who"}
    found = sources.read(source("files", path, fields=fields, constants={"kind": "label"}), None)
    assert [(row.get("value"), row.get("customer_id")) for row in found.rows] == [
        ("1", "48213"), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["data", "rows", "items", "results"])
def test_an_envelope_is_opened_and_what_is_no_row_in_it_is_counted(
    use_case: UseCase, home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({name: [*TABLE, 5, None], "meta": {"page": 1, "totalPages": 3}}))
    assert fed(use_case, home, source("files", path, **MAPPED)) == (3, 2, 0, 1, 0)
    assert "page 1 of 3" in caplog.text


@pytest.mark.parametrize("gap", ["NaN", "None", "null", "-", "N/A", " "])
def test_a_cell_that_names_nobody_is_no_customer(
    use_case: UseCase, home: Home, tmp_path: Path, gap: str
) -> None:
    fields = MAPPED["fields"] | {"customer_id": "who"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps([TABLE[0] | {"who": gap}, TABLE[1] | {"who": "c1"}]))
    assert fed(use_case, home, source("files", path, **MAPPED | {"fields": fields}))[1] == 2
    with open_store(home.warehouse) as store:
        customers = store.con.execute("SELECT customer_id FROM feedback ORDER BY text").fetchall()
    assert customers == [(None,), ("c1",)]


def test_a_database_that_cannot_be_reached_says_why_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="no variable APP_DB"):
        sources.read(source("sql", "APP_DB", query="SELECT 1"), None)
    monkeypatch.setenv("APP_DB", "oracle://me:secret@host/x")
    with pytest.raises(ConfigError, match="Connections begin with") as refused:
        sources.read(source("sql", "APP_DB", query="SELECT 1"), None)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", ["host=db user=ann password=hunter2", "ann:hunter2@db/tickets", "hunter2"]
)
def test_a_connection_of_another_form_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("TICKETS_DB", secret)
    with pytest.raises(ConfigError) as refused:
        sources.read(source("sql", "TICKETS_DB", query="SELECT 1"), None)
    assert "found no ://" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "error", [ImportError("Install s3fs to access S3"), aiohttp.ClientError("no bucket")]
)
def test_whatever_a_library_raises_stops_no_other_source(
    use_case: UseCase,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    glob = fsspec.core.url_to_fs

    def url_to_fs(url: str) -> Any:
        if url.startswith("s3:"):
            raise error
        return glob(url)

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    (tmp_path / "a.json").write_text(json.dumps(TABLE))
    away = source("files", "s3://bucket/a.csv").model_copy(update={"name": "away"})
    case = use_case.model_copy(
        update={"sources": [away, source("files", tmp_path / "a.json", **MAPPED)]}
    )
    with pytest.raises(ConfigError, match=f"'away'.*cannot be read.*{error}"):
        pulling.pull.fn(case, home, at=AT)
    assert ingest_inbox(case, home, at=AT).ingested == 2


def test_a_dataset_is_read_until_it_changes(use_case: UseCase, home: Home, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            **{name: datasets.Value("string") for name in TABLE[0]},
            "verdict": datasets.ClassLabel(names=["neg", "pos"]),
        }
    )
    rows = [{**row, "nr": str(row["nr"])} for row in TABLE]
    made = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "set"))
    one = source("datasets", tmp_path / "set", **MAPPED)
    assert fed(use_case, home, one) == (2, 2, 0, 0, 0)
    assert fed(use_case, home, one, hours=1) == (0, 0, 0, 0, 0)
    with pytest.raises(ConfigError, match="no split 'dev'; there are: train"):
        sources.read(source("datasets", tmp_path / "set", split="dev"), None)


# ---- Formats that are known


def test_label_studio_annotations_are_labels(use_case: UseCase, home: Home, tmp_path: Path) -> None:
    def task(number: int, choice: str, **more: Any) -> dict[str, Any]:
        result = [{"type": "choices", "value": {"choices": [choice]}}]
        annotation = {
            "id": number,
            "result": result,
            "completed_by": {"id": 3, "email": "ann@example.org"},
            "updated_at": f"2026-01-0{number}T10:00:00.000000Z",
            **more,
        }
        return {"id": number, "data": {"text": f"text {number}"}, "annotations": [annotation]}

    path = tmp_path / "export.json"
    tasks = [task(1, "negative"), task(2, "positive"), task(3, "neutral", was_cancelled=True)]
    path.write_text(json.dumps(tasks))
    one = source("label-studio", path)
    assert fed(use_case, home, one) == (2, 2, 0, 0, 0)
    path.write_text(json.dumps([*tasks, task(4, "neutral")]))
    assert fed(use_case, home, one, hours=1) == (1, 1, 0, 0, 0)
    assert ("label", "neutral", "text 4", None) in learned(use_case, home)


def test_langfuse_scores_are_reactions_to_traces(
    use_case: UseCase, home: Home, tmp_path: Path
) -> None:
    def score(identity: str, **more: Any) -> dict[str, Any]:
        return {"id": identity, "timestamp": "2026-01-01T10:00:00Z", "authorUserId": "ann", **more}

    def trace(identity: str, *scores: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": identity,
            "timestamp": "2026-01-01T09:00:00Z",
            "input": {"messages": [{"role": "user", "content": f"asked {identity}"}]},
            "output": "negative",
            "userId": "u1",
            "scores": scores,
        }

    traces = [
        trace("t1", score("s1", value=1, dataType="BOOLEAN", comment="well done")),
        trace("t2", score("s2", value=0, dataType="BOOLEAN")),
        trace("t3", score("s3", stringValue="positive", dataType="CATEGORICAL")),
        trace("t4", score("s4", value=0.7, dataType="NUMERIC")),
        trace("t5"),
    ]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in traces))
    assert fed(use_case, home, source("langfuse", path)) == (5, 5, 0, 0, 0)
    assert learned(use_case, home) == [
        ("accept", None, "asked t1", "negative"),
        ("comment", "well done", "asked t1", "negative"),
        ("correct", "positive", "asked t3", "negative"),
        ("rate", "0.7", "asked t4", "negative"),
        ("reject", None, "asked t2", "negative"),
    ]


def test_rated_chats_are_reactions(use_case: UseCase, home: Home, tmp_path: Path) -> None:
    def chat(identity: str, **more: Any) -> dict[str, Any]:
        return {
            "id": identity,
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": f"asked {identity}"},
                {"role": "assistant", "content": "positive"},
            ],
            "created_at": "2026-01-01T09:00:00Z",
            **more,
        }

    chats = [
        chat("c1", rating="up"),
        chat("c2", rating=0),
        chat("c3", correction="neutral"),
        chat("c4"),
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in chats))
    one = source("chat", path)
    assert fed(use_case, home, one) == (3, 3, 0, 0, 0)
    assert learned(use_case, home) == [
        ("accept", None, "asked c1", "positive"),
        ("correct", "neutral", "asked c3", "positive"),
        ("reject", None, "asked c2", "positive"),
    ]
    assert fed(use_case, home, one, hours=1) == (0, 0, 0, 0, 0)


def test_whose_a_chat_is_when_it_was_and_what_was_remarked_is_kept(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "where"}, {"role": "assistant", "content": "positive"}]
    judged = [*said[:1], said[1] | {"annotation": {"rating": -1, "comment": "too short"}}]
    entries = [
        {"id": "c1", "user_id": "u1", "created_at": 1767258000, "chat": {"messages": judged}},
        {"id": "c2", "userId": 7, "created_at": "Thu, 01 Jan 2026 09:00:00 GMT", "messages": said}
        | {"feedback": {"rating": "thumbsUp", "text": ""}},
        {"id": "c3", "customer": {"id": "u3"}, "date": "2026-01-01 10:00 CET", "messages": said}
        | {"rating": "ja"},
    ]
    path = tmp_path / "chats.json"
    path.write_text(json.dumps(entries))
    found = sources.read(source("chat", path), None)
    assert [(row["rater_id"], row["kind"], row.get("value")) for row in found.rows] == [
        ("u1", "reject", None),
        ("u1", "comment", "too short"),
        ("7", "accept", None),
        ("u3", "accept", None),
    ]
    assert {row["given_at"] for row in found.rows} == {"2026-01-01T09:00:00+00:00"}
    assert [one.customer_id for one in found.answers] == ["u1", "7", "u3"]


# in a process of its own: tracing leaves its settings behind
TRACED = """
import mlflow
from mlflow.entities import AssessmentSource

ann = AssessmentSource(source_type="HUMAN", source_id="ann")
experiment = mlflow.get_experiment_by_name("support")
if experiment is None:
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("support", ARTIFACTS))

    @mlflow.trace
    def classify(text):
        return "negative"

    traces = []
    for number in range(3):
        classify(f"asked {number}")
        traces.append(mlflow.get_last_active_trace_id())
    mlflow.flush_trace_async_logging()
    mlflow.log_feedback(trace_id=traces[0], name="ok", value=True, source=ann, rationale="yes")
    mlflow.log_expectation(trace_id=traces[1], name="label", value="positive", source=ann)
else:
    client = mlflow.MlflowClient()
    found = client.search_traces(locations=[experiment.experiment_id])
    late = next(t for t in found if "asked 2" in t.data.request)
    mlflow.log_feedback(trace_id=late.info.trace_id, name="ok", value=False, source=ann)
"""


def test_mlflow_assessments_are_reactions_however_late(
    use_case: UseCase, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/traces.db")
    script = TRACED.replace("ARTIFACTS", repr(str(tmp_path / "artifacts")))
    command = [sys.executable, "-c", script]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    one = source("mlflow", "support")
    assert fed(use_case, home, one) == (3, 3, 0, 0, 0)

    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    pulled, ingested, *_ = fed(use_case, home, one, hours=1)
    assert (pulled, ingested) == (1, 1)
    assert learned(use_case, home) == [
        ("accept", None, "asked 0", "negative"),
        ("comment", "yes", "asked 0", "negative"),
        ("correct", "positive", "asked 1", "negative"),
        ("reject", None, "asked 2", "negative"),
    ]
    with pytest.raises(ConfigError, match=r"no experiment 'suport'.*support"):
        sources.read(source("mlflow", "suport"), None)
