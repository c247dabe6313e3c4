"""Methods that learn a head and something of the base beneath it, by the same loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from flywheel import artefact, fitting, inference, shared_bases, shortcuts
from flywheel.config import TrainingConfig, UseCase
from flywheel.methods import Fitted, Work, heads
from flywheel.methods.label_words import attach, save_adapter


@dataclass(frozen=True)
class TunedHead:
    """``adapter`` gives PEFT's config of what learns beneath the head; None: every weight does.

    A causal base is loaded in 4 bits, an encoder in float32.
    """

    causal: bool
    adapter: Callable[[TrainingConfig], Any] | None

    def train(self, work: Work) -> Fitted:
        """Update head and base over all epochs; it goes on from the checkpoint if there is one."""
        assert work.base is not None
        recipe = work.use_case.training
        torch.manual_seed(recipe.seed)
        body = self._body(work.use_case, work.base)
        if self.adapter is None:
            body.requires_grad_(True)
        else:
            config = self.adapter(recipe)
            # convolutions are not among PEFT's "all-linear"
            config.target_modules = getattr(body, "adapter_targets", config.target_modules)
            body = attach(body, config)
        reader = heads.head_reader(
            work.use_case, body, work.base, causal=self.causal, images=work.images
        )
        reached = fitting.fit(
            reader,
            recipe,
            work.rows,
            on_step=work.on_step,
            max_tokens=work.max_tokens,
            on_pass=work.on_pass,
            recompute=work.recompute,
            moments_in_8_bits=work.moments_in_8_bits,
            checkpoint=work.checkpoint,
            head=reader.head,
        )
        if self.adapter is None:
            save_model(body, str(work.folder / artefact.WEIGHTS))
        else:
            save_adapter(body, work.folder)
        heads.save_head(reader.head, work.folder)
        tokens = fitting.tokens_read(reader, recipe, work.rows.texts)
        return Fitted(reader, reached.losses, reached.seconds, tokens)

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> heads.HeadReader:
        assert base is not None
        assert folder is not None
        if self.adapter is None:
            body = self._body(use_case, base)
            load_model(body, folder / artefact.WEIGHTS)
        else:
            from peft import PeftModel

            # PEFT reads it bare
            artefact.peft_config(folder)
            form = "quantised body" if self.causal else "body"
            body = shared_bases.frozen(base, form, lambda: self._body(use_case, base))
            with inference.quiet():
                body = PeftModel.from_pretrained(
                    body, folder, is_trainable=False, autocast_adapter_dtype=False
                )
            shortcuts.take(body)
        reader = heads.head_reader(use_case, body, base, causal=self.causal)
        heads.load_head(reader.head, folder)
        return reader

    def _body(self, use_case: UseCase, base: Path) -> Any:
        if self.causal:
            return inference.load_quantised(base).base_model
        return heads.load_body(use_case, base)[0]
