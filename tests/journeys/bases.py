"""Tiny bases of random weights that know the words of a world: no download, seconds to train."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.journeys.people import SIDE, TILE, World
from tests.tiny import CHAT, as_vision_base, make_tiny_base, pin

WIDTH = 256
STEEP = 30.0
SURE = 0.2
"""Standard deviation of the weights from which on a tied head can be sure of something."""
MILD = 0.05
"""One with which a classifier learns what its words mean, not its rows by heart."""


def causal(world: World, folder: Path) -> None:
    """A Llama that knows the labels as words."""
    make_tiny_base(folder, labels=tuple(world.labels), words=world.words(), spread=MILD)


def writer(world: World, folder: Path) -> None:
    """A Llama that can write the references: its words are theirs, too."""
    known = dict.fromkeys(
        (*world.words(), *(word for text in world.labels for word in text.split()))
    )
    make_tiny_base(folder, labels=(), words=tuple(known), chat=CHAT, end="<end>", spread=SURE)


def vision(_: World, folder: Path) -> None:
    """An EfficientNet-Lite that passes colours on, and whose last layer tells them apart."""
    import torch

    from flywheel.catalog.efficientnet_lite import EfficientNetLiteConfig, EfficientNetLiteModel

    config = EfficientNetLiteConfig(stages=[[1, 1, 1, 1, 3]], stem=3, hidden_size=WIDTH)
    model = EfficientNetLiteModel(config)
    chance = torch.Generator().manual_seed(0)
    # each unit has an edge of its own in the colours, which come to it between 0 and 2
    edges = torch.randn(WIDTH, 3, generator=chance)
    edges = STEEP * torch.nn.functional.normalize(edges, dim=1)
    where = 2 * torch.rand(WIDTH, 3, generator=chance)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        (block,) = model.blocks
        block.depthwise.weight.fill_(1)
        for colour in range(3):
            model.first.weight[colour, colour, 1, 1] = 1
            block.project.weight[colour, colour] = 1
        model.first.bias.fill_(1)
        model.last.weight.copy_(edges[:, :, None, None])
        model.last.bias.copy_(-(edges * where).sum(1))
    model.save_pretrained(folder)
    as_vision_base(folder, side=SIDE * TILE)


def encoder(world: World, folder: Path) -> None:
    """A BERT so wide that a head can tell its words apart, and that reads them as they are.

    Weights of chance between the words would leave a frozen head less than it can prove.
    """
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
    model = BertModel(config)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        for layer in model.encoder.layer:
            layer.attention.output.dense.weight.zero_()
            layer.output.dense.weight.zero_()
    model.save_pretrained(folder)
    pin(folder, folder.name)


def _by_word(words: Iterable[str]) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers

    places = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
