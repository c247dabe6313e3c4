"""What the page of threats names as shown by a test is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)))


def test_every_test_that_the_page_names_is_there() -> None:
    assert len(NAMED) > 40
    for file, test in NAMED:
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), test


@pytest.mark.parametrize(
    ("title", "points"), [("OWASP ASVS", 70), ("OWASP top 10 for LLM applications", 10)]
)
def test_no_point_is_left_out(title: str, points: int) -> None:
    section = PAGE.partition(f"## {title}")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| ((?:[\d.]+(?: to |, )?)+)", section, re.MULTILINE)
    assert sum(_count(first) for first in firsts) == points


def _count(first: str) -> int:
    """Points that a row is about: one, some with commas between, or a range of one section."""
    if " to " not in first:
        return len(first.split(","))
    return RANGES[first.strip()]


RANGES = {
    "6.2.1 to 6.2.8": 8,
    "7.2.1 to 7.4.2": 6,
    "9.1.1 to 9.2.1": 4,
    "10.4.1 to 10.4.5": 5,
}
"""How many points of level 1 lie between two, the ends counted."""
