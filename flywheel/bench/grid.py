"""What a benchmark compares: contenders, numbers of training rows, and draws of those rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flywheel.bench.results import Result
from flywheel.config import NAME_PATTERN, TrainingConfig, UseCase
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.errors import ConfigError
from flywheel.files import hashing


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entrant(_Part):
    """A method on a base, with the settings that it may choose from on the validation rows."""

    name: str = Field(min_length=1)
    method: MethodName
    base: str | None = None
    settings: list[dict[str, Any]] = [{}]
    """Fields of ``training``. With several, the best on the validation rows is scored on the
    holdout; the holdout never chooses."""
    rows: list[int] | None = None
    """Numbers of training rows, where they are not the grid's."""


class Grid(_Part):
    """One benchmark."""

    name: str = Field(pattern=NAME_PATTERN)
    use_case: str
    data: Literal["reviews", "snapshot"] = "snapshot"
    """``snapshot``: the use case's newest one. ``reviews``: all of the default data, each training
    row with the label of one person drawn anew for each seed."""
    rows: list[int] = Field(min_length=1)
    seeds: int = Field(default=5, ge=1)
    choose: Literal["every draw", "first draw"] = "every draw"
    """When an entrant chooses among its settings: on every draw, or on the first of each number of
    rows, which the other draws then keep to. The second costs a fraction, and its intervals leave
    out what choosing adds."""
    machine_cost_per_hour: float | None = Field(default=None, gt=0)
    """Of a machine like the one that runs it, in any currency. Without it no price is given."""
    entrants: list[Entrant] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.entrants]
        if len(set(names)) < len(names):
            raise ValueError("two entrants have the same name")
        return self

    def cells(self) -> Iterator[Cell]:
        """Every cell, all of one seed before the next: stopped early, a grid is still level.

        What learns from no rows is asked once.
        """
        for seed in range(self.seeds):
            for rows in sorted({*self.rows, *(n for e in self.entrants for n in e.rows or [])}):
                for one in self.entrants:
                    if one.method == "zero_shot":
                        if seed == 0 and rows == min(self.rows):
                            yield Cell(one, 0, 0)
                    elif rows in (one.rows or self.rows):
                        yield Cell(one, rows, seed)


@dataclass(frozen=True)
class Cell:
    """An entrant on one draw of ``rows`` training rows."""

    entrant: Entrant
    rows: int
    seed: int

    def trainings(self, use_case: UseCase) -> list[TrainingConfig]:
        """What to train: one for each of the entrant's settings."""
        shared = {
            "method": self.entrant.method,
            "base": self.entrant.base,
            "seed": self.seed,
            "max_length_tokens": use_case.training.max_length_tokens,
            **(
                {"max_new_tokens": use_case.training.max_new_tokens}
                if use_case.is_generation
                else {}
            ),
        }
        return [
            TrainingConfig.model_validate({**shared, **chosen}) for chosen in self.entrant.settings
        ]

    def keeping_to(self, first: Result) -> Cell:
        """The same cell with the one setting that another draw of as many rows chose."""
        chosen = self.entrant.model_copy(update={"settings": [dict(first.setting)]})
        return replace(self, entrant=chosen)

    def key(self, content: dict[str, Any]) -> str:
        """Names the cell's result: the same only while entrant, rows, seed and data are."""
        told = {
            "entrant": self.entrant.model_dump(mode="json", exclude={"rows"}),
            "recipe": [RECIPES[self.entrant.method].epochs, RECIPES[self.entrant.method].min_steps],
            "rows": self.rows,
            "seed": self.seed,
            **content,
        }
        return hashing.of_json(told)[:24]


def load_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        ConfigError: it is missing, no YAML, or breaks the contract; every fault is named.
    """
    try:
        return Grid.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"No grid at {path}; benchmarks/small.yaml is one to start from.") from (
            error
        )
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigError(f"{path} cannot be used:\n{faults}") from error
