"""Versions without a model, for what is about the service and not about a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.modeling.compiled.runtime import Runtime
from flywheel.serving.models.engine import Engine, IncompatibleBase
from flywheel.tracking.registry import CHAMPION
from flywheel.tracking.versions import Listed


@dataclass(eq=False)
class WordCounter:
    """Answers by how long a text is; ``batches`` are the texts of each pass."""

    version: str
    use_case: UseCase
    pass_s: float = 0.0
    fault: Callable[[Sequence[str]], None] = lambda texts: None
    batches: list[list[str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    base_signature: Mapping[str, str] = field(default_factory=lambda: {"base": "b1"})
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    runtime: Runtime = "torch"

    @property
    def digest(self) -> str:
        return f"digest-{self.version}"

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def answer(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        self.fault(texts)
        time.sleep(self.pass_s)
        labels = self.use_case.label_names
        found = []
        for text in texts:
            first = 1 / (2 + len(text))
            rest = (1 - first) / (len(labels) - 1)
            found.append({label: first if i == 0 else rest for i, label in enumerate(labels)})
        return found


@dataclass
class OpenModelSource:
    """Versions that are there; ``named`` is alias → number, moved by whoever tests."""

    versions: Mapping[str, WordCounter]
    named: dict[str, str] = field(default_factory=lambda: {CHAMPION: "1"})
    loaded: list[str] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Version → tags beside its digest's."""
    missing: set[str] = field(default_factory=set)
    """Versions that are listed and cannot be loaded."""

    def aliases(self) -> Mapping[str, str]:
        return dict(self.named)

    def listed(self) -> Sequence[Listed]:
        named = dict(self.named)
        return [
            Listed(
                version=number,
                tags={"digest": one.digest, **self.tags.get(number, {})},
                aliases=tuple(alias for alias, held in named.items() if held == number),
            )
            for number, one in self.versions.items()
        ]

    def load(self, version: str, *, beside: Engine | None = None) -> WordCounter:
        self.loaded.append(version)
        if version not in self.versions or version in self.missing:
            raise DataError(f"no version {version}")
        found = self.versions[version]
        if beside is not None and found.base_signature != beside.base_signature:
            raise IncompatibleBase(f"{version} is on another base")
        return found
