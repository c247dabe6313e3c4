"""What the reference says of each command's JSON is what the command prints."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from docs._generator.json_shapes import SHAPES, Field, fields
from flows.cli.main import cli
from tests import nights

pytestmark = [pytest.mark.prefect, pytest.mark.model]

WORDS = {"refund": "money charge pay", "delivery": "parcel courier box", "login": "password reset"}
ASKED_ELSEWHERE = {
    "approve", "bench", "config schema", "export", "replay", "rollback", "schedule", "serve",
    "turn", "unschedule", "vendor",
}  # fmt: skip
"""Those that take a server, a model or minutes."""


def documented(command: str) -> list[Field]:
    return list(fields(command))


def paths(found: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; an empty list or object has one, too."""
    if isinstance(found, dict) and found:
        for key, value in found.items():
            yield from paths(value, f"{above}.{key}" if above else key)
    elif isinstance(found, list) and found:
        for value in found:
            yield from paths(value, f"{above}[]")
    else:
        yield above, found


def matches(one: Field, path: str) -> bool:
    pattern = re.escape(one.path).replace(r"\*", r"[^\n]+?")
    below = r"(?:(?:^|\.|\[\]).*)?" if one.deep else ""
    return re.fullmatch(pattern + below, path, re.DOTALL) is not None


def faults(command: str, found: Any) -> list[str]:
    """What the document has that is not documented, and what is documented that it lacks."""
    known, there = documented(command), dict(paths(found))
    wrong = []
    for path, value in there.items():
        stands = [one for one in known if matches(one, path)]
        # an empty one says nothing of what would be in it
        empty = value in ([], {}) and any(
            one.path.startswith(path) or matches(one, path) for one in known
        )
        if not stands and not empty:
            wrong.append(f"{path} is not documented")
        elif value is None and stands and not any("null" in o.kind or o.deep for o in stands):
            wrong.append(f"{path} is null")
    for one in known:
        lacks = not any(matches(one, path) or one.path.startswith(path) for path in there if path)
        if lacks and not one.optional and not one.deep and "*" not in one.path:
            wrong.append(f"{one.path} is missing")
    return wrong


def every(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def test_every_command_with_json_has_a_shape() -> None:
    takes = {n for n, c in every(cli) if any("--json" in one.opts for one in c.params)}
    # schedules is said beside schedule
    assert takes - {"schedules"} <= {re.sub(r" (--\S+|[A-Z]+)$", "", name) for name in SHAPES}


def test_a_fault_is_found() -> None:
    good = {"file": "a", "faults": []}
    assert faults("config check", good) == []
    assert faults("config check", {**good, "more": 1}) == ["more is not documented"]
    assert faults("config check", {"faults": []}) == ["file is missing"]
    assert faults("config check", {**good, "file": None}) == ["file is null"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Command → its document, in a use case that lived two nights."""
    folder = tmp_path_factory.mktemp("shapes")
    found: dict[str, Any] = {}
    nights.prefect_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLYWHEEL_HOME", str(folder / "data"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/data/mlflow.db")

        def call(shape: str, *words: str, code: int | None = 0) -> None:
            done = CliRunner().invoke(cli, [*words, "--json"])
            assert code is None or done.exit_code == code, done.output
            found[shape] = json.loads(done.stdout)

        _files(folder)
        call("init", "init", "support", "--data", "t.csv", "--method", "tfidf", "--yes")
        call("night --dry-run", "night", "--dry-run")
        call("night", "night", "--as-of", "2026-12-01T02:30:00")
        call("ingest", "ingest", "more.csv")
        call("ingest", "ingest", "said.jsonl")
        call("predict", "predict", "ask.jsonl")
        call("predict --to", "predict", "ask.jsonl", "--to", "out.jsonl")
        call("queue", "queue", "--n", "2", "--audit-share", "1", "--csv", "todo.csv")
        _label(folder / "todo.csv")
        call("queue --import", "queue", "--import", "todo.csv")
        (folder / "data/inbox/support/bad.jsonl").write_text('{"broken"\n')
        call("pull", "pull")
        call("quarantine --retry", "quarantine", "--retry")
        CliRunner().invoke(cli, ["ingest"])
        call("quarantine", "quarantine")
        call("night again", "night", "--as-of", "2026-12-02T02:30:00")
        call("status", "status")
        call("doctor", "doctor", code=None)
        call("list", "list")
        call("lineage VERSION", "lineage", "1")
        call("config check", "config", "check")
        call("config show", "config", "show")
        call("prune", "prune", "--keep-days", "1")
        call("ps", "ps")
        call("models", "models")
        call("models NAME", "models", "qwen2.5-0.5b-instruct")
        call("backup", "backup", "all.tar")
        call("forget", "forget", "c3")
        call("forget --yes", "forget", "c3", "--yes")
        call("init other", "init", "other", "--data", "t.csv", "--method", "tfidf", "--yes")
        call("remove", "remove", "other", "--yes")
        patch.setenv("FLYWHEEL_HOME", str(folder / "restored"))
        call("restore", "restore", "all.tar")
    return found


def _label(queue: Path) -> None:
    with queue.open(newline="") as file:
        rows = [{**row, "label": "refund"} for row in csv.DictReader(file)]
    with queue.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def _files(folder: Path) -> None:
    lines = ["text,label,customer_id"]
    for n in range(400):
        label = sorted(WORDS)[n % 3]
        said = WORDS[label].split()[n // 3 % 2]
        lines.append(f"no. {n * 7919 % 9973} please {said} again {n * 31 % 977},{label},c{n % 100}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    (folder / "more.csv").write_text("text,label,customer_id\nwhere is my parcel,delivery,c3\n")
    row = {"kind": "label", "text": "the box is open", "value": "delivery", "rater_id": "r"}
    about = {"group_id": "c9", "source": "app", "given_at": "2026-11-30T09:00:00Z"}
    (folder / "said.jsonl").write_text(json.dumps(row | about) + "\n")
    (folder / "ask.jsonl").write_text('{"text": "please refund my money"}\n')


@pytest.mark.parametrize("command", sorted(SHAPES.keys() - ASKED_ELSEWHERE))
def test_the_document_is_as_the_reference_says(command: str, outputs: dict[str, Any]) -> None:
    assert faults(command, outputs[command]) == []


def test_a_skipped_night_has_the_shape_of_a_night(outputs: dict[str, Any]) -> None:
    assert faults("night", outputs["night again"]) == []
    assert faults("init", outputs["init other"]) == []
