"""Can this machine run a night, and what can be learned and proven with the data that is there?

The door: it reads the store and the newest snapshot. What can be proven is `flywheel.prospects`,
what more rows would bring `flywheel.learning_curve`, what to do `flywheel.advice`; the words are
in `flywheel.findings`.
"""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from flywheel import findings, learning_curve, memory, snapshots
from flywheel.advice import recommend
from flywheel.config import Home, UseCase
from flywheel.errors import DoesNotFit
from flywheel.learning_curve import Curve, Gain
from flywheel.prospects import Standing, assumed_disagreement, sights
from flywheel.store import diary, facts, open_store

NEEDED_MEMORY_GB = 4.0
NEEDED_DISK_GB = 2.0
WIDTH = 100
LIBRARIES = ("prefect", "mlflow", "duckdb", "torch", "transformers", "peft", "bitsandbytes")


def examine(use_case: UseCase, home: Home) -> list[dict[str, Any]]:
    """Findings, each with ``name``, ``ok`` and a ``detail`` that says what to do.

    A finding that is not ``ok`` stops a night, or its verdict; the others only tell.
    """
    return [_libraries(), _memory(use_case, home), _disk(home), *_data(use_case, home)]


def lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Findings as an aligned table, wrapped at `WIDTH` characters."""
    widest = max(len(finding["name"]) for finding in found)
    result = []
    for finding in found:
        start = f"{'ok  ' if finding['ok'] else 'FAIL'}  {finding['name']:<{widest}}  "
        result += textwrap.wrap(
            finding["detail"],
            width=WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return result


# ---- The machine


def _libraries() -> dict[str, Any]:
    missing = [name for name in LIBRARIES if not _installed(name)]
    detail = f"missing {', '.join(missing)}; run make install" if missing else "all installed"
    return {"name": "libraries", "ok": not missing, "detail": detail}


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _memory(use_case: UseCase, home: Home) -> dict[str, Any]:
    """What training will take, counted from the base's shapes once it is here."""
    named = use_case.training.zero_shot_base
    base = home.models / (named or "none")
    if use_case.training.where == "pool" or not (base / "config.json").is_file():
        free = psutil.virtual_memory().available / 1e9
        detail = f"{free:.1f} GB free, a night needs {NEEDED_MEMORY_GB:.0f} GB"
        return {"name": "memory", "ok": free >= NEEDED_MEMORY_GB, "detail": detail}
    from flywheel import inference, numeric_types

    free_mb, on_gpu = inference.available_memory_mb(), inference.device().type == "cuda"
    try:
        need = memory.require_fit(
            base,
            use_case.training,
            available_mb=free_mb,
            on_gpu=on_gpu,
            answer_tokens=use_case.training.max_new_tokens if use_case.generates else 0,
            weight_bytes=numeric_types.weight_bytes(),
        )
    except DoesNotFit as error:
        return {"name": "memory", "ok": False, "detail": error.message}
    where = "of the GPU " if on_gpu else ""
    detail = f"{free_mb / 1e3:.1f} GB {where}free, training needs about {need.total / 1e3:.1f} GB"
    return {"name": "memory", "ok": True, "detail": detail}


def _disk(home: Home) -> dict[str, Any]:
    free = shutil.disk_usage(home.root).free / 1e9
    detail = f"{free:.1f} GB free, a first night needs {NEEDED_DISK_GB:.0f} GB"
    return {"name": "disk", "ok": free >= NEEDED_DISK_GB, "detail": detail}


# ---- The data


def _data(use_case: UseCase, home: Home) -> list[dict[str, Any]]:
    name = use_case.name
    with open_store(home.warehouse) as store:
        nights = diary.nights(store, name)
        waiting = store.waiting(name)
        taken = next((n["snapshot_id"] for n in reversed(nights) if n["snapshot_id"]), None)
        if taken is None:
            return _before_the_first_night(use_case, waiting)
        standing = facts.standing(store, use_case, taken)
        raters = facts.raters(store, name, taken)
        doubt = facts.doubt(store, name, taken)
        tie = use_case.gate.tie_within if use_case.generates else None
        compared, differing = facts.differing(store, name, taken, written_tie=tie)
    examples = snapshots.read(home.snapshots, taken)
    # the snapshot's own rows are what a night trains on; the store's are an index of them
    train = Counter(e.label for e in examples if e.split == "train" and e.label)
    standing = replace(standing, classes=train)
    exam = Counter(e.label for e in examples if e.split == "exam" and e.label)
    assumed = assumed_disagreement(use_case.gate)
    disagreement = differing / compared if differing else assumed
    seen = sights(standing, exam.total(), use_case.gate, disagreement=disagreement)
    incoming = round(waiting * doubt.rows / doubt.reactions) if doubt.reactions else 0
    # the cheap learner that stands in for the model knows labels of texts only
    labels = () if use_case.sees else use_case.label_names
    curve = learning_curve.measure(examples, labels) if labels else None
    expected = _expected(curve, standing, train.total() + incoming)
    advice = recommend(
        use_case,
        standing,
        exam_rows=exam.total(),
        waiting=waiting,
        incoming=incoming,
        expected=expected,
        seen=seen,
        disagreement=disagreement,
    )
    exam_by_class = findings.told("exam by class", findings.per_label(use_case, exam))
    return [
        findings.training_data(use_case, train),
        findings.raters(use_case, raters, doubt),
        *([findings.noise(doubt)] if labels else []),
        findings.exam_size(use_case, exam),
        *([exam_by_class] if labels else []),
        findings.told("new feedback", f"{waiting} reactions wait"),
        findings.fresh(use_case, standing),
        findings.disagreement(compared, differing, assumed=assumed),
        *(findings.visible(use_case, sight) for sight in seen),
        *([findings.learning(curve, nights)] if labels else []),
        findings.expected_gain(curve, expected, standing, train.total(), incoming),
        findings.advised(advice),
    ]


def _before_the_first_night(use_case: UseCase, waiting: int) -> list[dict[str, Any]]:
    detail = f"no snapshot yet, {waiting} reactions wait; run flywheel night -u {use_case.name}"
    advice = recommend(
        use_case,
        None,
        exam_rows=0,
        waiting=waiting,
        incoming=waiting,
        expected=None,
        seen=(),
        disagreement=assumed_disagreement(use_case.gate),
    )
    return [
        {"name": "data", "ok": waiting >= use_case.training.min_examples, "detail": detail},
        findings.advised(advice),
    ]


def _expected(curve: Curve | None, standing: Standing, rows: int) -> Gain | None:
    """What training on ``rows`` examples brings over what the champion learned from."""
    if curve is None or standing.champion_rows is None:
        return None
    return curve.gain(standing.champion_rows, rows)
