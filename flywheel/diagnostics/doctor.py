"""Can this machine run a night, and what can be learned and proven with the data that is there?

What can be proven is `flywheel.gate.power`, what more rows would bring
`flywheel.evaluation.learning_curve`, what to do `flywheel.diagnostics.recommendation`; the words
are in `flywheel.diagnostics.findings` and `flywheel.diagnostics.gain_findings`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.diagnostics import data_checks, machine_checks
from flywheel.records.findings import Finding

WIDTH = 100


def examine(use_case: UseCase, home: Home, *, now: datetime | None = None) -> list[Finding]:
    """``now`` is what the machine's clock says, None where nothing is to be said of it."""
    return [
        *machine_checks.machine(use_case, home),
        *data_checks.clock(use_case, home, now),
        *data_checks.data(use_case, home),
    ]


def render_text(found: Sequence[Finding]) -> list[str]:
    """Findings as an aligned table, wrapped at `WIDTH` characters."""
    widest = max(len(finding.name) for finding in found)
    result = []
    for finding in found:
        start = f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<{widest}}  "
        result += textwrap.wrap(
            finding.detail,
            width=WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return result
