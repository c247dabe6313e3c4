"""Choose where tonight's training starts: at the base, or at the champion."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from prefect import task

from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch
from flywheel.modeling import artifact, fingerprint
from flywheel.records import Snapshot, Trained
from flywheel.store import erasure, open_store
from flywheel.store.nights import night_runs
from flywheel.tracking import measured_versions
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.version_tags import VersionTags
from flywheel.tracking.versions import Version
from flywheel.training import warm_start
from flywheel.training.warm_start import Start
from tasks import retry_if_transient
from tasks.champion import trusted_versions

log = logging.getLogger(__name__)


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def choose_start(use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime) -> Start:
    """The champion where it is right to go on from it; else the base, and why.

    A night that is lived again after its challenger became champion starts where that one did.

    Raises:
        RegistryUnavailable: the registry did not answer.
    """
    found = _asked_of_the_night(use_case, home, at=at) or _of_the_champion(use_case, home, snapshot)
    log.info("the training of %s starts from %s", use_case.name, found.why)
    return found


def adapter_of(use_case: UseCase, home: Home, start: Start) -> Path | None:
    """Where the adapter of a start lies here; None for one at the base.

    Raises:
        RegistryUnavailable: the registry did not answer.
        DataError: its files are gone.
    """
    if start.version is None:
        return None
    return Registry(home).by_version(use_case.name, start.version).adapter_dir


def with_start(trained: Trained, start: Start) -> Trained:
    """A training with what tonight says of its start; one that was finished before may say less."""
    if not start.is_warm:
        return replace(trained, start=start.why)
    rows = f"{trained.new_examples} new rows and {trained.replayed_examples} learned again"
    return replace(trained, start=f"{start.why}: {rows}")


def require_unseen(use_case: UseCase, home: Home, snapshot: Snapshot, trained: Trained) -> None:
    """Refuse to ask the holdout about a challenger whose ancestors learned from rows of it.

    Raises:
        DataError: they did, or what they learned from cannot be read any more.
    """
    if not trained.ancestors:
        return
    tonight = snapshots.read(home.snapshots, snapshot.snapshot_id)
    with open_store(home.warehouse, read_only=True) as store:
        # somebody may have been taken out of them since
        rewritten = erasure.rewrites(store, use_case.name)
    names = [rewritten.get(name) or name for name in trained.ancestors]
    learned = [e for name in names for e in snapshots.read(home.snapshots, name)]
    seen = warm_start.examined(tonight, learned)
    if seen:
        raise DataError(
            f"Ancestors of the challenger learned from {len(seen)} rows of tonight's holdout, "
            "which must be new to it. Nothing was compared and the champion is unchanged. With "
            "training.start_from: base the next night trains one that has not seen them."
        )


def _base(why: str) -> Start:
    return Start(f"the base: {why}")


def _asked_of_the_night(use_case: UseCase, home: Home, *, at: datetime) -> Start | None:
    """The base, for what has nothing to do with who is champion; None where nothing speaks so."""
    recipe = use_case.training
    if not recipe.recipe.continues:
        return _base(f"method {recipe.method} does not go on from an adapter")
    with open_store(home.warehouse) as store:
        nights = [night for night in night_runs.nights(store, use_case.name) if night.as_of < at]
        forgotten = night_runs.retrain_wanted(store, use_case.name)
    if forgotten:
        return _base("somebody was forgotten, and no night has trained without them since")
    if warm_start.in_a_row(nights) >= recipe.full_every - 1:
        return _base(f"one of {recipe.full_every} trainings is (training.full_every)")
    return None


def _of_the_champion(use_case: UseCase, home: Home, snapshot: Snapshot) -> Start:
    registry = Registry(home)
    every = (one.record for one in registry.versions(use_case.name))
    listed = {one.digest: one for one in every if one.is_by_night}
    try:
        champion = registry.by_alias(use_case.name, CHAMPION)
        if champion is not None and champion.snapshot_id == snapshot.snapshot_id:
            # this night lived before, and its challenger became champion
            before = listed[champion.digest].parent
            champion = registry.by_digest(use_case.name, before) if before else None
    except DataError:
        return _base("the champion's files are gone")
    if champion is None:
        return _base("there is no champion to go on from")
    known = trusted_versions.known(home, use_case.name)
    if measured_versions.find(known, champion.version, champion.digest) is None:
        return _base(f"version {champion.version} was measured by no night of this home")
    why_not = _unlike(use_case, home, champion)
    if why_not:
        return _base(f"version {champion.version} {why_not}")
    return _with_ancestors(home, snapshot, champion, listed)


def _unlike(use_case: UseCase, home: Home, champion: Version) -> str | None:
    """In what the champion is not what tonight trains; None when only rows may differ."""
    recipe, folder = use_case.training, champion.adapter_dir
    base = ensure_base(recipe.base or "", home)
    try:
        made = artifact.read(use_case, folder)
        differing = fingerprint.differences(
            champion.measured, fingerprint.of(use_case, base, folder)
        )
        shape = _shape(folder)
    except (DataError, DigestMismatch, OSError, ValueError):
        return "has lost files"
    if (made.method, made.base) != (recipe.method, recipe.base):
        return f"is {made.method} on {made.base}"
    if shape != _wanted_shape(recipe):
        return "has an adapter of another shape"
    if differing:
        return f"is not what was measured: {'; '.join(differing)}"
    return None


def _shape(folder: Path) -> dict[str, int]:
    told = json.loads((folder / artifact.PEFT_CONFIG).read_text())
    return {"r": told.get("r"), "lora_alpha": told.get("lora_alpha")}


def _wanted_shape(recipe: TrainingConfig) -> dict[str, int]:
    return {"r": recipe.lora_rank, "lora_alpha": recipe.lora_alpha}


def _with_ancestors(
    home: Home, snapshot: Snapshot, champion: Version, listed: Mapping[str, VersionTags]
) -> Start:
    parents = {digest: one.parent for digest, one in listed.items()}
    try:
        line = warm_start.ancestry(champion.digest, parents)
        if any(listed[digest].certificate_id is not None for digest in line):
            return _base(
                f"version {champion.version} or an ancestor learned from somebody forgotten since"
            )
        names = tuple(dict.fromkeys(listed[digest].snapshot_id for digest in line))
        learned = [one for name in names for one in snapshots.read(home.snapshots, name)]
    except DataError:
        return _base(f"what version {champion.version} learned from is not all on record")
    tonight = snapshots.read(home.snapshots, snapshot.snapshot_id)
    why_not = warm_start.misfit(tonight, learned)
    if why_not:
        return _base(f"of version {champion.version}: {why_not}")
    return Start(f"version {champion.version}", champion.version, champion.digest, names)
