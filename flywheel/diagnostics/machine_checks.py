"""Can this machine run a night: libraries, memory, disk, bases, and how long it will take."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import psutil

from flywheel import catalog
from flywheel.catalog import base_models
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, UseCase
from flywheel.diagnostics import findings
from flywheel.errors import ConfigError, DoesNotFit
from flywheel.files import permissions
from flywheel.home.environment import usable_cores
from flywheel.modeling import context_length, durations
from flywheel.records import NightRecord
from flywheel.records.findings import Finding
from flywheel.store import open_store
from flywheel.store.nights import night_runs

NEEDED_MEMORY_GB = 4.0
NEEDED_DISK_GB = 2.0
LIBRARIES = ("prefect", "mlflow", "duckdb", "torch", "transformers", "peft", "bitsandbytes")


def machine(use_case: UseCase, home: Home) -> list[Finding]:
    """All that is found of it."""
    return [
        _libraries(),
        _memory(use_case, home),
        _disk(home),
        *privacy(home),
        *_pins(use_case, home),
        *_speed(use_case, home),
        *_context(use_case, home),
    ]


def _libraries() -> Finding:
    missing = [name for name in LIBRARIES if not _installed(name)]
    detail = f"missing {', '.join(missing)}; run make install" if missing else "all installed"
    return Finding("libraries", not missing, detail)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _memory(use_case: UseCase, home: Home) -> Finding:
    """What training will take, counted from the base's shapes once it is here."""
    named = next((one.base for one in use_case.training.entries() if one.base), None)
    base = home.models / (named or "none")
    if use_case.training.where == "pool" or not (base / "config.json").is_file():
        free = psutil.virtual_memory().available / 1e9
        detail = f"{free:.1f} GB free, a night needs {NEEDED_MEMORY_GB:.0f} GB"
        return Finding("memory", free >= NEEDED_MEMORY_GB, detail)
    from flywheel.modeling import model_loading
    from flywheel.training import runner

    try:
        plan = runner.plan_memory(use_case, base)
    except DoesNotFit as error:
        return Finding("memory", False, error.message)
    where = "of the GPU " if model_loading.device().type == "cuda" else ""
    detail = f"{model_loading.available_memory_mb() / 1e3:.1f} GB {where}free, training needs "
    told = "an amount not estimated" if plan.need is None else f"{plan.need.total / 1e3:.1f} GB"
    return Finding("memory", True, f"{detail}about {told} in {plan.in_words}")


def _disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.root).free / 1e9
    detail = f"{free:.1f} GB free, a first night needs {NEEDED_DISK_GB:.0f} GB"
    return Finding("disk", free >= NEEDED_DISK_GB, detail)


def privacy(home: Home) -> list[Finding]:
    """Something only where others may read what is the home's."""
    detail = permissions.open_door(home.root) if home.root.is_dir() else None
    return [Finding("privacy", False, detail)] if detail else []


def _pins(use_case: UseCase, home: Home) -> list[Finding]:
    """Whether bases from a hub, whose content no catalog knows, are what the use case pins."""
    found = []
    for name in {one.base: None for one in use_case.training.entries() if one.base}:
        folder = home.models / name
        if not (folder / base_models.MANIFEST).is_file() or not base_models.is_taken_on_trust(name):
            continue
        pinned, sha256 = use_case.base_sha256.get(name), base_models.base_sha256(folder)
        said = "is what base_sha256 pins"
        if pinned is None:
            said = f"is trusted as it came; pin it by: {base_models.pin_line(name, sha256)}"
        elif pinned != sha256:
            said = f"has the content {sha256}, and base_sha256 pins {pinned}; delete {folder}"
        ok = pinned in (None, sha256)
        found.append(Finding("base", ok, f"{name} {said}"))
    return found


def _speed(use_case: UseCase, home: Home) -> list[Finding]:
    """The numeric type that bases compute in here, and how long that makes a night."""
    entries = [one for one in use_case.training.entries() if one.base]
    if use_case.training.where == "pool" or not entries:
        return []
    from flywheel.catalog import numeric_types

    chosen = numeric_types.here()
    speeds = numeric_types.speeds(tuple(dict.fromkeys((chosen.name, "float32", "bfloat16"))))
    with open_store(home.warehouse) as store:
        nights, waiting = night_runs.nights(store, use_case.name), store.waiting(use_case.name)
    return [
        findings.numeric_type(chosen, speeds, load=os.getloadavg()[0], cores=usable_cores()),
        *_runtime(use_case),
        Finding("a night", True, _night(use_case, nights, waiting, speeds[chosen.name])),
    ]


def _runtime(use_case: UseCase) -> list[Finding]:
    """What computes labels here; written answers are torch's everywhere."""
    if use_case.is_generation:
        return []
    from flywheel.modeling.compiled import runtime

    try:
        chosen = runtime.choose(use_case.serving.runtime)
    except ConfigError as error:
        return [Finding("runtime", False, str(error))]
    return [Finding("runtime", True, f"{chosen.name} computes answers: {chosen.why}")]


def _night(use_case: UseCase, nights: Sequence[NightRecord], waiting: int, gflops: float) -> str:
    last = durations.last_training(nights)
    if last is not None:
        seconds, examples = last
        return (
            f"the last training took {durations.in_words(seconds)} for {examples} examples; "
            "a night is that and the holdout's answers"
        )
    rows = max(waiting, use_case.training.min_examples)
    holdout = use_case.gate.min_holdout_examples
    operations = 0.0
    for one in use_case.training.entries():
        known = catalog.models().get(one.base or "")
        if known is None or known.family.body == "vision":
            continue
        shape = Shape.from_config(known.config, decodes=one.recipe.words)
        operations += durations.of_training(shape, one, rows)
        # the challenger's answers, and the base's own
        operations += 2 * durations.of_scoring(shape, one, holdout)
    if not operations:
        return "not estimated: what it trains is not of texts, or its base is not in the catalog"
    return (
        f"at most about {durations.in_words(durations.seconds(operations, gflops))} with {rows} "
        f"examples of {use_case.training.max_length_tokens} tokens and {holdout} holdout rows, by "
        f"the speed measured now; training reaches about {durations.SHARE:.0%} of it"
    )


def _context(use_case: UseCase, home: Home) -> list[Finding]:
    """Whether every base can read as many tokens as texts may have."""
    found = []
    for one in use_case.training.entries():
        most = context_length.room(use_case, one, home)
        if one.base is None or most is None:
            continue
        wanted, _ = context_length.needed(use_case, one)
        try:
            context_length.require_room(use_case, one, one.base, most)
            detail = f"{one.base} reads {most:,} tokens, texts and answers have {wanted:,} at most"
            found.append(Finding("context", True, detail))
        except ConfigError as error:
            found.append(Finding("context", False, error.message))
    return found
