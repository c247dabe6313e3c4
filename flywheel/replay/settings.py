"""What a replay is of: all that decides its numbers, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flywheel.config import Home, UseCase
from flywheel.files import hashing
from flywheel.ingestion.labeling_queue import AUDIT
from flywheel.replay import sources
from flywheel.replay.reactions import APP, GOLD
from flywheel.replay.texts import Source
from flywheel.replay.worlds import NEW_LABEL, World

Mode = Literal["statistical", "real"]
USE_CASE = "replay"
CHEAP: Mapping[str, Any] = {"method": "tfidf", "min_examples": 50}
"""The learner of the statistical mode: the product's own TF-IDF method."""


@dataclass(frozen=True)
class Settings:
    """``training`` is the section of a use case; ``data`` the file of ``(text, label)`` rows."""

    mode: Mode
    nights: int
    world: World
    training: Mapping[str, Any]
    data: str | None = None
    data_sha256: str | None = None

    @property
    def key(self) -> str:
        """Names the folder of its results."""
        content = {**asdict(self), "data": None}
        return hashing.of_json(content)[:12]

    def folder(self, home: Home) -> Path:
        """Where results, page and unfinished lives lie."""
        return home.root / "replay" / self.key

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Settings:
        """The settings that `asdict` made ``content`` of."""
        return cls(**{**content, "world": World(**content["world"])})

    def source(self, seed: int) -> Source:
        """Where a life's texts come from."""
        return sources.of(self.world, Path(self.data) if self.data else None, seed)

    def use_case(self, source: Source, night: int) -> UseCase:
        """The company's use case in a night, as shipped but for names, labels and floor."""
        labels = [*source.labels, *([NEW_LABEL] if self.world.has_new_label(night) else [])]
        return UseCase.model_validate(
            {
                "name": USE_CASE,
                "kind": "text-classification",
                "description": "A company that is made up.",
                "labels": {name: name for name in labels},
                "prompt": "{text}\nAbout:",
                "split": {"salt": USE_CASE},
                # as `flywheel init` proposes it for a file
                "curation": {
                    "gold_sources": [GOLD, AUDIT],
                    "train_on_gold": True,
                    "max_examples": 100_000,
                },
                "training": self.training,
                "gate": {
                    "evidence_sources": [APP],
                    # better than chance
                    "min_accuracy": round(min(0.9, 1.35 / len(source.labels)), 2),
                },
            }
        )
