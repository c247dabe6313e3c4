"""The architectures that are known: how each reads a text, and which methods do not work on it.

A base belongs to the family that the ``model_type`` of its ``config.json`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flywheel.catalog.base_config import model_type_of, settings_of
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.config.task_types import Kind
from flywheel.errors import ConfigError

Body = Literal["causal", "encoder", "encoder-decoder", "vision"]


@dataclass(frozen=True)
class Family:
    """An architecture. ``targets`` are the linear layers of a block that LoRA adapts.

    ``refused`` says why a method that works on other bases of the same ``body`` does not here.
    """

    name: str
    body: Body
    targets: tuple[str, ...]
    refused: Mapping[MethodName, str] = field(default_factory=dict)
    pitfalls: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The methods that work on it. Those that need no base are not among them."""
        return tuple(
            name
            for name, recipe in RECIPES.items()
            if self.body in recipe.bases and name not in self.refused
        )

    def why_not(self, method: MethodName) -> str | None:
        """Why a method does not work on it, in a sentence; None: it does, or needs no base."""
        bases = RECIPES[method].bases
        if not bases or method in self.methods:
            return None
        if method in self.refused:
            return self.refused[method]
        return f"{method} needs a base that is {' or '.join(bases)}, and this one is {self.body}"


_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_BERT = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("llama", "causal", _GATED),
        Family("mistral", "causal", _GATED),
        Family("qwen2", "causal", _GATED),
        Family("gemma2", "causal", _GATED),
        Family("falcon", "causal", ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
        Family(
            "gpt_neox", "causal", ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
        ),
        Family("bert", "encoder", _BERT),
        Family("roberta", "encoder", _BERT),
        Family("distilbert", "encoder", ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2")),
        Family("modernbert", "encoder", ("Wqkv", "attn.Wo", "Wi", "mlp.Wo")),
        Family(
            "t5",
            "encoder-decoder",
            ("q", "k", "v", "o", "wi_0", "wi_1", "wo"),
            pitfalls=("by label words its decoder answers, by a head its encoder alone",),
        ),
        Family("vit", "vision", _BERT),
        Family(
            "efficientnet-lite",
            "vision",
            ("expand", "project", "last"),
            pitfalls=("its maps take memory that the estimate, made for blocks, leaves out",),
        ),
    )
}


SCORE_CAP = "final_logit_softcapping"
"""The setting of a base that squeezes the scores of its head, as Gemma 2 does."""


def score_cap(base: Path) -> float | None:
    """Within which a base's head gives its scores out; None where nothing caps them."""
    config = base / "config.json"
    if not config.is_file():
        return None
    found: float | None = settings_of(base).get(SCORE_CAP)
    return found


def family_of(base: Path) -> Family:
    """The family of a base that lies in a folder.

    Raises:
        ConfigError: its architecture is not in the catalog.
        DataError: its ``config.json`` is damaged.
    """
    found = model_type_of(base)
    if found not in FAMILIES:
        raise ConfigError(
            f"{base.name} is of the architecture {found!r}, which is not in the catalog. "
            f"Known: {', '.join(FAMILIES)}."
        )
    return FAMILIES[found]


def require_pair(
    method: MethodName | Literal["auto"], base: Path | None, kind: Kind = "text-classification"
) -> None:
    """Refuse a method on a base that it does not work on; of a slate each entry is asked.

    ``kind`` is what the use case asks for: answers are written by causal bases alone.

    Raises:
        ConfigError: it does not; it says why, and what works.
    """
    if base is None or method == "auto":
        return
    family = family_of(base)
    why = family.why_not(method)
    if why is None and kind == "text-generation" and family.body != "causal":
        why = f"to write answers it needs a base that is causal, and this one is {family.body}"
    if why is not None:
        raise ConfigError(
            f"training.method {method} does not work on {base.name} ({family.name}): {why}. "
            f"What works: {', '.join(family.methods)}."
        )
