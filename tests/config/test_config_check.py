"""A use case file is looked at before a night: by an editor, and by ``flywheel config``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from flows.cli.main import cli
from flywheel.catalog import models
from flywheel.config import Home, UseCase, json_schema, use_case_path
from flywheel.diagnostics.config_check import Fault, check
from flywheel.errors import ConfigError
from tasks.ingest import ingest_inbox
from tests.doctors import AT
from tests.nights import ROOT, drop_rows
from tests.strategies import row

DEFAULT = ROOT / "usecases/product-reviews.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))


def changed(**sections: Any) -> UseCase:
    """The default use case with settings changed."""
    merged = {
        name: {**CONTENT.get(name, {}), **new}
        if isinstance(new, dict) and name != "labels"
        else new
        for name, new in sections.items()
    }
    return UseCase.model_validate({**CONTENT, **merged})


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


# ---- The schema


def test_the_shipped_schema_is_what_the_classes_say() -> None:
    shipped = json_schema.SHIPPED.read_text(encoding="utf-8")
    assert shipped == json_schema.text(), "python -m docs._generator writes it anew"


def test_an_editor_takes_the_default_use_case_and_no_typo() -> None:
    schema = Draft202012Validator(json_schema.schema())
    assert schema.is_valid(CONTENT)
    assert schema.is_valid({**CONTENT, "labels": [["a", "x"], ["b", "y"]]})
    assert not schema.is_valid({**CONTENT, "training": {**CONTENT["training"], "epoch": 3}})
    assert not schema.is_valid({**CONTENT, "split": {"salt": "s", "holdout": 0.95}})


def test_the_default_use_case_names_a_schema_that_is_there() -> None:
    first = DEFAULT.read_text(encoding="utf-8").splitlines()[0]
    path = first.removeprefix("# yaml-language-server: $schema=")
    assert (DEFAULT.parent / path).resolve() == json_schema.SHIPPED.resolve()


def test_the_default_use_case_is_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = use_case_path("product-reviews")
    assert shipped.parent == json_schema.SHIPPED.parent
    with_names = [path.read_text(encoding="utf-8").splitlines() for path in (shipped, DEFAULT)]
    assert with_names[0][1:] == with_names[1][1:], "usecases/ has the original: copy it"
    with pytest.raises(ConfigError, match="holds no use case"):
        use_case_path("support")


def test_init_writes_the_schema_beside_the_use_case(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"text {i} of {'ab'[i % 2]},{'ab'[i % 2]}" for i in range(120)]
    Path("t.csv").write_text("\n".join(["text,label", *rows]))
    done = call("init", "mine", "--data", "t.csv", "--method", "tfidf", "--yes", "--json")
    assert done.exit_code == 0, done.output
    first = Path("usecases/mine.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=use-case.schema.json"
    assert Path("usecases/use-case.schema.json").read_text() == json_schema.text()
    assert Draft202012Validator(json_schema.schema()).is_valid(
        yaml.safe_load(Path("usecases/mine.yaml").read_text())
    )


# ---- What a typo was meant to be


def test_the_default_use_case_has_no_fault(home: Home) -> None:
    assert check(changed(), home) == []


def source(**fields: Any) -> dict[str, Any]:
    return {"name": "desk", "kind": "files", "location": "x.csv", **fields}


@pytest.mark.parametrize(
    ("case", "setting", "meant"),
    [
        (
            lambda: changed(training={"base": "SmolLM2-135M-instruct"}),
            "training.base",
            "smollm2-135m-instruct",
        ),
        (
            lambda: changed(sources=[source(values={"value": {"good": "positiv"}})]),
            "sources.0.values.value.good",
            "positive",
        ),
        (lambda: changed(sources=[source(fields={"ratter_id": "who"})]), "sources.0", "rater_id"),
    ],
)
def test_a_name_that_nothing_has_is_found_with_what_was_meant(
    case: Callable[[], UseCase], setting: str, meant: str, home: Home
) -> None:
    (fault,) = check(case(), home)
    assert fault.setting == setting
    assert (fault.meant or "").lower() == meant


def test_a_base_that_cannot_train_the_method_is_found(home: Home) -> None:
    encoder = next(name for name, one in models().items() if one.family.body == "encoder")
    (fault,) = check(changed(training={"base": encoder}), home)
    assert fault.problem.startswith(f"{encoder} cannot train qlora; it can: ")


def test_labels_that_differ_by_case_alone_are_found(home: Home) -> None:
    case = changed(labels={"Good": "x", "good": "y", "bad": "z"}, golden=[])
    assert check(case, home) == [
        Fault("labels.good", "it differs from 'Good' by case or spaces alone.")
    ]


def test_a_gold_source_that_nothing_came_from_is_found(home: Home) -> None:
    case = changed(curation={"gold_sources": ["golden"]})
    assert check(case, home) == [], "before anything came a name is no typo"
    drop_rows(home, case, "a.jsonl", [row(source="gold", value="positive")])
    ingest_inbox(case, home, at=AT)
    (fault,) = check(case, home)
    assert (fault.setting, fault.meant) == ("curation.gold_sources", "gold")


# ---- The command


def test_a_file_with_a_typo_fails_the_check_and_says_so_as_json(tmp_path: Path, home: Home) -> None:
    content = {**CONTENT, "training": {**CONTENT["training"], "base": "smolm2-135m-instruct"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    before = sorted(home.root.rglob("*"))
    done = call("config", "check", str(tmp_path / "mine.yaml"), "--json")
    assert done.exit_code == 1
    (fault,) = json.loads(done.stdout)["faults"]
    assert fault["setting"] == "training.base"
    assert sorted(home.root.rglob("*")) == before, "a check writes nothing"


def test_show_marks_what_the_file_does_not_set() -> None:
    lines = call("config", "show", "-u", str(DEFAULT)).stdout.splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert shown["split.by_customer"].endswith("true  (default)")
    assert not shown["split.salt"].endswith("(default)")
    told = json.loads(call("config", "show", "-u", str(DEFAULT), "--json").stdout)
    assert "split.by_customer" in told["defaults"]
    assert told["settings"]["split"]["by_customer"] is True
