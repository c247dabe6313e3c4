"""Every path of the service and what it takes and gives, from its OpenAPI document."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from fastapi import FastAPI

from docs._generator.markdown import code, prose, table
from docs._generator.markdown import page as whole_page
from flywheel import __version__
from flywheel.errors import DataError, FlywheelError, TransientError
from flywheel.serving.http.app import STATUSES, hooks, router, writing

_ABOUT = """\
`flywheel serve` answers these paths; `/openapi.json` of a running service holds the same.
`/v1/chat/completions` is there for written answers, `/hooks/mlflow` with a webhook's secret.
The page at `/` is for trying it out by hand.

With keys every path but `/healthz`, `/readyz` and the page asks for `Authorization: Bearer KEY`.
Unknown fields and wrong types are refused with 422, and the answer names the field."""
_ALWAYS = (
    ("400", "The body broke off."),
    ("401", "The key is missing or unknown."),
    ("403", "A page of another origin asked, or a customer's key asked for what is a backend's."),
    ("408", "The body came too slowly."),
    ("413", "The body is larger than `serving.max_body_bytes`."),
    ("421", "Without keys the service answers this machine only, by its own names."),
    ("422", "The body breaks the schema: `detail` lists fields and rules."),
)
_IN_GENERAL: dict[type[FlywheelError], str] = {
    DataError: "A value cannot be used: `detail` says which one and why.",
    TransientError: "Something did not answer. Try again after `Retry-After` seconds.",
    FlywheelError: "Something failed that trying again does not mend. The service's log says what.",
}
_FIELDS = ("Field", "Type", "Needed", "What it is")


def page() -> str:
    """The page of the HTTP API: paths, schemas, refusals."""
    told = document()
    schemas = told["components"]["schemas"]
    paths = [
        _path(path, verb, one, schemas)
        for path, verbs in told["paths"].items()
        for verb, one in verbs.items()
    ]
    shown = [_schema(name, one) for name, one in schemas.items() if name not in OF_FASTAPI]
    return whole_page(
        "HTTP API", _ABOUT, "## Paths", *paths, "## Bodies", *shown, "## Refusals", _refusals()
    )


OF_FASTAPI = ("HTTPValidationError", "ValidationError")
"""FastAPI's own, which this service never sends."""


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI document of a service with all of its paths."""
    app = FastAPI(title="flywheel", version=__version__)
    for one in (router, writing, hooks):
        app.include_router(one)
    return app.openapi()


def _path(path: str, verb: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    sent = [_kind(one["schema"]) for one in content.values()]
    status, answer = next(iter(operation["responses"].items()))
    given = [_kind(one["schema"]) for one in answer.get("content", {}).values()]
    lines = [f"### {code(f'{verb.upper()} {path}')}", prose(operation.get("description"))]
    body = f"Body: {' or '.join(sent)}.\n" if sent else ""
    return "\n\n".join([*lines, f"{body}Answer: {status}{', ' * bool(given)}{' or '.join(given)}."])


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = (_field(*one, needed=one[0] in needed) for one in schema["properties"].items())
    return "\n\n".join([f"### {name}", prose(schema.get("description")), table(_FIELDS, rows)])


def _field(name: str, schema: dict[str, Any], *, needed: bool) -> tuple[str, str, str, str]:
    # what may be left out may be null, too
    kind = _kind(schema) if needed else _kind(schema).removesuffix(" or *null*")
    return code(name), kind, "yes" if needed else "", prose(schema.get("description"))


def _kind(schema: dict[str, Any]) -> str:
    """A type in words, with a link to the body it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if either := schema.get("anyOf"):
        return " or ".join(_kind(one) for one in either)
    if "const" in schema or "enum" in schema:
        return ", ".join(code(_json(one)) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping of text to {_kind(schema['additionalProperties'])}"
    kind = str(schema.get("type", "any"))
    return {
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
        "null": "*null*",
    }.get(kind, kind)


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusals() -> str:
    """Status codes of refusals, with the errors that lead to them."""
    return table(("Status", "Error", "What happened"), sorted(_statuses(), key=itemgetter(0)))


def _statuses() -> Iterator[tuple[str, str, str]]:
    for status, happened in _ALWAYS:
        yield status, "", happened
    for kind, number in STATUSES:
        happened = prose(kind.__doc__).partition("\n\n")[0]
        yield str(number), code(kind.__name__), _IN_GENERAL.get(kind, happened)
