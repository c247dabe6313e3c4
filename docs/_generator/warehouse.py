"""Files of a home and tables of its warehouse, from ``data/README.md`` and the migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from docs._generator.markdown import code, table
from docs._generator.markdown import page as whole_page
from flywheel.store.migrations import migrate

DICTIONARY = Path(__file__).resolve().parents[2] / "data" / "README.md"
Types = Mapping[tuple[str, str], str]
_TABLE = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)
_HEAD = ("Column", "Type", "What it holds")
_FILES = """\
A home is the folder that `FLYWHEEL_HOME` names, by default `data/`.
All state is in it, and nothing else is."""
_TABLES = """\
The warehouse is one DuckDB file, `warehouse.duckdb` in the home.
DuckDB opens it for reading while no command runs.
Migrations bring a warehouse of an earlier version up to date."""


def page() -> str:
    """The page of files and tables."""
    files, _, tables = DICTIONARY.read_text(encoding="utf-8").partition("## Tables of the")
    listed = files[files.index("| path |") :].strip()
    # what holds for all tables stands above the first one
    shared = tables.partition("\n")[2].partition("| table |")[0].strip()
    types = _types()
    sections = (_section(types, *found) for found in _TABLE.findall(tables))
    return whole_page(
        "Home and warehouse",
        f"## Files of a home\n\n{_FILES}",
        listed,
        f"## Tables of the warehouse\n\n{_TABLES}",
        shared,
        *sections,
    )


def _types() -> Types:
    """Table and column to type, as the migrations build them."""
    with duckdb.connect(":memory:") as con:
        migrate(con)
        query = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        return {(name, column): kind for name, column, kind in con.execute(query).fetchall()}


def _section(types: Types, name: str, row: str, columns: str) -> str:
    rows = (
        (code(column), code(types[name, column]), meaning) for column, meaning in _columns(columns)
    )
    return f"### {code(name)}\n\nOne row is {row}.\n\n{table(_HEAD, rows)}"


def _columns(text: str) -> Iterator[tuple[str, str]]:
    """Column and meaning, of a list with commas between and meanings in parentheses."""
    for part in _split(text):
        name, _, meaning = part.strip().partition("` ")
        yield name.strip("`"), meaning.removeprefix("(").removesuffix(")")


def _split(text: str) -> Iterator[str]:
    """The parts between those commas that no parenthesis or bracket encloses."""
    # of an interval such as (0, 1] both ends count
    depth, begin = 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]
