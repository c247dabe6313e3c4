"""The pages of the reference, each with the function that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from docs._generator import commands, errors, http_api, json_shapes, settings, warehouse

FOLDER = Path(__file__).resolve().parents[1] / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": commands.page,
    "settings.md": settings.page,
    "warehouse.md": warehouse.page,
    "http-api.md": http_api.page,
    "errors.md": errors.page,
    "json.md": json_shapes.page,
}
