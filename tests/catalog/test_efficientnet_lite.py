"""The vision base that is fetched: its normalisation is folded away, and the function stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from flywheel.catalog import efficientnet_lite

pytestmark = pytest.mark.model


def layers(model: torch.nn.Module) -> list[tuple[str, str, torch.nn.Module]]:
    """The published names of each convolution and of the normalisation after it, and ours."""
    found = [("_conv_stem", "_bn0", model.first), ("_conv_head", "_bn1", model.last)]
    for number, block in enumerate(model.blocks):
        at = f"_blocks.{number}."
        if block.expand is not None:
            found.append((f"{at}_expand_conv", f"{at}_bn0", block.expand))
        found.append((f"{at}_depthwise_conv", f"{at}_bn1", block.depthwise))
        found.append((f"{at}_project_conv", f"{at}_bn2", block.project))
    return found


def test_converted_weights_give_what_convolution_and_normalisation_gave(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = efficientnet_lite.EfficientNetLiteModel(efficientnet_lite.EfficientNetLiteConfig())
    published = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    for convolution, norm, ours in layers(shapes):
        width = ours.weight.shape[0]
        published[f"{convolution}.weight"] = torch.randn_like(ours.weight)
        published[f"{norm}.weight"] = torch.rand(width) + 0.5
        published[f"{norm}.bias"] = torch.randn(width)
        published[f"{norm}.running_mean"] = torch.randn(width)
        published[f"{norm}.running_var"] = torch.rand(width) + 0.1
        published[f"{norm}.num_batches_tracked"] = torch.tensor(9)
    torch.save(published, tmp_path / "weights.pth")

    efficientnet_lite.convert(tmp_path / "weights.pth", tmp_path / "base")

    model = AutoModel.from_pretrained(tmp_path / "base")
    for convolution, norm, ours in layers(model):
        x = torch.randn(1, ours.weight.shape[1] * ours.groups, 8, 8)
        bare = torch.nn.functional.conv2d(
            x, published[f"{convolution}.weight"], None, ours.stride, groups=ours.groups
        )
        names = ("running_mean", "running_var", "weight", "bias")
        parts = [published[f"{norm}.{name}"] for name in names]
        expected = torch.nn.functional.batch_norm(bare, *parts, eps=1e-3)
        found = torch.nn.functional.conv2d(
            x, ours.weight, ours.bias, ours.stride, groups=ours.groups
        )
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3), convolution
    seen = model(pixel_values=torch.randn(1, 3, 65, 64))
    assert seen.last_hidden_state.shape == (1, 1280, 3, 2)
    assert seen.pooler_output.shape == (1, 1280)


def test_a_stride_pads_on_the_right_and_below_as_tensorflow_does() -> None:
    layer = efficientnet_lite._Same(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(layer.weight)
    picture = torch.zeros(1, 1, 4, 4)
    picture[0, 0, 0, 0] = 1
    picture[0, 0, 3, 3] = 10
    assert layer(picture)[0, 0].tolist() == [[1, 0], [0, 10]]


def test_code_in_weights_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"_conv_stem.weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(Exception, match="Weights only load failed"):
        efficientnet_lite.convert(tmp_path / "weights.pth", tmp_path / "base")
    assert not (tmp_path / "ran").exists()
