"""Decide on a version that awaits approval: what setting its tags in MLflow does, by command."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.errors import DataError, NotEnoughData
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import APPROVED, REJECTED, VersionTags
from flywheel.tracking.versions import Listed
from tasks.champion.reconcile import settle_if_free

log = logging.getLogger(__name__)


def approve(
    use_case: UseCase,
    home: Home,
    version: str | None = None,
    *,
    by: str,
    reject: bool = False,
    at: datetime,
) -> dict[str, Any]:
    """Approve or reject ``version``, by default the newest that waits, and carry it out.

    While a night is running the decision is only noted: ``result`` is None, and the next settling
    carries it out.

    Raises:
        NotEnoughData: no version awaits approval.
        DataError: this version does not.
    """
    registry = Registry(home)
    one = _waiting(use_case, registry.versions(use_case.name), version)
    # the name first: a settling in between must find it
    registry.tag(use_case.name, one.version, VersionTags(approved_by=by).written())
    decision = REJECTED if reject else APPROVED
    registry.tag(use_case.name, one.version, VersionTags(approval=decision).written())
    settled = settle_if_free(use_case, home, at=at)
    (now,) = (v for v in registry.versions(use_case.name) if v.version == one.version)
    return {
        "use_case": use_case.name,
        "version": one.version,
        "decision": decision,
        "by": by,
        "result": None if settled is None else now.record.approval_result,
        "champion": registry.champion(use_case.name),
    }


def _waiting(use_case: UseCase, versions: tuple[Listed, ...], version: str | None) -> Listed:
    waiting = [one for one in versions if one.record.awaiting_approval]
    names = ", ".join(one.version for one in waiting) or "none"
    if version is None:
        if not waiting:
            raise NotEnoughData(f"No version of {use_case.name} awaits approval.")
        return waiting[-1]
    for one in waiting:
        if one.version == version:
            return one
    raise DataError(
        f"{use_case.name} version {version} does not await approval; waiting: {names}. Nothing was "
        f"changed. To make it champion all the same: flywheel rollback -u {use_case.name} "
        f"--to {version}"
    )
