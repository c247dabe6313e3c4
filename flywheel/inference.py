"""Load a base with or without an adapter, and score label words with the language-model head.

Everything that decides an answer is decided here, once, for training, evaluation, batch
prediction and the registered model alike: the device, the quantisation, the prompt, the labels.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flywheel import fingerprint, prompts, shortcuts
from flywheel.config import UseCase
from flywheel.errors import ConfigError, DataError

log = logging.getLogger(__name__)

ROWS_PER_BATCH = 32
LENGTH_STEP = 8


@dataclass
class Reader:
    """A loaded model that reads texts. ``model`` is a plain or a PEFT causal LM."""

    model: Any
    tokenizer: Any
    label_names: tuple[str, ...]
    label_token_ids: torch.Tensor  # (labels,)
    max_length_tokens: int


def device() -> torch.device:
    """Where tensors live: the first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_quantised(folder: Path) -> Any:
    """The base in NF4 with double quantisation, computing in bfloat16.

    On CUDA the weights stay in 4 bits. On the CPU, where bitsandbytes would unpack them for every
    product, they are quantised the same and unpacked once: the same numbers in the forward pass,
    at bf16's memory.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=nf4,
            dtype=torch.bfloat16,
            device_map={"": 0} if device().type == "cuda" else None,
            use_safetensors=True,
        )
        if device().type == "cpu":
            model = model.dequantize()
    model.config.use_cache = False
    model.requires_grad_(False)
    gc.collect()
    return model


def load_reader(use_case: UseCase, base: Path, adapter: Path | None) -> Reader:
    """A reader for ``use_case``: the base, and the adapter on it when one is given."""
    model = load_quantised(base)
    if adapter is not None:
        from peft import PeftModel

        with quiet():
            model = PeftModel.from_pretrained(model, adapter, is_trainable=False)
    shortcuts.take(model)
    return reader_for(use_case, model, base)


def reader_for(use_case: UseCase, model: Any, base: Path) -> Reader:
    """Wrap a loaded model with the tokenizer of ``base`` and the labels of ``use_case``.

    Raises:
        ConfigError: the labels cannot be told apart by one token each.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    words = prompts.label_words(use_case)
    tokens = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
    telling = _telling_tokens(tokens)
    if telling is None:
        raise ConfigError(
            f"{use_case.name}: no token of each label in {base.name} tells "
            f"{', '.join(use_case.label_names)} apart; reword them."
        )
    return Reader(
        model=model,
        tokenizer=tokenizer,
        label_names=use_case.label_names,
        label_token_ids=torch.tensor(telling),
        max_length_tokens=use_case.training.max_length_tokens,
    )


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


def encode(reader: Reader, use_case: UseCase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids per text. A long text loses its end; the words after it in the prompt stay.

    Raises:
        DataError: the prompt alone is longer than ``training.max_length_tokens``.
    """
    tail = use_case.prompt.partition("{text}")[2]
    limit = reader.max_length_tokens
    encoded = []
    for text in texts:
        ids = reader.tokenizer(prompts.render(use_case, text)).input_ids
        if len(ids) > limit:
            end = reader.tokenizer(tail, add_special_tokens=False).input_ids
            if len(end) >= limit:
                raise DataError(f"The prompt of {use_case.name} is longer than {limit} tokens.")
            ids = ids[: limit - len(end)] + end
        encoded.append(ids)
    return encoded


def label_logits(reader: Reader, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The LM head's scores of the label words after each prompt: ``(rows, labels)``, float32.

    Only the last position's hidden state meets the head, and only the label rows of it.
    """
    where = reader.model.device
    # few distinct shapes: the CPU's kernels are prepared, and kept in memory, once for each
    longest = -(-max(len(row) for row in rows) // LENGTH_STEP) * LENGTH_STEP
    pad = reader.tokenizer.pad_token_id or 0
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    causal = reader.model.get_base_model() if hasattr(reader.model, "peft_config") else reader.model
    # right padding is invisible to a causal model at the positions before it
    hidden = causal.model(input_ids=ids.to(where), use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(rows), device=where), mask.sum(1).to(where) - 1]
    words = causal.lm_head.weight[reader.label_token_ids.to(where)]
    return torch.nn.functional.linear(last, words.to(last.dtype)).float()


def answer(
    reader: Reader,
    use_case: UseCase,
    texts: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, float]], float]:
    """Probabilities per text, in the given order, and milliseconds per text.

    ``progress`` is called with (texts done, texts in all). A label outside the set cannot occur.
    """
    if not texts:
        return [], 0.0
    rows = encode(reader, use_case, texts)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    answers: list[dict[str, float]] = [{} for _ in rows]
    reader.model.eval()
    begun = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(order), ROWS_PER_BATCH):
            batch = order[start : start + ROWS_PER_BATCH]
            scores = label_logits(reader, [rows[i] for i in batch]).double().softmax(dim=1)
            for i, probabilities in zip(batch, scores.tolist(), strict=True):
                answers[i] = dict(zip(reader.label_names, probabilities, strict=True))
            if progress:
                progress(start + len(batch), len(order))
    return answers, 1_000 * (time.perf_counter() - begun) / len(texts)


def peak_memory_mb() -> float:
    """The most memory that this process has held so far: on the GPU if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def available_memory_mb() -> float:
    """Memory that is free where a model would be: on the GPU if there is one."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]) / 1e6
    import psutil

    return float(psutil.virtual_memory().available) / 1e6


def digest(use_case: UseCase, base: Path, adapter: Path | None) -> str:
    """One sha256 over everything that decides an answer; ``adapter`` None is the base itself."""
    return fingerprint.of(use_case, base, adapter).digest


def digest_parts(use_case: UseCase, base: Path, adapter: Path | None) -> dict[str, str]:
    """What `digest` is made of, by name: short hashes, or the value itself where it is short."""
    return dict(fingerprint.of(use_case, base, adapter).parts)


def release() -> None:
    """Give back the memory of models that nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the model libraries' advice out of a night's output; errors still raise."""
    chatty = [logging.getLogger(name) for name in ("transformers", "bitsandbytes", "peft")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
