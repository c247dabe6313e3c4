"""What the contenders of a night learned from, their ancestors included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError
from flywheel.records import Example, Reason, Snapshot
from flywheel.store import erasure, open_store
from flywheel.store.nights import fresh_rows
from flywheel.text import near_duplicates
from flywheel.tracking.registry import Registry
from flywheel.training import warm_start

RULE = "holdout_learned"
"""The rule that tells of holdout rows that do not count."""


def snapshots_of(use_case: UseCase, home: Home, digests: Iterable[str]) -> set[str]:
    """The snapshots that registered versions and their ancestors learned from, as they were then.

    Of a digest that is not registered nothing is known here.
    """
    listed = {
        version.record.digest: version.record
        for version in Registry(home).versions(use_case.name)
        if version.record.is_by_night
    }
    parents = {digest: tags.parent for digest, tags in listed.items()}
    found = set[str]()
    for digest in digests:
        try:
            line = warm_start.ancestry(digest, parents)
        except DataError:
            line = (digest,) if digest in listed else ()
        found.update(listed[ancestor].snapshot_id for ancestor in line)
    return found


def read_learned(use_case: UseCase, home: Home, names: Iterable[str]) -> tuple[Example, ...] | None:
    """The examples of these snapshots, each once; None where one of them cannot be read any more.

    A snapshot that the store never had taught nobody.
    """
    with open_store(home.warehouse) as store:
        # somebody may have been taken out of it since
        rewritten = erasure.rewrites(store, use_case.name)
        wanted = sorted({rewritten.get(name, name) or "" for name in names})
        known = {name for name in wanted if fresh_rows.known_texts(store, use_case.name, [name])[0]}
    if "" in wanted:
        return None
    found: dict[str, Example] = {}
    for name in wanted:
        try:
            found |= {e.example_id: e for e in snapshots.read(home.snapshots, name)}
        except DataError:
            if name in known:
                return None
    return tuple(found.values())


def almost_alike(
    use_case: UseCase,
    asked: Sequence[Example],
    learned: Sequence[Example],
    tonight: Sequence[Example],
) -> set[str]:
    """Ids of those ``asked`` that are equal or almost alike to anything ``learned``.

    A cluster is named anew every night, so that names of two nights say nothing of each other: who
    is in a cluster of ``tonight`` does, and so do the texts themselves. Of pictures the former.
    """
    known = {one.example_id for one in learned}
    clusters = {one.cluster_id for one in tonight if one.example_id in known and one.cluster_id}
    found = {e.example_id for e in asked if e.example_id in known or e.cluster_id in clusters}
    left = [e for e in asked if e.example_id not in found]
    if use_case.is_image or not left or not learned:
        return found
    texts = [*(e.text for e in learned), *(e.text for e in left)]
    numbers = near_duplicates.clusters(texts, threshold=use_case.curation.near_duplicates)
    theirs = set(numbers[: len(learned)])
    ours = numbers[len(learned) :]
    return found | {e.example_id for e, n in zip(left, ours, strict=True) if n in theirs}


def one_of_each(
    use_case: UseCase, asked: Sequence[Example], sources: Mapping[str, str]
) -> list[Example]:
    """One of texts almost alike, in the given order; audits first, else told by the id alone.

    ``sources`` is feedback id → source.
    """
    ordered = sorted(
        asked,
        key=lambda e: (
            all(sources.get(name) != "audit" for name in e.feedback_ids),
            e.example_id,
        ),
    )
    numbers = (
        range(len(ordered))
        if use_case.is_image
        else near_duplicates.clusters(
            [e.text for e in ordered], threshold=use_case.curation.near_duplicates
        )
    )
    taken, kept = set[str](), set[str]()
    for example, number in zip(ordered, numbers, strict=True):
        names = {f"text {number}", f"cluster {example.cluster_id or example.example_id}"}
        if taken.isdisjoint(names):
            kept.add(example.example_id)
        taken |= names
    return [example for example in asked if example.example_id in kept]


def already_learned(
    use_case: UseCase, home: Home, snapshot: Snapshot, digests: Iterable[str]
) -> tuple[frozenset[str], Reason | None]:
    """The holdout rows that say nothing of these versions, by id; and that in words, if any are.

    A version, or an ancestor of it, learned from the row, from one almost alike, or from another
    row of its group: a label of the company's own people came after somebody's reaction had been
    learned from. What a version learned from that cannot be read any more is said.
    """
    tonight = snapshots.read(home.snapshots, snapshot.snapshot_id)
    holdout = [one for one in tonight if one.split == "holdout"]
    names = snapshots_of(use_case, home, digests) - {snapshot.snapshot_id}
    learned = read_learned(use_case, home, names) if names else ()
    if learned is None:
        said = "what the champion or the one on trial learned from cannot be read any more, so that"
        return frozenset(), Reason(
            RULE, None, f"{said} no holdout row is left out for it", on=False
        )
    taught = [one for one in learned if one.split != "holdout"]
    groups = {one.group_id for one in taught}
    found = almost_alike(use_case, holdout, taught, tonight)
    found |= {one.example_id for one in holdout if one.group_id in groups}
    if not found:
        return frozenset(), None
    detail = (
        f"{len(found)} of {len(holdout)} holdout rows do not count tonight: a contender learned "
        "from them, from texts almost alike, or from their group"
    )
    return frozenset(found), Reason(RULE, True, detail)
