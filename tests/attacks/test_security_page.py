"""What the page of threats names as shown by a test is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/concepts/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)))


def test_every_test_that_the_page_names_is_there() -> None:
    assert len(NAMED) > 40
    for file, test in NAMED:
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), test


# version 5.0.0; level 1 has no other points
ASVS = """
1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.3.1 1.3.2 1.5.1 2.1.1 2.2.1 2.2.2 2.3.1
3.2.1 3.2.2 3.3.1 3.4.1 3.4.2 3.5.1 3.5.2 3.5.3 4.1.1 4.4.1 5.2.1 5.2.2 5.3.1 5.3.2
6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2
7.2.1 7.2.2 7.2.3 7.2.4 7.4.1 7.4.2 8.1.1 8.2.1 8.2.2 8.3.1 9.1.1 9.1.2 9.1.3 9.2.1
10.4.1 10.4.2 10.4.3 10.4.4 10.4.5 11.3.1 11.3.2 11.4.1 12.1.1 12.2.1 12.2.2
13.4.1 14.2.1 14.3.1 15.1.1 15.2.1 15.3.1
"""
TOP_10 = (
    "LLM01 Prompt Injection",
    "LLM02 Sensitive Information Disclosure",
    "LLM03 Supply Chain",
    "LLM04 Data and Model Poisoning",
    "LLM05 Improper Output Handling",
    "LLM06 Excessive Agency",
    "LLM07 System Prompt Leakage",
    "LLM08 Vector and Embedding Weaknesses",
    "LLM09 Misinformation",
    "LLM10 Unbounded Consumption",
)


def test_every_point_of_level_1_stands_there_once() -> None:
    section = PAGE.partition("## OWASP ASVS 5.0.0, level 1")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| ((?:[\d.]+(?:, )?)+)", section, re.MULTILINE)
    assert [point for first in firsts for point in first.split(", ")] == ASVS.split()


def test_the_top_10_stand_there_by_their_names() -> None:
    section = PAGE.partition("## OWASP top 10 for LLM applications, 2025")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| (LLM[^|]+) \|", section, re.MULTILINE)) == TOP_10
