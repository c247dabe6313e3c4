"""The label is the next word: a causal base's own head scores the words of the labels.

Nothing new has to be learned to tell the labels apart, which is why a couple hundred examples are
enough. Every method of label words differs from the others in one thing only: what is learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flywheel import artefact, fitting, inference, prompts, shared_bases, shortcuts
from flywheel.config import TrainingConfig, UseCase
from flywheel.errors import ConfigError
from flywheel.methods import Fitted, Probabilities, Work


@dataclass
class Reader:
    """A loaded causal LM, plain or PEFT's, that reads texts in the use case's prompt."""

    model: Any
    tokenizer: Any
    use_case: UseCase
    label_token_ids: torch.Tensor  # (labels,)
    label_names: tuple[str, ...]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `flywheel.prompts.encode`."""
        return prompts.encode(self.tokenizer, self.use_case, texts)

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The LM head's scores of the label words after each prompt: ``(rows, labels)``, float32.

        Only the last position's hidden state meets the head, and only the label rows of it.
        """
        where = self.model.device
        ids, mask = inference.padded(rows, pad=self.tokenizer.pad_token_id or 0)
        hidden = self._hidden(ids.to(where), mask.to(where))
        # learned embeddings stand before the text's own
        last = mask.sum(1).to(where) - 1 + hidden.shape[1] - ids.shape[1]
        chosen = hidden[torch.arange(len(rows), device=where), last]
        words = self.model.get_output_embeddings().weight[self.label_token_ids.to(where)]
        return torch.nn.functional.linear(chosen, words.to(chosen.dtype)).float()

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """What the head would read: ``(rows, tokens, width)``."""
        peft = getattr(self.model, "active_peft_config", None)
        if peft is not None and peft.is_prompt_learning:
            # only PEFT's own forward puts in what was learned; its head is asked for one token
            found = self.model(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1
            )
            return found.hidden_states[-1]
        causal = self.model.get_base_model() if peft is not None else self.model
        # right padding is invisible to a causal model at the positions before it
        return causal.base_model(input_ids=ids, use_cache=False).last_hidden_state

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.encode(texts)]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        """As `flywheel.inference.answer`."""
        return inference.answer(self, texts, progress=progress)


def reader_for(use_case: UseCase, model: Any, base: Path) -> Reader:
    """Wrap a loaded model with the tokenizer of ``base`` and the labels of ``use_case``.

    Raises:
        ConfigError: the labels cannot be told apart by one token each.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    telling = telling_tokens(use_case, tokenizer, base.name)
    return Reader(
        model=model,
        tokenizer=tokenizer,
        use_case=use_case,
        label_token_ids=torch.tensor(telling),
        label_names=use_case.label_names,
    )


def telling_tokens(use_case: UseCase, tokenizer: Any, base: str) -> list[int]:
    """The token of each label, in their order, that its score is read from; ``base`` is a name.

    Raises:
        ConfigError: the labels cannot be told apart by one token each.
    """
    words = prompts.label_words(use_case)
    tokens = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
    telling = _telling_tokens(tokens)
    if telling is None:
        raise ConfigError(
            f"{use_case.name}: no token of each label in {base} tells "
            f"{', '.join(use_case.label_names)} apart; reword them."
        )
    return telling


def attach(model: Any, config: Any) -> Any:
    """Put PEFT's adapter of ``config`` on a frozen base; it has the base's own type."""
    from peft import get_peft_model

    if getattr(model.config, "multi_query", False):
        # Falcon's one key head for all queries; PEFT asks for it by the name that others have
        model.config.num_key_value_heads = 1
    with inference.quiet():
        model = get_peft_model(model, config, autocast_adapter_dtype=False)
    if config.is_prompt_learning:
        # PEFT makes these in float32, and the base's layers take their own type only
        model.prompt_encoder.to(model.dtype)
    shortcuts.take(model)
    return model


def put_on(model: Any, folder: Path | None) -> Any:
    """The base with the adapter in ``folder`` on it; as it is where there is none."""
    if folder is not None:
        from peft import PeftModel

        with inference.quiet():
            model = PeftModel.from_pretrained(
                model, folder, is_trainable=False, autocast_adapter_dtype=False
            )
            if model.active_peft_config.is_prompt_learning:
                model.prompt_encoder.to(model.dtype)
    shortcuts.take(model)
    return model


def save_adapter(model: Any, folder: Path) -> None:
    """Write PEFT's files, without the base's path and its sets in order: the same anywhere."""
    model.save_pretrained(folder, safe_serialization=True)
    path = folder / artefact.PEFT_CONFIG
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
        return inference.load_quantised(folder) if self.quantised else inference.load_plain(folder)

    def train(self, work: Work) -> Fitted:
        """Update the adapter over all epochs; it goes on from the checkpoint if there is one."""
        assert work.base is not None
        recipe = work.use_case.training
        torch.manual_seed(recipe.seed)
        model = attach(self.base(work.base), self.adapter(recipe))
        reader = reader_for(work.use_case, model, work.base)
        reached = fitting.fit(
            reader,
            recipe,
            work.rows,
            on_step=work.on_step,
            max_tokens=work.max_tokens,
            checkpoint=work.checkpoint,
        )
        save_adapter(model, work.folder)
        tokens = fitting.tokens_read(reader, recipe, work.rows.texts)
        return Fitted(reader, reached.losses, reached.seconds, tokens)

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Reader:
        """The base, and the adapter on it when there is one."""
        assert base is not None
        form = "quantised" if self.quantised else "plain"
        frozen = shared_bases.frozen(base, form, lambda: self.base(base))
        return reader_for(use_case, put_on(frozen, folder), base)


def _telling_tokens(tokens: Sequence[Sequence[int]]) -> list[int] | None:
    """One token of each label, no two the same, as near to the labels' beginnings as can be.

    The first ones where they differ. Labels such as ``card_arrival`` and ``card_linking`` begin
    alike, and are told apart by later tokens, which fine-tuning learns to say first.
    """
    from scipy.optimize import linear_sum_assignment

    firsts = [own[0] for own in tokens]
    if len(set(firsts)) == len(firsts):
        return firsts
    every = sorted({token for own in tokens for token in own})
    impossible = 1_000
    cost = [[own.index(token) if token in own else impossible for token in every] for own in tokens]
    labels, chosen = linear_sum_assignment(cost)
    if len(labels) < len(tokens) or any(
        cost[label][column] == impossible for label, column in zip(labels, chosen, strict=True)
    ):
        return None
    return [every[column] for column in chosen]
