"""Measurements that anyone can repeat: seeded data, everything in one run, medians."""

from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
"""Where the pages that benchmarks write are; their figures, as JSON, are beside the code."""
