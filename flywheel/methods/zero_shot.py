"""Zero-shot: the base scores the label words as it is, in 4 bits; nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flywheel import artefact
from flywheel.config import UseCase
from flywheel.methods import Fitted, Work, qlora
from flywheel.methods.label_words import Reader


@dataclass(frozen=True)
class ZeroShot:
    def train(self, work: Work) -> Fitted:
        """Leave weights that are none, so that the folder is one like any other."""
        from safetensors.torch import save_file

        save_file({}, work.folder / artefact.WEIGHTS)
        return Fitted(self.load(work.use_case, work.base, None))

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Reader:
        return qlora.METHOD.load(use_case, base, None)


METHOD = ZeroShot()
