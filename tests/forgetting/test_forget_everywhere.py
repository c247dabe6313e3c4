"""Somebody is put into every place of a home that holds text, and is in none after a forgetting.

The places are found by walking the home of two nights, not from a list: a file that a later
version of flywheel writes is one of them without anybody thinking of it. Where a place cannot be
cleaned, the certificate must name it: nothing is complete that is not.
"""

from __future__ import annotations

import html
import json
import random
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.config import Home
from flywheel.privacy.byte_search import spelled
from flywheel.text.pii import redact
from tasks.erasure.erase import forget
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, everything, json_lines, other

TEXTS = (".json", ".jsonl", ".html", ".yaml", ".csv", ".md", ".txt", ".log")
WORDS = [
    *("lake", "heron", "wölfe", "midnight", "größe", "parcel", "荷物", "order's"),
    *("<so>", '"indeed"', "don't", "naïve", "&", "7,50", "€"),
]
letters = "abcdefghijklmnopqrstuvwxyzäöüéß"

ids = st.one_of(
    st.text(letters, min_size=6, max_size=12).map(lambda name: f"{name}-17"),
    st.text(letters, min_size=5, max_size=9).map(lambda name: f"{name}@example.org"),
    st.integers(10_000, 99_999_999).map(str),
)
texts = st.lists(st.sampled_from(WORDS), min_size=8, max_size=14).map(" ".join)


@contextmanager
def copy_of(home: Home) -> Iterator[Home]:
    """Hypothesis asks for many homes in one test."""
    with tempfile.TemporaryDirectory(dir=home.root.parent) as folder:
        shutil.copytree(home.root, Path(folder) / "home")
        yield Home(Path(folder) / "home")


def places_of_text(home: Home) -> list[Path]:
    """One file of text for each folder and kind of file that the nights left."""
    kinds: dict[tuple[Path, str], Path] = {}
    for path in sorted(home.root.rglob("*")):
        if path.is_file() and path.suffix in TEXTS and path.parent != home.forget:
            kinds[path.parent, path.suffix] = path
    return sorted(kinds.values())


def plant(path: Path, who: str, said: str) -> None:
    """Write somebody into a file, in its own way of writing."""
    row: dict[str, Any] = other(0) | {"feedback_id": "planted", "customer_id": who, "rater_id": who}
    row |= {"group_id": who, "text": said}
    content = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        path.write_bytes(content.encode() + json_lines(row))
    elif path.suffix == ".html":
        path.write_text(
            content.replace("</body>", f'<td class="said">{html.escape(said)}</td></body>')
        )
    else:
        path.write_text(f"{content}\n{json.dumps({'customer_id': who, 'text': said})}\n", "utf-8")


def forms(who: str, said: str) -> set[bytes]:
    """Every way in which a file may write them."""
    every = {said, redact(said).text, *(unicodedata.normalize(f, said) for f in ("NFC", "NFD"))}
    if not who.isdigit():
        every |= {unicodedata.normalize(form, who) for form in ("NFC", "NFD")}
    return {form for text in every for form in spelled(text)}


def left(home: Home, who: str, said: str) -> set[str]:
    """Where the person is still to be found."""
    wanted = forms(who, said)
    return {place for place, content in everything(home) if any(w in content for w in wanted)}


def check(template: Home, who: str, said: str, spelling: str, chance: random.Random) -> None:
    with copy_of(template) as home:
        named = unicodedata.normalize(spelling, f" {who}")
        mine = {"customer_id": named, "rater_id": named, "group_id": named, "source": "app"}
        drop(home, "mine.jsonl", json_lines(other(90, **mine, feedback_id="mine-1", text=said)))
        ingest_inbox(JOB, home, at=AT)
        kept = {place for place, content in everything(home) if b"somebody else, no. 5" in content}
        files = places_of_text(home)
        for path in chance.sample(files, min(len(files), 12)):
            plant(path, who, said)
        assert left(home, who, said)
        done = forget(home, who, at=AT, quotes="keep")
        found = set(done["searched_afterwards"]["found"])
        missed = {place for place in left(home, who, said) if place not in found}
        assert not missed, f"complete: {done['complete']}, but in {missed}"
        assert done["complete"] == (not found)
        after = {place for place, content in everything(home) if b"somebody else, no. 5" in content}
        assert {place for place in kept if place.startswith("table")} <= after


def test_somebody_everywhere_is_nowhere_or_named(home: Home) -> None:
    said = 'größe naïve don\'t <so> "indeed" heron 荷物 at a@example.org'
    check(home, "josé-heron-17", said, "NFD", random.Random(1))


@pytest.mark.slow
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ids, texts, st.sampled_from(["NFC", "NFD", "NFKC"]), st.randoms(use_true_random=False))
def test_whoever_is_everywhere_is_nowhere_or_named(
    home: Home, who: str, said: str, spelling: str, chance: random.Random
) -> None:
    check(home, who, said, spelling, chance)
