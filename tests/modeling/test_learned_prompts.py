"""Prefix and prompt tuning: what is learned starts as words, and is read as PEFT reads it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from flywheel.config import UseCase
from flywheel.modeling import model_loading
from flywheel.modeling.methods import prefix, prompt
from flywheel.modeling.verbalizer import soft_prompts, verbalizer

pytestmark = pytest.mark.model

METHODS = [prefix, prompt]
TEXTS = ["it works", "the screen", "good good good it works fine"]


def reader(
    method: ModuleType, use_case: UseCase, base: Path, dtype: torch.dtype = torch.bfloat16
) -> verbalizer.Reader:
    torch.manual_seed(0)
    frozen = model_loading.load_plain(base).to(dtype)
    model = verbalizer.attach(frozen, method.METHOD.adapter(use_case.training))
    return verbalizer.reader_for(use_case, model, base)


def test_only_learned_prompts_are_called_so(use_case: UseCase, spread_base: Path) -> None:
    from flywheel.modeling.methods import lora

    assert all(soft_prompts.learns(reader(m, use_case, spread_base).model) for m in METHODS)
    assert not soft_prompts.learns(reader(lora, use_case, spread_base).model)
    assert not soft_prompts.learns(model_loading.load_plain(spread_base))


@pytest.mark.parametrize("method", METHODS)
def test_what_the_head_reads_is_what_peft_gives_it(
    method: ModuleType, use_case: UseCase, spread_base: Path
) -> None:
    asked = reader(method, use_case, spread_base)
    ids, mask = model_loading.padded(asked.encode(TEXTS), pad=1)
    found = soft_prompts.hidden(asked.model, ids, mask)
    expected = asked.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    before = found.shape[1] - ids.shape[1]
    texts = mask.bool()
    torch.testing.assert_close(
        found[:, before:][texts], expected.hidden_states[-1][:, before:][texts]
    )


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_as_if_the_words_stood_before_each_text(
    method: ModuleType, use_case: UseCase, spread_base: Path
) -> None:
    asked = reader(method, use_case, spread_base, torch.float32)
    words = torch.randint(2, 12, (asked.model.active_peft_config.num_virtual_tokens,)).tolist()
    soft_prompts.begin(asked.model, words)
    plain = verbalizer.reader_for(
        use_case, model_loading.load_plain(spread_base).float(), spread_base
    )
    rows = asked.encode(TEXTS)
    with torch.no_grad():
        found = asked.logits(rows)
        expected = plain.logits([[*words, *row] for row in rows])
    assert not torch.allclose(found, plain.logits(rows), atol=0.1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_few_words_are_repeated_until_they_fill_it(use_case: UseCase, spread_base: Path) -> None:
    asked = reader(prompt, use_case, spread_base)
    soft_prompts.begin(asked.model, [3, 4])
    weight = asked.model.prompt_encoder["default"].embedding.weight
    own: Any = asked.model.word_embeddings.weight
    torch.testing.assert_close(weight, own[[3, 4] * (len(weight) // 2)].float())


def test_the_task_is_told_in_its_own_words(use_case: UseCase, spread_base: Path) -> None:
    tokenizer = reader(prompt, use_case, spread_base).tokenizer
    said = tokenizer.decode(soft_prompts.beginning(tokenizer, use_case))
    assert said == "review : sentiment : positive <unk> neutral <unk> negative"


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_not_lost_in_rounding(
    method: ModuleType, use_case: UseCase, spread_base: Path
) -> None:
    model = reader(method, use_case, spread_base).model
    learned = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in learned} == {torch.float32}
    assert model.get_base_model().dtype == torch.bfloat16
