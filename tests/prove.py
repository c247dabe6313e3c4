"""Prove each architecture with each method that claims it, and write down what was seen.

    make prove    # python -m tests.prove; writes flywheel/catalog/proven.json; a minute

Built tiny with random weights, trained for two steps, saved, reloaded, served: the same answers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
import warnings
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest

from flywheel.catalog.families import FAMILIES, Family
from flywheel.config import Home, TrainingConfig, UseCase, load_use_case
from flywheel.libraries import DECISIVE_LIBRARIES, library_version
from flywheel.modeling import artifact, fingerprint, methods
from flywheel.modeling.answerer import Probabilities
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work
from flywheel.reports import model_card_data
from tests.architectures import make_architecture
from tests.pictures import KINDS, draw, encoded

TEXTS = ["it works good", "it broke bad", "the screen", "good fine", "bad screen", "it the review"]
TARGETS = [[2], [0], [1], [2], [0], [1]]
STEPS = 2


class NotProven(Exception):
    """A pair did something else than it claims."""


def base_of(family: str, home: Home, use_case: UseCase) -> Path:
    """The tiny base of a family in a home, made on first use."""
    folder = home.models / family
    return (
        folder
        if folder.is_dir()
        else make_architecture(folder, family, labels=use_case.label_names)
    )


def task(family: str, use_case: UseCase) -> tuple[UseCase, list[str], list[list[int]]]:
    """A use case that a family can serve, its inputs and the numbers of their labels."""
    if FAMILIES[family].body != "vision":
        return use_case, TEXTS, TARGETS
    content = use_case.model_dump(mode="json", exclude={"prompt", "training", "curation", "gate"})
    seen = UseCase.model_validate(
        {
            **content,
            "kind": "image-classification",
            "labels": {kind: kind for kind in KINDS},
            "curation": {"gold_sources": ["gold"]},
            "training": {"method": "full", "base": family},
            "gate": {"min_accuracy": 0.5},
        }
    )
    pictures = [encoded(draw(KINDS[i % 2], i)) for i in range(6)]
    urls = [f"data:image/png;base64,{b64encode(each).decode()}" for each in pictures]
    return seen, urls, [[i % 2] for i in range(6)]


def prove(family: str, method: str, home: Home, use_case: UseCase, *, served: bool) -> None:
    """Train a pair, and let it answer as trained, as reloaded and, if wanted, as served.

    Raises:
        NotProven: the answers differ, or do not depend on the text.
    """
    base = base_of(family, home, use_case)
    case, inputs, targets = task(family, use_case)
    settings = {"method": method, "base": family, "batch_size": len(inputs) // STEPS}
    recipe = TrainingConfig.model_validate({**settings, "epochs": 1, "min_steps": 0})
    case = case.model_copy(update={"training": recipe})
    folder = home.root / f"{family}-{method}"
    folder.mkdir()
    fitted = methods.method(method).train(
        Work(
            use_case=case,
            base=base,
            rows=Rows(inputs, targets, [1.0] * len(inputs)),
            folder=folder,
            max_tokens=64,
            on_step=lambda *_: None,
        )
    )
    artifact.write(folder, Artifact(method, family))
    if recipe.recipe.learns and len(fitted.losses) < STEPS:
        raise NotProven(f"it made {len(fitted.losses)} steps of {STEPS}")
    expected, _ = fitted.answerer.answer(inputs)
    if len({json.dumps(answer) for answer in expected}) == 1:
        raise NotProven("every text got the same answer")
    found, _ = methods.load_on(case, base, folder).answer(inputs)
    _require_same(found, expected, "reloaded")
    if served:
        _require_same(_served(case, base, folder, inputs), expected, "served")


def _served(case: UseCase, base: Path, folder: Path, inputs: list[str]) -> list[Probabilities]:
    """What MLflow's model answers, digest and all."""
    with warnings.catch_warnings():
        # MLflow's own, of its own types
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
        from flywheel.tracking.pyfunc_model import ServedModel

    measured = fingerprint.of(case, base, folder)
    config = {
        "use_case": case.model_dump(mode="json"),
        "digest": measured.digest,
        "parts": dict(measured.parts),
    }
    model = ServedModel()
    context = SimpleNamespace(model_config=config, artifacts={"adapter": str(folder)})
    model.load_context(context)
    answers = model.predict(context, inputs)
    return [answer["probabilities"] for answer in answers]  # type: ignore[index]


def _require_same(found: list[Probabilities], expected: list[Probabilities], how: str) -> None:
    for one, other in zip(found, expected, strict=True):
        if one != pytest.approx(other, abs=1e-6):
            raise NotProven(f"{how}, it answers {one}, and {other} as it was trained")


def claimed(family: Family) -> list[str]:
    """The methods that a family claims."""
    return list(family.methods)


def main() -> None:
    """Every pair, each failure with its reason; the file is replaced at the end."""
    outcomes: dict[str, dict[str, str | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLYWHEEL_HOME"] = folder
        home, use_case = Home(), load_use_case("product-reviews")
        for name, family in FAMILIES.items():
            for method in claimed(family):
                try:
                    prove(name, method, home, use_case, served=True)
                    why = None
                except Exception as error:  # whatever goes wrong is the finding
                    traceback.print_exc()
                    why = f"{type(error).__name__}: {error}"
                outcomes.setdefault(name, {})[method] = why
                print(f"{name} {method} {why or 'proven'}", file=sys.stderr)
    libraries = {name: library_version(name) for name in DECISIVE_LIBRARIES}
    found = {"libraries": libraries, "outcomes": outcomes}
    model_card_data.FILE.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
