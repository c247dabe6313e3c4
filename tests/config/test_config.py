"""A use case that is wrong is refused, and the message helps to mend it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flywheel.config import TrainingConfig, UseCase, load_use_case
from flywheel.errors import ConfigError


def write(tmp_path: Path, use_case: UseCase, **changes: object) -> str:
    content = use_case.model_dump(mode="json") | changes
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_the_default_use_case_survives_a_round_trip(tmp_path: Path, use_case: UseCase) -> None:
    assert load_use_case(write(tmp_path, use_case)) == use_case


def test_an_unknown_key_is_refused_with_the_nearest_valid_one(
    tmp_path: Path, use_case: UseCase
) -> None:
    gate = use_case.gate.model_dump() | {"min_acuracy": 0.5}
    with pytest.raises(ConfigError, match=r"gate\.min_acuracy: unknown key.*'min_accuracy'"):
        load_use_case(write(tmp_path, use_case, gate=gate))


def test_all_faults_are_reported_at_once(tmp_path: Path, use_case: UseCase) -> None:
    with pytest.raises(ConfigError, match=r"(?s)labels.*prompt"):
        load_use_case(write(tmp_path, use_case, labels={}, prompt="no place for it"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("yes: good\n  no: bad", r'labels\.yes: in line 2 YAML reads yes as a yes or no; .*"yes"'),
        ("1: good\n  2: bad", r'labels\.2: in line 3 YAML reads 2 as a number; quote it: "2"'),
        ("~: good\n  x: bad", "reads ~ as nothing at all"),
        ("x: on\n  y: bad", r'labels\.x: .*quote it: "on"'),
        ("x:\n  y: bad", r"labels\.x: nothing stands there in line 2"),
        ("x: good\n  x: bad", r"labels\.x: line 3 names it again"),
    ],
)
def test_a_label_that_yaml_takes_for_something_else_is_to_be_quoted(
    tmp_path: Path, use_case: UseCase, labels: str, said: str
) -> None:
    content = use_case.model_dump(mode="json")
    del content["labels"]
    path = tmp_path / "case.yaml"
    path.write_text(f"labels:\n  {labels}\n{yaml.safe_dump(content)}")
    with pytest.raises(ConfigError, match=said):
        load_use_case(str(path))


def test_a_name_that_yaml_takes_for_no_is_to_be_quoted(tmp_path: Path, use_case: UseCase) -> None:
    path = tmp_path / "case.yaml"
    content = yaml.safe_dump(use_case.model_dump(mode="json"))
    path.write_text(content.replace("name: product-reviews\n", "name: no\n", 1))
    with pytest.raises(ConfigError, match=r'name: .*reads no as a yes or no; quote it: "no"'):
        load_use_case(str(path))


def test_a_missing_use_case_names_the_known_ones(tmp_path: Path, use_case: UseCase) -> None:
    write(tmp_path, use_case)
    with pytest.raises(ConfigError, match=r"There is no use case .*absent\.yaml: .* holds case\."):
        load_use_case("absent", folder=tmp_path)


@pytest.mark.parametrize("typed", ["caes", "cases", "Case", "cse.yaml"])
def test_a_mistyped_use_case_is_asked_for_by_the_name_it_has(
    tmp_path: Path, use_case: UseCase, typed: str
) -> None:
    write(tmp_path, use_case)
    with pytest.raises(ConfigError, match=r"holds case\. Did you mean 'case'\? Change to"):
        load_use_case(typed, folder=tmp_path)


def test_versions_of_segments_need_a_field_and_may_be_numbers(
    tmp_path: Path, use_case: UseCase
) -> None:
    def given(**adapters: object) -> UseCase:
        return load_use_case(write(tmp_path, use_case, serving={"adapters": adapters}))

    adapters = given(field="segment", versions={"north": 12}).serving.adapters
    assert [adapters.name_of(value) for value in ("north", "south")] == ["12", "champion-south"]
    with pytest.raises(ConfigError, match=r"serving\.adapters: .*versions need a field"):
        given(versions={"north": 12})
    with pytest.raises(ConfigError, match=r"adapters\.feild: unknown key; did you mean 'field'"):
        given(feild="segment")


def test_a_key_by_its_old_name_is_read_and_said_once(
    tmp_path: Path, use_case: UseCase, caplog: pytest.LogCaptureFixture
) -> None:
    content = use_case.model_dump(mode="json")
    content["split"]["exam"] = content["split"].pop("holdout")
    content["gate"]["min_exam_examples"] = content["gate"].pop("min_holdout_examples")
    content["gate"]["exam_share"] = content["gate"].pop("holdout_share")
    path = tmp_path / "before.yaml"
    path.write_text(yaml.safe_dump(content))

    assert [load_use_case(str(path)) for _ in range(2)] == [use_case, use_case]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        f"{old} is called {now} now; the old name is read until version 0.3"
        for old, now in (
            ("split.exam", "split.holdout"),
            ("gate.exam_share", "gate.holdout_share"),
            ("gate.min_exam_examples", "gate.min_holdout_examples"),
        )
    ]
    content["split"]["holdout"] = 0.2
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="exam is called holdout now; name it once"):
        load_use_case(str(path))


def test_the_order_of_labels_survives_a_file_that_sorts_its_keys(use_case: UseCase) -> None:
    written = json.dumps(use_case.model_dump(mode="json"), sort_keys=True)
    found = UseCase.model_validate_json(written)
    assert list(use_case.label_names) != sorted(use_case.label_names), "sorting would be seen"
    assert found.label_names == use_case.label_names
    assert found == use_case


def test_a_label_that_is_named_twice_is_refused(tmp_path: Path, use_case: UseCase) -> None:
    twice = [["good", "happy"], ["bad", "unhappy"], ["good", "glad"]]
    with pytest.raises(ConfigError, match=r"labels: .*named twice: good"):
        load_use_case(write(tmp_path, use_case, labels=twice))


def test_a_base_that_the_method_does_not_need_is_not_fetched(use_case: UseCase) -> None:
    """As where somebody writes ``method: tfidf`` into what `init` proposed."""
    named = {**use_case.model_dump(mode="json")["training"], "method": "tfidf"}
    assert named["base"] is not None
    assert TrainingConfig.model_validate(named).base is None
    slate = {
        "method": "auto",
        "slate": [{"method": "tfidf", "base": "a"}, {"method": "lora", "base": "b"}],
    }
    assert [one.base for one in TrainingConfig.model_validate(slate).entries()] == [None, "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: \N{LATIN SMALL LETTER Z WITH DOT ABOVE}".encode("cp1250"), "is not UTF-8 (byte 6)"),
        ("name: x".encode("utf-16"), "is not UTF-8 (byte 0)"),
        (b"[" * 4_000, "is nested too deep"),
    ],
)
def test_a_file_that_an_editor_saved_otherwise_is_named(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "case.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_use_case(str(path))
    assert str(refused.value).startswith(f"{path} {said}")
