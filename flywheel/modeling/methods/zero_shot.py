"""Zero-shot: the base scores the label words, or writes, as it is in 4 bits; nothing learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flywheel.config import UseCase
from flywheel.modeling import artifact, generation
from flywheel.modeling.answerer import Answerer
from flywheel.modeling.methods import Fitted, Method, Work, qlora


@dataclass(frozen=True)
class ZeroShot:
    """The base in 4 bits as ``reads`` loads it, without an adapter."""

    reads: Method

    def train(self, work: Work) -> Fitted:
        """Leave weights that are none, so that the folder is one like any other."""
        from safetensors.torch import save_file

        save_file({}, work.folder / artifact.WEIGHTS)
        return Fitted(self.load(work.use_case, work.base, None))

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Answerer:
        return self.reads.load(use_case, base, None)


@dataclass(frozen=True)
class ZeroShotWriting:
    """As `ZeroShot`, of a base that writes."""

    def train(self, work: Work) -> Fitted:
        """Leave weights that are none, and how the base is asked."""
        fitted = ZeroShot(qlora.WRITING).train(work)
        assert isinstance(fitted.answerer, generation.Writer)
        generation.keep_encoding(fitted.answerer, work.folder)
        return fitted

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> generation.Writer:
        """The base, asked as it was when ``folder`` was left."""
        assert base is not None
        bare = qlora.WRITING.load(use_case, base, None)
        return generation.writer_for(use_case, bare.model, base, as_learned=folder)


METHOD = ZeroShot(qlora.METHOD)
WRITING = ZeroShotWriting()
