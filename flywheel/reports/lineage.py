"""From a version back to the people behind its labels, and from a feedback to what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.store import Store, lineage, open_store
from flywheel.training.warm_start import PARENT, ancestry, with_descendants


def find(use_case: UseCase, home: Home, identity: str, *, texts: bool = False) -> dict[str, Any]:
    """The lineage of a version, by its number, or of a feedback; customers' texts only if asked.

    What a version's ancestors learned from is part of it, and what learned from a feedback are also
    all that went on from it.

    Raises:
        DataError: there is neither a version nor a feedback of that name.
    """
    number = identity.isascii() and identity.isdigit()
    with open_store(home.warehouse, read_only=True) as store:
        version = (
            lineage.of_version(store, use_case.name, identity, texts=texts) if number else None
        )
        found = version or lineage.of_feedback(store, use_case.name, identity, texts=texts)
    if found is None and number:
        found = _registered(use_case, home, identity, texts=texts)
    if found is not None:
        with open_store(home.warehouse, read_only=True) as store:
            if "feedback" in found:
                _add_descendants(store, found)
            else:
                _add_ancestors(store, found)
    if found is None:
        raise DataError(
            f"{use_case.name} has neither a version nor a feedback {identity!r}. Versions are in "
            "flywheel status and MLflow; feedback that was refused is in flywheel quarantine."
        )
    return found


def _add_ancestors(store: Store, found: dict[str, Any]) -> None:
    known = lineage.versions(store, found["use_case"])
    parents = {digest: one.parent for digest, one in known.items()}
    try:
        nearest = found.pop(PARENT, parents.get(found["digest"]))
        line = ancestry(nearest, parents) if nearest else ()
        found["ancestors_known"] = True
    except DataError:
        line, found["ancestors_known"] = (), False
    ancestors = [known[digest] for digest in line]
    snapshots = [one.snapshot_id for one in ancestors if one.snapshot_id]
    together, alone = lineage.union(store, found["use_case"], found["snapshot_id"], snapshots)
    found["ancestors"] = [
        {"version": one.version, "digest": one.digest, "snapshot_id": one.snapshot_id}
        for one in ancestors
    ]
    found["learned_count"] = together
    found["learned_by_ancestors_only"] = together - alone


def _add_descendants(store: Store, found: dict[str, Any]) -> None:
    """Versions that did not see the feedback themselves, and went on from one that did."""
    known = lineage.versions(store, found["use_case"])
    by_version = {one.version: one for one in known.values()}
    theirs = {v["version"] for v in found["versions"] if v["split"] == "train"}
    roots = {by_version[name].digest for name in theirs if name in by_version}
    parents = {digest: one.parent for digest, one in known.items()}
    for digest in sorted(with_descendants(roots, parents) - roots):
        one = known[digest]
        if one.version not in theirs:
            found["versions"].append(
                {"version": one.version, "outcome": "by descent", "split": "train", "label": None}
            )


def _registered(
    use_case: UseCase, home: Home, version: str, *, texts: bool
) -> dict[str, Any] | None:
    """A version whose night is not on record; the registry knows its snapshot."""
    if (
        home.mlflow_uri == f"sqlite:///{home.root / 'mlflow.db'}"
        and not (home.root / "mlflow.db").exists()
    ):
        return None
    from flywheel.tracking.registry import Registry

    for listed in Registry(home).versions(use_case.name):
        if listed.version == version and listed.record.snapshot_id:
            with open_store(home.warehouse, read_only=True) as store:
                found = lineage.of_version(
                    store,
                    use_case.name,
                    version,
                    snapshot_id=listed.record.snapshot_id,
                    texts=texts,
                )
            return found and {**found, PARENT: listed.record.parent}
    return None


def render_text(found: Mapping[str, Any]) -> list[str]:
    """A lineage as a short tree."""
    return _feedback_lines(found) if "feedback" in found else _version_lines(found)


def _version_lines(found: Mapping[str, Any]) -> list[str]:
    night = found["night"]
    when = f", night of {night['as_of'][:16]}: {night['outcome']}" if night else ""
    lines = [f"{found['use_case']} version {found['version']}{when}"]
    if found["snapshot_id"] is None:
        lines.append("└─ its snapshot held nobody but people who were forgotten since")
        return lines
    counts = found["example_counts"]
    total = sum(counts.values())
    sizes = ", ".join(f"{counts[s]} {s}" for s in ("train", "validation", "holdout") if s in counts)
    lines.append(f"└─ snapshot {found['snapshot_id'][:12]}: {total} examples ({sizes or 'none'})")
    if found["rewritten"]:
        lines.append(
            f"   ├─ learned as {found['rewritten']['snapshot_id'][:12]}, with people who were "
            f"forgotten since: certificate {found['rewritten']['certificate_id']}"
        )
    if found["ancestors"]:
        names = ", ".join(
            f"version {one['version']} (snapshot {(one['snapshot_id'] or 'gone')[:12]})"
            for one in found["ancestors"]
        )
        only = found["learned_by_ancestors_only"]
        more = f", {only} of them learned by ancestors only" if only else ""
        lines.append(f"   ├─ went on from {names}")
        lines.append(f"   ├─ learned from {found['learned_count']} examples with these{more}")
    if not found["ancestors_known"]:
        lines.append("   ├─ went on from a version that is not on record: it may have learned more")
    people = found["people"]
    lines.append(
        f"   ├─ from {found['feedback_count']} feedback of {people['raters']} raters "
        f"on texts of {people['customers']} customers"
    )
    lines.append(f"   ├─ sources: {_counted(found['sources'])}")
    for rule in found["rules"]:
        did = f"{rule['dropped']} dropped, {rule['changed']} changed" if rule["on"] else "off"
        detail = f" ({rule['detail']})" if rule["detail"] else ""
        lines.append(f"   ├─ rule {rule['rule']}: {did}{detail}")
    lines.append(f"   ├─ left out: {_counted(found['left_out'])}")
    shown = found["examples"]
    lines.append(f"   └─ examples, {len(shown)} of {total}")
    for one in shown:
        label = one["label"] or "not what was rejected"
        lines.append(
            f"      {one['example_id'][:12]}  {one['split']}  {label}  "
            f"confidence {one['confidence']:.2f}"
        )
        for vote in one["feedback"] or []:
            said = f"  {vote['text']!r}" if vote["text"] else ""
            lines.append(
                f"        {vote['feedback_id']}  {vote['kind']} by {vote['rater_id']} "
                f"({vote['source']}){said}"
            )
    return lines


def _feedback_lines(found: Mapping[str, Any]) -> list[str]:
    this = found["feedback"]
    value = f" {this['value']!r}" if this["value"] else ""
    lines = [
        f"{found['use_case']} feedback {this['feedback_id']}: {this['kind']}{value} by "
        f"{this['rater_id']} ({this['source']}), given {this['given_at'][:16]}",
        f"├─ row {this['row_number']} of file {this['file_sha256'][:12]}, "
        f"ingested {this['ingested_at'][:16]}",
    ]
    if this["text"]:
        lines.append(f"├─ text: {this['text']!r}")
    if this["prediction_id"]:
        served = f": {this['served_label']}, version {this['served_by']}"
        lines.append(
            f"├─ on prediction {this['prediction_id'][:12]}"
            f"{served if this['served_label'] else ', which has not arrived'}"
        )
    for (label, split), group in groupby(found["used"], key=lambda u: (u["label"], u["split"])):
        lines.append(f"├─ used as {label or 'not what was rejected'} in {split}: {_when([*group])}")
    for reason, group in groupby(found["left_out"], key=lambda d: d["reason"]):
        lines.append(f"├─ left out, {reason}: {_when([*group])}")
    if not found["used"] and not found["left_out"]:
        why = "parked until its prediction arrives" if this["is_parked"] else "no night has seen it"
        lines.append(f"├─ waiting: {why}")
    learned = [v for v in found["versions"] if v["split"] == "train"]
    examined = [v for v in found["versions"] if v["split"] == "holdout"]
    lines.append(f"└─ learned by {_versions(learned)}; judged on it: {_versions(examined)}")
    return lines


def _versions(entries: list[dict[str, Any]]) -> str:
    shown = [f"version {v['version']} ({v['outcome']})" for v in entries[: lineage.SHOWN]]
    more = len(entries) - len(shown)
    return (", ".join(shown) or "no version") + (f" and {more} more" if more else "")


def _when(entries: list[dict[str, Any]]) -> str:
    first, last = entries[0], entries[-1]
    if len(entries) == 1:
        return f"snapshot {first['snapshot_id'][:12]}"
    return f"{len(entries)} snapshots, {first['snapshot_id'][:12]} to {last['snapshot_id'][:12]}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
