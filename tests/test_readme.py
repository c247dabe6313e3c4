"""What the pages tell people to type exists, and what they tell them to send is taken."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from flows.cli.main import cli
from flywheel.config import Home, UseCase
from tasks.ingest import ingest_inbox

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "data" / "README.md"]
LINKED = [*PAGES, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def typed(page: str) -> list[str]:
    """The command lines that a page shows, without what is set for them."""
    return [
        re.sub(r"^([A-Z_]+=\S+ )+", "", part).partition("#")[0].strip()
        for block in re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
        for part in line.removeprefix("$ ").split(" && ")
    ]


def commands(program: str, pages: Iterable[Path] = PAGES) -> list[str]:
    """The command lines of pages that start ``program``."""
    lines = {line for page in pages for line in typed(page.read_text(encoding="utf-8"))}
    return sorted(line for line in lines if Path(line.split()[0]).name == program)


def test_the_two_commands_come_first() -> None:
    assert typed(README)[:2] == ["make turn", "make test"]


def test_the_readme_is_read_to_its_end() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("line", commands("make"))
def test_every_make_target_exists(line: str) -> None:
    assert line.split()[1] in TARGETS


@pytest.mark.parametrize("line", commands("flywheel"))
def test_every_flywheel_command_can_be_parsed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usecases").mkdir()
    words = [word.removeprefix("/backups/") for word in shlex.split(line.partition(">")[0])[1:]]
    for word in words:
        if word.endswith((".jsonl", ".csv", ".parquet", ".tar")):
            (tmp_path / word).write_text("{}")
    for name in [name for option, name in pairwise(words) if option == "-u"] or ["only"]:
        (tmp_path / "usecases" / f"{name}.yaml").touch()

    command = cli.commands[words[0]]

    assert command.make_context(words[0], words[1:]).command is command


def test_every_command_is_shown_somewhere() -> None:
    assert isinstance(cli, click.Group)
    by_hand = [page for page in PAGES if page.parent.name != "reference"]
    shown = {line.split()[1] for line in commands("flywheel", by_hand)} | {"turn"}

    assert shown >= set(cli.commands) - {"ingest"}


def test_the_feedback_shown_is_taken(home: Home, use_case: UseCase) -> None:
    page = (ROOT / "docs" / "guides" / "own-data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    file = home.inbox(use_case.name) / "readme.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(block, encoding="utf-8")

    done = ingest_inbox(use_case, home, at=datetime(2026, 2, 1, tzinfo=UTC))

    # the prediction ids are made up, so those rows wait for their predictions
    assert (done.read, done.ingested, done.parked, done.quarantined) == (4, 1, 3, 0)


def test_every_folder_shown_exists() -> None:
    (tree,) = re.findall(r"## What is where\n\n```\n(.*?)```", README, flags=re.DOTALL)

    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists()


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, part in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        led = page.parent / target if target else page
        assert led.exists(), target
        if part:
            assert part in headings(led), f"{target}#{part}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_named_exists(page: Path) -> None:
    """Of those written as `section.name`."""
    sections = {
        name: field.annotation
        for name, field in UseCase.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    for section, name in re.findall(r"`(\w+)\.([a-z_]+)\b", page.read_text(encoding="utf-8")):
        if section in sections:
            assert name in sections[section].model_fields, f"{section}.{name}"
