"""Every architecture of the catalog, tiny: its own config class, random weights, 2 layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel.catalog import base_models
from flywheel.catalog.families import FAMILIES
from tests.tiny import WORDS

HIDDEN, HEADS, LAYERS, INNER, LONGEST = 32, 4, 2, 48, 128
PICTURES = {
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
SPECIAL = ("<unk>", "<pad>", "<s>", "</s>", ":")
BERT = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
LLAMA = {
    **BERT,
    "num_key_value_heads": 2,
    "max_position_embeddings": LONGEST,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
TINY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA, "sliding_window": 64}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "gemma2": (
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {**LLAMA, "head_dim": 16, "query_pre_attn_scalar": 16},
    ),
    "falcon": (
        "FalconConfig",
        "FalconForCausalLM",
        {
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
            "bos_token_id": 2,
            "eos_token_id": 3,
        },
    ),
    "gpt_neox": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {**BERT, "max_position_embeddings": LONGEST, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "bert": ("BertConfig", "BertModel", {**BERT, "max_position_embeddings": LONGEST}),
    "roberta": ("RobertaConfig", "RobertaModel", {**BERT, "max_position_embeddings": LONGEST}),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertModel",
        {
            "dim": HIDDEN,
            "hidden_dim": INNER,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "max_position_embeddings": LONGEST,
        },
    ),
    "modernbert": (
        "ModernBertConfig",
        "ModernBertModel",
        {
            **BERT,
            "max_position_embeddings": LONGEST,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "cls_token_id": 2,
            "sep_token_id": 3,
        },
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {
            "d_model": HIDDEN,
            "d_kv": HIDDEN // HEADS,
            "d_ff": INNER,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "decoder_start_token_id": 1,
            "eos_token_id": 3,
        },
    ),
    "efficientnet-lite": (
        "EfficientNetLiteConfig",
        "EfficientNetLiteModel",
        {"stages": [[1, 3, 1, 1, 8], [2, 5, 2, 2, 12]], "stem": 8, "hidden_size": HIDDEN},
    ),
    "vit": ("ViTConfig", "ViTModel", {**BERT, "image_size": 32, "patch_size": 8}),
}
"""By family: its config class, the class whose weights a hub holds, and how small it is made."""


def make_architecture(
    folder: Path,
    family: str,
    *,
    labels: tuple[str, ...],
    seed: int = 0,
    spread: float | None = None,
    larger: Mapping[str, Any] | None = None,
) -> Path:
    """A base of that family as `flywheel.catalog.base_models` lays it out.

    ``spread`` is the weights' standard deviation, without much of which a base is sure of nothing.
    ``larger`` are entries of its config that take the place of the tiny ones.
    """
    import torch
    import transformers

    from flywheel.catalog import efficientnet_lite

    config_class, model_class, sizes = TINY[family]
    sizes = {**sizes, **(larger or {})}
    folder.mkdir(parents=True)
    if FAMILIES[family].body == "vision":
        (folder / base_models.PREPROCESSOR).write_text(json.dumps(PICTURES))
    else:
        words = [*WORDS, *labels]
        tokenizer = _byte_pairs(words) if family == "qwen2" else _whole_words(words)
        tokenizer.save_pretrained(folder)
        sizes = {**sizes, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if spread is not None:
        sizes = {**sizes, "initializer_range": spread}
    torch.manual_seed(seed)
    home = transformers if hasattr(transformers, model_class) else efficientnet_lite
    model = getattr(home, model_class)(getattr(home, config_class)(**sizes))
    wide = model_class.endswith("ForCausalLM")
    model.to(torch.bfloat16 if wide else torch.float32).save_pretrained(folder)
    manifest = {"name": folder.name, "source_sha256": "", "files": base_models.file_hashes(folder)}
    (folder / base_models.MANIFEST).write_text(json.dumps(manifest))
    return folder


def _whole_words(words: list[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *words))}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )


def _byte_pairs(words: list[str]) -> Any:
    """Qwen's own, for it is read by a class of its own; whole words are learned by repetition."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f" {word} {word}" for word in words], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
