"""A training that does not fit is refused before it starts, with what would fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flywheel import catalogue, doctor, inference, memory, training
from flywheel.config import Home, UseCase
from flywheel.errors import DoesNotFit
from flywheel.shapes import Shape
from tests.tiny import make_tiny_base

SMALL = Shape.from_config(catalogue.model("smollm2-135m-instruct").config)


def test_the_need_follows_the_pass_and_not_the_batch(use_case: UseCase) -> None:
    recipe = use_case.training.model_copy(update={"max_tokens_per_pass": 384})
    double = recipe.model_copy(update={"max_tokens_per_pass": 768})
    larger = recipe.model_copy(update={"batch_size": 512})
    one, two = (memory.need(SMALL, each, on_gpu=False) for each in (recipe, double))
    assert two.activations == 2 * one.activations
    assert two.base == one.base
    assert memory.need(SMALL, larger, on_gpu=False) == one


def test_four_bits_take_less_on_a_gpu(use_case: UseCase) -> None:
    here, there = (memory.need(SMALL, use_case.training, on_gpu=gpu) for gpu in (False, True))
    assert there.base < 0.5 * here.base
    assert there.libraries == 0


def test_a_refusal_names_a_setting_that_fits(use_case: UseCase, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "tiny", labels=tuple(use_case.label_names))
    recipe = use_case.training.model_copy(
        update={"max_tokens_per_pass": 1_000_000, "max_length_tokens": 64}
    )
    with pytest.raises(DoesNotFit, match="Nothing was started") as refused:
        memory.require_fit(base, recipe, available_mb=1_000, on_gpu=False)
    named = str(refused.value).partition("max_tokens_per_pass: ")[2].split()[0]
    smaller = recipe.model_copy(update={"max_tokens_per_pass": int(named)})
    memory.require_fit(base, smaller, available_mb=1_000, on_gpu=False)


def test_what_cannot_fit_is_said_so(use_case: UseCase, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "tiny", labels=tuple(use_case.label_names))
    with pytest.raises(DoesNotFit, match="take a smaller base"):
        memory.require_fit(base, use_case.training, available_mb=1, on_gpu=False)


def test_no_child_is_started_without_memory(
    use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_tiny_base(tmp_path / "tiny", labels=tuple(use_case.label_names))
    monkeypatch.setattr(inference, "available_memory_mb", lambda: 1.0)
    with pytest.raises(DoesNotFit):
        training.train(
            use_case,
            base=base,
            snapshots_dir=tmp_path,
            snapshot_id="any",
            folder=tmp_path / "adapters" / "key",
        )
    assert not (tmp_path / "adapters").exists()


def test_the_doctor_says_what_training_needs(
    use_case: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    make_tiny_base(home.models / use_case.training.base, labels=tuple(use_case.label_names))
    found = doctor.examine(use_case, home)
    (fits,) = [finding for finding in found if finding["name"] == "memory"]
    assert fits["ok"]
    assert "training needs about" in fits["detail"]
    monkeypatch.setattr(inference, "available_memory_mb", lambda: 1.0)
    (short,) = [f for f in doctor.examine(use_case, home) if f["name"] == "memory"]
    assert not short["ok"]
    assert "take a smaller base" in short["detail"]


def test_a_child_s_peak_is_its_own() -> None:
    """What the parent once held does not count for the child that trains."""
    held = bytearray(600_000_000)
    for place in range(0, len(held), 4096):
        held[place] = 1
    command = "from flywheel import inference; print(inference.peak_memory_mb())"
    told = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert len(held) / 1e6 > 600 - 1
    assert 50 < float(told.stdout) < 590
