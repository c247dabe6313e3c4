"""Where backups of a home were written to, so that what became of them can be looked at."""

from __future__ import annotations

import json
from pathlib import Path

from flywheel.config import Home
from flywheel.files import private_files

_FILE = "backups.json"
_MOST = 100


def note(home: Home, file: Path) -> None:
    """Remember that a backup was written to ``file``."""
    known = [path for path in _known(home) if path != str(file)]
    content = json.dumps([*known, str(file)][-_MOST:])
    private_files.replace(home.root / _FILE, content.encode())


def written(home: Home) -> list[Path]:
    """The backups that still lie where they were written to."""
    return [path for path in map(Path, _known(home)) if path.is_file()]


def put_aside(home: Home) -> list[Path]:
    """Homes that ``flywheel restore --force`` put aside, beside this one."""
    return sorted(home.root.parent.glob(f"{home.root.name}.before-*"))


def _known(home: Home) -> list[str]:
    try:
        found = json.loads((home.root / _FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        # it only tells where to look; a damaged one is made anew
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []
