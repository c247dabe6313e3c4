"""A tiny random-weights Llama with a word tokenizer: the training half in seconds, offline."""

from __future__ import annotations

import json
from pathlib import Path

from flywheel import bases

WORDS = ("review", "sentiment", "good", "bad", "fine", "it", "works", "broke", "the", "screen")


def make_tiny_base(folder: Path, *, labels: tuple[str, ...], seed: int = 0) -> Path:
    """A base as `flywheel.bases` lays it out: 2 layers, 64 wide, random weights."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    words = ["<unk>", "<pad>", ":", *WORDS, *labels]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    manifest = {"name": "tiny", "source_sha256": "", "files": bases.file_hashes(folder)}
    (folder / bases.MANIFEST).write_text(json.dumps(manifest))
    return folder


def make_tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """A BERT of 2 layers, 32 wide, random weights, as `flywheel.bases` lays it out."""
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
    manifest = {"name": "tiny-encoder", "source_sha256": "", "files": bases.file_hashes(folder)}
    (folder / bases.MANIFEST).write_text(json.dumps(manifest))
    return folder
