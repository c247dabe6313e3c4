"""How a vision base reads a picture: prepared as its ``preprocessor_config.json`` says.

One code path for training, evaluation, prediction and serving, in Pillow and numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flywheel.catalog.base_config import settings_of
from flywheel.catalog.base_models import PREPROCESSOR
from flywheel.dataset.images import Images, decoded, from_data_url
from flywheel.errors import DataError

CELL = 32
"""Pixels a side that one position stands for where the base does not say: convolutions end so."""


@dataclass(frozen=True)
class Preparation:
    """``height`` and ``width`` in pixels; ``edge`` is the shorter side before a cut.

    The centre is cut out; ``edge`` None squeezes the whole picture into the size instead. Mean and
    deviation are of values in [0, 1], one for each of red, green and blue.
    """

    height: int
    width: int
    edge: int | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    resample: int

    @classmethod
    def of(cls, base: Path) -> Preparation:
        """Read from a base's folder.

        Raises:
            DataError: the folder does not say how pictures are prepared.
        """
        path = base / PREPROCESSOR
        if not path.is_file():
            raise DataError(f"{base} is no vision base: it has no {PREPROCESSOR}.")
        told = settings_of(base, PREPROCESSOR)
        try:
            size = told["size"]
            edge = size.get("shortest_edge")
            cut = told.get("crop_size", size) if edge else size
            cut = {"height": edge, "width": edge} if "height" not in cut else cut
            return cls(
                height=int(cut["height"]),
                width=int(cut["width"]),
                edge=edge,
                mean=tuple(told["image_mean"]),
                deviation=tuple(told["image_std"]),
                resample=int(told.get("resample", 2)),
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path} lacks size, image_mean or image_std.") from error

    def pixels(self, image: Any) -> np.ndarray:
        """``(3, height, width)``, float32, from a ``PIL.Image`` in RGB."""
        from PIL import Image

        how = Image.Resampling(self.resample)
        if self.edge is None:
            image = image.resize((self.width, self.height), how)
        else:
            scale = self.edge / min(image.size)
            image = image.resize([max(self.edge, round(side * scale)) for side in image.size], how)
            left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
            image = image.crop((left, top, left + self.width, top + self.height))
        values = np.asarray(image, dtype=np.float32) / 255
        mean, deviation = (np.array(each, np.float32) for each in (self.mean, self.deviation))
        found: np.ndarray = ((values - mean) / deviation).transpose(2, 0, 1)
        return found


@dataclass(frozen=True)
class Picture:
    """A picture that is not loaded yet; its length is in positions, as a text's is in tokens."""

    text: str
    positions: int

    def __len__(self) -> int:
        return self.positions


@dataclass
class ImageInput:
    """``images`` is where addresses are looked up; None: only ``data:`` URLs can be read."""

    preparation: Preparation
    positions: int
    images: Images | None = None

    @classmethod
    def of(cls, base: Path, model: Any, images: Path | None) -> ImageInput:
        """For a loaded base and its folder."""
        found = Preparation.of(base)
        positions = _positions(found, getattr(model.config, "patch_size", None))
        return cls(found, positions, Images(images) if images else None)

    def encode(self, texts: Sequence[str]) -> list[Picture]:
        return [Picture(text, self.positions) for text in texts]

    def vectors(self, model: Any, rows: Sequence[Picture]) -> torch.Tensor:
        """What the base makes of each picture: ``(rows, width)``, float32."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        hidden = base(pixel_values=self.pixels(rows).to(model.device)).last_hidden_state
        return pooled(hidden.float())

    def pixels(self, rows: Sequence[Picture]) -> torch.Tensor:
        """Each picture as the base reads it: ``(rows, colors, height, width)``."""
        prepared = [self.preparation.pixels(self._image(row.text)) for row in rows]
        return torch.from_numpy(np.stack(prepared))

    def _image(self, text: str) -> Any:
        """The picture behind an address or a ``data:`` URL.

        Raises:
            DataError: it is neither, or the picture is not there or broken.
        """
        if text.startswith("data:"):
            return decoded(from_data_url(text))
        if self.images is None:
            raise DataError("A picture was named by address, and there is no home to look it up.")
        return decoded(self.images.content(text))


def positions_of(base: Path) -> int:
    """How long each picture is to a base that is not loaded."""
    config = settings_of(base)
    return _positions(Preparation.of(base), config.get("patch_size"))


def _positions(prepared: Preparation, patch: Any) -> int:
    """``patch`` is a side in pixels, where the base says one."""
    cell = patch if isinstance(patch, int) else CELL
    return math.ceil(prepared.height / cell) * math.ceil(prepared.width / cell)


def pooled(hidden: torch.Tensor) -> torch.Tensor:
    """One vector for each picture: ``(rows, width)``.

    Of maps ``(rows, width, height, width)`` the mean. Of positions ``(rows, positions, width)`` the
    first, which is the class token, unless they are a full square and there is none: the mean.
    """
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    positions = hidden.shape[1]
    if math.isqrt(positions) ** 2 == positions:
        return hidden.mean(dim=1)
    return hidden[:, 0]
