"""How many weights a base has, and where: counted from its ``config.json``, nothing loaded.

Weight matrices are counted exactly. Biases and norms are left out: under 1 % of any real base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flywheel.catalog.base_config import model_type_of, settings_of
from flywheel.errors import ConfigError

BF16, FLOAT32 = 2.0, 4.0
"""Bytes per weight: causal bases are loaded in `flywheel.catalog.numeric_types`' type, which has
bf16's size unless it is float32; the others in float32."""
Linear = tuple[int, int, int]
"""Inputs and outputs of a linear layer, and how many of it there are."""
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """What a layer keeps of a token for the way back, fitted to measured peaks of small models.

    Numbers of the computing type for each hidden and each inner unit, and bytes for each attention
    score (a head, a token, a token that it looks at) where scores are kept at all.
    """

    hidden: float = 17.0
    inner: float = 4.8
    score_bytes: float = 0.0
    score_bytes_on_gpu: float = 0.0


@dataclass(frozen=True)
class Shape:
    """What of a base decides its memory. Counts, not bytes, but for ``weight_bytes``.

    ``linear`` are the layers that LoRA adapts; ``other_weights`` the embeddings and an untied head.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_width: int
    vocabulary: int
    linear: tuple[Linear, ...]
    other_weights: int
    weight_bytes: float = BF16
    kept: Kept = Kept()
    reading_layers: int | None = None
    """Those that read the whole text, where others read the answer only; None: all do."""

    @classmethod
    def of(cls, base: Path, *, decodes: bool = True) -> Shape:
        """Of a base that lies in a folder, as `from_config`.

        Raises:
            ConfigError: its architecture is not in the catalog.
            DataError: its ``config.json`` is damaged.
        """
        # what names no architecture is refused as damaged
        model_type_of(base)
        return cls.from_config(settings_of(base), decodes=decodes)

    @classmethod
    def from_config(cls, config: Config, *, decodes: bool = True) -> Shape:
        """Of a base with these entries in its ``config.json``.

        Of one that encodes and decodes, as T5 does, the encoder alone is loaded, and counted, where
        it does not ``decodes``: a head needs no more.

        Raises:
            ConfigError: its architecture is not in the catalog.
        """
        found = config["model_type"]
        if found not in _READERS:
            raise ConfigError(
                f"The shapes of the architecture {found!r} are not known; "
                f"known: {', '.join(_READERS)}."
            )
        shape = _t5(config, decodes=decodes) if found == "t5" else _READERS[found](config)
        return replace(shape, kept=_KEPT.get(found, Kept()))

    @property
    def linear_weights(self) -> int:
        return sum(inputs * outputs * times for inputs, outputs, times in self.linear)

    @property
    def weights(self) -> int:
        """All that are loaded."""
        return self.linear_weights + self.other_weights

    def adapter_weights(self, rank: int) -> int:
        """Of LoRA on all linear layers."""
        return rank * sum((inputs + outputs) * times for inputs, outputs, times in self.linear)


def _gated(config: Config) -> Shape:
    """Llama and its kin: apart queries, keys and values, and a gate in the feed-forward part."""
    layers, h, i = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
    )
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or h // heads
    q, k = heads * width, (config.get("num_key_value_heads") or heads) * width
    pairs = ((h, q), (h, k), (h, k), (q, h), (h, i), (h, i), (i, h))
    tied = config.get("tie_word_embeddings", config["model_type"].startswith("gemma"))
    return _causal(config, layers, h, i, heads, k, pairs, tied=tied)


def _falcon(config: Config) -> Shape:
    """Queries, keys and values in one layer; one key head for all, or for each group."""
    layers, h, heads = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["num_attention_heads"],
    )
    width, i = h // heads, config.get("ffn_hidden_size") or 4 * h
    if config.get("new_decoder_architecture"):
        k = (config.get("num_kv_heads") or heads) * width
    else:
        k = width if config.get("multi_query", True) else h
    pairs = ((h, h + 2 * k), (h, h), (h, i), (i, h))
    tied = config.get("tie_word_embeddings", True)
    return _causal(config, layers, h, i, heads, k, pairs, tied=tied)


def _gpt_neox(config: Config) -> Shape:
    layers, h, i = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
    )
    pairs = ((h, 3 * h), (h, h), (h, i), (i, h))
    tied = config.get("tie_word_embeddings", False)
    return _causal(config, layers, h, i, config["num_attention_heads"], h, pairs, tied=tied)


def _causal(
    config: Config,
    layers: int,
    hidden: int,
    intermediate: int,
    heads: int,
    key_width: int,
    pairs: tuple[tuple[int, int], ...],
    *,
    tied: bool,
) -> Shape:
    """A stack of like blocks, each of the linear layers ``pairs``, between embeddings and head."""
    vocabulary = config["vocab_size"]
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        key_width=key_width,
        vocabulary=vocabulary,
        linear=tuple((inputs, outputs, layers) for inputs, outputs in pairs),
        other_weights=vocabulary * hidden * (1 if tied else 2),
    )


def _encoder(
    layers: int, h: int, i: int, heads: int, *, linear: tuple[Linear, ...], other: int, words: int
) -> Shape:
    return Shape(layers, h, i, heads, h, words, linear, other, weight_bytes=FLOAT32)


def _attention_and_two(layers: int, h: int, i: int) -> tuple[Linear, ...]:
    """The block of BERT: four layers of attention, two of the feed-forward part."""
    return ((h, h, 4 * layers), (h, i, layers), (i, h, layers))


def _bert(config: Config) -> Shape:
    """BERT and RoBERTa; their pooler is loaded and adapted with the rest."""
    layers, h, i = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
    )
    words = config["vocab_size"]
    embedded = words + config["max_position_embeddings"] + config["type_vocab_size"]
    linear = (*_attention_and_two(layers, h, i), (h, h, 1))
    heads = config["num_attention_heads"]
    return _encoder(layers, h, i, heads, linear=linear, other=embedded * h, words=words)


def _distilbert(config: Config) -> Shape:
    layers, h, i = config["n_layers"], config["dim"], config["hidden_dim"]
    words = config["vocab_size"]
    other = (words + config["max_position_embeddings"]) * h
    linear = _attention_and_two(layers, h, i)
    return _encoder(layers, h, i, config["n_heads"], linear=linear, other=other, words=words)


def _modernbert(config: Config) -> Shape:
    """Queries, keys and values in one layer, gate and inner part in another; no positions."""
    layers, h, i = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
    )
    words = config["vocab_size"]
    linear = ((h, 3 * h, layers), (h, h, layers), (h, 2 * i, layers), (i, h, layers))
    heads = config["num_attention_heads"]
    return _encoder(layers, h, i, heads, linear=linear, other=words * h, words=words)


def _t5(config: Config, *, decodes: bool = True) -> Shape:
    """A layer of the decoder attends twice, to itself and to what the encoder read."""
    layers, h, i = config["num_layers"], config["d_model"], config["d_ff"]
    second = (config.get("num_decoder_layers") or layers) if decodes else 0
    heads, words = config["num_heads"], config["vocab_size"]
    inner = heads * config["d_kv"]
    widening = 2 if config.get("feed_forward_proj", "relu").startswith("gated") else 1
    linear = (
        (h, inner, 3 * layers + 6 * second),
        (inner, h, layers + 2 * second),
        (h, i, widening * (layers + second)),
        (i, h, layers + second),
    )
    distances = config.get("relative_attention_num_buckets", 32) * heads
    other = words * h + distances
    if decodes:
        other += distances + (0 if config.get("tie_word_embeddings", True) else words * h)
    shape = _encoder(layers + second, h, i, heads, linear=linear, other=other, words=words)
    return replace(shape, reading_layers=layers)


def _vit(config: Config) -> Shape:
    """An image is a row of patches, with a first position that stands for the whole."""
    layers, h, i = (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["intermediate_size"],
    )
    patch, across = config["patch_size"], config["image_size"] // config["patch_size"]
    other = h * (config.get("num_channels", 3) * patch**2 + across**2 + 2)
    linear = (*_attention_and_two(layers, h, i), (h, h, 1))
    heads = config["num_attention_heads"]
    return _encoder(layers, h, i, heads, linear=linear, other=other, words=0)


def _efficientnet(config: Config) -> Shape:
    """LoRA adapts the convolutions that mix channels; what they leave in memory is not counted."""
    linear: list[Linear] = []
    inputs, other = config["stem"], 27 * config["stem"]
    for many, kernel, _, wider, outputs in config["stages"]:
        for _ in range(many):
            inner = inputs * wider
            linear += [(inputs, inner, 1)] * (wider > 1) + [(inner, outputs, 1)]
            other += inner * kernel**2
            inputs = outputs
    h = config["hidden_size"]
    linear.append((inputs, h, 1))
    return _encoder(0, h, 0, 0, linear=tuple(linear), other=other, words=0)


_READERS: dict[str, Callable[[Config], Shape]] = {
    "llama": _gated,
    "mistral": _gated,
    "qwen2": _gated,
    "gemma2": _gated,
    "falcon": _falcon,
    "gpt_neox": _gpt_neox,
    "bert": _bert,
    "roberta": _bert,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "t5": _t5,
    "vit": _vit,
    "efficientnet-lite": _efficientnet,
}

_DROPOUT = Kept(hidden=28.0, inner=2.5, score_bytes=12.0)
"""On the CPU attention with dropout keeps scores, shares and what was dropped."""
_KEPT: dict[str, Kept] = {
    "bert": _DROPOUT,
    "roberta": _DROPOUT,
    "distilbert": _DROPOUT,
    # scores with a bias or a cap, and keys that all heads share, are not fused anywhere
    "t5": Kept(score_bytes=16.0, score_bytes_on_gpu=16.0),
    "gemma2": Kept(score_bytes=16.0, score_bytes_on_gpu=16.0),
    "falcon": Kept(score_bytes=7.0, score_bytes_on_gpu=7.0),
}
