"""What reading once saves when label words are scored: prompts' beginnings, and labels' paths.

    python -m benchmarks.label_words --json

Rows per second over the holdout texts of the default data on its base in 4 bits, without an
adapter: each way in turn, ``--rounds`` times, medians. ``differs`` is the largest difference that
the way makes to a probability: rounding in bf16, as between batches of one text and of many; in
float32 `tests/modeling/test_label_words.py` finds none. Openings are the default prompt behind so
many tokens of an instruction, or the default prompt as it is; paths are those of 77 labels that
begin alike.

What it does not cover: GPUs, and training, which reads whole prompts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.attacks import load
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, UseCase
from flywheel.home.environment import prepare
from flywheel.modeling import methods
from flywheel.modeling.verbalizer import causal, verbalizer

INSTRUCTION = (
    "You read what customers write about things that they bought, and say how satisfied each one "
    "is with what the sentence speaks of. Sentences that praise are positive, sentences that "
    "complain are negative, and sentences that only tell what happened are neutral. "
)
OPENINGS = (0, 16, 32, 64, 128)
"""Tokens of an instruction, about; 0 is the default prompt."""
ASPECTS = ("battery", "screen", "delivery", "price", "sound", "manual", "warranty")
VERDICTS = (
    *("good", "bad", "broken", "as expected", "too expensive", "too cheap", "late", "missing"),
    *("not as described", "not working", "returned"),
)


@dataclass(frozen=True)
class Way:
    """One comparison: rows per second without and with what is read once."""

    name: str
    tokens: int
    """Of the opening, or of all paths together."""
    plain_rows_per_s: float
    shared_rows_per_s: float
    ratio: float
    differs: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rows",
        type=int,
        default=128,
        help="texts in each round; a quarter of them where paths are compared",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    home = Home()
    prepare(home)
    # what is short is measured, too: the shortest that pays is read off here
    causal.SHORTEST_OPENING = 1
    data = load(home)
    texts = [sentence.text for sentence in data.holdout[: asked.rows]]
    base = ensure_base(data.case.training.base, home)
    found = []
    for tokens in OPENINGS:
        reader = _reader(_asking(data.case, tokens), base)
        opening = len(reader.reading.opening)
        found.append(_compare(f"opening {opening}", opening, reader, "opens", texts, asked.rounds))
    labels = {f"{aspect} {verdict}": "any" for aspect in ASPECTS for verdict in VERDICTS}
    reader = _reader(data.case.model_copy(update={"labels": labels}), base)
    many = len(reader.trie.nodes)
    name = f"paths of {len(labels)} labels"
    # path by path a row takes a second and more
    few = texts[: asked.rows // 4]
    found.append(_compare(name, many, reader, "packs", few, asked.rounds))
    if asked.json:
        print(json.dumps([asdict(way) for way in found]))
    else:
        for way in found:
            print(
                f"{way.name:22} {way.plain_rows_per_s:8} {way.shared_rows_per_s:8} "
                f"{way.ratio:6} {way.differs:.4f}"
            )


def _asking(case: UseCase, tokens: int) -> UseCase:
    """The use case with an instruction of about so many tokens before its prompt."""
    words = (INSTRUCTION * 4).split()[: tokens * 10 // 11]
    room = case.training.model_copy(update={"max_length_tokens": 512})
    return case.model_copy(update={"prompt": " ".join([*words, case.prompt]), "training": room})


def _reader(case: UseCase, base: Any) -> verbalizer.Reader:
    reader = methods.method("zero_shot").load(case, base, None)
    assert isinstance(reader, verbalizer.Reader)
    return reader


def _compare(
    name: str,
    tokens: int,
    reader: verbalizer.Reader,
    switch: str,
    texts: Sequence[str],
    rounds: int,
) -> Way:
    """With and without what ``switch`` names in the reading; both are asked once before."""
    reader.reading.opens = False

    def ask(shared: bool) -> tuple[list[dict[str, float]], float]:
        setattr(reader.reading, switch, shared)
        answers, milliseconds = reader.answer(texts)
        return answers, 1_000 / milliseconds

    first, second = ask(False)[0], ask(True)[0]
    differs = max(
        abs(a[label] - b[label]) for a, b in zip(first, second, strict=True) for label in a
    )
    timed = [(ask(False)[1], ask(True)[1]) for _ in range(rounds)]
    plain, shared = (statistics.median(pair[i] for pair in timed) for i in (0, 1))
    ratio = statistics.median(after / before for before, after in timed)
    print(f"{name}: {plain:.1f}, {shared:.1f} rows/s", file=sys.stderr, flush=True)
    return Way(name, tokens, round(plain, 1), round(shared, 1), round(ratio, 2), round(differs, 4))


if __name__ == "__main__":
    main()
