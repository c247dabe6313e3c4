"""Start a use case from a labelled file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel import onboarding, picture_proposal, token_counts
from flywheel.config import NAME_PATTERN, Home, load_use_case
from flywheel.errors import ConfigError, DataError
from flywheel.images import Images
from flywheel.kinds import Kind
from tasks.inbox import drop, write

SHOWN_FAULTS = 5
"""Pictures that cannot be used, named with the reason; the others are counted."""


def onboard(
    name: str,
    data: Path,
    home: Home,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    describe: str = "",
    kind: Kind | None = None,
    force: bool = False,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Write ``usecases/NAME.yaml`` and drop the file's rows into the inbox; returns what was done.

    Doing it twice with ``force`` brings no row twice. Unless ``kind`` is given, a file that names
    pictures beside it is about pictures, and any other is about labels of texts.

    Raises:
        ConfigError: the name cannot be one, or the use case is there and ``force`` is not given.
        DataError: the file is of no use as it is; nothing was written.
    """
    path = (folder or Path("usecases")) / f"{name}.yaml"
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{name!r} cannot be a name: small letters, digits and hyphens only.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force overwrites it. Nothing was written.")
    rows: Sequence[onboarding.Row] = onboarding.read_table(data)
    pictures = _picture_column(rows, data.parent, text=text, kind=kind)
    kind = kind or ("image-classification" if pictures else "text-classification")
    columns = onboarding.find_columns(
        rows, text=text or pictures, label=label, group=group, kind=kind
    )
    thing = "picture" if pictures else "text"
    described = describe or f"{columns.label} of a {thing}, from {data.name}"
    faults = list[str]()
    if pictures is not None:
        images = Images(home.images)
        rows, faults = picture_proposal.kept(rows, columns, images, data.parent)
        proposal = picture_proposal.propose(name, rows, columns, described=described)
    else:
        proposal = onboarding.propose(
            name,
            rows,
            columns,
            described=described,
            kind=kind,
            tokens=token_counts.counting(home.models / onboarding.BASE),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, proposal.yaml)
    load_use_case(str(path))
    given_at = datetime.fromtimestamp(data.stat().st_mtime, UTC).replace(microsecond=0)
    feedback = onboarding.feedback_rows(rows, columns, given_at=given_at)
    drop(home.inbox(name), "init.jsonl", feedback)
    return {
        "name": name,
        "kind": kind,
        "use_case": str(path),
        "text": columns.text,
        "label": columns.label,
        "group": columns.group,
        "rows": len(feedback),
        "unusable": proposal.unusable + len(faults),
        "labels": dict(proposal.counts),
        "warnings": [*proposal.warnings, *faults[:SHOWN_FAULTS]],
    }


def _picture_column(
    rows: Sequence[onboarding.Row], beside: Path, *, text: str | None, kind: Kind | None
) -> str | None:
    """The column that names pictures; None where inputs are texts."""
    if kind not in (None, "image-classification"):
        return None
    if text is not None:
        return text if kind else None
    found = picture_proposal.picture_column(rows, beside)
    if kind and found is None:
        raise DataError(
            f"No column names JPEG, PNG or WebP files under {beside}; --text says which one does. "
            "Nothing was written."
        )
    return found
