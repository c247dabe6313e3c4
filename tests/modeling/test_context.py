"""Lengths that a base cannot read are refused; texts that lose their end are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flywheel import reports
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.diagnostics import doctor
from flywheel.errors import ConfigError
from flywheel.modeling import context_length
from flywheel.training import runner
from tests.tiny import make_tiny_encoder


def base_with(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "llama", "max_position_embeddings": 8192}, 8192),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "falcon", "alibi": True, "max_position_embeddings": 2048}, None),
        ({"model_type": "falcon"}, None),
    ],
)
def test_a_base_says_how_many_tokens_it_reads(
    config: dict[str, Any], tokens: int | None, tmp_path: Path
) -> None:
    assert context_length.tokens_of(base_with(tmp_path / "base", **config)) == tokens


def test_what_a_config_leaves_out_is_in_the_catalog(home: Home, use_case: UseCase) -> None:
    recipe = TrainingConfig(method="qlora", base="falcon-7b")
    assert context_length.room(use_case, recipe, home) == 2048
    assert (
        context_length.tokens_of(base_with(home.models / "falcon-7b", model_type="falcon")) == 2048
    )


def test_513_tokens_for_bert_are_refused_before_training_with_both_numbers(
    use_case: UseCase, tmp_path: Path
) -> None:
    config = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}
    base = base_with(tmp_path / "bert", **config)
    recipe = TrainingConfig(method="frozen_head", base="bert", max_length_tokens=513)
    case = use_case.model_copy(update={"training": recipe})

    with pytest.raises(ConfigError, match=r"is 513, and bert reads 512 .* to 512 or less"):
        runner.train(
            case, base=base, snapshots_dir=tmp_path, snapshot_id="x", folder=tmp_path / "out"
        )

    assert not (tmp_path / "out").exists()
    context_length.require_room(
        case, recipe.model_copy(update={"max_length_tokens": 512}), "bert", 512
    )


@pytest.mark.parametrize(
    ("method", "kind", "more", "fits"),
    [
        ("qlora", "text-generation", "with 64 of training.max_new_tokens", 192),
        ("prefix", "text-classification", "with 20 of training.virtual_tokens", 236),
    ],
)
def test_what_is_written_and_what_is_learned_before_a_text_needs_room_too(
    method: Any, kind: Any, more: str, fits: int, use_case: UseCase
) -> None:
    recipe = TrainingConfig(method=method, base="tiny", max_length_tokens=fits)
    case = use_case.model_copy(update={"kind": kind, "training": recipe})
    context_length.require_room(case, recipe, "tiny", 256)
    over = recipe.model_copy(update={"max_length_tokens": fits + 1})
    with pytest.raises(ConfigError, match=rf"{more}.* to {fits} or less"):
        context_length.require_room(case, over, "tiny", 256)


def test_doctor_says_it_before_the_base_is_fetched(home: Home, use_case: UseCase) -> None:
    recipe = TrainingConfig(method="frozen_head", base="bert-base-uncased", max_length_tokens=600)
    case = use_case.model_copy(update={"training": recipe})
    (found,) = [one for one in doctor.examine(case, home) if one.name == "context"]
    assert not found.ok
    assert "600" in found.detail
    assert "512" in found.detail
    fine = recipe.model_copy(update={"max_length_tokens": 500})
    case = use_case.model_copy(update={"training": fine})
    (found,) = [one for one in doctor.examine(case, home) if one.name == "context"]
    assert found.ok


def test_texts_that_lose_their_end_are_counted_in_the_bases_own_tokens(
    use_case: UseCase, tiny_base: Path
) -> None:
    room = use_case.training.model_copy(update={"max_length_tokens": 10})
    case = use_case.model_copy(update={"training": room})
    # the prompt of the default use case has four tokens beside the text
    texts = ["good " * 6] * 3 + ["good " * 7] * 2 + ["good " * 30]
    found = context_length.cut(case, tiny_base, texts)
    assert (found.texts, found.cut, found.longest, found.limit) == (6, 3, 34, 10)
    assert context_length.in_words(found).startswith(
        "3 of 6 texts lose their end: the longest has 34 tokens"
    )
    page = reports.page({"data": {"cut": {**vars(found), "said": context_length.in_words(found)}}})
    assert "3 of 6 texts lose their end" in page


def test_an_encoder_is_given_the_text_alone(use_case: UseCase, tmp_path: Path) -> None:
    base = make_tiny_encoder(tmp_path / "encoder")
    recipe = TrainingConfig(method="frozen_head", base="encoder", max_length_tokens=10)
    case = use_case.model_copy(update={"training": recipe})
    assert context_length.cut(case, base, ["good " * 10]).cut == 0
    assert context_length.cut(case, base, ["good " * 11]).cut == 1
    assert context_length.cut(case, base, []).cut == 0
