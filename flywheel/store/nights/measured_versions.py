"""The versions that nights measured, as what, with which verdict and which files."""

from __future__ import annotations

import json
from datetime import datetime

from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store
from flywheel.tracking.measured_versions import MeasuredVersion
from flywheel.tracking.model_files import folder_sha256

_ALL = """
SELECT
    digest,
    nullif(version, ''),
    verdict,
    files
FROM measured_versions
WHERE use_case = ?
ORDER BY digest, version
"""
# the first files are those that were measured: they are never replaced
_ADD = """
INSERT INTO measured_versions
VALUES ($use_case, $digest, $version, $at::TIMESTAMPTZ, $verdict, $folder_sha256, $files)
ON CONFLICT (use_case, digest, version) DO UPDATE SET
    verdict = coalesce(excluded.verdict, measured_versions.verdict),
    folder_sha256 = coalesce(measured_versions.folder_sha256, excluded.folder_sha256),
    files = coalesce(measured_versions.files, excluded.files)
"""


def measured_versions(store: Store, use_case: str) -> list[MeasuredVersion]:
    """All that nights measured, in a fixed order."""
    return [
        MeasuredVersion(digest, version, verdict, None if files is None else json.loads(files))
        for digest, version, verdict, files in store.rows(_ALL, [use_case])
    ]


def add(store: Store, use_case: str, one: MeasuredVersion, *, at: datetime) -> None:
    """Keep what a night measured at ``at``; its files stay those that were kept first."""
    files = None if one.files is None else dict(one.files)
    with transaction(store.con):
        store.con.execute(
            _ADD,
            {
                "use_case": use_case,
                "digest": one.digest,
                "version": one.version or "",
                "at": at,
                "verdict": one.verdict,
                "folder_sha256": None if files is None else folder_sha256(files),
                "files": None if files is None else json.dumps(files, sort_keys=True),
            },
        )
