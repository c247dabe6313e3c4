"""Answer texts with the export in this folder, as anybody would who has it.

    python answer.py asked.jsonl > answers.jsonl     # {"text": "..."} in, one answer a line out

Needs torch and transformers; for an adapter also peft, its base (``--base``: a folder, by default
what ``adapter_config.json`` names), and bitsandbytes where ``export.json`` says that the base is in
4 bits. Nothing of flywheel: what it does as flywheel does stands here once more. Before this was
called an export, this file answered the holdout with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)

EXPORT = "export.json"
ROWS_PER_BATCH, TOKENS_PER_BATCH, WORDS_PER_PRODUCT = 32, 8_192, 4_096
IN_PIECES = "in pieces"
"""How prompts are encoded of versions that learned from what stands around a text apart from it."""
CAP = "final_logit_softcapping"
"""What a base names the bound of its scores by, where they have one."""
BEYOND_FLOAT16 = ("gemma2", "t5")
"""Architectures whose activations leave float16's range."""


@dataclass(frozen=True)
class Exported:
    """A loaded export; ``how`` is the section ``answering`` of its ``export.json``."""

    model: Any
    tokenizer: Any
    how: dict[str, Any]

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> list[dict[str, float]]:
        """The probability of each label, per text; or what it writes, as the one key.

        Texts of the same length in tokens are asked together, so that nothing is filled up.
        """
        rows = [self.encode(text) for text in texts]
        answers: list[dict[str, float]] = [{} for _ in rows]
        done = 0
        ask = self._score if self.how["labels"] else self._write
        with torch.inference_mode():
            for batch in _batches(rows, room=self.how.get("max_new_tokens", 0)):
                ids = torch.tensor([rows[i] for i in batch], device=self.model.device)
                for i, found in zip(batch, ask(ids), strict=True):
                    answers[i] = found
                done += len(batch)
                if progress:
                    progress(done, len(rows))
        return answers

    def encode(self, text: str) -> list[int]:
        """The token ids of a text's prompt. A text that is too long loses its end."""
        return self._score_ids(text) if self.how["labels"] else self._write_ids(text)

    def _score_ids(self, text: str) -> list[int]:
        limit = self.how["max_length_tokens"]
        before, _, after = self.how["prompt"].partition("{text}")
        ids = token_ids(self.tokenizer, before, " ".join(text.split()), after)
        if len(ids) <= limit:
            return ids
        tail: list[int] = self.how["token_ids_behind_text"]
        return ids[: limit - len(tail)] + tail

    def _write_ids(self, text: str) -> list[int]:
        lines = (" ".join(line.split()) for line in text.splitlines())
        plain = "\n".join(line for line in lines if line)
        limit, tail = self.how["max_length_tokens"], self.how["token_ids_behind_text"]
        if self.how["encoded"] == IN_PIECES:
            head = self.how["token_ids_before_text"]
            own = token_ids(self.tokenizer, "", plain, "", begins=False)
            return [*head, *own[: limit - len(head) - len(tail)], *tail]
        before, _, after = self._asked().partition("{text}")
        found = token_ids(self.tokenizer, before, plain, after, begins=False)
        ids = [*self.how["token_ids_at_start"], *found]
        return ids if len(ids) <= limit else [*ids[: limit - len(tail)], *tail]

    def _asked(self) -> str:
        prompt: str = self.how["prompt"]
        if not self.how["chat_template"]:
            return prompt
        whole: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            date_string=self.how["date_string"],
        )
        return whole

    def _score(self, ids: torch.Tensor) -> list[dict[str, float]]:
        labels = self.how["labels"]
        logs = torch.zeros(len(ids), len(labels), dtype=torch.float64)
        self._along(ids, (), list(range(len(labels))), logs)
        shares = (logs / self.how["temperature"]).softmax(dim=1).tolist()
        return [dict(zip([one["label"] for one in labels], row, strict=True)) for row in shares]

    def _along(
        self, ids: torch.Tensor, path: tuple[int, ...], behind: list[int], logs: torch.Tensor
    ) -> None:
        """Add the logs of the shares that labels ``behind`` a path of tokens have among themselves.

        At each token the choice is between those with which some of them goes on; where one of them
        ends, ending has the share of all tokens with which none goes on.
        """
        if len(behind) == 1:
            return
        groups: dict[int | None, list[int]] = {}
        for label in behind:
            tokens = self.how["labels"][label]["token_ids"]
            groups.setdefault(tokens[len(path)] if len(path) < len(tokens) else None, []).append(
                label
            )
        if len(groups) > 1:
            said = ids.new_tensor(path).expand(len(ids), -1)
            asked = torch.cat([ids, said], dim=1)
            scores = self._next(asked)
            goes_on = [token for token in groups if token is not None]
            choices = [scores[:, [token]] for token in goes_on]
            if None in groups:
                other = torch.tensor(goes_on)
                choices.append(scores.index_fill(1, other, -torch.inf).logsumexp(1, keepdim=True))
            shares = torch.cat(choices, dim=1).log_softmax(dim=1)
            order = [*goes_on, *([None] if None in groups else [])]
            for choice, token in enumerate(order):
                logs[:, groups[token]] += shares[:, [choice]]
        for token, labels in groups.items():
            if token is not None:
                self._along(ids, (*path, token), labels, logs)

    def _next(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores of all tokens after ``ids``, ``(rows, words)``: the head's product in float32.

        In the model's own type likely labels would often be rounded to the same score.
        """
        head, heard = self.model.get_output_embeddings(), []
        with head.register_forward_pre_hook(lambda _, given: heard.append(given[0][:, -1])):
            self.model(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=1)
        (hidden,) = heard
        parts = torch.split(head.weight, WORDS_PER_PRODUCT)
        exact = (torch.nn.functional.linear(hidden.float(), part.float()) for part in parts)
        scores, cap = torch.cat(list(exact), 1), getattr(self.model.config, CAP, None)
        return (scores if cap is None else cap * torch.tanh(scores / cap)).cpu().double()

    def _write(self, ids: torch.Tensor) -> list[dict[str, float]]:
        stops = self.how["stop_token_ids"]
        found = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.how["max_new_tokens"],
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        return [{self._read(new): 1.0} for new in found[:, ids.shape[1] :].tolist()]

    def _read(self, ids: Sequence[int]) -> str:
        stop = next((i for i, one in enumerate(ids) if one in self.how["stop_token_ids"]), len(ids))
        return str(self.tokenizer.decode(ids[:stop], skip_special_tokens=True)).strip()


def token_ids(
    tokenizer: Any, before: str, text: str, after: str, *, begins: bool = True
) -> list[int]:
    """The ids of the three joined; what looks like a special token in ``text`` is characters.

    The tokenizer would read it wherever it stands, so a text that has one is read by a second one,
    whose special tokens have names that nobody can write.
    """
    special = _special(tokenizer)
    ids: list[int] = tokenizer(before + text + after, add_special_tokens=begins).input_ids
    bare = tokenizer(before + after, add_special_tokens=begins).input_ids
    more = any(
        ids.count(one) > bare.count(one)
        for name, one in special.ids.items()
        if name != special.unknown
    )
    if not more and not any(name in text for name in special.ids):
        return ids
    for name in sorted(special.ids, key=len, reverse=True):
        other = _other(special.ids[name])
        before, after = before.replace(name, other), after.replace(name, other)
    text = text.replace("\ufdd0", "\ufffd")
    found: list[int] = special.renamed.encode(before + text + after, add_special_tokens=begins).ids
    return found


@dataclass(frozen=True)
class _Special:
    """A tokenizer's special tokens, the name of the unknown, and the tokenizer with others."""

    ids: dict[str, int]
    unknown: str | None
    renamed: Tokenizer


@lru_cache(maxsize=1)
def _special(tokenizer: Any) -> _Special:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = {one["content"]: one["id"] for one in content["added_tokens"] if one["special"]}
    unknown = _unknown(content)
    return _Special(ids, unknown, Tokenizer.from_str(json.dumps(_renamed(content, ids))))


def _other(number: int) -> str:
    # characters that no text may hold
    return f"\ufdd0{number}\ufdd1"


def _unknown(content: dict[str, Any]) -> str | None:
    model = content["model"]
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")  # type: ignore[no-any-return]


def _renamed(content: dict[str, Any], names: dict[str, int]) -> dict[str, Any]:
    """A tokenizer's JSON with other names for its special tokens; every id is as it was."""
    other, model = {name: _other(number) for name, number in names.items()}, content["model"]
    for token in content["added_tokens"]:
        if token["special"]:
            token |= {"content": other[token["content"]], "normalized": False}
    if model["type"] == "Unigram":
        model["vocab"] = [[other.get(piece, piece), score] for piece, score in model["vocab"]]
        return content
    model["vocab"] = {other.get(piece, piece): number for piece, number in model["vocab"].items()}
    if model.get("unk_token") in other:
        model["unk_token"] = other[model["unk_token"]]
    if model["type"] == "BPE":
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        model["merges"] = [p for p in pairs if not other.keys() & {*p, "".join(p)}]
    return content


def load(
    folder: Path,
    *,
    base: str | Path | None = None,
    in_4_bits: bool | None = None,
    dtype: torch.dtype | None = None,
) -> Exported:
    """Load an export; ``base`` and ``in_4_bits`` are of its base, by default as it says itself.

    It computes in ``dtype``, by default in the one that this machine is fast in, or in float32
    where its merged weights are.
    """
    told = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    where = "cuda" if torch.cuda.is_available() else "cpu"
    how: dict[str, Any] = {"use_safetensors": True}
    if told["form"] == "merged":
        if told["dtype"] == "float32":
            dtype = torch.float32
        dtype = dtype or numeric_type(str(folder))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **how).to(where)
    else:
        from peft import PeftModel

        named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if base is None:
            base, how["revision"] = named["base_model_name_or_path"], named.get("revision")
        dtype = dtype or numeric_type(str(base), how.get("revision"))
        if told["base"]["in_4_bits"] if in_4_bits is None else in_4_bits:
            how["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
        how["device_map"] = {"": where}
        with _plain_linear_layers():
            bare = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **how)
        if where == "cpu" and any(hasattr(layer, "quant_state") for layer in bare.modules()):
            # the very numbers of the 4 bits, which the CPU would else unpack for every product
            bare = bare.dequantize(dtype)
        model = PeftModel.from_pretrained(bare, folder, autocast_adapter_dtype=False)
    # the base's own may name a penalty, which nothing was learned or measured with
    model.generation_config = GenerationConfig()
    return Exported(model.eval(), tokenizer_in(folder), told["answering"])


