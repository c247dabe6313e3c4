"""Which use cases there are: by their files, and by what the home holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError
from flywheel.store import Store, open_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import promotions
from flywheel.tracking.champion_history import told_by_nights


def use_cases(folder: Path, home: Home) -> dict[str, Any]:
    """Every use case with a file in ``folder``, and the names that only the home knows.

    A file that cannot be used stands with its ``error``. A home that is not there is not made.
    """
    listed = [_of_file(path) for path in sorted(folder.glob("*.y*ml"))]
    known = _in_home(home, [one["use_case"] for one in listed if one["error"] is None])
    nothing = {"champion": None, "last_night": None}
    return {
        "folder": str(folder.resolve()),
        "folder_exists": folder.is_dir(),
        "home": str(home.root),
        "home_exists": home.root.is_dir(),
        "use_cases": [{**one, **known.get(one["use_case"], nothing)} for one in listed],
        "without_file": sorted(known.keys() - {one["use_case"] for one in listed}),
    }


def render_text(found: Mapping[str, Any]) -> list[str]:
    """The list as a person reads it."""
    shown = [_line(one) for one in found["use_cases"]]
    folder, home = (
        found[name] if found[f"{name}_exists"] else f"{found[name]} (not there yet)"
        for name in ("folder", "home")
    )
    here = f"{len(shown)} in {folder}, home {home}"
    missing = ", ".join(found["without_file"])
    note = [f"in the home, without a file here: {missing}"] if missing else []
    return [here, *shown, *note]


def _line(one: Mapping[str, Any]) -> str:
    if one["error"] is not None:
        return f"  {one['use_case']}: {one['error']}"
    champion = f"champion version {one['champion']}" if one["champion"] else "no champion yet"
    last = one["last_night"]
    night = f"last night {last['as_of']:%Y-%m-%d %H:%M} {last['outcome']}" if last else "no night"
    return f"  {one['use_case']}: {one['kind']}, {champion}, {night}"


def _of_file(path: Path) -> dict[str, Any]:
    try:
        case = load_use_case(str(path))
    except ConfigError as error:
        return {"use_case": path.stem, "file": str(path), "kind": None, "error": error.message}
    return {"use_case": case.name, "file": str(path), "kind": case.kind, "error": None}


def _in_home(home: Home, named: list[str]) -> dict[str, dict[str, Any]]:
    inbox = home.root / "inbox"
    names = {path.name for path in inbox.glob("*") if path.is_dir()}
    if not home.warehouse.exists():
        return {name: {"champion": None, "last_night": None} for name in names}
    with open_store(home.warehouse, read_only=True) as store:
        names |= {name for (name,) in store.rows("SELECT DISTINCT use_case FROM nights", [])}
        return {name: _facts(store, name) for name in names.union(named)}


def _facts(store: Store, name: str) -> dict[str, Any]:
    nights = night_runs.nights(store, name)
    moves = promotions(store, name) or told_by_nights(nights)
    last = {"as_of": nights[-1].as_of, "outcome": nights[-1].outcome} if nights else None
    return {"champion": moves[-1].version if moves else None, "last_night": last}
