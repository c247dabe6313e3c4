"""Tiny bases of random weights that know the words of a world: no download, seconds to train."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from flywheel import bases
from tests.journeys.people import World
from tests.tiny import CHAT, make_tiny_base, make_tiny_efficientnet

WIDTH = 256
SURE = 0.2
"""Standard deviation of the weights from which on a tied head can be sure of something."""


def causal(world: World, folder: Path) -> None:
    """A Llama that knows the labels as words."""
    make_tiny_base(folder, labels=tuple(world.labels), words=world.words(), spread=SURE)


def writer(world: World, folder: Path) -> None:
    """A Llama that can write the references: its words are theirs, too."""
    known = dict.fromkeys(
        (*world.words(), *(word for text in world.labels for word in text.split()))
    )
    make_tiny_base(folder, labels=(), words=tuple(known), chat=CHAT, end="<end>", spread=SURE)


def vision(_: World, folder: Path) -> None:
    """An EfficientNet-Lite."""
    make_tiny_efficientnet(folder)


def encoder(world: World, folder: Path) -> None:
    """A BERT so wide that a head can tell its words apart, frozen as they are."""
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    words = ["<unk>", "<pad>", *world.words()]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_by_word(words), unk_token="<unk>", pad_token="<pad>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=SURE,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)
    manifest = {"name": folder.name, "source_sha256": "", "files": bases.file_hashes(folder)}
    (folder / bases.MANIFEST).write_text(json.dumps(manifest))


def _by_word(words: Iterable[str]) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers

    places = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
