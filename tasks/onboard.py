"""Start a use case from a labelled file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel import onboarding
from flywheel.config import NAME_PATTERN, Home, load_use_case
from flywheel.errors import ConfigError
from tasks.inbox import drop, write


def onboard(
    name: str,
    data: Path,
    home: Home,
    *,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    describe: str = "",
    force: bool = False,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Write ``usecases/NAME.yaml`` and drop the file's rows into the inbox; returns what was done.

    Doing it twice with ``force`` brings no row twice.

    Raises:
        ConfigError: the name cannot be one, or the use case is there and ``force`` is not given.
        DataError: the file is of no use as it is; nothing was written.
    """
    path = (folder or Path("usecases")) / f"{name}.yaml"
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{name!r} cannot be a name: small letters, digits and hyphens only.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force overwrites it. Nothing was written.")
    rows = onboarding.read_table(data)
    columns = onboarding.find_columns(rows, text=text, label=label, group=group)
    described = describe or f"{columns.label} of a text, from {data.name}"
    proposal = onboarding.propose(name, rows, columns, described=described)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, proposal.yaml)
    load_use_case(str(path))
    given_at = datetime.fromtimestamp(data.stat().st_mtime, UTC).replace(microsecond=0)
    feedback = onboarding.feedback_rows(rows, columns, given_at=given_at)
    drop(home.inbox(name), "init.jsonl", feedback)
    return {
        "name": name,
        "use_case": str(path),
        "text": columns.text,
        "label": columns.label,
        "group": columns.group,
        "rows": len(feedback),
        "unusable": proposal.unusable,
        "labels": dict(proposal.counts),
        "warnings": list(proposal.warnings),
    }
