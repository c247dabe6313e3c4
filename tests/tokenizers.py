"""Small tokenizers of the kinds that bases have, learned here: nothing is downloaded.

Each knows the same special tokens. Their vocabularies hold whole words of `WORDS` and every byte or
letter that a test writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

Kind = Literal["byte-level", "prepended", "metaspace", "unigram", "wordpiece"]
KINDS: tuple[Kind, ...] = ("byte-level", "prepended", "metaspace", "unigram", "wordpiece")
WORDS = ("ticket", "topic", "where", "is", "my", "box", "billing", "delivery", "late", "log")
SPECIALS = ("<unk>", "<s>", "</s>", "<|end|>")
"""Unknown, begin, end, and one of a chat template's."""
LETTERS = "".join(map(chr, range(33, 127)))


def make_tokenizer(kind: Kind, *, begins: bool = True, words: tuple[str, ...] = WORDS) -> Any:
    """As Transformers loads it; ``begins``: texts begin with ``<s>``, of a WordPiece also end."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend = _LEARNED[kind](words)
    ends = " </s>" if kind == "wordpiece" else ""
    if begins:
        backend.post_processor = processors.TemplateProcessing(
            single=f"<s> $A{ends}",
            special_tokens=[(name, backend.token_to_id(name)) for name in ("<s>", "</s>")],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<|end|>"],
    )


def save_tokenizer(kind: Kind, folder: Path, **how: Any) -> Path:
    """Write it where a base has its tokenizer."""
    make_tokenizer(kind, **how).save_pretrained(folder)
    return folder


def _byte_level(words: tuple[str, ...]) -> Any:
    """As GPT-2's: every byte is known, a space belongs to the word after it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word} {word}" for word in words], trainer)
    return tokenizer


def _sentencepiece_pairs(words: tuple[str, ...]) -> Any:
    """As SentencePiece's pairs are converted; spaces are written ▁, what is unknown in bytes."""
    from tokenizers import Tokenizer, models

    vocabulary = {name: i for i, name in enumerate(SPECIALS)}
    merges = []
    for name in (f"<0x{byte:02X}>" for byte in range(256)):
        vocabulary.setdefault(name, len(vocabulary))
    for letter in ("▁", *LETTERS):
        vocabulary.setdefault(letter, len(vocabulary))
    for word in [*words, "▁▁", "</s>"]:
        for end in range(2, len(word) + 1):
            merges.append((word[: end - 1], word[end - 1]))
            vocabulary.setdefault(word[:end], len(vocabulary))
    for word in words:
        merges.append(("▁", word))
        vocabulary.setdefault(f"▁{word}", len(vocabulary))
    merges = list(dict.fromkeys(merges))
    return Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )


def _prepended(words: tuple[str, ...]) -> Any:
    """As Mistral's and Llama 2's: every text and whatever follows a special token gets a ▁."""
    from tokenizers import decoders, normalizers

    tokenizer = _sentencepiece_pairs(words)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _metaspace(words: tuple[str, ...]) -> Any:
    """As later Llama conversions: only the first word of a text gets a ▁ that it lacks."""
    from tokenizers import decoders, pre_tokenizers

    tokenizer = _sentencepiece_pairs(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _unigram(words: tuple[str, ...]) -> Any:
    """As T5's and XLM-R's: special tokens are among the pieces, with the best score of all."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [(name, 0.0) for name in SPECIALS]
    pieces += [(f"▁{word}", -3.0) for word in words] + [(letter, -8.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁", -4.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _wordpiece(words: tuple[str, ...]) -> Any:
    """As BERT's, split at spaces only, so that a special token's name can be a word."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    known = [*SPECIALS, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(known))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


_LEARNED = {
    "byte-level": _byte_level,
    "prepended": _prepended,
    "metaspace": _metaspace,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
}


def vocabulary_of(tokenizer: Any) -> dict[str, int]:
    """Piece → id, as the model underneath has it."""
    found = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    return found if isinstance(found, dict) else {piece: i for i, (piece, _) in enumerate(found)}
