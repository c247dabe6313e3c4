"""What a training will need of memory, said before it starts: from the base's own config.

An estimate: terms are counted from shapes, and what is kept for the way back was fitted to measured
peaks (`flywheel.catalog.shapes.Kept`). A test holds it within 0.8 to 1.5 of the peak of small
models on the CPU. On a GPU it was compared with nothing yet. ``training.check_memory: false``
overrides it.
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flywheel.catalog.shapes import BF16, Shape
from flywheel.config import TrainingConfig
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.errors import DoesNotFit

MEGABYTE = 1e6
LIBRARIES_MB = 530.0
"""Of a process that has imported what training needs."""
OVERHEAD = 1.1
"""For what allocators keep and fragment."""
NF4 = 0.53
"""Bytes per weight of 4 bits and their doubly quantised scales."""
SHORT = 256
"""Longest text, in tokens, whose attention scores are kept on the CPU; see
`flywheel.modeling.optim.fused_ops`."""
SCORED_TOKENS = 4_096
"""Tokens of one pass that scores labels, at most, where one text is not longer."""
PICTURE_TOKENS = 800
"""Positions of pictures in a pass on the CPU, where the recipe names none: 16 pictures of 49."""
WRITTEN_TOKENS = 8_192
"""Prompts and answers that are written at a time: keys and values of all of them are held."""
_LEARNED_BYTES = 4 * 4
"""Of a weight that learns, in float32: itself, its gradient, two moments."""
_IN_8_BITS = 2 * (4 - 1)
"""Of these less where the two moments are kept in 8 bits."""
_SCORE_BYTES = 2 + 4 + 4
"""Per word of the vocabulary at a position that is learned: a score, in float32, its gradient."""
_PASSING = (20, 4)
"""Numbers per hidden and per inner unit that live while a layer only answers."""
IN_4_BITS = frozenset({"qlora", "qlora_head", "zero_shot", "few_shot"})
ALL_WEIGHTS = frozenset({"full", "setfit"})
_LORA = frozenset({"qlora", "lora", "dora", "rslora", "qlora_head", "encoder_lora"})
RECOMPUTES = _LORA | ALL_WEIGHTS
"""Methods that can compute layers again; learned keys, as in prefix tuning, would be lost."""


@dataclass(frozen=True)
class Need:
    """Megabytes that a training takes at its peak.

    ``activations`` are of the largest pass, be it one that learns or one that scores.
    """

    libraries: float
    base: float
    learned: float
    activations: float

    @property
    def total(self) -> float:
        return self.libraries + OVERHEAD * (self.base + self.learned + self.activations)


@dataclass(frozen=True)
class Plan:
    """How a training uses memory. None of it changes what is learned, but for rounding.

    ``recompute`` keeps each layer's input only, and computes the rest again on the way back
    (Chen et al. 2016): a third more time. ``moments_in_8_bits`` rounds the optimiser's, and may
    page them out of the GPU (Dettmers et al. 2022): the last resort where all weights learn there.
    """

    tokens_per_pass: int
    recompute: bool = False
    need: Need | None = None
    """None: not estimated."""
    moments_in_8_bits: bool = False

    def smaller(self, recipe: TrainingConfig, *, filled: int | None = None) -> Plan:
        """For when memory ran out all the same, in a pass that ``filled`` so many tokens.

        A pass may allow more than any batch fills; half of that would change nothing.
        """
        most = self.tokens_per_pass if filled is None else min(self.tokens_per_pass, filled)
        return Plan(
            max(1, most // 2),
            self.recompute or _recomputes(recipe),
            moments_in_8_bits=self.moments_in_8_bits,
        )

    @property
    def in_words(self) -> str:
        again = ", activations computed again on the way back" if self.recompute else ""
        rounded = (
            ", the optimiser's moments in 8 bits, without a checkpoint: it starts anew if killed"
            if self.moments_in_8_bits
            else ""
        )
        return f"passes of {self.tokens_per_pass:,} tokens{again}{rounded}"


def need(
    shape: Shape,
    recipe: TrainingConfig,
    *,
    on_gpu: bool,
    answer_tokens: int = 0,
    tokens_per_pass: int | None = None,
    recompute: bool = False,
    moments_in_8_bits: bool = False,
) -> Need:
    """The estimate for ``recipe``: memory of the GPU, or of this process on the CPU.

    ``answer_tokens`` is the longest answer that is learned to be written; a label takes none.
    A slate is counted as QLoRA. On a GPU only 4 bits of the linear layers of a base in 4 bits are
    held.
    """
    method = "qlora" if recipe.method == "auto" else recipe.method
    base = shape.weight_bytes * shape.weights
    if method in IN_4_BITS and on_gpu:
        base = NF4 * shape.linear_weights + BF16 * shape.other_weights
    longest = recipe.max_length_tokens + answer_tokens
    # SetFit reads two texts at a time
    least = 2 * longest if method == "setfit" else longest
    tokens = max(tokens_per_pass or recipe.tokens_per_pass, least)
    kept = _kept_bytes(shape, longest, on_gpu=on_gpu) * tokens if RECIPES[method].learns else 0.0
    layers = shape.reading_layers or shape.layers
    if recompute:
        # of each layer its input, and of one all
        kept += (layers - 1) * shape.weight_bytes * shape.hidden * tokens
    else:
        kept *= layers
    # of a pass, as many positions meet the head as answers can have
    head = _SCORE_BYTES * shape.vocabulary * tokens * answer_tokens / longest
    each = _learned_bytes(shape, method) - (_IN_8_BITS if moments_in_8_bits else 0)
    learned = each * learned_weights(shape, recipe, method)
    scoring = _scoring_bytes(shape, longest, on_gpu=on_gpu, writes=answer_tokens > 0)
    return Need(
        libraries=0.0 if on_gpu else LIBRARIES_MB,
        base=base / MEGABYTE,
        learned=learned / MEGABYTE,
        activations=max(kept + head, scoring) / MEGABYTE,
    )


def _score_bytes(shape: Shape, longest: int, *, on_gpu: bool) -> float:
    """Of an attention score that is kept."""
    if on_gpu:
        return shape.kept.score_bytes_on_gpu
    return max(shape.kept.score_bytes, shape.weight_bytes if longest <= SHORT else 0.0)


def _kept_bytes(shape: Shape, longest: int, *, on_gpu: bool) -> float:
    """Of one token in one layer, until its gradient is known."""
    kept = shape.kept
    units = kept.hidden * shape.hidden + kept.inner * shape.intermediate
    scores = _score_bytes(shape, longest, on_gpu=on_gpu) * shape.heads * longest
    return shape.weight_bytes * units + scores


def _scoring_bytes(shape: Shape, longest: int, *, on_gpu: bool, writes: bool) -> float:
    """Of one pass that only answers; where answers are written, keys and values are held."""
    hidden, inner = _PASSING
    tokens = max(longest, WRITTEN_TOKENS if writes else SCORED_TOKENS)
    per_token = shape.weight_bytes * (hidden * shape.hidden + inner * shape.intermediate)
    per_token += _score_bytes(shape, longest, on_gpu=on_gpu) * shape.heads * longest
    if writes:
        per_token += shape.weight_bytes * 2 * shape.layers * shape.key_width
    return per_token * tokens


def _learned_bytes(shape: Shape, method: MethodName) -> float:
    each: float = _LEARNED_BYTES
    if shape.weight_bytes == BF16:
        # what the model computes with, and its gradient
        each += 2 * BF16
    if method in ALL_WEIGHTS:
        # held with the base already
        each -= shape.weight_bytes
    return each


def learned_weights(shape: Shape, recipe: TrainingConfig, method: MethodName) -> int:
    """How many weights a method updates on a base, a new head not counted."""
    if method in ALL_WEIGHTS:
        return shape.weights
    if method in _LORA:
        magnitudes = sum(outputs * times for _, outputs, times in shape.linear)
        lora = shape.adapter_weights(recipe.lora_rank)
        return lora + magnitudes if method == "dora" else lora
    return {
        "prefix": 2 * shape.layers * recipe.virtual_tokens * shape.key_width,
        "prompt": recipe.virtual_tokens * shape.hidden,
        # keys, values and inner activations are scaled
        "ia3": shape.layers * (2 * shape.key_width + shape.intermediate),
    }.get(method, 0)


def plan(
    base: Path,
    recipe: TrainingConfig,
    *,
    available_mb: float,
    on_gpu: bool,
    answer_tokens: int = 0,
    weight_bytes: float = BF16,
) -> Plan:
    """The fastest plan that there is memory for. ``weight_bytes`` are those of a causal base.

    On the CPU passes are as the recipe has them; on a GPU, where the recipe names none, as large as
    fits, for small ones leave it idle. Where that does not fit they are halved, then layers are
    computed again on the way back, and at last, where all weights learn on a GPU, moments are kept
    in 8 bits.

    Raises:
        DoesNotFit: no plan fits, and the recipe wants it checked; it says what would fit.
    """
    decodes = recipe.method == "auto" or RECIPES[recipe.method].words
    shape = Shape.of(base, decodes=decodes)
    if shape.weight_bytes == BF16:
        shape = replace(shape, weight_bytes=weight_bytes)
    wanted = None
    for tokens, recompute, in_8_bits in _ways(recipe, on_gpu=on_gpu, answer_tokens=answer_tokens):
        wanted = need(
            shape,
            recipe,
            on_gpu=on_gpu,
            answer_tokens=answer_tokens,
            tokens_per_pass=tokens,
            recompute=recompute,
            moments_in_8_bits=in_8_bits,
        )
        if wanted.total <= available_mb:
            return Plan(tokens, recompute, wanted, in_8_bits)
    assert wanted is not None
    if not recipe.check_memory:
        return Plan(tokens, recompute, wanted, in_8_bits)
    raise DoesNotFit(
        f"Training would take about {wanted.total:,.0f} MB at the least "
        f"(base {wanted.base:,.0f}, what learns {wanted.learned:,.0f}, activations "
        f"{wanted.activations:,.0f}, each times {OVERHEAD} for what allocators keep, libraries "
        f"{wanted.libraries:,.0f}) and {available_mb:,.0f} MB are free. Nothing was started. "
        f"{_advice(shape, recipe, available_mb, on_gpu=on_gpu, answer_tokens=answer_tokens)} "
        "training.check_memory: false starts it all the same."
    )


def picture_plan(recipe: TrainingConfig, *, positions: int, on_gpu: bool) -> Plan:
    """For pictures of so many positions each; what their passes take is not estimated.

    Where the recipe names none, a pass on a GPU is a whole batch, for small ones leave it idle.
    """
    batch = recipe.batch_size * positions
    most = batch if on_gpu else min(batch, PICTURE_TOKENS)
    return Plan(recipe.max_tokens_per_pass or max(most, positions))


def _ways(
    recipe: TrainingConfig, *, on_gpu: bool, answer_tokens: int
) -> Iterator[tuple[int, bool, bool]]:
    """Tokens of a pass, whether layers are computed again, and whether moments are in 8 bits:
    fastest first, and what rounds more at last."""
    least = recipe.max_length_tokens + answer_tokens
    most = recipe.tokens_per_pass
    if on_gpu and recipe.max_tokens_per_pass is None:
        most = recipe.batch_size * least
    sizes = [max(most, least)]
    while sizes[-1] > least:
        sizes.append(max(sizes[-1] // 2, least))
    for recompute in (False, True) if _recomputes(recipe) else (False,):
        for tokens in sizes:
            yield tokens, recompute, False
    if _rounds_moments(recipe, on_gpu=on_gpu):
        for tokens in sizes:
            yield tokens, True, True


def _recomputes(recipe: TrainingConfig) -> bool:
    return {entry.method for entry in recipe.entries()} <= RECOMPUTES


def _rounds_moments(recipe: TrainingConfig, *, on_gpu: bool) -> bool:
    return on_gpu and {entry.method for entry in recipe.entries()} <= ALL_WEIGHTS


def _advice(
    shape: Shape, recipe: TrainingConfig, available_mb: float, *, on_gpu: bool, answer_tokens: int
) -> str:
    shortest = recipe.model_copy(update={"max_length_tokens": 64})
    wanted = need(
        shape,
        shortest,
        on_gpu=on_gpu,
        answer_tokens=answer_tokens,
        tokens_per_pass=1,
        recompute=True,
        moments_in_8_bits=_rounds_moments(recipe, on_gpu=on_gpu),
    )
    if wanted.total <= available_mb:
        return "training.max_length_tokens: 64 would fit, if the texts are that short."
    return "No setting of this base would fit: take a smaller base, or a machine with more."


def peak_mb() -> float:
    """The most memory (MB) that this process has held so far: on the GPU if it computes there."""
    # what never imported torch holds nothing on a GPU
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if status.is_file():
        # what getrusage tells a child begins with its parent's peak
        (told,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(told) * 1.024 / 1e3
    # macOS tells bytes, others kilobytes
    told_in = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / told_in
