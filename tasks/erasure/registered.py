"""What MLflow holds of a person: versions that learned from them, their exports, and traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flywheel.config import Home
from flywheel.exports import export_tags
from flywheel.privacy.erasure_plan import Marked
from flywheel.privacy.person_ids import Person
from flywheel.serving.http.auth import Marks
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.training.warm_start import with_descendants

if TYPE_CHECKING:
    # MLflow takes seconds to import
    from flywheel.tracking.traces import Theirs, Traces


def learned_from(home: Home, one: warehouse.Held) -> set[str]:
    """Snapshots, by the id that versions know them by, whose training rows held the person."""
    trained = {snapshot for snapshot, _, split in one.examples if split == "train"}
    if not trained:
        return trained
    with open_store(home.warehouse, read_only=True) as store:
        before = warehouse.rewrites(store, one.use_case)
    return trained | {old for old, new in before.items() if new in trained}


def versions(home: Home, learned: Mapping[str, set[str]], person: Person) -> tuple[Marked, ...]:
    """Versions that learned from them, or went on from one that did.

    ``learned`` is use case → snapshots whose training rows held them.
    """
    if not any(learned.values()) or not _has_registry(home):
        return ()
    from flywheel.tracking.registry import Registry

    registry = Registry(home)
    found = []
    for name, ids in sorted(learned.items()):
        listed = [one for one in registry.versions(name) if one.record.snapshot_id]
        theirs = {o.record.digest for o in listed if o.record.snapshot_id in ids}
        parents = {one.record.digest: one.record.parent for one in listed}
        # what went on from weights that learned from them has learned from them
        marked = with_descendants(theirs if ids else (), parents)
        found += [
            Marked(
                use_case=name,
                version=one.version,
                digest=one.record.digest,
                snapshot_id=one.record.snapshot_id,
                aliases=one.aliases,
                exports=_exports(one.tags, person),
                newest=one is listed[-1],
            )
            for one in listed
            if one.record.digest in marked or one.record.snapshot_id in ids
        ]
    return tuple(found)


def traces(
    home: Home, person: Person, held: Sequence[warehouse.Held]
) -> Iterator[tuple[str, Traces, Theirs]]:
    """What MLflow's traces hold of them, where a service ran that could have written any."""
    if not Marks.path(home.serving).exists() or not _has_registry(home):
        return
    from flywheel.tracking.traces import Traces

    marks = Marks.of(home.serving)
    people = {marks.pseudonym(name) for name in person.ids}
    for one in held:
        traces = Traces(home, one.use_case)
        theirs = traces.of(people, one.predictions)
        if theirs:
            yield one.use_case, traces, theirs


def _exports(tags: Mapping[str, str], person: Person) -> tuple[str, ...]:
    return tuple(person.hidden(place) for place in export_tags.places(tags))


def exported_since(home: Home, marked: Sequence[Marked], person: Person) -> tuple[Marked, ...]:
    """The same versions with all their exports: one that was under way is refused or known now."""
    if not marked:
        return ()
    from flywheel.tracking.registry import Registry

    registry = Registry(home)
    tags = {
        (name, one.version): one.tags
        for name in sorted({one.use_case for one in marked})
        for one in registry.versions(name)
    }
    return tuple(
        replace(one, exports=_exports(tags.get((one.use_case, one.version), {}), person))
        for one in marked
    )


def _has_registry(home: Home) -> bool:
    """Whether there is a registry to ask; asking creates a file where there is none."""
    return (
        home.mlflow_uri != f"sqlite:///{home.root / 'mlflow.db'}"
        or (home.root / "mlflow.db").exists()
    )
