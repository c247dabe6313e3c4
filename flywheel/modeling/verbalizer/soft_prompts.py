"""Prompts that are learned: keys and values (prefix tuning) or embeddings (prompt tuning).

They are kept in float32, for a step is lost where a number near 1 is rounded to bf16, and the base
reads them in its own type.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import torch

from flywheel.config import UseCase
from flywheel.modeling import prompts


def learns(model: Any) -> bool:
    """Whether what PEFT put on ``model`` is a learned prompt."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and bool(config.is_prompt_learning)


def hidden(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the head would read after the learned prompt and each text.

    PEFT's own forward gives the same, and the head's scores of the whole vocabulary with it. The
    result is (rows, tokens, width); embeddings that were learned stand before the text's own.
    """
    body, rows = model.get_base_model().base_model, len(ids)
    learned = model.get_prompt(rows)
    seen = mask.new_ones(rows, model.active_peft_config.num_virtual_tokens)
    mask = torch.cat([seen, mask], 1)
    if _keys_and_values(model):
        found = body(input_ids=ids, attention_mask=mask, past_key_values=learned)
    else:
        own = model.word_embeddings(ids)
        both = torch.cat([learned.to(own.dtype), own], 1)
        found = body(inputs_embeds=both, attention_mask=mask, use_cache=False)
    return found.last_hidden_state  # type: ignore[no-any-return]


def keys_and_values(model: Any) -> tuple[Any, int]:
    """What the base makes of the learned prompt, for one row: a cache, and its tokens."""
    learned = model.get_prompt(1)
    if not _keys_and_values(model):
        body = model.get_base_model().base_model
        embedded = learned.to(model.dtype)
        learned = body(inputs_embeds=embedded, use_cache=True).past_key_values
    return learned, int(model.active_peft_config.num_virtual_tokens)


@torch.no_grad()
def begin(model: Any, ids: Sequence[int]) -> None:
    """Start from what the base makes of ``ids``, repeated until they fill the learned prompt.

    Random numbers are no keys that the base ever met: from them a couple hundred examples do not
    suffice (Li and Liang 2021, §7.4, and Lester et al. 2021, §3.2, start from words, too).
    """
    from peft import initialize_kv_prefix_from_past_key_values

    filled = list(islice(cycle(ids), model.active_peft_config.num_virtual_tokens))
    words = torch.tensor([filled], device=model.device)
    if _keys_and_values(model):
        cache = model.get_base_model().base_model(input_ids=words, use_cache=True).past_key_values
        initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
    else:
        weight = model.prompt_encoder[model.active_adapter].embedding.weight
        weight.copy_(model.word_embeddings(words)[0])


def beginning(tokenizer: Any, use_case: UseCase) -> list[int]:
    """Token ids of the task in its own words: the prompt without a text, and the labels."""
    said = prompts.render(use_case, "") + ",".join(prompts.label_words(use_case))
    ids: list[int] = tokenizer(said).input_ids
    return ids


def _keys_and_values(model: Any) -> bool:
    from peft import PeftType

    return bool(model.active_peft_config.peft_type == PeftType.PREFIX_TUNING)
