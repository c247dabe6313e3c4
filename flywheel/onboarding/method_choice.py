"""Which method to propose: the best one whose nights this machine has time for.

An estimate from counted products and a measured speed. `doctor` says how long nights took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.text import language_id

NIGHT_MINUTES = 60
"""What a night may take, so that ten times the rows still fit between evening and morning."""
_REACHED = 0.4
"""Share of the measured speed that training and scoring reach.

0.28 in docs/benchmarks/training.md, and 0.65 with float32.
"""
_ASKED = 3
"""Contenders that answer the holdout: challenger, champion, and the base as it is."""
_LOOKED_AT = 60
_MOSTLY = 0.5

WEIGHTS: Mapping[str, float] = {"smollm2-135m-instruct": 106e6, "minilm-l6": 11e6}
"""Base → weights that a token is multiplied by: without its embeddings."""
CAUSAL, ENCODER = "smollm2-135m-instruct", "minilm-l6"


@dataclass(frozen=True)
class Method:
    """A method, its base, minutes of a night where they were counted, and why it is the one."""

    name: MethodName
    base: str | None
    why: str
    minutes: float | None = None


@dataclass(frozen=True)
class Speed:
    """What a machine multiplies a second, and in words how that is known."""

    gflops: float
    how: str


def measured() -> Speed:
    """This machine's, in the numeric type that it computes in; PyTorch is imported for it."""
    from flywheel.catalog import numeric_types

    name = numeric_types.here().name
    gflops = numeric_types.speeds((name,))[name]
    return Speed(gflops, f"{gflops:,.0f} GFLOP/s in {name}, measured")


@dataclass(frozen=True)
class Work:
    """What a night has to do. ``tokens`` are those of a mean prompt."""

    train: int
    holdout: int
    tokens: float
    epochs: int


def minutes(method: MethodName, base: str | None, work: Work, gflops: float) -> float:
    """Minutes of a night's training and holdout."""
    if base is None:
        return 0.0
    frozen = method == "frozen_head"
    # forward, and backward to the activations: the base itself is not learned
    learned = work.train * (1 if frozen else 2 * work.epochs)
    scored = work.holdout * (1 if frozen else _ASKED)
    products = 2 * WEIGHTS[base] * work.tokens * (learned + scored)
    return products / (_REACHED * gflops * 1e9) / 60


def propose(texts: Sequence[str], work: Work, speed: Callable[[], Speed]) -> Method:
    """QLoRA where a night of it fits, else a head on a frozen base, else TF-IDF.

    The small bases have read English: of other languages TF-IDF is the honest beginning, and the
    speed is then not asked for.
    """
    foreign = _foreign(texts)
    if foreign:
        return Method(
            "tfidf",
            None,
            f"the texts look like {foreign} and the small bases have read English; "
            "flywheel models lists others",
        )
    known = speed()
    long = minutes("qlora", CAUSAL, work, known.gflops)
    if long <= NIGHT_MINUTES:
        return Method("qlora", CAUSAL, f"{_told(long)} a night here ({known.how})", long)
    why = f"qlora would take {_told(long)} a night here ({known.how})"
    short = minutes("frozen_head", ENCODER, work, known.gflops)
    if short <= NIGHT_MINUTES:
        return Method("frozen_head", ENCODER, f"{why}, this {_told(short)}", short)
    return Method("tfidf", None, f"{why}, a frozen head {_told(short)}; this takes seconds")


def named(method: MethodName) -> Method:
    """A method that a person asked for, on the base that is proposed for it."""
    families = RECIPES[method].bases
    base = CAUSAL if "causal" in families else ENCODER if families else None
    return Method(method, ENCODER if method == "frozen_head" else base, "as asked for")


def _told(estimate: float) -> str:
    if round(estimate) <= 1:
        return "about a minute"
    rounded = f"{estimate:.0f} minutes" if estimate < 120 else f"{estimate / 60:.0f} hours"
    return f"about {rounded}"


def _foreign(texts: Sequence[str]) -> str | None:
    """The language of most texts, None where it is English or cannot be told."""
    step = max(1, len(texts) // _LOOKED_AT)
    told = Counter(likely(text) for text in texts[::step][:_LOOKED_AT])
    sure = told.total() - told.pop("unsure", 0)
    if not sure:
        return None
    name, count = told.most_common(1)[0]
    return None if name == "en" or count < _MOSTLY * sure else name


def likely(text: str) -> str:
    """An ISO 639-1 code, ``en`` unless it surely is another; ``unsure`` of short texts.

    Scripts that few languages use say which one it is in fewer letters.
    """
    if sum("\u3040" <= char <= "\u30ff" for char in text) >= 2:
        return "ja"
    if sum("\u4e00" <= char <= "\u9fff" for char in text) >= 3:
        return "zh"
    found = language_id.likeliest(text)
    if found in ("unsure", "en"):
        return found
    return found if language_id.foreign(text, languages=["en"]) else "en"
