"""What it costs to forget one customer, by the length of the history.

    python -m benchmarks.forgetting --rows 1000000 --json

Half of the rows are labels with a text, half reactions to served answers; each customer gave about
20 of them. All lie in the warehouse and in files of ``done/``, and a snapshot has the
newest. ``flywheel forget`` runs twice, each time in a process of its own: as it is asked first,
changing nothing, and with ``--yes``. Seconds are of the wall
and of the CPU, which other work beside does not change much; memory is the process's peak. A home
made once can be kept with ``--home`` and measured again without ``--yes``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.feedback import AT, ROOT, made_rows, say, write_rows
from flywheel.config import Home, UseCase, load_use_case
from flywheel.ingestion.predictions import SUFFIX
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox

FILE_ROWS = 100_000
WHO = "customer-7"
_COMMAND = "from flows.cli.main import cli; cli()"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of history")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="build the home here, or measure the one here")
    parser.add_argument("--dry-run", action="store_true", help="without --yes: nothing is changed")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="flywheel-benchmark-") as folder:
        home = Home(asked.home or Path(folder) / "home")
        if not home.warehouse.exists():
            build(home, rows=asked.rows, seed=asked.seed)
        found: dict[str, Any] = {"rows": asked.rows, "home_mb": _megabytes(home.root)}
        found |= _measured(home, "dry_run", WHO)
        if not asked.dry_run:
            found |= _measured(home, "forget", WHO, "--yes")
    if asked.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:24} {value}")


def build(home: Home, *, rows: int, seed: int) -> None:
    """Fill a home by the way that feedback goes: files in the inbox, taken in, curated."""
    use_case = load_use_case("product-reviews", folder=ROOT / "usecases")
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True)
    made = made_rows(rows, seed=seed)
    for begin in range(0, rows, FILE_ROWS):
        say(f"taking in rows from {begin:,} on")
        part = [row for row, _ in zip(made, range(min(FILE_ROWS, rows - begin)), strict=False)]
        write_rows(inbox / f"served-{begin}{SUFFIX}", _answers(part[::2]))
        write_rows(inbox / f"feedback-{begin}.jsonl", part)
        ingest_inbox(use_case, home, at=AT + timedelta(days=begin / FILE_ROWS))
    say("curating")
    _curate(use_case, home, days=2 + rows // FILE_ROWS)


def _curate(use_case: UseCase, home: Home, *, days: int) -> None:
    curate_snapshot.fn(use_case, home, at=AT + timedelta(days=days))


def _answers(rows: Sequence[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Turn labels into reactions, and give the answers that they are about."""
    for row in rows:
        label = row["value"]
        row |= {"kind": "correct", "prediction_id": f"p-{row['feedback_id']}"}
        yield {
            "prediction_id": row["prediction_id"],
            "text": row.pop("text"),
            "group_id": row.pop("group_id"),
            "customer_id": row["customer_id"],
            "label": label,
            "probabilities": {label: 1.0},
            "model_version": "1",
            "digest": "d",
            "predicted_at": row["given_at"],
        }


def _measured(home: Home, name: str, *arguments: str) -> dict[str, Any]:
    """Seconds and peak memory of a forgetting; it must end well, and complete where it forgets."""
    say(f"flywheel forget {' '.join(arguments)}")
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "forget", *arguments, "--json"],
        cwd=ROOT,
        env={**os.environ, "FLYWHEEL_HOME": str(home.root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"forget {' '.join(arguments)} failed")
    content = json.loads(said)
    if "--yes" in arguments and not content["complete"]:
        raise SystemExit("the certificate is not complete")
    return {
        f"{name}_seconds": round(seconds, 1),
        f"{name}_cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        f"{name}_peak_mb": round(used.ru_maxrss / 1024),
    }


def _megabytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1_000_000


if __name__ == "__main__":
    main()
