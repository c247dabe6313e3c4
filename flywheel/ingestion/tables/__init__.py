"""Tables as people keep them, brought by hand: read whole, bad rows set apart."""

from flywheel.ingestion.tables.encodings import is_unicode
from flywheel.ingestion.tables.json_rows import json_lines
from flywheel.ingestion.tables.reading import read_table, require_rows
from flywheel.ingestion.tables.sheets import is_sheet, sheet
from flywheel.ingestion.tables.table import Refused, Row, Table

__all__ = [
    "Refused",
    "Row",
    "Table",
    "is_sheet",
    "is_unicode",
    "json_lines",
    "read_table",
    "require_rows",
    "sheet",
]
