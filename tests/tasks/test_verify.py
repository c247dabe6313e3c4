"""Before a version may be champion it is loaded as it is served, and answers as it was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import prefect.deployments
import pytest

from flywheel.catalog import numeric_types
from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.errors import DigestMismatch, ServedDiffers
from flywheel.libraries import library_version
from flywheel.modeling import fingerprint, methods
from flywheel.records import Curated, Example
from flywheel.serving.models.engine import RegistryModelSource
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking import measured_versions
from flywheel.tracking.measured_answers import row_difference
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import APPROVAL_RESULT
from flywheel.training import adapter_folder
from tasks.champion.approve import approve
from tasks.evaluate import ask
from tasks.promote import await_approval
from tasks.verify import check_measured, check_served, holdout_sample, keep_sample, verify_served
from tests import champions, nights
from tests.champions import champion, tags, tamper, version
from tests.nights import AS_OF, CASE
from tests.tasks.test_pool_scoring import Worker
from tests.tiny import NUMERIC_TYPES

pytestmark = pytest.mark.model

TEXTS = [f"{mood} screen it works {number}" for mood in ("good", "bad") for number in range(20)]
Answers = dict[str, dict[str, float]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        yield home


def measured(home: Home, number: str, texts: list[str] = TEXTS) -> Answers:
    """What a holdout would have measured."""
    base = home.models / CASE.training.base
    reader = methods.load_on(CASE, base, version(home, number).adapter_dir)
    answers, _ = reader.answer(texts)
    return dict(zip(texts, answers, strict=True))


def test_the_version_that_was_measured_passes(home: Home) -> None:
    verify_served.fn(CASE, home, version(home, "2"), measured(home, "2"))


def test_a_version_that_learned_on_the_pool_is_asked_there(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its base may not fit the night's machine; the worker is given the registry's files."""
    pooled = CASE.model_copy(
        update={"training": CASE.training.model_copy(update={"where": "pool"})}
    )
    worker = Worker(home)
    monkeypatch.setattr(prefect.deployments, "run_deployment", worker)
    verify_served.fn(pooled, home, version(home, "2"), measured(home, "2"))
    assert len(worker.told) == 1
    assert TEXTS[0] not in json.dumps(worker.told)
    with pytest.raises(ServedDiffers, match="version 2, loaded as it is served, answers"):
        verify_served.fn(pooled, home, version(home, "2"), measured(home, "3"))
    assert len(worker.told) == 2
    expected, registered = measured(home, "2"), version(home, "2")
    tamper(home, "2")
    with pytest.raises(DigestMismatch, match="adapter: measured"):
        verify_served.fn(pooled, home, registered, expected)
    assert len(worker.told) == 2
    assert [path for path in home.scoring.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("there", NUMERIC_TYPES)
def test_a_version_of_another_machine_is_verified_by_its_answers(
    home: Home, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned and measured in one numeric type, served in another: rounding explains it."""
    monkeypatch.setenv(numeric_types.SETTING, there)
    expected, digest = measured(home, "2"), version(home, "2").digest
    for here in numeric_types.NAMES:
        monkeypatch.setenv(numeric_types.SETTING, here)
        registered = version(home, "2")
        assert registered.digest == digest
        check_measured(CASE, home, registered)
        check_served(CASE, home, registered, expected)


def test_a_version_whose_digest_names_a_build_of_torch_is_the_one_measured(home: Home) -> None:
    """Registered before builds were left out, on this machine or on a GPU worker."""
    adapter = home.adapters / "before"
    canonical = nights.make_adapter(home, adapter, seed=7)
    base = home.models / CASE.training.base
    before = fingerprint.of(CASE, base, adapter).earlier
    assert canonical not in before
    for number, digest in enumerate(sorted(before)[:2], start=5):
        (adapter / adapter_folder.COMPLETE).write_text(json.dumps({"digest": digest}))
        registered = nights.register(home, adapter, digest)
        assert registered.version == str(number)
        expected = measured(home, registered.version)
        check_measured(CASE, home, registered)
        check_served(CASE, home, registered, expected)
        RegistryModelSource(home, CASE.name).load(registered.version)
        # its answers are found under the digest that it is registered with
        ask(CASE, home, registered.adapter_dir, {"e1": TEXTS[0]}, name="the champion")
        with open_store(home.warehouse) as store:
            assert contender_scores.scores(store, CASE.name, digest)
            assert not contender_scores.scores(store, CASE.name, canonical)


def test_mlflow_requires_versions_that_an_index_has(home: Home) -> None:
    (required, *_) = sorted(home.root.rglob("requirements.txt"))
    lines = required.read_text().splitlines()
    assert f"torch=={library_version('torch')}" in lines
    assert not [line for line in lines if "+" in line]


def test_another_version_differs(home: Home) -> None:
    with pytest.raises(ServedDiffers, match="version 2, loaded as it is served, answers"):
        verify_served.fn(CASE, home, version(home, "2"), measured(home, "3"))


def test_nothing_to_compare_with_is_not_the_same(home: Home) -> None:
    with pytest.raises(ServedDiffers, match="no measured answers"):
        verify_served.fn(CASE, home, version(home, "2"), {})


def test_a_tampered_version_refuses_to_answer(home: Home) -> None:
    expected, registered = measured(home, "2"), version(home, "2")
    tamper(home, "2")
    with pytest.raises(DigestMismatch, match="adapter: measured"):
        verify_served.fn(CASE, home, registered, expected)


SURE = {"negative": 0.1, "positive": 0.9}


@pytest.mark.parametrize(
    ("label", "probabilities", "word"),
    [
        ("negative", SURE, "negative where positive"),
        ("positive", {"negative": 0.1, "positive": 0.7}, "where 0.900 was measured"),
        ("positive", {"negative": 0.1, "positive": math.nan}, "nan"),
        ("positive", {"positive": 0.9}, "labels positive"),
    ],
)
def test_one_row_is_enough_to_differ(
    label: str, probabilities: dict[str, float], word: str
) -> None:
    assert word in str(row_difference(SURE, probabilities, label))


def test_what_rounding_explains_is_no_difference() -> None:
    near, nearer = {"negative": 0.49, "positive": 0.51}, {"negative": 0.52, "positive": 0.48}
    assert row_difference(SURE, {"negative": 0.14, "positive": 0.86}, "positive") is None
    assert row_difference(near, nearer, "negative") is None


def test_many_small_differences_are_a_difference(home: Home) -> None:
    expected = measured(home, "2")
    shifted = {
        text: {name: p + (0.04 if name == "positive" else -0.04) for name, p in answer.items()}
        for text, answer in expected.items()
    }
    with pytest.raises(ServedDiffers, match="off on the mean"):
        verify_served.fn(CASE, home, version(home, "2"), shifted)


def sit_holdout(home: Home, number: str, answers: Answers) -> None:
    """Leave a holdout and a version's answers to it as a night would."""
    rows = tuple(
        Example(f"e{i:02}", text, "positive", 1.0, f"g{i}", "holdout", (f"f{i}",))
        for i, text in enumerate(answers)
    )
    snapshot = snapshots.write(Curated(rows, ()), home.snapshots)
    registered = version(home, number)
    Registry(home).tag(CASE.name, number, {"snapshot_id": snapshot.snapshot_id})
    scores = {row.example_id: answers[row.text] for row in rows}
    with open_store(home.warehouse) as store:
        contender_scores.add(store, CASE.name, registered.digest, scores, 1.0)


def test_the_sample_is_of_the_holdout_and_always_the_same(home: Home) -> None:
    answers = {text: {"negative": 0.25, "positive": 0.75} for text in TEXTS}
    sit_holdout(home, "2", answers)
    sample = holdout_sample(CASE, home, version(home, "2"), rows=8)
    assert len(sample) == 8
    assert sample == {text: answers[text] for text in sample}
    assert holdout_sample(CASE, home, version(home, "2"), rows=8) == sample
    assert len(holdout_sample(CASE, home, version(home, "2"))) == CASE.gate.verify_rows
    assert holdout_sample(CASE, home, version(home, "3")) == {}, "whose holdout is not here"


def test_the_service_gets_the_sample_and_nobody_else_may_read_it(home: Home) -> None:
    answers = measured(home, "2")
    sit_holdout(home, "2", answers)
    keep_sample(CASE, home, version(home, "2"))
    loaded = RegistryModelSource(home, CASE.name).load("2")
    assert loaded.measured == holdout_sample(CASE, home, version(home, "2"))
    files = {file.name: file for file in home.measured.rglob("*.json")}
    assert set(files) == {f"{loaded.digest}.json", measured_versions.FILE}
    assert not any(file.stat().st_mode & 0o077 for file in files.values())
    assert RegistryModelSource(home, CASE.name).load("3").measured == {}, (
        "whose holdout is not here"
    )


def test_an_approved_version_answers_again_before_the_alias_moves(home: Home) -> None:
    sit_holdout(home, "2", measured(home, "3"))
    await_approval.fn(home, version(home, "2"), use_case=CASE, against=version(home, "1"))
    done = approve(CASE, home, by="ann", at=AS_OF)
    assert done["result"].startswith("refused: ")
    assert "loaded as it is served" in tags(home, "2")[APPROVAL_RESULT]
    assert champion(home) == "1"
