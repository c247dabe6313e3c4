"""Files of our own that are damaged: which one, and what to do, in one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flywheel import catalog
from flywheel.catalog import base_models, families, hub
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, load_use_case
from flywheel.errors import DataError
from flywheel.modeling import artifact, context_length, scoring_jobs
from flywheel.modeling.image_processor import Preparation
from flywheel.modeling.verbalizer import verbalizer
from flywheel.privacy.erasure_plan import name_hash
from flywheel.records import Trained
from flywheel.tracking import measured_answers
from flywheel.training import adapter_folder, runner
from tasks.erasure import erase as forgetting
from tasks.outputs import bench
from tests.conftest import ROOT
from tests.erasure_fixtures import AT, JOB, WHO, drop, json_lines, other, theirs

SAID = "xylophone"
CASE = load_use_case("product-reviews", folder=ROOT / "usecases")
READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "a measured sample": (
        "case/d1.json",
        "or delete it: golden texts alone are asked then",
        lambda path: measured_answers.read(path.parents[1], "case", "d1"),
    ),
    "a base's record": (
        f"tiny/{base_models.MANIFEST}",
        "to fetch the base anew",
        lambda path: base_models.base_sha256(path.parent),
    ),
    "the architecture of a base": (
        "tiny/config.json",
        "which fetches the base anew",
        lambda path: families.family_of(path.parent),
    ),
    "the shapes of a base": (
        "tiny/config.json",
        "which fetches the base anew",
        lambda path: Shape.of(path.parent),
    ),
    "how much a base can read": (
        "tiny/config.json",
        "which fetches the base anew",
        lambda path: context_length.tokens_of(path.parent),
    ),
    "a base that a person downloaded": (
        "tiny/config.json",
        "put a base that you downloaded yourself there again",
        lambda path: hub.require_usable(catalog.model("smollm2-135m-instruct"), path.parent),
    ),
    "how a base wants its pictures": (
        "tiny/preprocessor_config.json",
        "which fetches the base anew",
        lambda path: Preparation.of(path.parent),
    ),
    "the settings of an adapter": (
        artifact.PEFT_CONFIG,
        "flywheel rollback names another one",
        lambda path: artifact.peft_config(path.parent),
    ),
    "the adapter that is put on a base": (
        artifact.PEFT_CONFIG,
        "flywheel rollback names another one",
        lambda path: verbalizer.put_on(None, path.parent),
    ),
    "a cell of a comparison": (
        "cell.json",
        "this cell is measured anew",
        lambda path: bench.read_result(path),
    ),
    "how a version is read": (
        artifact.METHOD,
        "flywheel rollback names another one",
        lambda path: artifact.read(CASE, path.parent),
    ),
    "the record of a training": (
        adapter_folder.COMPLETE,
        "and run the night again: it is trained anew",
        lambda path: adapter_folder.read_trained(path.parent),
    ),
    "the digest of a training": (
        adapter_folder.COMPLETE,
        "and run the night again: it is trained anew",
        lambda path: adapter_folder.recorded_digest(path.parent),
    ),
    "what a scoring job answered": (
        "answers.json",
        "the next night asks its rows anew",
        lambda path: scoring_jobs.answers(path.parent),
    ),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("content", [b"", b'[["xylophone"', b"\xff\xfe", b"\0" * 40])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, what: str, content: bytes) -> None:
    name, so, read = READERS[what]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path} is damaged (")
    assert so in str(refused.value)
    assert SAID not in str(refused.value)


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"xylophone": 1}'])
@pytest.mark.parametrize("what", ["how a version is read", "the record of a training"])
def test_json_of_something_else_is_a_damaged_file(tmp_path: Path, what: str, content: str) -> None:
    name, so, read = READERS[what]
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"is damaged .*(how the folder|no record)") as refused:
        read(tmp_path / name)
    assert so in str(refused.value)
    assert SAID not in str(refused.value)


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"model_type": 7}'])
def test_a_base_that_names_no_architecture_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    for read in (families.family_of, Shape.of):
        with pytest.raises(DataError, match=r"config.json is damaged .it (holds|names) no"):
            read(tmp_path)


@pytest.mark.parametrize("name", [adapter_folder.COMPLETE, artifact.METHOD])
def test_a_training_whose_files_are_damaged_is_none_that_is_finished(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / adapter_folder.COMPLETE).write_text(
        json.dumps(asdict(Trained(str(tmp_path), "d", 1, 1.0, 1.0, 1.0, 1.0)))
    )
    (tmp_path / name).write_text('{"half')
    assert runner.finished(CASE, None, tmp_path) is None


@pytest.mark.parametrize(
    "content", ["null", "7", '["xylophone"]', '[["a", "b", "c"]]', '[["a", 1]]']
)
def test_json_that_is_no_measured_sample_is_a_damaged_one(tmp_path: Path, content: str) -> None:
    path = measured_answers.path(tmp_path, "case", "d1")
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(DataError, match=r"is damaged .no list of texts and answers"):
        measured_answers.read(tmp_path, "case", "d1")


def test_a_forgetting_whose_journal_is_damaged_goes_on_without_it(home: Home) -> None:
    drop(home, "a.jsonl", json_lines(theirs(1), other(1)))
    key = forgetting._key(home)
    journal = forgetting._journal_path(home, name_hash(key, "person", WHO))
    journal.write_text('{"search": ["xylophone')
    with pytest.raises(DataError, match=r"is damaged .line 1.*delete it and run") as refused:
        forgetting.forget(home, WHO, at=AT)
    assert SAID not in str(refused.value)
    journal.unlink()
    done = forgetting.forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert WHO not in (home.inbox(JOB.name) / "a.jsonl").read_text()


def test_without_a_sample_there_is_none(tmp_path: Path) -> None:
    assert measured_answers.read(tmp_path, "case", "d1") == {}


def test_a_damaged_curve_leaves_out_the_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """It is drawn for people: a finished training is registered without it."""
    row = {"step": 1, "loss": 0.5, "learning_rate": 0.1}
    written = json.dumps(row).encode()
    (tmp_path / adapter_folder.CURVE).write_bytes(written + b"\n\xff\xfe\n" + written[:9])
    assert adapter_folder.read_curve(tmp_path) == [row]
