"""Who may answer while there is no champion (``serving.unproven``), the best of them first."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.tracking.registry import CHALLENGER
from flywheel.tracking.version_tags import REJECTED
from flywheel.tracking.versions import Listed


def ranked(versions: Sequence[Listed]) -> list[str]:
    """Numbers of versions, by their figure on the holdout; of equal ones the newest first.

    Compared are those whose labels are the newest challenger's, in any order: figures on other
    labels say nothing about these. Left out is who learned from somebody forgotten since, whom a
    person rejected, and whose figure was not kept. Of the last the newest challenger is the last
    resort; without a challenger nobody answers.

    Args:
        versions: The oldest first.
    """
    newest = next((one for one in versions if CHALLENGER in one.aliases), None)
    if newest is None:
        return []
    fit = [
        (score, place, one.version)
        for place, one in enumerate(versions)
        if (score := one.record.score) is not None and _same_labels(one, newest) and _may(one)
    ]
    found = [number for _, _, number in sorted(fit, reverse=True)]
    return [*found, newest.version] if _may(newest) and newest.version not in found else found


def _may(one: Listed) -> bool:
    """Whether nobody's wish speaks against it: to be forgotten, or that it does not answer."""
    return one.record.certificate_id is None and one.record.wish != REJECTED


def _same_labels(one: Listed, newest: Listed) -> bool:
    """Whether both answer with the same labels; older versions tell them in their order only."""
    labels = one.record.label_set
    if labels is not None and labels == newest.record.label_set:
        return True
    return one.record.parts.get("labels") == newest.record.parts.get("labels")
