"""Going on from weights: which rows, from whom, and that it is going on and not beginning."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from flywheel.config import TrainingConfig, UseCase
from flywheel.errors import DataError
from flywheel.libraries import library_version
from flywheel.modeling import artifact, fingerprint, methods, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work, qlora
from flywheel.modeling.optim import training_loop
from flywheel.modeling.optim.checkpoint import Checkpoint, Reached
from flywheel.modeling.verbalizer import verbalizer
from flywheel.records import Example, NightRecord, Snapshot
from flywheel.training import child, warm_start
from flywheel.training.warm_start import Start, ancestry, in_a_row, lesson, misfit, with_descendants
from tasks.train import adapter_key
from tests.training.test_training import TEXTS, fit, fresh_reader, reader_on

TARGETS = [[2], [0], [1], [2], [0], [1]]
NAMES = [f"{number:03}" for number in range(40)]


def example(name: str, label: str | None = "positive", split: Any = "train") -> Example:
    return Example(name, f"text {name}", label, 0.9, f"group-{name}", split, (f"f-{name}",))


# ---- Which rows


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.floats(0, 3))
def test_every_new_row_is_learned_and_replay_is_a_share_of_them(
    tonight: set[str], learned: set[str], ratio: float
) -> None:
    found = lesson(tonight, learned, ratio=ratio, seed="one")
    assert set(found.new) == tonight - learned
    assert set(found.replayed) <= tonight & learned
    assert len(found.replayed) == min(len(tonight & learned), round(ratio * len(found.new)))
    assert found == lesson(sorted(tonight), sorted(learned), ratio=ratio, seed="one")


def test_another_seed_replays_other_rows() -> None:
    drawn = {lesson(NAMES, NAMES[:30], ratio=1, seed=str(seed)).replayed for seed in range(5)}
    assert len(drawn) == 5


def test_replay_keeps_the_shares_of_what_was_learned() -> None:
    often = [f"a{n:04}" for n in range(900)]
    rare = [f"b{n:04}" for n in range(100)]
    new = [f"c{n:04}" for n in range(200)]
    counted: Counter[str] = Counter()
    for seed in range(20):
        found = lesson([*often, *rare, *new], [*often, *rare], ratio=1, seed=str(seed))
        counted.update(name[0] for name in found.replayed)
    assert counted["b"] / counted.total() == pytest.approx(0.1, abs=0.02)


# ---- When it is right

KNOWN = [example("a"), example("b", "negative")]


def test_it_may_go_on_when_all_it_learned_still_stands() -> None:
    assert misfit([*KNOWN, example("c")], KNOWN) is None


@pytest.mark.parametrize(
    ("tonight", "why"),
    [
        ([*KNOWN], "nothing to learn that it has not learned from"),
        ([KNOWN[0], example("c")], "1 row it learned from withdrawn or left out since"),
        ([example("c")], "2 rows it learned from withdrawn or left out since"),
        ([example("a", "negative"), KNOWN[1], example("c")], "corrected to another label"),
        ([replace(KNOWN[0], excluded=("neutral",)), KNOWN[1], example("c")], "corrected"),
        ([example("a", split="holdout"), KNOWN[1], example("c")], "now in the holdout"),
        (
            [*KNOWN, replace(example("x", split="holdout"), group_id="group-a")],
            "now in the holdout",
        ),
        ([example("a", split="validation"), KNOWN[1], example("c")], "withdrawn or left out"),
    ],
)
def test_it_may_not_where_a_row_it_learned_from_may_not_be_learned_from(
    tonight: list[Example], why: str
) -> None:
    assert why in str(misfit(tonight, KNOWN))


def test_what_only_was_in_a_holdout_was_not_learned() -> None:
    assert (
        misfit([example("a"), example("c")], [example("a"), example("x", split="holdout")]) is None
    )


def night(digest: str | None, **facts: Any) -> NightRecord:
    return NightRecord(datetime(2026, 1, 1, tzinfo=UTC), "undecided", [], facts, digest=digest)


@pytest.mark.parametrize(
    ("nights", "expected"),
    [
        ([], 0),
        ([night("a")], 0),
        ([night("a"), night("b", parent="a")], 1),
        ([night("a"), night("b", parent="a"), night("b", parent="a"), night(None)], 1),
        ([night("a"), night("b", parent="a"), night("c", parent="a"), night("d", parent="c")], 3),
        ([night("a"), night("b", parent="a"), night("c"), night("d", parent="c")], 1),
        ([night("old"), night("b", parent="old")], 1),
    ],
)
def test_trainings_since_the_last_one_from_the_base_are_counted(
    nights: list[NightRecord], expected: int
) -> None:
    assert in_a_row(nights) == expected


# ---- Ancestors

FAMILY = {"a": None, "b": "a", "c": "b", "other": None, "child": "other", "lost": "nobody"}


def test_ancestors_are_told_the_nearest_first() -> None:
    assert ancestry("c", FAMILY) == ("c", "b", "a")
    assert ancestry("other", FAMILY) == ("other",)


@pytest.mark.parametrize("parents", [{"x": "gone"}, {"x": "y", "y": "x"}, {"x": "x"}, {}])
def test_ancestors_that_cannot_be_told_raise(parents: dict[str, str | None]) -> None:
    with pytest.raises(DataError, match="cannot be told"):
        ancestry("x", parents)


def test_descendants_are_found_and_what_cannot_be_traced_counts_as_one() -> None:
    assert with_descendants({"a"}, FAMILY) == {"a", "b", "c", "lost"}
    assert with_descendants({"b"}, FAMILY) == {"b", "c", "lost"}
    assert with_descendants(set(), FAMILY) == set()


# ---- The weights


@pytest.fixture
def champion(use_case: UseCase, spread_base: Path, tmp_path: Path) -> Path:
    """An adapter that has learned something: far from where one begins."""
    folder = tmp_path / "champion"
    recipe = use_case.training.model_copy(update={"epochs": 20, "learning_rate": 5e-3})
    reader = fresh_reader(use_case, spread_base)
    fit(reader, use_case.model_copy(update={"training": recipe}))
    verbalizer.save_adapter(reader.model, folder)
    artifact.write(folder, Artifact("qlora", "tiny"))
    return folder


def train(use_case: UseCase, base: Path, folder: Path, start: Path | None) -> list[float]:
    folder.mkdir()
    fitted = methods.method("qlora").train(
        Work(
            use_case=use_case,
            base=base,
            rows=Rows(TEXTS, TARGETS, [1.0] * len(TEXTS)),
            folder=folder,
            max_tokens=384,
            on_step=lambda *_: None,
            start=start,
        )
    )
    return list(fitted.losses)


@pytest.mark.model
def test_the_first_loss_is_the_champions_on_the_same_rows(
    use_case: UseCase, spread_base: Path, champion: Path, tmp_path: Path
) -> None:
    reader = reader_on(use_case, spread_base, champion)
    with torch.no_grad():
        expected = training_loop.losses(reader.logits(reader.encode(TEXTS)), TARGETS).mean().item()
    first, *_ = train(use_case, spread_base, tmp_path / "warm", champion)
    cold, *_ = train(use_case, spread_base, tmp_path / "cold", None)
    # a layer in one step rounds otherwise
    assert first == pytest.approx(expected, rel=0.05)
    assert abs(cold - expected) > 0.1


@pytest.mark.model
def test_only_what_begins_at_the_base_has_a_least_number_of_steps(
    use_case: UseCase, spread_base: Path, champion: Path, tmp_path: Path
) -> None:
    recipe = use_case.training.model_copy(update={"epochs": 2, "min_steps": 5})
    case = use_case.model_copy(update={"training": recipe})
    assert len(train(case, spread_base, tmp_path / "cold", None)) == 5
    assert len(train(case, spread_base, tmp_path / "warm", champion)) == 2


@pytest.mark.model
def test_every_weight_begins_as_the_champions(
    use_case: UseCase, spread_base: Path, champion: Path, tmp_path: Path
) -> None:
    model = verbalizer.attach(
        model_loading.load_quantised(spread_base), qlora.adapter(use_case.training), champion
    )
    verbalizer.save_adapter(model, tmp_path / "as_begun")
    begun = load_file(tmp_path / "as_begun" / artifact.WEIGHTS)
    wanted = load_file(champion / artifact.WEIGHTS)
    assert begun.keys() == wanted.keys()
    assert all(torch.equal(begun[name], wanted[name]) for name in wanted)


@pytest.mark.model
def test_an_adapter_of_another_shape_is_refused(
    use_case: UseCase, spread_base: Path, champion: Path
) -> None:
    narrow = use_case.training.model_copy(update={"lora_rank": 4})
    with pytest.raises(DataError, match="not the shape"):
        verbalizer.attach(
            model_loading.load_quantised(spread_base), qlora.adapter(narrow), champion
        )
    weights = load_file(champion / artifact.WEIGHTS)
    weights.popitem()
    save_file(weights, champion / artifact.WEIGHTS)
    with pytest.raises(DataError, match="not the shape"):
        verbalizer.attach(
            model_loading.load_quantised(spread_base), qlora.adapter(use_case.training), champion
        )


def fit_on(
    use_case: UseCase, base: Path, start: Path, path: Path, stop_after: int | None = None
) -> Reached:
    def on_step(step: int, *_: object) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    model = verbalizer.attach(
        model_loading.load_quantised(base), qlora.adapter(use_case.training), start
    )
    return training_loop.fit(
        verbalizer.reader_for(use_case, model, base),
        use_case.training,
        Rows(TEXTS, TARGETS, [1.0] * len(TEXTS)),
        on_step=on_step,
        checkpoint=Checkpoint(path, "one", every_seconds=0.0),
    )


@pytest.mark.model
def test_stopped_while_going_on_it_comes_to_the_same_losses(
    use_case: UseCase, spread_base: Path, champion: Path, tmp_path: Path
) -> None:
    recipe = use_case.training.model_copy(update={"epochs": 5, "batch_size": 2})
    case = use_case.model_copy(update={"training": recipe})
    unbroken = fit_on(case, spread_base, champion, tmp_path / "unbroken.safetensors")
    for stop in (2, 9):
        with pytest.raises(KeyboardInterrupt):
            fit_on(case, spread_base, champion, tmp_path / "broken.safetensors", stop)
    found = fit_on(case, spread_base, champion, tmp_path / "broken.safetensors")
    assert len(found.losses) == 15
    assert found.losses == unbroken.losses, "exactly, not nearly"


# ---- Names

WARM = Start("version 1", "1", "d1", ("s1",))


def job(use_case: UseCase, start: Start) -> dict[str, Any]:
    told = {**vars(start), "adapter": "somewhere"} if start.is_warm else None
    content = use_case.model_dump(mode="json")
    return {"snapshot_id": "s", "use_case": content, "start": told}


def test_the_checkpoint_is_of_one_parent_and_one_replay(use_case: UseCase) -> None:
    def key(start: Start, **changes: Any) -> str:
        recipe = use_case.training.model_copy(update=changes)
        return child.key_of(job(use_case.model_copy(update={"training": recipe}), start), None)

    cold = key(warm_start.FROM_BASE)
    keys = [
        cold,
        key(WARM),
        key(replace(WARM, digest="d2")),
        key(replace(WARM, snapshots=("s1", "s0"))),
        key(WARM, replay=2.0),
    ]
    assert len(set(keys)) == len(keys)
    assert key(Start("the base: another reason")) == cold
    assert key(warm_start.FROM_BASE, start_from="champion", full_every=3, replay=2.0) == cold


def test_an_adapter_that_went_on_has_a_name_of_its_own(use_case: UseCase) -> None:
    snapshot = Snapshot("s", 1, 1, 1)
    cold = adapter_key(use_case, snapshot, "base")
    assert adapter_key(use_case, snapshot, "base", WARM) != cold
    other = replace(WARM, digest="d2")
    assert adapter_key(use_case, snapshot, "base", WARM) != adapter_key(
        use_case, snapshot, "base", other
    )


def test_one_that_began_at_the_base_says_nothing_of_parents(tmp_path: Path) -> None:
    artifact.write(tmp_path, Artifact("qlora", "tiny"))
    assert "parent" not in (tmp_path / artifact.METHOD).read_text()
    artifact.write(tmp_path, Artifact("qlora", "tiny", parent="d1"))
    assert '"parent": "d1"' in (tmp_path / artifact.METHOD).read_text()


def test_the_default_is_as_it_was_measured() -> None:
    assert TrainingConfig(base="tiny").start_from == "base"


def test_an_adapter_of_other_libraries_or_of_another_kind_has_another_name(
    use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Snapshot("s", 1, 1, 1)
    now = adapter_key(use_case, snapshot, "base")
    pictures = use_case.model_copy(update={"kind": "image-classification"})
    assert adapter_key(pictures, snapshot, "base") != now
    installed = library_version
    upgraded = {"transformers": "99.0"}
    monkeypatch.setattr(
        fingerprint, "library_version", lambda name: upgraded.get(name) or installed(name)
    )
    assert adapter_key(use_case, snapshot, "base") != now
