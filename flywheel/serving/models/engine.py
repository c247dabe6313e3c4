"""A loaded version: what answers texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flywheel.catalog.base_models import verify_base
from flywheel.config import Home, ServingConfig, UseCase
from flywheel.dataset.images import Images
from flywheel.errors import ServedDiffers, TerminalError
from flywheel.modeling import artifact, fingerprint, methods
from flywheel.modeling.answerer import Answerer
from flywheel.modeling.base_cache import Bases
from flywheel.modeling.compiled import runtime
from flywheel.modeling.compiled.runtime import Runtime
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.tracking import measured_answers as measured
from flywheel.tracking import measured_versions
from flywheel.tracking.registry import Registry
from flywheel.tracking.versions import Listed

Probabilities = dict[str, float]
_PUT_BACK = "It takes no traffic. Put the files back from a backup, or go back: flywheel rollback."


class IncompatibleBase(TerminalError):
    """A version is on another base than the champion, or reads or answers otherwise."""


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

    @property
    def base_signature(self) -> Mapping[str, str]:
        """What its adapter is put on: base, method, prompt, labels and the like, by name."""

    @property
    def measured(self) -> Mapping[str, Mapping[str, float]]:
        """What it was measured to answer, by text; empty where that is not kept here."""

    @property
    def runtime(self) -> Runtime:
        """What computes its answers."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text in its prompt."""

    def answer(self, texts: Sequence[str]) -> list[Probabilities]:
        """Probabilities of each text, in order."""


class ModelSource(Protocol):
    """Where versions come from."""

    def aliases(self) -> Mapping[str, str]:
        """Alias → number of the version that holds it."""

    def listed(self) -> Sequence[Listed]:
        """Every version, with its aliases and tags."""

    def load(self, version: str, *, beside: Engine | None = None) -> Engine:
        """Load one; it is what was measured, or this raises.

        It is on the same ground as ``beside``, where that is given, or is not loaded.
        """


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version's adapter on its base, with the prompt and labels that it was registered with."""

    version: str
    digest: str
    use_case: UseCase
    answerer: Answerer
    base_signature: Mapping[str, str]
    measured: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False)
    runtime: Runtime = "torch"

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.answerer.lengths(texts)

    def answer(self, texts: Sequence[str]) -> list[Probabilities]:
        """As `flywheel.modeling.answerer.Answerer.answer`.

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
class RegistryModelSource:
    """The versions of one use case in the registry; those on one base share what it takes.

    Without ``serving`` each answers by the runtime that it was registered with.
    """

    home: Home
    name: str
    serving: ServingConfig | None = None
    bases: Bases = field(default_factory=Bases)

    def aliases(self) -> Mapping[str, str]:
        """As the registry has them now.

        Raises:
            RegistryUnavailable: it did not answer.
        """
        return {alias: one.version for one in self.listed() for alias in one.aliases}

    def listed(self) -> Sequence[Listed]:
        """As the registry has them now, the oldest first.

        Raises:
            RegistryUnavailable: it did not answer.
        """
        return Registry(self.home).versions(self.name)

    def load(self, version: str, *, beside: Engine | None = None) -> LoadedVersion:
        """Load a version as MLflow would serve it, in its own prompt and labels.

        Its files are data: no code that lies in the registry is run.

        Raises:
            DigestMismatch: no night of this home measured it, or it is not what was measured; it
                says what differs.
            DataError: it was not registered by a night, or its base is not complete.
            RegistryUnavailable: the registry did not answer.
            IncompatibleBase: it is not on the ground of ``beside``; it says what differs.
        """
        registry = Registry(self.home)
        found = registry.by_version(self.name, version)
        who = f"{found.name} version {found.version}"
        measured_as = measured_versions.require_measured(
            measured_versions.read(self.home.measured, self.name),
            found.version,
            found.digest,
            what=who,
            so=f"It takes no traffic. To go back: flywheel rollback -u {found.name} --yes",
        )
        use_case = UseCase.model_validate(found.served_config()["use_case"])
        base = artifact.base_folder(use_case, self.home, found.adapter_dir)
        here = fingerprint.of(use_case, base, found.adapter_dir)
        so = (
            "It takes no traffic. The next night measures the champion anew: "
            f"flywheel night -u {found.name}"
        )
        fingerprint.require_same(found.measured, here, what=who, so=so)
        measured_versions.require_files(measured_as, found.folder, what=who, so=_PUT_BACK)
        ground = _base_signature(here, artifact.read(use_case, found.adapter_dir).method)
        if beside is not None:
            _require_same_base(beside, ground, who)
        with self.bases.shared():
            # what is in memory was hashed when it got there
            if base is not None and not self.bases.holds(base):
                verify_base(base)
            answerer = methods.load_on(
                use_case.on_runtime_of(self.serving or use_case.serving),
                base,
                found.adapter_dir,
                images=self.home.images,
                # those of segments stand on one base, which is torch's
                compiled=None if beside is not None else self.home.compiled(use_case.name),
            )
        sample = measured.read(self.home.measured, found.name, found.digest)
        if use_case.is_image:
            images = Images(self.home.images)
            # who was forgotten took the picture along
            sample = {text: a for text, a in sample.items() if images.path(text).is_file()}
        return LoadedVersion(
            found.version,
            found.digest,
            use_case,
            answerer,
            ground,
            sample,
            runtime=runtime.runtime_of(answerer),
        )


def _base_signature(found: Fingerprint, method: str) -> dict[str, str]:
    return {"method": method} | {n: v for n, v in found.parts.items() if n != "adapter"}


def _require_same_base(beside: Engine, ground: Mapping[str, str], who: str) -> None:
    differing = [
        f"{name} {ground.get(name, 'none')} instead of {beside.base_signature.get(name, 'none')}"
        for name in {**beside.base_signature, **ground}
        if ground.get(name) != beside.base_signature.get(name)
    ]
    if differing:
        raise IncompatibleBase(
            f"{who} cannot stand beside the champion, version {beside.version}: "
            f"{', '.join(differing)}. It was not loaded."
        )
