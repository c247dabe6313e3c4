"""A loaded version: what answers texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flywheel import artefact, fingerprint, methods
from flywheel.bases import verify_base
from flywheel.config import Home, UseCase
from flywheel.errors import ServedDiffers
from flywheel.registry import Registry

Probabilities = dict[str, float]


class Engine(Protocol):
    """A version that is loaded. ``lengths`` and ``answer`` are called on one thread only."""

    @property
    def version(self) -> str:
        """Its number in the registry."""

    @property
    def digest(self) -> str:
        """What it was measured as."""

    @property
    def use_case(self) -> UseCase:
        """The prompt and labels that it was registered with."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text in its prompt."""

    def answer(self, texts: Sequence[str]) -> list[Probabilities]:
        """Probabilities of each text, in order."""


class Shelf(Protocol):
    """Where versions come from."""

    def aliases(self) -> Mapping[str, str]:
        """Alias → number of the version that holds it."""

    def load(self, version: str) -> Engine:
        """Load one; it is what was measured, or this raises."""


@dataclass(frozen=True)
class LoadedVersion:
    """A version's adapter on its base, with the prompt and labels that it was registered with."""

    version: str
    digest: str
    use_case: UseCase
    answerer: methods.Answerer

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.answerer.lengths(texts)

    def answer(self, texts: Sequence[str]) -> list[Probabilities]:
        """As `flywheel.methods.Answerer.answer`.

        Raises:
            ServedDiffers: a probability is not a number.
        """
        answers, _ = self.answerer.answer(texts)
        if not all(math.isfinite(p) for answer in answers for p in answer.values()):
            raise ServedDiffers(
                f"{self.use_case.name} version {self.version} answered with what is no number."
            )
        return answers


@dataclass(frozen=True)
class RegistryShelf:
    """The versions of one use case in the registry."""

    home: Home
    name: str

    def aliases(self) -> Mapping[str, str]:
        """As the registry has them now.

        Raises:
            RegistryUnavailable: it did not answer.
        """
        listed = Registry(self.home).versions(self.name)
        return {alias: one.version for one in listed for alias in one.aliases}

    def load(self, version: str) -> LoadedVersion:
        """Load a version as MLflow would serve it, in its own prompt and labels.

        Raises:
            DigestMismatch: it is not what was measured; it says what differs.
            DataError: it was not registered by a night, or its base is not complete.
            RegistryUnavailable: the registry did not answer.
        """
        registry = Registry(self.home)
        found = registry.by_version(self.name, version)
        use_case = UseCase.model_validate(registry.served_config(found)["use_case"])
        base = artefact.base_folder(use_case, self.home, found.adapter_dir)
        if base is not None:
            verify_base(base)
        fingerprint.require_same(
            found.measured,
            fingerprint.of(use_case, base, found.adapter_dir),
            what=f"{found.name} version {found.version}",
            so="It takes no traffic.",
        )
        answerer = methods.load_on(use_case, base, found.adapter_dir, images=self.home.images)
        return LoadedVersion(found.version, found.digest, use_case, answerer)
