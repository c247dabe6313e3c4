"""Every setting of a use case file, from the classes that read it."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs._generator.markdown import code, prose, table
from docs._generator.markdown import page as whole_page
from flywheel.config import UseCase

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}
_BOUNDS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
_HEAD = ("Setting", "Type", "Default", "What it does")
_ABOUT = """\
A use case is one YAML file in `usecases/`, and this page lists all of its settings.
`flywheel init` writes such a file and gives a reason for each value that it proposes.
An unknown setting is refused, and the message names the nearest one that exists.

**needed** in the column *Default* means that the file must have the setting.
*none* means that nothing is set; the last column says what follows."""


def page() -> str:
    """The page of the settings: one section of it for each section of the file."""
    return whole_page("Settings of a use case", _ABOUT, *_sections("", UseCase))


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Path in the file and class of ``model`` and of all sections below it, each once."""
    yield prefix, model
    for name, field in model.model_fields.items():
        for below, many in _below(field.annotation):
            yield from sections(below, f"{prefix}{'.' * bool(prefix)}{name}{'[]' * many}")


def _sections(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    for path, section in sections(model, prefix):
        title = f"## {code(path)}" if path else "## At the top of the file"
        rows = (_row(name, field) for name, field in section.model_fields.items())
        yield "\n\n".join([title, prose(section.__doc__), table(_HEAD, rows)])


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    return (
        code(name),
        _bounded(_kind(field.annotation), field.metadata),
        _default(field),
        prose(field.description),
    )


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_kind(inner[0]), annotation.__metadata__)
    if origin is Literal:
        return ", ".join(code(_written(one)) for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in inner if one is not NoneType)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"mapping of {_kind(inner[0])} to {_kind(inner[1])}"
    if _is_section(annotation):
        return "section"
    return _NAMES[annotation]


def _bounded(kind: str, metadata: Any) -> str:
    return " ".join([kind, ", ".join(_bounds(metadata))]).strip()


def _bounds(metadata: Any) -> list[str]:
    """What a value must keep to; a FieldInfo inside of Annotated holds it once more."""
    found: list[str] = []
    for one in metadata:
        if isinstance(one, FieldInfo):
            found += _bounds(one.metadata)
        found += [f"{sign} {getattr(one, name):g}" for name, sign in _BOUNDS if hasattr(one, name)]
        if pattern := getattr(one, "pattern", None):
            found.append(f"matching {code(pattern)}")
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "as below"
    if value is None or value in ({}, [], ""):
        return "*none*"
    return code(_written(value))


def _written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_written(one) for one in value)}]"
    return f"{value}"


def _below(annotation: Any) -> Iterator[tuple[type[BaseModel], bool]]:
    """Sections that a field holds, and whether it holds a list of them."""
    if _is_section(annotation):
        yield annotation, False
    for one in get_args(annotation):
        if _is_section(one):
            yield one, get_origin(annotation) is list


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
