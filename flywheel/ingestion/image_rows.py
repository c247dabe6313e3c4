"""Feedback rows about pictures: what a row names is kept, and goes on by its address.

A row names a picture by ``text`` or, which reads better, by ``image``: an address, a path beside
the file, or a ``data:`` URL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.ingestion.readers import Chunk, Row
from flywheel.ingestion.readers.chunk import no_rows

_CUT = "data:…"


@dataclass
class PictureRows:
    """The rows of one file, and what was kept for them.

    ``beside`` is the file's folder; ``files`` are those in it that pictures were copied from.
    """

    images: Images
    beside: Path
    files: set[Path] = field(default_factory=set)

    def chunks(self, given: Iterable[Chunk]) -> list[Chunk]:
        """The chunks, each row judged by itself; one whose picture cannot be used says why."""
        return [self._chunk(chunk) for chunk in given]

    def _chunk(self, chunk: Chunk) -> Chunk:
        numbers = chunk.table["row_number"].to_pylist()
        rows = [(number, chunk.row(number)) for number in numbers] + list(chunk.odd)
        odd = tuple((number, self._row(row)) for number, row in sorted(rows, key=lambda r: r[0]))
        return Chunk(no_rows(), chunk.row, odd)

    def _row(self, row: Row) -> Row:
        raw, fields = row
        if isinstance(fields, DataError):
            return row
        name = "image" if fields.get("image") else "text"
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            return row
        if value.startswith("data:"):
            # what is set apart is for people to read, and the picture may show somebody
            raw = json.dumps({**fields, name: _CUT}, default=str)
        try:
            address, file = self.images.addressed(value.strip(), self.beside)
        except DataError as error:
            return raw, DataError(f"{name} {error.message}", field=name)
        if file is not None:
            self.files.add(file)
        return raw, {**fields, "text": address}
