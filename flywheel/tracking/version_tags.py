"""What MLflow's tags of a version hold: read and written here, and nowhere else.

MLflow keeps tags as texts under names, and people may write them by hand. A tag that is missing is
None, or "" of the two that every version of a night has. Names stay as they are: versions that were
registered before are read by them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

NO_CHAMPION = "none"
"""In the place of a version's number, where there was no champion."""
APPROVED, REJECTED = "approved", "rejected"

WAITING, JUDGED_AGAINST = "awaiting_approval", "judged_against"
APPROVAL, APPROVED_BY, APPROVAL_RESULT = "approval", "approved_by", "approval_result"
MOVING = "moving"
FORGOTTEN_DATA, CERTIFICATE = "forgotten_data", "certificate_id"
FOLDER, LABEL_SET, HOLDOUT_SCORE = "folder_sha256", "label_set", "holdout_score"
PART = "part."
"""Prefix of the tags that say what a digest is made of."""
_ONCE = "exam_score"
"""`HOLDOUT_SCORE` before version 0.2.0."""
_TRUE = "true"


@dataclass(frozen=True)
class VersionTags:
    """The tags of one version; each field has the name of its tag."""

    digest: str = ""
    snapshot_id: str = ""
    verdict: str | None = None
    as_of: str | None = None
    """When the night that judged it last was, as ISO 8601."""
    champion_before: str | None = None
    """The version that it was compared with, or `NO_CHAMPION`."""
    holdout_score: str | None = None
    """Accuracy or ROUGE-L on the holdout of the night that judged it last."""
    method: str | None = None
    base: str | None = None
    base_sha256: str | None = None
    numeric_type: str | None = None
    runtime: str | None = None
    """What computed its answers on the holdout: ``torch``, ``openvino`` or both."""
    parent: str | None = None
    """The digest of the version that its training went on from."""
    parent_version: str | None = None
    remeasured_from: str | None = None
    """The version of the same weights with the libraries of before."""
    folder_sha256: str | None = None
    """One hash over every file that it was registered with."""
    label_set: str | None = None
    """One hash over its labels, in whatever order they stand."""
    awaiting_approval: bool = False
    judged_against: str | None = None
    """The version that is champion while an approval of this one is waited for."""
    approval: str | None = None
    """What a person wrote; `wish` is what that means."""
    approved_by: str | None = None
    approval_result: str | None = None
    moving: str | None = None
    """The step that makes it champion, from before the alias moves until it is recorded."""
    forgotten_data: bool = False
    """It learned from somebody who was forgotten since."""
    certificate_id: str | None = None
    """The certificate of that forgetting."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What its digest is made of; empty for versions registered before that was kept."""

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> VersionTags:
        """What the tags say; those that are not ours, as of exports, are left out."""
        found: dict[str, Any] = {name: tags[name] for name in _TEXTS if name in tags}
        found |= {name: tags.get(name) == _TRUE for name in _FLAGS}
        if HOLDOUT_SCORE not in tags and _ONCE in tags:
            found[HOLDOUT_SCORE] = tags[_ONCE]
        parts = {k.removeprefix(PART): value for k, value in tags.items() if k.startswith(PART)}
        return cls(**found, parts=parts)

    def written(self) -> dict[str, str]:
        """The tags to set; what is missing is not among them, and takes no tag away."""
        texts = {name: value for name in _TEXTS if (value := getattr(self, name))}
        flags = {name: _TRUE for name in _FLAGS if getattr(self, name)}
        return texts | flags | {f"{PART}{name}": value for name, value in self.parts.items()}

    @property
    def is_by_night(self) -> bool:
        """Whether a night registered the version: nobody else says what it learned from."""
        return bool(self.digest and self.snapshot_id)

    @property
    def wish(self) -> str:
        """What a person decided, in lower case; "" where nobody has."""
        return (self.approval or "").strip().lower()

    @property
    def score(self) -> float | None:
        """Its figure on the holdout; None where that was not kept, or is no number."""
        try:
            score = float(self.holdout_score or "")
        except ValueError:
            return None
        return score if math.isfinite(score) else None


_FLAGS = frozenset({WAITING, FORGOTTEN_DATA})
_TEXTS = tuple(one.name for one in fields(VersionTags) if one.name not in {*_FLAGS, "parts"})
