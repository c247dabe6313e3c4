"""A version of a model as the registry knows it, and what its files say it is served with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.files import bounded_yaml
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.tracking import model_files
from flywheel.tracking.version_tags import VersionTags


@dataclass(frozen=True)
class Version:
    """A registered model version and where its adapter lies."""

    name: str
    version: str
    digest: str
    snapshot_id: str
    adapter_dir: Path
    forgotten_in: str | None = None
    """The certificate that says it learned from somebody who was forgotten since."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What its digest is made of; empty for versions registered before that was kept."""

    @property
    def measured(self) -> Fingerprint:
        return Fingerprint(self.digest, self.parts)

    @property
    def folder(self) -> Path:
        """The whole model in the registry, of which the adapter is a part.

        Raises:
            DataError: it was not logged as a model.
        """
        for folder in self.adapter_dir.parents:
            if (folder / model_files.MODEL_FILE).is_file():
                return folder
        raise _not_ours(self)

    def served_config(self) -> dict[str, Any]:
        """What it is served with: its ``use_case``, and the ``digest`` it insists on.

        Read as data: MLflow would run what a folder in the registry names as code.

        Raises:
            DataError: it was not logged as a model that flywheel serves.
        """
        try:
            told = bounded_yaml.load((self.folder / model_files.MODEL_FILE).read_bytes())
            config = dict(told["flavors"]["python_function"]["config"])
        except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise _not_ours(self) from error
        if "use_case" not in config or "digest" not in config:
            raise _not_ours(self)
        return config

    def served_use_case(self) -> UseCase:
        """The use case that it is served with: its own prompt, labels and lengths.

        Raises:
            DataError: it was not logged as a model that flywheel serves.
        """
        return UseCase.model_validate(self.served_config()["use_case"])

    def answer_as_served(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Answer as ``mlflow models serve`` does, with our own code: label and probabilities.

        Its files are data. No code and no pickle that lies beside them is run.

        Raises:
            DigestMismatch: it refuses to answer.
        """
        from flywheel.tracking.pyfunc_model import answer

        return answer(self.adapter_dir, self.served_config(), texts)


@dataclass(frozen=True)
class Listed:
    """A version as the registry lists it; its adapter is not looked for."""

    version: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @cached_property
    def record(self) -> VersionTags:
        """What flywheel wrote into its tags."""
        return VersionTags.read(self.tags)


def _not_ours(version: Version) -> DataError:
    return DataError(f"{version.name} version {version.version} is no model of flywheel's.")
