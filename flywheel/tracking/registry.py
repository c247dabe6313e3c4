"""MLflow: runs, model versions, aliases. The only module that talks to it.

A version holds the adapter only and pins the base by hash. "No champion yet" is what the registry
states when it answers that the alias does not exist; any other trouble raises.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from flywheel.access.mlflow_password import let_in
from flywheel.config import Home, UseCase
from flywheel.errors import DataError, RegistryUnavailable, VersionGone
from flywheel.modeling import artifact, fingerprint
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.tracking import model_files
from flywheel.tracking.metric_names import nameable, shortened
from flywheel.tracking.relocation import follow_move, is_there
from flywheel.tracking.version_tags import NO_CHAMPION, VersionTags
from flywheel.tracking.versions import Listed, Version

CHAMPION, CHALLENGER = "champion", "challenger"
MOST_DESCRIPTION_CHARS = 5_000
"""MLflow's databases hold no longer description."""


@contextmanager
def _mlflow(otherwise: str, *, missing: VersionGone | None = None) -> Iterator[None]:
    """Ask MLflow; ``otherwise`` says what failed.

    Raises:
        RegistryUnavailable: it failed, or did not answer.
        VersionGone: ``missing``, where it answered that there is no such thing.
    """
    try:
        yield
    except MlflowException as error:
        if missing and error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise missing from error
        raise RegistryUnavailable(f"{otherwise}: {error}") from error