def numeric_type(base: str, revision: str | None = None) -> torch.dtype:
    """The one that this machine multiplies fast in: bfloat16 where it has units for it."""
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        architecture = AutoConfig.from_pretrained(base, revision=revision).model_type
        return torch.float32 if architecture in BEYOND_FLOAT16 else torch.float16
    flags = torch.cpu.get_capabilities()
    x86 = flags.get("architecture") in ("x86_64", "x86")
    # on x86 oneDNN says yes where it emulates
    native = (
        flags.get("amx_bf16") or flags.get("avx512_bf16")
        if x86
        else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return torch.bfloat16 if native else torch.float32


@contextmanager
def _plain_linear_layers() -> Iterator[None]:
    """Falcon's linear layers have a name of their own, and are else passed over in 4 bits."""
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer that lies there."""
    return AutoTokenizer.from_pretrained(folder)


def _batches(rows: Sequence[Sequence[int]], *, room: int) -> Iterator[list[int]]:
    """Row numbers, those of one length after the other; ``room`` is for tokens to be written."""
    batch: list[int] = []
    for row in sorted(range(len(rows)), key=lambda i: len(rows[i])):
        length = len(rows[row])
        full = (len(batch) + 1) * (length + room) > TOKENS_PER_BATCH or len(batch) == ROWS_PER_BATCH
        if batch and (full or length != len(rows[batch[0]])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def main() -> None:
    """Answer the texts of a file, one JSON document a line."""
    options = argparse.ArgumentParser(description="Answer texts with the export in this folder.")
    options.add_argument("file", type=Path, help='JSON Lines with "text"')
    options.add_argument("--base", help="the adapter's base: a folder, or a name at the hub")
    given = options.parse_args()
    lines = given.file.read_text(encoding="utf-8").splitlines()
    exported = load(Path(__file__).resolve().parent, base=given.base)
    for answer in exported.answer([json.loads(line)["text"] for line in lines if line.strip()]):
        best = max(answer, key=answer.__getitem__)
        sys.stdout.write(json.dumps({"answer": best, "probabilities": answer}) + "\n")


if __name__ == "__main__":
    main()
