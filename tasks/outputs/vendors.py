"""Ask bought models what our champion was asked, and set them beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel import progress, reports, vendors
from flywheel.config import Home, UseCase, VendorConfig
from flywheel.dataset import snapshots
from flywheel.errors import ConfigError, NotEnoughData
from flywheel.records import Example
from flywheel.store import open_store
from flywheel.store.feedback import labeling, prediction_counts
from flywheel.store.nights import contender_scores
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from flywheel.vendors import cost, scoring
from tasks.collect import write

log = logging.getLogger(__name__)

TIMED_TEXTS = 50
"""Texts that our champion is timed on, one at a time."""
CHOICE_ROWS = 200
"""Training rows that a setting is chosen on where there are no validation rows."""


@dataclass(frozen=True)
class Rows:
    """The labeled rows of the newest snapshot, by what they are for.

    ``choice`` are the rows that settings are chosen on: ``chosen_on`` says which, those of the
    validation side or, where there are none, training rows that are shown in no setting.
    """

    snapshot_id: str
    shown: Sequence[vendors.Shown]
    choice: Sequence[Example]
    chosen_on: str
    holdout: Sequence[Example]


def plan(use_case: UseCase, home: Home, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What `buy` would send to each vendor, to which host, and what it could cost; sends nothing.

    Raises:
        ConfigError: the use case has no such vendor.
        NotEnoughData: there is no snapshot yet.
    """
    chosen = _chosen(use_case, names)
    rows = _rows(use_case, home, chosen)
    return [_plan(use_case, vendor, home, rows) for vendor in chosen]


def buy(
    use_case: UseCase,
    home: Home,
    names: Sequence[str] = (),
    *,
    at: datetime,
    per_day: float | None = None,
    offline: bool = False,
) -> dict[str, Any]:
    """Choose each vendor's setting, score it on the holdout with that one, and compare.

    The holdout decides nothing about settings: of a vendor, one setting alone is ever asked it in a
    run. ``offline`` takes recorded answers only, and times nothing. ``per_day`` is the number of
    answers a day to give prices for; by default what was answered lately. Writes a page at
    `page_path` and returns its facts, which `flywheel.vendors.report` puts into lines.

    Raises:
        ConfigError: the use case has no such vendor, or a key is missing.
        NotEnoughData: there is no snapshot yet, or nothing is recorded to replay.
        SpendCapReached, VendorRefused, VendorUnavailable: see `flywheel.vendors.ask`.
    """
    chosen = _chosen(use_case, names)
    rows = _rows(use_case, home, chosen)
    champion = Registry(home).by_alias(use_case.name, CHAMPION)
    with open_store(home.warehouse, read_only=True) as store:
        measured = prediction_counts.answers_per_day(store, use_case.name, until=at)
        scores = contender_scores.scores(store, use_case.name, champion.digest) if champion else {}
        ms = (
            contender_scores.latency_ms(store, use_case.name, champion.digest)
            if scores and champion
            else None
        )
    own = cost.machine(use_case.gate.machine_cost_per_hour, ms)
    volume_per_day = per_day or measured
    asked = [
        _asked(use_case, vendor, home, rows, scores, own, volume_per_day, offline=offline)
        for vendor in chosen
    ]
    ours = None
    if champion is not None:
        ours = {
            "version": champion.version,
            "digest": champion.digest,
            "latency": None if offline else _timed(use_case, home, champion, rows.holdout),
            **cost.made(own, volume_per_day),
            "ms_per_answer": ms,
        }
    facts = {
        "use_case": use_case.name,
        "at": at.isoformat(),
        "snapshot_id": rows.snapshot_id,
        "offline": offline,
        "per_day": volume_per_day,
        "per_day_is": "given" if per_day else "measured" if measured else None,
        "machine_cost_per_hour": use_case.gate.machine_cost_per_hour,
        "ours": ours,
        "vendors": asked,
    }
    write(page_path(use_case, home), reports.build_or_buy(facts))
    return facts


def page_path(use_case: UseCase, home: Home) -> Path:
    """Where the page of the last comparison lies."""
    return home.vendors(use_case.name) / "report.html"


