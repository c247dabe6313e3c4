"""The JSON Schema of a use case file, by which editors complete and check it.

It is made from the classes that read the file, and lies beside them in the package. What needs two
settings at once, or the catalog of bases, is not in it: ``flywheel config check`` says that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flywheel.config import UseCase

NAME = "use-case.schema.json"
SHIPPED = Path(__file__).with_name(NAME)
_PAIRS = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
}


def schema() -> dict[str, Any]:
    """The schema, made anew."""
    made = UseCase.model_json_schema(mode="validation")
    for section in (made, *made["$defs"].values()):
        # a class says in its docstring what a person reads in the reference
        section.pop("title", None)
    labels = made["properties"]["labels"]
    names = {key: labels.pop(key) for key in ("type", "additionalProperties") if key in labels}
    labels["anyOf"] = [names, _PAIRS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flywheel use case",
        **made,
    }


def text() -> str:
    """The schema as its file has it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def modeline(path: str) -> str:
    """The comment by which an editor's YAML server finds the schema."""
    return f"# yaml-language-server: $schema={path}"
