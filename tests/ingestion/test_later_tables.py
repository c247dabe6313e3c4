"""A table that comes after `flywheel init`: read as the first one was, unless somebody says so."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli.ingest import ingest
from flywheel.config import Home, load_use_case
from flywheel.ingestion.predictions import SUFFIX
from flywheel.records import Reaction
from flywheel.store import open_store
from tasks.use_case.onboard import Answers, onboard

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LABELS = ("Queja", "Devolución", "Elogio")


def spanish(rows: int, *, first: int = 0, day: str = "2026-02-03") -> list[dict[str, str]]:
    """Rows of 40 customers."""
    return [
        {
            "Cliente": f"c{n % 40}",
            "Comentario": f"El señor número {n} pidió {n * 7919 % 1009} años de garantía",
            "Categoría": LABELS[n % 3],
            "Fecha": day,
        }
        for n in range(first, first + rows)
    ]


def sheet(
    path: Path, rows: list[dict[str, str]], *, encoding: str = "cp1252", separator: str = ";"
) -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


def begun(home: Home, folder: Path, rows: list[dict[str, str]] | None = None, **named: Any) -> Path:
    """The file of a use case."""
    path = sheet(folder / "first.csv", rows or spanish(120))
    answers = Answers(method="tfidf", **named)
    done = onboard("quejas", path, home, answers=answers, folder=folder / "usecases", now=NOW)
    return Path(done["file"])


def taken(case: Path, *words: object) -> Result:
    return CliRunner().invoke(ingest, ["--json", "-u", str(case), *map(str, words)])


def stored(home: Home) -> list[Reaction]:
    with open_store(home.warehouse) as store:
        return store.reactions("quejas")


def test_a_later_file_in_another_encoding_and_separator_is_the_same_table(
    home: Home, tmp_path: Path
) -> None:
    case = begun(home, tmp_path)
    later = sheet(tmp_path / "b.csv", spanish(4), encoding="utf-8-sig", separator=",")
    done = taken(case, sheet(tmp_path / "a.csv", spanish(3)), later)
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert (counts["ingested"], counts["duplicate"]) == (4, 3)
    assert "a.csv: note: the file is not UTF-8; read as Windows-1252" in done.stderr
    assert {one.value for one in stored(home)} == set(LABELS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_remembered_encoding_gives_way_to_unicode(
    home: Home, tmp_path: Path, encoding: str
) -> None:
    """Read as Windows-1252 each ñ of a UTF-8 file would become Ã±, and its labels others."""
    case = begun(home, tmp_path, encoding="cp1252")
    assert 'encoding: "cp1252"' in case.read_text("utf-8")
    assert taken(case, sheet(tmp_path / "a.csv", spanish(3), encoding=encoding)).exit_code == 0
    assert {one.text for one in stored(home)} == {row["Comentario"] for row in spanish(3)}


def test_an_option_alone_stands_in_place_of_what_is_remembered(home: Home, tmp_path: Path) -> None:
    case = begun(home, tmp_path)
    other = [{**row, "Comentario": f"Привет, сеньор {n}"} for n, row in enumerate(spanish(3))]
    other = [{**row, "Categoría": "Queja"} for row in other]
    path = tmp_path / "a.csv"
    lines = sheet(path, other, encoding="utf-8").read_text("utf-8").replace("Categoría", "Clase")
    path.write_text(lines.replace("Cliente", "Quien"), encoding="cp1251")
    words = (path, "--encoding", "cp1251", "--label", "Clase", "--customer", "-")
    done = taken(case, *words)
    assert done.exit_code == 0, done.output
    found = stored(home)
    assert {one.text for one in found} == {row["Comentario"] for row in other}
    assert {one.customer_id for one in found} == {None}
    assert "text 'Comentario', label 'Clase', time 'Fecha', encoding 'cp1251'" in done.stderr


def test_options_of_tables_are_refused_where_there_is_none(home: Home, tmp_path: Path) -> None:
    case = begun(home, tmp_path)
    feedback = tmp_path / "feedback.csv"
    feedback.write_text(
        "kind,value,text,rater_id,source,given_at\nlabel,Queja,Hola,ann,gold,2026-02-01T00:00:00Z\n"
    )
    assert "for labeled tables" in str(taken(case, feedback, "--separator", ",").exception)
    assert "name FILES" in taken(case, "--encoding", "cp1250").stderr
    for wrong in ("ab", '"'):
        refused = taken(case, tmp_path / "first.csv", "--separator", wrong).exception
        assert "cannot stand between cells" in str(refused)
    without = case.with_name("other.yaml")
    text = case.read_text("utf-8")
    start, end = text.index("columns:"), text.index("split:")
    without.write_text(text[:start] + text[end:], "utf-8")
    assert "all three" in taken(without, feedback, "--encoding", "cp1250").stderr
    assert stored(home) == []


def test_a_tab_is_named_as_people_write_it(home: Home, tmp_path: Path) -> None:
    case = begun(home, tmp_path)
    path = sheet(tmp_path / "a.csv", spanish(3), separator="\t")
    assert json.loads(taken(case, path, "--separator", "\\t").stdout)["ingested"] == 3


def test_a_table_of_other_columns_is_refused_by_name_and_nothing_of_it_is_kept(
    home: Home, tmp_path: Path
) -> None:
    case = begun(home, tmp_path)
    rows = [{"Coment.": row["Comentario"], "Categoría": row["Categoría"]} for row in spanish(3)]
    refused = taken(case, sheet(tmp_path / "a.csv", rows)).exception
    assert "there is no column 'Comentario'" in str(refused)
    assert "Coment., Categoría" in str(refused)
    with open_store(home.warehouse) as store:
        assert store.counts("quejas")["quarantined"] == 0


def test_answers_of_a_model_are_no_labels_of_people(home: Home, tmp_path: Path) -> None:
    """Their columns are called text and label, too."""
    rows = [
        {"text": row["Comentario"], "label": row["Categoría"], "customer_id": row["Cliente"]}
        for row in spanish(120)
    ]
    case = begun(home, tmp_path, rows)
    answer = {
        **rows[0], "prediction_id": "p1", "group_id": "c0", "probabilities": {"Queja": 1.0},
        "label": "Queja", "model_version": "1", "digest": "d",
        "predicted_at": "2026-02-01T00:00:00+00:00",
    }  # fmt: skip
    for name in (f"a{SUFFIX}", "written.jsonl"):
        lines = [json.dumps({**answer, **row, "label": "Queja"}) for row in rows[:2]]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        taken(case, tmp_path / name)
    assert stored(home) == []


def test_a_single_row_is_a_table_whose_columns_are_known(home: Home, tmp_path: Path) -> None:
    done = taken(begun(home, tmp_path), sheet(tmp_path / "a.csv", spanish(1, first=500)))
    assert json.loads(done.stdout)["ingested"] == 1


@pytest.mark.parametrize("customers", [3, 40])
def test_whether_customers_are_groups_is_asked_of_the_use_case_as_it_is_now(
    home: Home, tmp_path: Path, customers: int
) -> None:
    """`doctor` asks for split.by_customer: false where groups are few; tables go by it, too."""
    rows = [{**row, "Cliente": f"c{n % customers}"} for n, row in enumerate(spanish(120))]
    path = begun(home, tmp_path, rows)
    text, few = path.read_text("utf-8"), customers == 3
    (was, now) = ("false", "true") if few else ("true", "false")
    assert f"by_customer: {was}" in text
    path.write_text(text.replace(f"by_customer: {was}", f"by_customer: {now}"), "utf-8")
    assert taken(path, sheet(tmp_path / "a.csv", spanish(9, first=500))).exit_code == 0
    assert {one.group_id == one.customer_id for one in stored(home)} == {few}


def test_dates_that_do_not_tell_are_read_as_those_of_the_first_file(
    home: Home, tmp_path: Path
) -> None:
    first = [*spanish(60, day="4/25/2026"), *spanish(60, first=60, day="4/3/2026")]
    case = begun(home, tmp_path, first)
    columns = load_use_case(str(case)).columns
    assert columns is not None
    assert columns.months_first is True
    taken(case, sheet(tmp_path / "a.csv", first[60:63]))
    assert {one.given_at.strftime("%Y-%m-%d") for one in stored(home)} == {"2026-04-03"}
    # of dates that tell nothing nothing is remembered
    (tmp_path / "other").mkdir()
    other = load_use_case(str(begun(home, tmp_path / "other", spanish(120, day="4/3/2026"))))
    assert other.columns is not None
    assert other.columns.months_first is None
