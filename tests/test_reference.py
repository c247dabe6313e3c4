"""The reference is what the code says, and the site has every page and no dead link."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml

from docs._generator import errors, hook, http_api, settings
from docs._generator.reference import FOLDER, PAGES
from flows.cli.main import cli
from flywheel.config import UseCase
from flywheel.errors import TerminalError, TransientError

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_PART = re.compile(r"\s*(- |\d+\. |\|)|  ")
"""A line of a list or a table, and one that goes on with a point."""
WRITTEN = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_made_of_the_code(name: str) -> None:
    page = (FOLDER / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), "python -m docs._generator writes it anew"


def test_the_reference_has_no_page_that_nothing_makes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_setting_says_what_it_does() -> None:
    mute = [
        f"{path}.{name}"
        for path, section in settings.sections(UseCase)
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert not mute


def test_every_section_is_on_the_page_of_the_settings() -> None:
    shown = re.findall(r"^## `(.+)`$", PAGES["settings.md"](), flags=re.MULTILINE)
    assert {"split", "curation", "training.slate[]", "serving.adapters", "vendors[]"} <= set(shown)


def test_every_error_says_what_to_do() -> None:
    kinds = [*errors.kinds(TransientError), *errors.kinds(TerminalError)]
    assert len(kinds) > 20
    assert not [kind.__name__ for kind in kinds if "\n\n" not in (kind.__doc__ or "")]


def test_every_option_says_what_it_does() -> None:
    assert isinstance(cli, click.Group)
    mute = [
        f"{name} {option.opts[0]}"
        for name, command in cli.commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert not mute


def test_every_field_over_http_says_what_it_is() -> None:
    schemas = http_api.document()["components"]["schemas"]
    mute = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        if name not in http_api.OF_FASTAPI
        for field, one in schema["properties"].items()
        if not one.get("description")
    ]
    assert not mute


def test_the_site_lists_every_page_once() -> None:
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(_pages(told["nav"])) == WRITTEN


def test_the_first_page_leads_to_every_other() -> None:
    links = re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert sorted({*links, "index.md"}) == WRITTEN


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[the gate](../concepts/gate.md#rules)", "[the gate](../concepts/gate.md#rules)"),
        (
            "[`flywheel/gate/decision.py`](../../flywheel/gate/decision.py)",
            "`flywheel/gate/decision.py`",
        ),
        ("[what is in it](../../data/README.md)", "what is in it (`data/README.md`)"),
        ("![a page](../images/page.png)", "![a page](../images/page.png)"),
    ],
)
def test_a_link_out_of_the_pages_becomes_the_path(link: str, shown: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="guides/homes.md"))
    assert hook.on_page_markdown(link, page=page, config={"docs_dir": str(DOCS)}) == shown


@pytest.mark.parametrize("name", WRITTEN)
def test_a_list_or_table_begins_after_an_empty_line(name: str) -> None:
    """Elsewhere a list goes on with the paragraph before it on the site, and not on a code host."""
    text = re.sub(r"```.*?```", "", (DOCS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = text.splitlines()
    glued = [
        line
        for before, line in pairwise(lines)
        if before.strip() and not _PART.match(before) and re.match(r"(- |1\. |\|)", line)
    ]
    assert not glued


PACKAGES = ("flywheel", "tasks", "flows", "benchmarks", "tests", "docs")
_POINTED_AT = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`")
_PATH = re.compile(rf"\b(?:{'|'.join(PACKAGES)})/[\w/]+\.py\b")


def test_what_pages_and_docstrings_point_at_is_there() -> None:
    """A module that moves takes the names in other files' words with it."""
    files = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    files += [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    words = {path: path.read_text(encoding="utf-8") for path in files}
    pointed = [(path, name) for path, text in words.items() for name in _POINTED_AT.findall(text)]
    assert len(pointed) > 100
    gone = [(str(path.relative_to(ROOT)), name) for path, name in pointed if not _is_there(name)]
    gone += [
        (str(path.relative_to(ROOT)), found)
        for path, text in words.items()
        for found in _PATH.findall(text)
        if not (ROOT / found).is_file()
    ]
    assert not gone


def test_a_name_that_nothing_has_is_seen() -> None:
    assert _is_there("flywheel.records.answers.top")
    assert _is_there("flywheel.records")
    assert not _is_there("flywheel.records.answers.bottom")
    assert not _is_there("flywheel.nowhere.top")


def _is_there(name: str) -> bool:
    """Whether a dotted name is a module, or a module that has the next word."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        stem = ROOT.joinpath(*parts[:length])
        for module in (stem.with_suffix(".py"), stem / "__init__.py"):
            if module.is_file():
                rest = parts[length:]
                return not rest or re.search(rf"\b{rest[0]}\b", module.read_text()) is not None
    return False


def _pages(entries: list[object]) -> list[str]:
    """The pages of a navigation, of all its levels."""
    found: list[str] = []
    for entry in entries:
        inner = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += _pages(inner) if isinstance(inner, list) else [str(inner)]
    return found