def _asked(
    use_case: UseCase,
    vendor: VendorConfig,
    home: Home,
    rows: Rows,
    scores: Mapping[str, Mapping[str, float]],
    own: cost.Machine | None,
    per_day: float | None,
    *,
    offline: bool,
) -> dict[str, Any]:
    tried = [
        _try(use_case, vendor, home, rows, rows.choice, shots, offline=offline)
        for shots in vendor.shots
        if len(vendor.shots) > 1
    ]
    shots = int(scoring.best([one for one, _ in tried])["shots"]) if tried else vendor.shots[0]
    holdout, answers = _try(use_case, vendor, home, rows, rows.holdout, shots, offline=offline)
    got = [answer for answer in answers if answer is not None]
    if not got:
        raise NotEnoughData(
            f"{vendor.name} has answered none of the {len(rows.holdout)} holdout rows"
            + ("; nothing is recorded to replay." if offline else "; nothing can be compared.")
        )
    everything = vendors.recorded(use_case, vendor, home)
    return {
        "name": vendor.name,
        "model": vendor.model,
        "url": vendor.url,
        "chosen_on": rows.chosen_on if tried else None,
        "tried": [one for one, _ in tried],
        "shots": shots,
        "holdout": holdout,
        "comparison": scoring.compare(
            rows.holdout, answers, scores, by_row=use_case.gate.unit == "row"
        ),
        "latency": scoring.latency([answer.seconds for answer in got]),
        "input_tokens": sum(answer.input_tokens for answer in got) / len(got),
        "output_tokens": sum(answer.output_tokens for answer in got) / len(got),
        "metered": all(answer.metered for answer in got),
        "graded": sum(answer.graded for answer in got),
        **cost.bought(cost.price_per_thousand(vendor, got), own, per_day),
        "spent": vendors.outlook(use_case, vendor, [], home).spent,
        "spend_cap": vendor.spend_cap,
        "recorded": len(everything),
        "settings_on_holdout": scoring.settings(
            {row.example_id for row in rows.holdout}, everything
        ),
        "served_models": sorted({answer.served_model for answer in got}),
        "first_asked": min(answer.asked_at for answer in got),
        "last_asked": max(answer.asked_at for answer in got),
    }


def _try(
    use_case: UseCase,
    vendor: VendorConfig,
    home: Home,
    rows: Rows,
    examples: Sequence[Example],
    shots: int,
    *,
    offline: bool,
) -> tuple[dict[str, Any], Sequence[vendors.Answer | None]]:
    shown = rows.shown[:shots]
    texts = [example.text for example in examples]
    with progress.bar(f"asking {vendor.name} {len(texts)} texts, {shots} examples shown") as step:
        asked = vendors.ask(
            use_case, vendor, texts, home, shown=shown, offline=offline, progress=step
        )
    log.info("%s answered %d texts, %d asked now", vendor.name, len(texts), asked.asked)
    return {
        "shots": shots,
        **scoring.score(examples, asked.answers),
        "asked": asked.asked,
        "per_second": asked.asked / asked.wall_seconds if asked.asked else None,
        "failures": dict(asked.failures),
    }, asked.answers


def _plan(use_case: UseCase, vendor: VendorConfig, home: Home, rows: Rows) -> dict[str, Any]:
    """Each setting where there are several, and the dearest of them on the holdout."""
    several = len(vendor.shots) > 1
    steps = [(rows.chosen_on, rows.choice, shots) for shots in vendor.shots if several]
    steps += [("holdout", rows.holdout, max(vendor.shots))]
    looks = []
    for split, examples, shots in steps:
        texts = [example.text for example in examples]
        seen = vendors.outlook(use_case, vendor, texts, home, shown=rows.shown[:shots])
        looks.append({"split": split, "shots": shots, **asdict(seen)})
    return {
        "name": vendor.name,
        "model": vendor.model,
        "url": vendor.url,
        "steps": looks,
        "requests": sum(look["missing"] for look in looks),
        "most": sum(look["most"] for look in looks),
        "spent": looks[-1]["spent"],
        "spend_cap": vendor.spend_cap,
    }


def _timed(
    use_case: UseCase, home: Home, champion: Version, examples: Sequence[Example]
) -> dict[str, float] | None:
    """Our champion's own latency here, one text at a time, after one that warms it up."""
    from flywheel.modeling import methods

    texts = [example.text for example in examples[:TIMED_TEXTS]]
    answerer = methods.load(use_case, home, champion.adapter_dir)
    answerer.answer(texts[:1])
    seconds = []
    for text in texts:
        started = time.perf_counter()
        answerer.answer([text])
        seconds.append(time.perf_counter() - started)
    return scoring.latency(seconds)


def _chosen(use_case: UseCase, names: Sequence[str]) -> list[VendorConfig]:
    known = {vendor.name: vendor for vendor in use_case.vendors}
    missing = [name for name in names if name not in known]
    if missing or not known:
        raise ConfigError(
            f"{use_case.name} has no vendor {', '.join(missing) or 'at all'}; known: "
            f"{', '.join(known) or 'none'}. Nothing was asked; add it to vendors in the use case."
        )
    return [known[name] for name in names] if names else [*known.values()]


def _rows(use_case: UseCase, home: Home, chosen: Sequence[VendorConfig]) -> Rows:
    found = None
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            found = labeling.newest_snapshot(store, use_case.name)
    if found is None:
        raise NotEnoughData(
            f"{use_case.name} has no snapshot yet, so there are no rows to ask. Run a night "
            f"first: flywheel night -u {use_case.name}"
        )
    labeled = [e for e in snapshots.read(home.snapshots, found) if e.label is not None]
    sides = {side: [e for e in labeled if e.split == side] for side in ("train", "validation")}
    train = [(e.text, e.label) for e in sides["train"] if e.label is not None]
    most = max((shots for vendor in chosen for shots in vendor.shots), default=0)
    shown = vendors.examples(train, use_case.label_names, most)
    texts = {text for text, _ in shown}
    left = [e for e in sides["train"] if e.text not in texts][:CHOICE_ROWS]
    return Rows(
        snapshot_id=found,
        shown=shown,
        choice=sides["validation"] or left,
        chosen_on="validation" if sides["validation"] else "training",
        holdout=[e for e in labeled if e.split == "holdout"],
    )
