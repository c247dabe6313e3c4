"""The label is the next word: a causal base's own head scores the words of the labels.

Nothing new has to be learned to tell the labels apart, which is why a couple hundred examples are
enough. A label may take any number of tokens (`flywheel.modeling.verbalizer.trie`). Every method of
label words differs from the others in one thing only: what is learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flywheel.catalog.families import SCORE_CAP
from flywheel.config import TrainingConfig, UseCase
from flywheel.errors import ConfigError, DataError
from flywheel.modeling import artifact, base_cache, model_loading, prompts, tokenization
from flywheel.modeling.answerer import Probabilities
from flywheel.modeling.methods import Fitted, Work
from flywheel.modeling.optim import fused_ops, training_loop
from flywheel.modeling.verbalizer import soft_prompts, trie_scores
from flywheel.modeling.verbalizer.causal import CausalReading
from flywheel.modeling.verbalizer.seq2seq import DecoderReading
from flywheel.modeling.verbalizer.trie import Trie


@dataclass
class Reader:
    """A loaded LM, plain or PEFT's, that reads texts in the use case's prompt."""

    model: Any
    tokenizer: Any
    use_case: UseCase
    trie: Trie
    label_names: tuple[str, ...]
    reading: CausalReading | DecoderReading

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `flywheel.modeling.prompts.encode`."""
        return prompts.encode(self.tokenizer, self.use_case, texts)

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The LM head's scores of the labels after each prompt: ``(rows, labels)``, float32.

        Only the hidden states where labels part meet the head, and only the label rows of it. They
        are multiplied in float32: rounded to bf16, likely labels would often be equal.
        """
        if not self.trie.is_flat:
            at = self.reading.at_branches(self.trie, rows)
            return trie_scores.scores(self.trie, at, self.head)
        chosen = self.reading.after(rows, [()] * len(rows))[:, 0]
        tokens = torch.tensor(self.trie.branches[0].tokens, device=chosen.device)
        return self.head.scores(chosen, tokens)

    @property
    def head(self) -> trie_scores.Head:
        """The base's own."""
        cap = getattr(self.model.config, SCORE_CAP, None)
        return trie_scores.Head(self.model.get_output_embeddings().weight, cap)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.encode(texts)]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        """As `flywheel.modeling.model_loading.answer`."""
        return model_loading.answer(self, texts, progress=progress)


def reader_for(use_case: UseCase, model: Any, base: Path) -> Reader:
    """Wrap a loaded model with the tokenizer of ``base`` and the labels of ``use_case``.

    Raises:
        ConfigError: labels have the same tokens.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    pad = tokenization.padding(tokenizer, model.config.vocab_size)
    reading: CausalReading | DecoderReading = DecoderReading(model, pad)
    if not model.config.is_encoder_decoder:
        reading = CausalReading(model, pad, opening=prompts.opening(tokenizer, use_case))
    return Reader(
        model=model,
        tokenizer=tokenizer,
        use_case=use_case,
        trie=trie_of(use_case, tokenizer, base.name),
        label_names=use_case.label_names,
        reading=reading,
    )


def trie_of(use_case: UseCase, tokenizer: Any, base: str) -> Trie:
    """The label words' tokens in a base of that name.

    Raises:
        ConfigError: labels have the same tokens.
    """
    tokens = prompts.label_tokens(tokenizer, use_case)
    try:
        return Trie.of(tokens)
    except ValueError as error:
        alike = [
            name
            for name, own in zip(use_case.label_names, tokens, strict=True)
            if tokens.count(own) > 1
        ]
        raise ConfigError(
            f"{use_case.name}: {', '.join(alike)} are the same tokens in {base}; reword them."
        ) from error


def attach(model: Any, config: Any, start: Path | None = None) -> Any:
    """Put PEFT's adapter of ``config`` on a frozen base; it has the base's own type.

    It begins as PEFT begins it, or with the weights in the folder ``start``.

    Raises:
        DataError: ``start`` holds an adapter of another shape.
    """
    from peft import get_peft_model

    if getattr(model.config, "multi_query", False):
        # Falcon's one key head for all queries; PEFT asks for it by the name that others have
        model.config.num_key_value_heads = 1
    if config.task_type == "CAUSAL_LM" and getattr(model.config, "is_encoder_decoder", False):
        config.task_type = "SEQ_2_SEQ_LM"
    with model_loading.quiet():
        model = get_peft_model(model, config, autocast_adapter_dtype=False)
    if start is not None:
        _start_from(model, start)
    fused_ops.take(model)
    return model


def _start_from(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(folder / artifact.WEIGHTS)
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    wanted = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
    if shapes != wanted:
        raise DataError(
            f"The adapter to start from has {len(shapes)} tensors, and not the shape of the "
            f"{len(wanted)} that are to learn. Nothing was trained."
        )
    with model_loading.quiet():
        set_peft_model_state_dict(model, weights)


def put_on(model: Any, folder: Path | None) -> Any:
    """The base with the adapter in ``folder`` on it; as it is where there is none."""
    if folder is not None:
        from peft import PeftModel

        # PEFT reads it bare
        artifact.peft_config(folder)
        with model_loading.quiet():
            model = PeftModel.from_pretrained(
                model, folder, is_trainable=False, autocast_adapter_dtype=False
            )
    fused_ops.take(model)
    return model


def save_adapter(model: Any, folder: Path) -> None:
    """Write PEFT's files, without the base's path and its sets in order: the same anywhere."""
    model.save_pretrained(folder, safe_serialization=True)
    path = folder / artifact.PEFT_CONFIG
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None
    for name, value in config.items():
        if name.endswith("_modules") and isinstance(value, list):
            config[name] = sorted(value)
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / "README.md").unlink(missing_ok=True)


@dataclass(frozen=True)
class LabelWords:
    """The methods that learn an adapter for label words; ``adapter`` gives PEFT's config of it."""

    adapter: Callable[[TrainingConfig], Any]
    quantised: bool = False

    def base(self, folder: Path) -> Any:
        return model_loading.load_to_adapt(folder, quantised=self.quantised)

    def train(self, work: Work) -> Fitted:
        """Update the adapter over all epochs; it goes on from the checkpoint if there is one."""
        assert work.base is not None
        recipe = work.recipe
        torch.manual_seed(recipe.seed)
        model = attach(self.base(work.base), self.adapter(recipe), work.start)
        reader = reader_for(work.use_case, model, work.base)
        if soft_prompts.learns(model):
            task = soft_prompts.beginning(reader.tokenizer, work.use_case)
            soft_prompts.begin(model, task)
        fit = training_loop.fit if reader.trie.is_flat else trie_scores.fit
        reached = fit(reader, recipe, work.rows, **work.loop)
        save_adapter(model, work.folder)
        tokens = training_loop.tokens_read(reader, recipe, work.rows.texts)
        return Fitted(reader, reached.losses, reached.seconds, tokens)

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Reader:
        """The base, and the adapter on it when there is one."""
        assert base is not None
        form = "quantised" if self.quantised else "plain"
        frozen = base_cache.frozen(base, form, lambda: self.base(base))
        return reader_for(use_case, put_on(frozen, folder), base)
