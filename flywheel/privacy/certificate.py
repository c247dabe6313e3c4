"""The certificate of a forgetting: what was held, what became of it, and what is not undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flywheel.modeling.artifact import WITHOUT_TEXTS
from flywheel.privacy.erasure_plan import (
    EVIDENCE,
    EVIDENCE_STAYS,
    Marked,
    Plan,
    kept_lines,
    said_of_others,
)
from flywheel.text.normalize import table_cell
from flywheel.text.quotations import MIN_SEARCHED_CHARS


@dataclass(frozen=True)
class Searched:
    """What the search of the whole home afterwards looked at, and where it still found them."""

    files: int
    tables: int
    texts: int
    found: tuple[str, ...]
    ids: int = 1
    is_word: bool = True


def issue(
    plan: Plan,
    *,
    certificate_id: str,
    person_hash: str,
    requested_at: str,
    finished_at: str,
    files_after: Mapping[str, str | None],
    snapshots_after: Mapping[str, str | None],
    warehouse: Mapping[str, str],
    searched: Searched,
) -> dict[str, Any]:
    """What was held, what became of it, and what is not undone; the person as a hash only."""
    holdout_rows = sum(one.holdout for one in plan.snapshots)
    serving = [v for v in plan.versions if "champion" in v.aliases]
    return {
        "certificate_id": certificate_id,
        "person_hash": person_hash,
        "requested_at": requested_at,
        "finished_at": finished_at,
        "use_cases": list(plan.use_cases),
        "complete": not searched.found,
        "rows_deleted": {
            name: {table: count for table, count in tables.items() if table != EVIDENCE}
            for name, tables in plan.rows.items()
        },
        "evidence_made_anonymous": {
            name: tables.get(EVIDENCE, 0) for name, tables in plan.rows.items()
        },
        "of_these_quotes_by_others": dict(plan.quotes),
        "kept_with_words_of_theirs": {name: asdict(one) for name, one in plan.kept.items()},
        "near_duplicates_by_others_kept": {name: len(ids) for name, ids in plan.alike.items()},
        "files": [
            {
                "path": one.path,
                "rows_removed": one.rows,
                "sha256_before": one.sha256,
                "sha256_after": files_after.get(one.path),
            }
            for one in plan.files
        ],
        "snapshots": [
            {
                "use_case": one.use_case,
                "snapshot_id_before": one.snapshot_id,
                "snapshot_id_after": snapshots_after.get(one.snapshot_id),
                "train_removed": one.train,
                "validation_removed": one.validation,
                "holdout_removed": one.holdout,
            }
            for one in plan.snapshots
        ],
        "holdout_changed": holdout_rows > 0,
        "artifacts_deleted": list(plan.artifacts),
        "reports_rewritten": list(plan.pages),
        "traces_deleted": [
            {"use_case": one.use_case, "traces": one.traces, "assessments": one.assessments}
            for one in plan.traces
        ],
        "versions_marked": [
            {
                "use_case": one.use_case,
                "version": one.version,
                "digest": one.digest,
                "aliases": list(one.aliases),
                "exports": list(one.exports),
            }
            for one in plan.versions
        ],
        "retrain_requested": list(plan.retrain),
        "warehouse": dict(warehouse),
        "searched_afterwards": {
            "files": searched.files,
            "tables": searched.tables,
            "texts": searched.texts,
            "ids": searched.ids,
            "how": _how(searched),
            "found": list(searched.found),
        },
        "not_undone": _not_undone(plan, serving, holdout_rows),
    }


def _how(searched: Searched) -> list[str]:
    """What the search looked for, and in what way."""
    names = (
        "as words of their own, in any text, and as whole values of tables"
        if searched.is_word
        else "as values of fields and columns that hold ids, for a number or a short id may stand "
        "in any text"
    )
    return [
        f"{searched.ids} spellings of the id: {names}.",
        f"{searched.texts} texts, answers and hashes of texts: as words of their own, plain and as "
        "JSON, CSV, HTML and Python write them, with and without personal data.",
        "Files packed with gzip or zstd, Parquet and tables were unpacked. Texts shorter than "
        f"{MIN_SEARCHED_CHARS} characters, those that others gave too, pictures' contents, and "
        "what is encrypted or written in base64 were not searched for.",
    ]


def _not_undone(plan: Plan, serving: Sequence[Marked], holdout_rows: int) -> list[str]:
    said = []
    if plan.versions:
        numbers = ", ".join(f"{v.use_case} {v.version}" for v in plan.versions)
        said.append(
            f"Weights: versions {numbers} learned from the person. What they learned stays in "
            "their weights, and single words in a TF-IDF version's vocabulary."
        )
    if plan.retrain:
        named = ", ".join(plan.retrain)
        said.append(f"The next night of {named} trains without the person.")
    said += [
        f"{v.use_case} version {v.version} is champion and answers until a version that was "
        "trained without the person is promoted."
        for v in serving
    ]
    said += [
        f"{v.use_case} version {v.version} was exported as {place}: what it learned stays there, "
        "and wherever that folder was copied to. Delete it, and stop what serves it."
        for v in plan.versions
        for place in v.exports
    ]
    if holdout_rows:
        said.append(
            "The holdout lost rows: figures measured on it before cannot be measured again exactly."
        )
    evidence = sum(tables.get(EVIDENCE, 0) for tables in plan.rows.values())
    if evidence:
        said.append(f"Of {evidence} rows of {EVIDENCE}: {EVIDENCE_STAYS}.")
    for name, one in plan.kept.items():
        said += [f"Kept in {name}: {line}." for line in kept_lines(one)]
    kept = sum(len(ids) for ids in plan.alike.values())
    if kept:
        said.append(
            f"{kept} texts by other people are almost like one of the person's and were kept; "
            "forget with --alike deletes such texts too."
        )
    said += said_of_others(plan)
    if plan.by_others:
        said.append(
            "Rows by others that quoted the person are refused when they come again. Others may "
            "quote them in other words later; forgetting again finds such rows."
        )
    if plan.traces:
        said.append(
            "Traces: free pages of MLflow's database may hold them, without texts and names, until "
            "it writes there. What a running service had not told MLflow yet may come later; "
            "forgetting again deletes it."
        )
    return [
        *said,
        "Texts that other people gave in the same words stay as theirs.",
        "Copies outside the flywheel home: backups, a remote MLflow or Prefect server, the systems "
        "that wrote the feedback, blocks that the file system has freed but not overwritten.",
        "models/ and downloads/ hold public files, .safetensors numbers, and some files of a "
        f"version no text ({', '.join(sorted(WITHOUT_TEXTS))}): they were not searched for texts.",
    ]


def _outcome(content: Mapping[str, Any]) -> str:
    """What was done, and whether that is all; a use case where nothing was erased is not in it."""
    touched = [name for name in content["use_cases"] if _is_touched(content, name)]
    others = [name for name in content["use_cases"] if name not in touched]
    said = [
        f"A person was forgotten in {', '.join(touched)}."
        if touched
        else "No row of the person was found in any use case."
    ]
    if others:
        said.append(f"Nothing of theirs was there to erase by row: {', '.join(others)}.")
    places = content["searched_afterwards"]["found"]
    if places:
        said.append(
            f"NOT COMPLETE: the person is still found in {len(places)} places, named under "
            "Searched afterwards. Take the name out of each, or delete the file, and forget the "
            "person again."
        )
    return "\n".join(said)


def _is_touched(content: Mapping[str, Any], name: str) -> bool:
    """Whether anything of this use case was erased or made anonymous."""
    return bool(
        any(content["rows_deleted"].get(name, {}).values())
        or content["evidence_made_anonymous"].get(name)
        or any(name in one["path"].split("/")[:-1] for one in content["files"])
        or any(one["use_case"] == name for one in content["snapshots"])
        or any(one["use_case"] == name for one in content["traces_deleted"])
    )


def markdown(content: Mapping[str, Any]) -> str:
    """A certificate as one page."""
    tables = "".join(
        f"| {name} | {table} | {count} |\n"
        for name, counts in content["rows_deleted"].items()
        for table, count in counts.items()
    )
    files = "".join(
        f"| {table_cell(one['path'])} | {one['rows_removed']} | {one['sha256_before'][:12]} | "
        f"{one['sha256_after'][:12] if one['sha256_after'] else 'deleted'} |\n"
        for one in content["files"]
    )
    snapshots = "".join(
        f"| {one['use_case']} | {one['snapshot_id_before'][:12]} | "
        f"{one['snapshot_id_after'][:12] if one['snapshot_id_after'] else 'deleted'} | "
        f"{one['train_removed']} | {one['validation_removed']} | {one['holdout_removed']} |\n"
        for one in content["snapshots"]
    )
    versions = "".join(
        f"- {one['use_case']} version {one['version']}"
        f"{' (' + ', '.join(one['aliases']) + ')' if one['aliases'] else ''}"
        f"{'; exported: ' + table_cell(', '.join(one['exports'])) if one['exports'] else ''}\n"
        for one in content["versions_marked"]
    )
    reports = "".join(f"- {table_cell(place)}\n" for place in content["reports_rewritten"])
    traces = "".join(
        f"- {one['use_case']}: {one['traces']} traces, "
        f"{one['assessments']} assessments on others'\n"
        for one in content["traces_deleted"]
    )
    search = content["searched_afterwards"]
    found = "".join(f"- still found in {table_cell(place)}\n" for place in search["found"])
    how = "".join(f"- {said}\n" for said in search.get("how", ()))
    open_points = "".join(f"- {said}\n" for said in content["not_undone"])
    return (
        f"# Certificate {content['certificate_id']}\n\n"
        f"{_outcome(content)}\n"
        f"Requested {content['requested_at']}, finished {content['finished_at']}.\n"
        f"Keyed hash of the person: `{content['person_hash']}`\n\n"
        f"## Rows deleted\n\n| use case | table | rows |\n|---|---|---|\n{tables}\n"
        f"## Files rewritten\n\n| file | rows | sha256 before | after |\n|---|---|---|---|\n"
        f"{files}\n"
        "## Snapshots rewritten\n\n| use case | before | after | train | validation | holdout |\n"
        f"|---|---|---|---|---|---|\n{snapshots}\n"
        f"The holdout {'changed' if content['holdout_changed'] else 'did not change'}.\n\n"
        f"## Reports without what they said\n\n{reports or 'None.'}\n\n"
        f"## Traces deleted in MLflow\n\n{traces or 'None.'}\n\n"
        f"## Versions that learned from the person\n\n{versions or 'None.'}\n\n"
        f"## Searched afterwards\n\n{search['files']} files and {search['tables']} tables were "
        f"searched for the person and {search['texts']} texts: "
        f"{'nothing was found' if not search['found'] else 'NOT COMPLETE'}.\n{found}{how}\n"
        f"## What is not undone\n\n{open_points}"
    )
