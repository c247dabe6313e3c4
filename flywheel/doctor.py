"""Can this machine run a night, and is there enough data to learn and to prove something?"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flywheel import snapshots
from flywheel.config import Home, UseCase
from flywheel.store import open_store

NEEDED_MEMORY_GB = 4.0
NEEDED_DISK_GB = 2.0
LIBRARIES = ("prefect", "mlflow", "duckdb", "torch", "transformers", "peft", "bitsandbytes")


def examine(use_case: UseCase, home: Home) -> list[dict[str, Any]]:
    """Findings, each with ``name``, ``ok`` and a ``detail`` that says what to do."""
    return [_libraries(), _memory(), _disk(home), *_data(use_case, home)]


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


def _memory() -> dict[str, Any]:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    detail = f"{free:.1f} GB free, a night needs {NEEDED_MEMORY_GB:.0f} GB"
    return {"name": "memory", "ok": free >= NEEDED_MEMORY_GB, "detail": detail}


def _disk(home: Home) -> dict[str, Any]:
    free = shutil.disk_usage(home.root).free / 1e9
    detail = f"{free:.1f} GB free, a first night needs {NEEDED_DISK_GB:.0f} GB"
    return {"name": "disk", "ok": free >= NEEDED_DISK_GB, "detail": detail}


def _data(use_case: UseCase, home: Home) -> list[dict[str, Any]]:
    with open_store(home.warehouse) as store:
        nights = store.nights(use_case.name)
        waiting = store.waiting(use_case.name)
    taken = [night["snapshot_id"] for night in nights if night["snapshot_id"]]
    if not taken:
        detail = f"no snapshot yet, {waiting} reactions wait; run flywheel night -u {use_case.name}"
        return [{"name": "data", "ok": waiting >= use_case.training.min_examples, "detail": detail}]
    examples = snapshots.read(home.snapshots, taken[-1])
    train = Counter(e.label for e in examples if e.split == "train")
    exam = sum(e.split == "exam" for e in examples)
    per_class = ", ".join(f"{train[label]} {label}" for label in use_case.label_names)
    return [
        {
            "name": "training data",
            "ok": sum(train.values()) >= use_case.training.min_examples
            and all(train[label] for label in use_case.label_names),
            "detail": f"{sum(train.values())} examples ({per_class}); "
            f"a night needs {use_case.training.min_examples} and every class",
        },
        {
            "name": "exam",
            "ok": exam >= use_case.gate.min_exam_examples,
            "detail": f"{exam} rows; the gate needs {use_case.gate.min_exam_examples}",
        },
        {"name": "new feedback", "ok": True, "detail": f"{waiting} reactions wait"},
    ]
