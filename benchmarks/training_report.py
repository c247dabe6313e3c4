"""The page of training, made from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.training_arms import NAMES_OF_IDEAS

EXPECTED: dict[str, str] = {
    "plain_layers": "fewer steps to hand on, the low-rank update within the product",
    "plain_products": "three elementwise passes over each output go away",
    "plain_norms": "fewer passes in float32",
    "plain_attention": "its kernel is slow backwards for rows of some 25 tokens",
    "no_shortcuts": "the three together",
    "compiled": "the elementwise steps become one, at the price of compiling first",
    "any_order": "less padding: random batches pad 12-token texts to 30 and more",
    "narrow_pools": "less padding the more batches are sorted together",
    "no_rounding": "less padding, at the price of more shapes to prepare kernels for",
    "double_pass": "larger products, nearer to the limit",
    "float32_adapter": "finer small steps, at the price of casts",
    "packed_weights": "less memory, at the price of unpacking",
    "half_threads": "where two threads share one core's matrix unit, little is lost",
}
KEPT: dict[str, str] = {
    "plain_layers": "kept, for layers of Llama and Mistral",
    "plain_products": "kept for other layers, and to answer",
    "plain_norms": "kept for other layers, and to answer",
    "plain_attention": "kept for other layers, and to answer",
    "no_shortcuts": "kept: all three",
    "compiled": "dropped: slower, its compiling included, and needs a C++ compiler",
    "any_order": "kept: batches of similar length",
    "narrow_pools": "kept: pools of 16 batches",
    "no_rounding": "dropped: more memory, and no faster",
    "double_pass": "dropped: no faster, for its memory",
    "float32_adapter": "dropped: slower",
    "packed_weights": "dropped on the CPU: slower",
    "half_threads": "left to OMP_NUM_THREADS",
}
ANSWERED_ALIKE = ("ours", "plain_layers", "any_order", "narrow_pools", "double_pass")
"""Ways that differ in training only."""


def page(found: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    cells = found["arms"]
    ours = cells["ours"]
    lines = [
        "# Training and scoring, close to the machine's limit",
        "",
        f"`python -m benchmarks.training --write --seeds {found['seeds']}` made this page: "
        f"{found['rows']} labels of the default data, {found['seeds']} draws, each "
        "way in a process of its own, one after the other, on the same rows. Figures are medians "
        "over draws, accuracies are means.",
        "",
        "| | rows/s | tokens/s | accuracy | peak MB |",
        "|---|--:|--:|--:|--:|",
        _row("flywheel", ours),
        _row("stock: Trainer + PEFT + bitsandbytes", cells["stock"]),
        f"| bare matrix products | | {_median(cells['matrix_limit'], 'tokens_per_s'):.0f} | | |",
        "",
        f"That is {found['ratio']:.1f} times the stock recipe's rows per second and "
        f"{100 * found['share_of_matrix_limit']:.0f} % of what bare matrix products allow. Scoring "
        f"answers {_median(ours, 'scored_per_s'):.0f} rows per second, "
        f"{found['scoring_ratio']:.1f} times `transformers.pipeline` with its defaults.",
        "",
        "## What each idea brought",
        "",
        "Ours without the idea, or with another choice, on the first draw; speed: share of ours.",
        "",
        "| way | expected of the idea | speed | accuracy | peak MB | |",
        "|---|---|--:|--:|--:|---|",
    ]
    for arm, name in NAMES_OF_IDEAS.items():
        if arm == "ours" or arm not in cells:
            continue
        share = cells[arm][0]["rows_per_s"] / ours[0]["rows_per_s"]
        lines.append(
            f"| {name} | {EXPECTED[arm]} | {share:.2f} | {_mean(cells[arm], 'accuracy'):.3f} "
            f"| {_median(cells[arm], 'peak_memory_mb'):.0f} | {KEPT[arm]} |"
        )
    lines += [
        "",
        f"Ours on that draw: accuracy {ours[0]['accuracy']:.3f}, "
        f"{ours[0]['peak_memory_mb']:.0f} MB. An accuracy on {found['holdout_rows']} rows is "
        f"known to about ± {100 * found['half_width']:.1f} points; that these ways differ by less "
        f"says nothing. {_steadiness(cells)}That the shortcuts compute the same is tested, not "
        "measured: `tests/modeling/test_shortcuts.py`, `tests/modeling/test_decoder_layer.py` and, "
        "on the default base, `tests/modeling/test_default_base.py`.",
        "",
        *_where(cells.get("profile", []), found["share_of_matrix_limit"]),
        "Not measured here: anything on a GPU, where the base stays in 4 bits and the libraries' "
        "own kernels are used.",
        "",
    ]
    return "\n".join(lines)


def _steadiness(cells: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """How fast the machine was when it did the same, in words."""
    same = [cells[arm][0]["scored_per_s"] for arm in ANSWERED_ALIKE if arm in cells]
    if len(same) < 2:
        return ""
    return (
        f"Nor was the machine steady: ways that answer by the same code scored {min(same):.0f} to "
        f"{max(same):.0f} rows a second. "
    )


def _where(profiles: Sequence[Mapping[str, float]], share_of_limit: float) -> list[str]:
    if not profiles:
        return []
    products = profiles[0]["matrix products"]
    return [
        "## Where the time goes",
        "",
        "By PyTorch's profiler, over one epoch of a part of the rows:",
        "",
        "| work | share |",
        "|---|--:|",
        *(f"| {kind} | {100 * share:.0f} % |" for kind, share in profiles[0].items()),
        "",
        f"Were all but the products free, that would be {100 * share_of_limit / products:.0f} % of "
        "the limit. The rest is lost inside them: a training's products write what they compute to "
        "memory, and the limit's forget it.",
        "",
    ]


def _row(name: str, cells: Sequence[Mapping[str, float]]) -> str:
    return (
        f"| {name} | {_median(cells, 'rows_per_s'):.2f} | {_median(cells, 'tokens_per_s'):.0f} "
        f"| {_mean(cells, 'accuracy'):.3f} | {_median(cells, 'peak_memory_mb'):.0f} |"
    )


def _median(cells: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(cell[name] for cell in cells)


def _mean(cells: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.mean(cell[name] for cell in cells)
