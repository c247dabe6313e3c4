"""The model that MLflow serves: a version's adapter on the pinned base, read by the same code.

Logged as code, so no pickle is involved. It refuses to answer when what it loaded is not what the
gate measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel
from pydantic import BaseModel


class Answer(BaseModel):
    """What a text is answered with; MLflow reads the model's signature off it."""

    label: str
    probabilities: dict[str, float]


class ServedModel(PythonModel):
    """Answers a list of texts with a label and the probability of every label."""

    def load_context(self, context: Any) -> None:
        """Load base and adapter, and compare their digest with the measured one.

        Raises:
            DigestMismatch: base, adapter, prompt, labels or a library differ; it says which.
        """
        from flywheel.catalog.base_models import verify_base
        from flywheel.config import Home, UseCase
        from flywheel.modeling import artifact, fingerprint, methods

        self.use_case = UseCase.model_validate(context.model_config["use_case"])
        adapter = Path(context.artifacts["adapter"])
        base = artifact.base_folder(self.use_case, Home(), adapter)
        if base is not None:
            verify_base(base)
        config = context.model_config
        fingerprint.require_same(
            # versions registered before parts were kept have none
            fingerprint.Fingerprint(config["digest"], config.get("parts") or {}),
            fingerprint.of(self.use_case, base, adapter),
            what=f"This version of {self.use_case.name}",
            so="Nothing is served.",
        )
        home = Home()
        self.answerer = methods.load_on(
            self.use_case,
            base,
            adapter,
            images=home.images,
            compiled=home.compiled(self.use_case.name),
        )

    def predict(  # type: ignore[override]
        self, context: Any, model_input: list[str]
    ) -> list[Answer]:
        """One ``{"label": ..., "probabilities": {...}}`` per text, in order."""
        answers, _ = self.answerer.answer(list(model_input))
        # plain dictionaries, because that is what MLflow can send
        found: list[Any] = [
            {"label": max(each, key=each.__getitem__), "probabilities": each} for each in answers
        ]
        return found


def answer(adapter: Path, config: Mapping[str, Any], texts: Sequence[str]) -> list[dict[str, Any]]:
    """What `ServedModel` answers, without MLflow loading it: nothing of the registry is run.

    Args:
        adapter: The version's adapter folder.
        config: What the version is served with
        (`flywheel.tracking.versions.Version.served_config`). texts: What is asked.

    Raises:
        DigestMismatch: as `ServedModel.load_context`.
    """
    model = ServedModel()
    model.load_context(
        SimpleNamespace(artifacts={"adapter": str(adapter)}, model_config=dict(config))
    )
    found: list[Any] = model.predict(None, list(texts))
    return found


mlflow.models.set_model(ServedModel())
