"""data/README.md describes the warehouse as the migrations build it."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from flywheel.config import Home
from flywheel.store import open_store

PAGE = (Path(__file__).resolve().parent.parent / "data/README.md").read_text(encoding="utf-8")
# said once above the table instead of in every row
IN_EVERY_TABLE = {"use_case"}


def described() -> dict[str, set[str]]:
    """Table → columns, as the page says."""
    section = PAGE.partition("## Tables of the warehouse")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", section, flags=re.MULTILINE)
    return {table: set(re.findall(r"`(\w+)`", columns)) for table, columns in rows}


def built(home: Home) -> dict[str, set[str]]:
    """Table → columns, as the migrations build them."""
    with open_store(home.warehouse):
        pass
    with duckdb.connect(str(home.warehouse)) as con:
        query = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
        rows = con.execute(query).fetchall()
    tables: dict[str, set[str]] = {}
    for table, column in rows:
        tables.setdefault(table, set()).add(column)
    return tables


def test_every_table_and_column_is_described_and_no_other(home: Home) -> None:
    found = {table: columns - IN_EVERY_TABLE for table, columns in built(home).items()}

    assert described() == found


def test_every_table_but_the_migrations_has_what_the_page_says_of_all(home: Home) -> None:
    without = {table for table, columns in built(home).items() if not columns >= IN_EVERY_TABLE}

    assert without == {"migrations"}
