"""The label is the next word: a causal base's own head scores the words of the labels.

Nothing new has to be learned to tell the labels apart, which is why a couple hundred examples are
enough. A label may take any number of tokens (`flywheel.methods.trie`). Every method of label words
differs from the others in one thing only: what is learned.
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
from flywheel.methods import Fitted, Probabilities, Work, label_paths
from flywheel.methods.beginning import Beginning
from flywheel.methods.trie import Trie


@dataclass
class Reader:
    """A loaded causal LM, plain or PEFT's, that reads texts in the use case's prompt."""

    model: Any
    tokenizer: Any
    use_case: UseCase
    trie: Trie
    label_names: tuple[str, ...]
    beginning: Beginning | None = None
    """What stands before every text."""
    packs: bool | None = None
    """Whether one pass may read all paths of the trie; None: not tried yet."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As `flywheel.prompts.encode`."""
        return prompts.encode(self.tokenizer, self.use_case, texts)

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The LM head's scores of the labels after each prompt: ``(rows, labels)``, float32.

        Only the hidden states where labels part meet the head, and only the label rows of it.
        """
        head = self.model.get_output_embeddings().weight
        if not self.trie.is_flat:
            return label_paths.scores(self.trie, self._states(self.trie, rows), head)
        where = self.model.device
        ids, mask = inference.padded(rows, pad=self._pad)
        hidden = self._hidden(ids.to(where), mask.to(where))
        # learned embeddings stand before the text's own
        last = mask.sum(1).to(where) - 1 + hidden.shape[1] - ids.shape[1]
        chosen = hidden[torch.arange(len(rows), device=where), last]
        words = head[torch.tensor(self.trie.branches[0].tokens, device=where)]
        return torch.nn.functional.linear(chosen, words.to(chosen.dtype)).float()

    def losses(
        self, rows: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `flywheel.fitting.losses` of `logits`, reading the targets' paths alone."""
        head = self.model.get_output_embeddings().weight
        return label_paths.losses(self.trie, rows, targets, self._hidden, head, pad=self._pad)

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def _states(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """By branch, the hidden states there, ``(rows, width)``."""
        if self._may_pack(max(map(len, rows)) + trie.longest):
            return self._packed(trie, rows)
        return self._plain(trie, rows)

    def _may_pack(self, tokens: int) -> bool:
        """Whether one pass gives what the paths give alone, up to so many tokens; tried once."""
        window = getattr(self.model.config, "sliding_window", None)
        if window is not None and tokens + self._before >= window:
            return False
        if self.packs is None:
            peft = getattr(self.model, "active_peft_config", None)
            self.packs = not (peft is not None and peft.is_prompt_learning) and self._agrees()
        return self.packs

    def _agrees(self) -> bool:
        draw = torch.Generator().manual_seed(0)
        words = torch.randint(0, self.model.config.vocab_size, (4, 7), generator=draw).tolist()
        trie, rows = label_paths.SAMPLE, [words[0], words[1][:5]]
        with torch.no_grad():
            pairs = zip(self._packed(trie, rows), self._plain(trie, rows), strict=True)
            return all(shortcuts.close(found, expected) for found, expected in pairs)

    def _plain(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        return label_paths.plainly(trie, rows, self._hidden, pad=self._pad, where=self.model.device)

    def _packed(self, trie: Trie, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        where, dtype = self.model.device, self.model.dtype
        found = []
        for part in label_paths.parts(trie, rows):
            pack = label_paths.Packed.of(trie, part, pad=self._pad, before=self._before)
            # layers that add the mask to their scores want it in their own type
            mask = torch.zeros(pack.visible.shape, dtype=dtype, device=where).masked_fill(
                ~pack.visible.to(where), torch.finfo(dtype).min
            )
            hidden = self._body(
                input_ids=pack.ids.to(where),
                attention_mask=mask,
                position_ids=pack.positions.to(where),
                past_key_values=self.beginning and self.beginning.for_rows(len(part)),
                use_cache=False,
            ).last_hidden_state
            every = torch.arange(len(part), device=where)[:, None]
            found.append(hidden[every, pack.places.to(where)])
        return list(torch.cat(found).unbind(1))

    @property
    def _before(self) -> int:
        return self.beginning.tokens if self.beginning else 0

    @property
    def _body(self) -> Any:
        """The causal base without its head, with the adapter in its layers."""
        peft = getattr(self.model, "active_peft_config", None)
        causal = self.model.get_base_model() if peft is not None else self.model
        return causal.base_model

    def _hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """What the head would read: ``(rows, tokens, width)``."""
        peft = getattr(self.model, "active_peft_config", None)
        if peft is not None and peft.is_prompt_learning:
            # only PEFT's own forward puts in what was learned; its head is asked for one token
            found = self.model(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1
            )
            return found.hidden_states[-1]
        if self.beginning is not None:
            seen = mask.new_ones(len(ids), self.beginning.tokens)
            return self._body(
                input_ids=ids,
                attention_mask=torch.cat([seen, mask], 1),
                past_key_values=self.beginning.for_rows(len(ids)),
            ).last_hidden_state
        # right padding is invisible to a causal model at the positions before it
        return self._body(input_ids=ids, use_cache=False).last_hidden_state

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
        ConfigError: labels have the same tokens.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    return Reader(
        model=model,
        tokenizer=tokenizer,
        use_case=use_case,
        trie=trie_of(use_case, tokenizer, base.name),
        label_names=use_case.label_names,
    )


def trie_of(use_case: UseCase, tokenizer: Any, base: str) -> Trie:
    """The label words' tokens in a base of that name.

    Raises:
        ConfigError: labels have the same tokens.
    """
    words = prompts.label_words(use_case)
    tokens = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
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
        fit = fitting.fit if reader.trie.is_flat else label_paths.fit
        reached = fit(
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
