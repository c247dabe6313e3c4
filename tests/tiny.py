"""A tiny random-weights Llama with a word tokenizer: the training half in seconds, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.catalog import base_models, numeric_types

WORDS = ("review", "sentiment", "good", "bad", "fine", "it", "works", "broke", "the", "screen")
LABELS = ("positive", "neutral", "negative")
# bfloat16 differs from float16 in nothing that these tests see, and is slow on many CPUs
NUMERIC_TYPES = [
    pytest.param(name, marks=pytest.mark.slow if name == "bfloat16" else ())
    for name in numeric_types.NAMES
]
"""Those of the default use case."""
CHAT = (
    "{% for one in messages %}<turn> {{ one.role }} : {{ one.content }} <end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn> assistant :{% endif %}"
)
"""A chat template: turns begin with one special token and end with another."""


def make_tiny_base(
    folder: Path,
    *,
    labels: tuple[str, ...],
    seed: int = 0,
    words: tuple[str, ...] = WORDS,
    chat: str | None = None,
    end: str | None = None,
    spread: float = 0.02,
) -> Path:
    """A base as `flywheel.catalog.base_models` lays it out: 2 layers, 64 wide, random weights.

    ``chat`` is a template, ``end`` the token that ends a text; ``spread`` is the weights' standard
    deviation, without much of which the tied head cannot be sure of anything.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    special = ("<turn>", "<end>") if chat else (end,) if end else ()
    # the same weights whatever the order of the labels
    known = ["<unk>", "<pad>", ":", *words, *sorted(labels), *special]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        # what a text ends with is what fills it up, as in many bases: it must be learned all same
        pad_token=end or "<pad>",
        eos_token=end,
        additional_special_tokens=list(special),
    )
    fast.chat_template = chat
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(known),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=1,
        initializer_range=spread,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return pin(folder, "tiny")


def make_tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """A BERT of 2 layers, 32 wide, random weights, laid out as the catalog's bases are."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    words = ["<unk>", "<pad>", *WORDS]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)
    return pin(folder, "tiny-encoder")


def make_tiny_vit(folder: Path, *, seed: int = 0) -> Path:
    """A ViT of 2 layers, 32 wide, for 32 by 32 pixels, random weights, as a base."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config).save_pretrained(folder)
    return as_vision_base(folder)


def make_tiny_efficientnet(folder: Path, *, seed: int = 0) -> Path:
    """An EfficientNet-Lite of 3 blocks, 32 wide, random weights, as a base."""
    import torch

    from flywheel.catalog.efficientnet_lite import EfficientNetLiteConfig, EfficientNetLiteModel

    torch.manual_seed(seed)
    stages = [[1, 3, 1, 1, 8], [2, 5, 2, 2, 12]]
    config = EfficientNetLiteConfig(stages=stages, stem=8, hidden_size=32)
    EfficientNetLiteModel(config).save_pretrained(folder)
    return as_vision_base(folder)


def as_vision_base(folder: Path, *, side: int = 32) -> Path:
    """Make a base of a model that reads pictures of ``side`` pixels."""
    settings = {
        "size": {"height": side, "width": side},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / base_models.PREPROCESSOR).write_text(json.dumps(settings))
    return pin(folder, folder.name)


def pin(folder: Path, name: str) -> Path:
    """Write the manifest of a base, as fetching does."""
    manifest = {"name": name, "source_sha256": "", "files": base_models.file_hashes(folder)}
    (folder / base_models.MANIFEST).write_text(json.dumps(manifest))
    return folder
