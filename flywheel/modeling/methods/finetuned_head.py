"""Methods that learn a head and something of the base beneath it, by the same loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from flywheel.config import TrainingConfig, UseCase
from flywheel.modeling import artifact, base_cache, classifier, model_loading
from flywheel.modeling.methods import Fitted, Work
from flywheel.modeling.optim import fused_ops, training_loop
from flywheel.modeling.verbalizer.verbalizer import attach, save_adapter


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
        reader = classifier.head_reader(
            work.use_case, body, work.base, causal=self.causal, images=work.images
        )
        reached = training_loop.fit(reader, recipe, work.rows, head=reader.head, **work.loop)
        if self.adapter is None:
            save_model(body, str(work.folder / artifact.WEIGHTS))
        else:
            save_adapter(body, work.folder)
        classifier.save_head(reader.head, work.folder)
        tokens = training_loop.tokens_read(reader, recipe, work.rows.texts)
        return Fitted(reader, reached.losses, reached.seconds, tokens)

    def load(
        self, use_case: UseCase, base: Path | None, folder: Path | None
    ) -> classifier.HeadReader:
        assert base is not None
        assert folder is not None
        if self.adapter is None:
            body = self._body(use_case, base)
            load_model(body, folder / artifact.WEIGHTS)
        else:
            from peft import PeftModel

            # PEFT reads it bare
            artifact.peft_config(folder)
            form = "quantised body" if self.causal else "body"
            body = base_cache.frozen(base, form, lambda: self._body(use_case, base))
            with model_loading.quiet():
                body = PeftModel.from_pretrained(
                    body, folder, is_trainable=False, autocast_adapter_dtype=False
                )
            fused_ops.take(body)
        reader = classifier.head_reader(use_case, body, base, causal=self.causal)
        classifier.load_head(reader.head, folder)
        return reader

    def _body(self, use_case: UseCase, base: Path) -> Any:
        if self.causal:
            return model_loading.load_quantised(base).base_model
        return classifier.load_body(use_case, base)[0]