class Registry:
    """The model registry of one flywheel home; a home gets one with its first version."""

    def __init__(self, home: Home) -> None:
        self.home = home
        follow_move(home)
        let_in(home.root, home.mlflow_uri, os.environ)
        mlflow.set_tracking_uri(home.mlflow_uri)

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own; whoever asks for it has the database made where there is none."""
        return MlflowClient(tracking_uri=self.home.mlflow_uri)

    @property
    def _is_empty(self) -> bool:
        """Whether nothing was ever registered here: to read makes no database."""
        return not is_there(self.home)

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that holds ``alias``; None only when the registry says there is none.

        Raises:
            RegistryUnavailable: the registry did not answer.
        """
        if self._is_empty:
            return None
        none = VersionGone(f"{name} has no {alias}.")
        try:
            with _mlflow(f"MLflow did not answer for {name}@{alias}", missing=none):
                aliases = self.client.get_registered_model(name).aliases
                if alias not in aliases:
                    return None
                found = self.client.get_model_version(name, aliases[alias])
        except VersionGone:
            return None
        return self._version(found)

    def by_digest(self, name: str, digest: str) -> Version | None:
        """The version with this digest, if it was registered before."""
        if self._is_empty:
            return None
        with _mlflow(f"MLflow did not answer for {name}"):
            found = self.client.search_model_versions(
                f"name = '{name}' and tags.digest = '{digest}'"
            )
        # two have it where the first was registered without the order of its labels
        newest = max(found, key=lambda one: int(one.version), default=None)
        return self._version(newest) if newest else None

    def opponent_of(self, name: str, digest: str) -> Version | None:
        """The version that a challenger with ``digest`` stands against.

        The champion; but when the challenger is champion already, the one before, so that a night
        which died while promoting comes to the same verdict again.
        """
        champion = self.by_alias(name, CHAMPION)
        if champion is not None and champion.digest != digest:
            return champion
        known = self.by_digest(name, digest)
        if known is None:
            return champion
        before = self._tags(known).champion_before
        if before is None:
            raise DataError(
                f"{name} version {known.version} does not say which champion it was compared with "
                "(tag champion_before). Nothing was changed; the next night registers another."
            )
        return None if before == NO_CHAMPION else self.by_version(name, before)

    def by_version(self, name: str, version: str) -> Version:
        """One version by its number.

        Raises:
            RegistryUnavailable: the registry did not answer.
            VersionGone: it, or its files, were deleted.
        """
        gone = VersionGone(f"{name} version {version} is not in MLflow any more.")
        if self._is_empty:
            raise gone
        with _mlflow(f"MLflow did not answer for {name} version {version}", missing=gone):
            found = self.client.get_model_version(name, version)
        return self._version(found)

    def names(self) -> tuple[str, ...]:
        """Every registered model, also of others who use the same registry.

        Raises:
            RegistryUnavailable: the registry did not answer.
        """
        found: list[str] = []
        token: str | None = None
        while not self._is_empty:
            try:
                models = self.client.search_registered_models(page_token=token)
            except MlflowException as error:
                raise RegistryUnavailable(f"MLflow did not name its models: {error}") from error
            found += [one.name for one in models]
            token = models.token
            if not token:
                break
        return tuple(sorted(found))

    def versions(self, name: str) -> tuple[Listed, ...]:
        """Every version, the oldest first; none when the registry has no such model.

        Raises:
            RegistryUnavailable: the registry did not answer.
        """
        if self._is_empty:
            return ()
        with _mlflow(f"MLflow did not answer for {name}"):
            found = self.client.search_model_versions(f"name = '{name}'")
            held = self.client.get_registered_model(name).aliases if found else {}
        return tuple(
            Listed(
                version=str(one.version),
                tags=dict(one.tags),
                aliases=tuple(sorted(a for a, v in held.items() if str(v) == str(one.version))),
            )
            for one in sorted(found, key=lambda one: int(one.version))
        )

    def champion(self, name: str) -> str | None:
        """The champion's number; None only when the registry states that there is none.

        Raises:
            RegistryUnavailable: the registry did not answer.
        """
        held = (one.version for one in self.versions(name) if CHAMPION in one.aliases)
        return next(held, None)

    def champion_digest(self, name: str) -> str | None:
        """As what the champion was measured; None without one. Its files are not looked for."""
        held = (one.record.digest for one in self.versions(name) if CHAMPION in one.aliases)
        return next(held, None) or None

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version, which its page shows."""
        with _mlflow(f"MLflow could not tag {name} version {version}"):
            for key, value in tags.items():
                self.client.set_model_version_tag(name, version, key, value)

    def untag(self, name: str, version: str, *keys: str) -> None:
        """Take tags off a version; those that it does not have are no trouble."""
        with _mlflow(f"MLflow could not take a tag off {name} version {version}"):
            there = self.client.get_model_version(name, version).tags
            for key in keys:
                if key in there:
                    self.client.delete_model_version_tag(name, version, key)

    def folder_sha256(self, version: Version) -> str | None:
        """The hash of the files that it was registered with; None before that was kept."""
        return self._tags(version).folder_sha256

    def mark_forgotten(self, name: str, version: str, certificate_id: str) -> None:
        """Tag a version that learned from somebody who is forgotten now; its page says so."""
        gone = VersionTags(forgotten_data=True, certificate_id=certificate_id)
        self.tag(name, version, gone.written())

    def learned_from_forgotten(self, name: str, digest: str) -> bool:
        """Whether a version with this digest learned from somebody who is forgotten now."""
        return any(
            one.record.digest == digest and one.record.certificate_id is not None
            for one in self.versions(name)
        )

    def _tags(self, version: Version) -> VersionTags:
        return VersionTags.read(self.client.get_model_version(version.name, version.version).tags)

    def register(
        self,
        use_case: UseCase,
        *,
        adapter: Path,
        tags: VersionTags,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        curve: Sequence[Mapping[str, float]],
        run_name: str,
        description: str,
    ) -> Version:
        """Log a run and register its adapter as a version; once for each digest.

        Raises:
            RegistryUnavailable: MLflow failed; nothing is promoted, a re-run registers again.
        """
        digest = tags.digest
        known = self.by_digest(use_case.name, digest)
        if known and not self._lost_order(use_case, known):
            return known
        base = artifact.base_folder(use_case, self.home, adapter)
        parts = fingerprint.of(use_case, base, adapter).parts
        with _mlflow(f"MLflow could not register the challenger of {use_case.name}"):
            experiment_id = self.experiment(use_case.name)
            with mlflow.start_run(
                experiment_id=experiment_id, run_name=run_name, tags=tags.written()
            ):
                mlflow.log_params(dict(params))
                mlflow.log_metrics(nameable(metrics))
                self._log_curve(curve)
                self._log_snapshot(tags.snapshot_id)
                info = self._log_model(use_case, adapter, Fingerprint(digest, parts))
            self._ensure_model(use_case)
            result = self.client.create_model_version(
                use_case.name,
                info.model_uri,
                run_id=info.run_id,
                model_id=info.model_id,
                tags=replace(
                    tags,
                    label_set=fingerprint.label_set(use_case),
                    folder_sha256=_folder_sha256(info.model_uri),
                    parts=parts,
                ).written(),
                description=shortened(description, MOST_DESCRIPTION_CHARS),
            )
        return self._version(self.client.get_model_version(use_case.name, result.version))

    def attach(self, version: Version, path: str, content: str) -> None:
        """Put a text file beside a version's run, ``path`` within its artifacts."""
        with _mlflow(f"MLflow could not keep {path} of {version.name} version {version.version}"):
            run_id = self.client.get_model_version(version.name, version.version).run_id
            self.client.log_text(str(run_id), content, path)

    def log_live(
        self, name: str, version: str, metrics: Mapping[str, float], *, at: datetime
    ) -> None:
        """Put figures of a night in service beside a version's own; again changes nothing shown."""
        now_ms, step = int(at.timestamp() * 1_000), at.date().toordinal()
        with _mlflow(f"MLflow could not keep the figures of {name} version {version}"):
            run_id = str(self.client.get_model_version(name, version).run_id)
            for key, value in metrics.items():
                self.client.log_metric(run_id, key, value, timestamp=now_ms, step=step)

    def describe(self, version: Version, tags: VersionTags, description: str) -> None:
        """Put tonight's verdict onto a version's page."""
        with _mlflow(f"MLflow could not describe {version.name} version {version.version}"):
            for name, value in tags.written().items():
                self.client.set_model_version_tag(version.name, version.version, name, value)
            shown = shortened(description, MOST_DESCRIPTION_CHARS)
            self.client.update_model_version(version.name, version.version, shown)

    def set_alias(self, version: Version, alias: str) -> None:
        """Move ``alias`` to ``version``."""
        with _mlflow(f"MLflow could not move {alias}"):
            self.client.set_registered_model_alias(version.name, alias, version.version)

    def experiment(self, name: str) -> str:
        """The experiment of a use case, made when there is none; its id."""
        found = mlflow.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        location = (self.home.mlflow_artifacts / name).as_uri()
        return str(mlflow.create_experiment(name, artifact_location=location))

    def _log_model(self, use_case: UseCase, adapter: Path, measured: Fingerprint) -> Any:
        with warnings.catch_warnings():
            # said of MLflow's own types when it first imports them
            warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
            return mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                artifacts={"adapter": str(adapter)},
                model_config={
                    "use_case": use_case.model_dump(mode="json"),
                    "digest": measured.digest,
                    "parts": dict(measured.parts),
                },
                # beside flywheel itself, which comes from its checkout
                pip_requirements=fingerprint.requirements(use_case.kind),
            )

    def _lost_order(self, use_case: UseCase, known: Version) -> bool:
        """Whether it was registered when MLflow still sorted its labels, so that it refuses."""
        served = known.served_use_case().label_names
        return served != use_case.label_names and set(served) == set(use_case.label_names)

    def _ensure_model(self, use_case: UseCase) -> None:
        shown = shortened(use_case.description, MOST_DESCRIPTION_CHARS)
        try:
            self.client.create_registered_model(use_case.name, description=shown)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def _log_snapshot(self, snapshot_id: str) -> None:
        source = CodeDatasetSource(tags={"snapshot_id": snapshot_id})
        snapshot = MetaDataset(source, "snapshot", snapshot_id)  # type: ignore[abstract]
        mlflow.log_input(snapshot, context="training")

    def _log_curve(self, curve: Sequence[Mapping[str, float]]) -> None:
        run = mlflow.active_run()
        assert run is not None
        points = [
            Metric(key, row[key], 0, int(row["step"]))
            for row in curve
            for key in ("loss", "learning_rate")
        ]
        for start in range(0, len(points), 1_000):
            self.client.log_batch(run.info.run_id, metrics=points[start : start + 1_000])

    def _version(self, found: Any) -> Version:
        tags = VersionTags.read(found.tags)
        if not tags.is_by_night:
            raise DataError(
                f"{found.name} version {found.version} has no digest or snapshot_id tag: it was "
                "not registered by a night and cannot be used. "
                f"Tags: {json.dumps(dict(found.tags))}"
            )
        return Version(
            name=found.name,
            version=str(found.version),
            digest=tags.digest,
            snapshot_id=tags.snapshot_id,
            adapter_dir=self._adapter(found.name, found.version),
            forgotten_in=tags.certificate_id,
            parts=tags.parts,
        )

    def _adapter(self, name: str, version: str) -> Path:
        try:
            folder = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/{version}")
        except OSError as error:
            raise VersionGone(f"The files of {name} version {version} are gone: {error}") from error
        found = list(Path(folder).rglob("adapter_model.safetensors"))
        if len(found) != 1:
            raise (DataError if found else VersionGone)(
                f"{name} version {version} holds {len(found)} adapters; a version that a night "
                "registered holds one."
            )
        return found[0].parent


def _folder_sha256(uri: str) -> str:
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    return model_files.folder_sha256(model_files.hashes(folder))
