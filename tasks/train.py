"""Train a challenger: here, or on the GPU pool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task

from flywheel.catalog.base_models import base_sha256, ensure_base
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.errors import TrainingFailed
from flywheel.files import hashing
from flywheel.modeling import calibration, context_length, fingerprint
from flywheel.modeling.fingerprint import NO_BASE
from flywheel.records import Snapshot, Trained
from flywheel.tracking.registry import Registry
from flywheel.training import adapter_folder, runner, training_rows
from flywheel.training.warm_start import FROM_BASE, Start
from tasks import retry_if_transient
from tasks.coordination.gpu import turn_of
from tasks.coordination.work_pool import ATTEMPTS, run_in_pool
from tasks.warm_start import adapter_of, choose_start, with_start

log = logging.getLogger(__name__)

POOL_DEPLOYMENT = "train/gpu"


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def fetch_bases(use_case: UseCase, home: Home) -> None:
    """Bring every base that the use case names here, if it is not yet.

    Raises:
        ConfigError: texts may be longer than a base reads; nothing was trained.
    """
    for one in use_case.training.entries():
        base = _base(use_case, one, home)
        if base is not None:
            context_length.require_room(
                use_case, one, base.name, context_length.room(use_case, one, home)
            )


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def fetch_bases_of_versions(use_case: UseCase, home: Home) -> None:
    """Bring back the bases of what was registered, for a night that trains nothing.

    A home may have been restored without its bases, and what serves is asked anew all the same. A
    use case without a version needs none yet.
    """
    if Registry(home).versions(use_case.name):
        for one in use_case.training.entries():
            _base(use_case, one, home)


def train_slate(use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime) -> Trained:
    """Train what the use case names; of several, the best on the validation rows.

    The holdout is asked about one challenger a night, whoever competed before. An earlier entry
    wins a tie, and where there are too few validation rows the first is taken.
    """
    train = train_on_pool if use_case.training.where == "pool" else train_inline
    finished = []
    for one in use_case.training.entries():
        case = use_case.model_copy(update={"training": one})
        warm = one.start_from == "champion"
        start = choose_start(case, home, snapshot, at=at) if warm else FROM_BASE
        with turn_of(case, home):
            trained = with_start(train(case, home, snapshot, start), start)
        seen = trained.validation_accuracy
        if len(use_case.training.entries()) > 1:
            log.info(
                "%s on %s: %s on %d validation rows",
                one.method,
                one.base or "no base",
                "not measured" if seen is None else f"{seen:.3f}",
                trained.validation_rows,
            )
        finished.append(trained)
    named = [
        f"{one.method} on {one.base}" if one.base else one.method
        for one in use_case.training.entries()
    ]
    results = zip(named, (trained.validation_accuracy for trained in finished), strict=True)
    return replace(_best(finished), slate=tuple(results))


def _best(finished: Sequence[Trained]) -> Trained:
    """The best on validation rows; the first where there are too few of them, and on a tie."""
    if len(finished) == 1:
        return finished[0]
    fewest = min(trained.validation_rows for trained in finished)
    if fewest < calibration.MIN_ROWS:
        log.warning(
            "%d validation rows are too few to choose by (%d are needed): the slate's first entry "
            "is the challenger",
            fewest,
            calibration.MIN_ROWS,
        )
        return finished[0]
    return max(finished, key=lambda trained: trained.validation_accuracy or 0.0)


@task(task_run_name="train", timeout_seconds=6 * 3_600)
def train_inline(
    use_case: UseCase, home: Home, snapshot: Snapshot, start: Start = FROM_BASE
) -> Trained:
    """Train in a child process of this one; a finished adapter is not trained again."""
    return train_here(use_case, home, snapshot, start)


def train_here(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    start: Start = FROM_BASE,
    *,
    run: Callable[[Path, dict[str, Any]], int] | None = None,
) -> Trained:
    """As `train_inline`, outside of a task; ``run`` as in `flywheel.training.runner.train`."""
    base = _base(use_case, use_case.training, home)
    trained = runner.train(
        use_case,
        base=base,
        snapshots_dir=home.snapshots,
        snapshot_id=snapshot.snapshot_id,
        images=home.images,
        folder=home.adapters / adapter_key(use_case, snapshot, _base_hash(base), start),
        start=start,
        parent=adapter_of(use_case, home, start),
        run=run,
    )
    log.info(
        "trained on %d examples in %.0f s (%.0f tokens/s, peak %.0f MB)",
        trained.train_examples,
        trained.train_seconds,
        trained.tokens_per_second,
        trained.peak_memory_mb,
    )
    return trained


@task(task_run_name="train in the pool gpu", timeout_seconds=12 * 3_600)
def train_on_pool(
    use_case: UseCase, home: Home, snapshot: Snapshot, start: Start = FROM_BASE
) -> Trained:
    """Run deployment ``train/gpu`` and wait; the same key finds a run that is under way.

    A key names one run for ever, so runs that failed on an earlier night are stepped over.

    Raises:
        TrainingFailed: every attempt of tonight failed; the champion is unchanged.
        PoolUnusable: no worker of the pool began it in time.
    """
    base = _base(use_case, use_case.training, home)
    key = adapter_key(use_case, snapshot, _base_hash(base), start)
    parameters = {
        # Prefect keeps parameters, and golden texts are customers' words
        "use_case": use_case.model_dump(mode="json", exclude={"golden"}),
        "snapshot_id": snapshot.snapshot_id,
        **({"start": asdict(start)} if start.is_warm else {}),
    }
    folder = home.adapters / key
    # a run of before may be the one whose adapter was deleted since, or is damaged
    whole = partial(adapter_folder.is_whole, use_case, folder)
    if not run_in_pool(
        POOL_DEPLOYMENT, parameters, key=f"train-{key}", is_done=whole, once=True, home=home
    ):
        raise TrainingFailed(
            f"{ATTEMPTS} attempts on {POOL_DEPLOYMENT} failed for snapshot "
            f"{snapshot.snapshot_id}; nothing was registered and the champion is unchanged. "
            f"The runs' logs in Prefect say why."
        )
    if not (folder / adapter_folder.COMPLETE).is_file():
        raise TrainingFailed(
            f"{POOL_DEPLOYMENT} completed, but there is no adapter in {folder}; nothing "
            f"was registered and the champion is unchanged. Do both pools share "
            f"FLYWHEEL_HOME, and do they have the same base and libraries?"
        )
    return adapter_folder.read_trained(folder)


def _base(use_case: UseCase, recipe: TrainingConfig, home: Home) -> Path | None:
    if recipe.base is None:
        return None
    return ensure_base(recipe.base, home, pins=use_case.base_sha256)


def _base_hash(base: Path | None) -> str:
    return NO_BASE if base is None else base_sha256(base)


def adapter_key(use_case: UseCase, snapshot: Snapshot, base: str, start: Start = FROM_BASE) -> str:
    """Names the one adapter that these can give, with the decisive libraries as they are here."""
    content = {
        "snapshot": snapshot.snapshot_id,
        "base": base,
        "recipe": {
            name: value
            for name, value in use_case.training.decisive.items()
            if name not in ("where", "min_examples", "min_per_class")
        },
        "prompt": use_case.prompt,
        "labels": list(use_case.label_names),
        "kind": use_case.kind,
        "libraries": fingerprint.libraries(use_case.kind),
        **training_rows.going_on(
            asdict(start) if start.is_warm else None, use_case.training.replay
        ),
    }
    return hashing.of_json(content)[:32]
