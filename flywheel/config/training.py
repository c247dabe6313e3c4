"""How a challenger learns."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from flywheel.config.base import Section
from flywheel.config.method_specs import RECIPES, MethodName, Recipe

_OF_A_METHOD = ("epochs", "learning_rate", "min_steps")
"""Settings of a training that each method's recipe has its own of."""
_OF_THE_START = ("start_from", "replay", "full_every")
"""Settings that decide where a training starts and on which rows, and nothing else."""
_OF_MEMORY = ("max_tokens_per_pass", "check_memory")
"""Settings that decide how memory is used, and nothing else."""
TOKENS_PER_PASS = 384
"""On the CPU, where larger passes are no faster."""


class Candidate(Section):
    """One entry of a slate: a method, its base, and settings of its own."""

    method: MethodName
    """How this entry learns."""
    base: str | None = None
    """The base it learns on, an entry of the catalog."""
    epochs: int | None = Field(default=None, ge=1)
    """As in ``training``; unnamed, the method's own."""
    min_steps: int | None = Field(default=None, ge=0)
    """As in ``training``; unnamed, the method's own."""
    learning_rate: float | None = Field(default=None, gt=0)
    """As in ``training``; unnamed, the method's own."""


class TrainingConfig(Section):
    """How a challenger learns. Settings that are not set are the method's own; the base has no
    default."""

    method: MethodName | Literal["auto"] = "qlora"
    """How a base learns: `flywheel models` and the page on methods compare them.

    ``auto`` trains every entry of the slate; the best on validation rows is the challenger.
    """
    base: str | None = None
    """A base of the catalog. Methods that need none go without."""
    slate: list[Candidate] = []
    """For ``method: auto``: the methods and bases to train, each on the same rows."""
    where: Literal["inline", "pool"] = "inline"
    """``inline`` trains in a child process on this machine; ``pool`` runs the deployment
    ``train/gpu``."""
    min_examples: int = Field(default=100, ge=1)
    """Training examples below which a night is skipped."""
    min_per_class: int = Field(default=1, ge=0)
    """Training examples of each label below which a night is skipped. 0: no limit."""
    epochs: int = Field(default=2, ge=1)
    """Passes over the training examples. Unnamed, the method's own."""
    min_steps: int = Field(default=0, ge=0)
    """The fewest optimizer steps. With few rows this means more epochs."""
    batch_size: int = Field(default=16, ge=1)
    """Examples of one optimizer step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """The highest learning rate, after warm-up. Unnamed, the method's own."""
    warmup_share: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    lora_rank: int = Field(default=16, ge=1)
    """Rank of the low-rank matrices."""
    lora_alpha: int = Field(default=32, ge=1)
    """Their output is scaled by ``lora_alpha / lora_rank``."""
    virtual_tokens: int = Field(default=20, ge=1)
    """How many positions prefix tuning and prompt tuning learn."""
    max_length_tokens: int = Field(default=128, ge=8)
    """Tokens of a prompt; a longer text loses its end."""
    max_tokens_per_pass: int | None = Field(default=None, ge=8)
    """Tokens of one pass, which bound the memory: a batch is cut into passes whose gradients add
    up. Unset: 384 on the CPU, and on a GPU as many as fit."""
    check_memory: bool = True
    """Refuse a training that by the estimate does not fit into memory."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The most tokens of a written answer. A longer reference is cut."""
    seed: int = 0
    """Seed of everything that is drawn in training."""
    start_from: Literal["base", "champion"] = "base"
    """``base`` learns from all rows every night. ``champion`` goes on from the champion's weights
    and learns what is new, where that is right."""
    replay: float = Field(default=1.0, ge=0)
    """Old rows to learn from again, for each new one, when a training starts from the champion."""
    full_every: int = Field(default=7, ge=1)
    """One of so many trainings starts from the base, so that nothing drifts away."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, given: Any) -> Any:
        """Fill in what the recipe says and the file does not; no base where it needs none."""
        recipe = RECIPES.get(given.get("method", "qlora")) if isinstance(given, dict) else None
        if recipe is None:
            return given
        filled = {**{name: getattr(recipe, name) for name in _OF_A_METHOD}, **given}
        # a base that is named and not needed would be fetched, hashed and loaded all the same
        return filled if recipe.bases else {**filled, "base": None}

    @model_validator(mode="after")
    def _has_what_the_method_needs(self) -> Self:
        if self.method == "auto":
            if not self.slate:
                raise ValueError("method auto needs a slate: a list of methods and bases")
            for name in _OF_A_METHOD:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is a method's: set it in the entries of the slate")
        elif self.slate:
            raise ValueError("a slate is for method: auto")
        elif self.recipe.bases and self.base is None:
            raise ValueError(f"method {self.method} needs a base")
        return self

    @property
    def zero_shot_base(self) -> str | None:
        """The base that can be asked as it is: the first that label words are read from."""
        return next((e.base for e in self.entries() if e.recipe.words), None)

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the weights that it learns from given rows and a given start."""
        return self.model_dump(mode="json", exclude={*_OF_THE_START, *_OF_MEMORY})

    @property
    def tokens_per_pass(self) -> int:
        """The tokens of a pass where memory does not decide."""
        return self.max_tokens_per_pass or TOKENS_PER_PASS

    @property
    def recipe(self) -> Recipe:
        """What its method is."""
        if self.method == "auto":
            raise ValueError("a slate has several methods; see entries()")
        return RECIPES[self.method]

    def entries(self) -> list[TrainingConfig]:
        """One training for each entry of the slate, or this one."""
        if self.method != "auto":
            return [self]
        shared = self.model_dump(exclude={"method", "base", "slate", *_OF_A_METHOD})
        return [
            TrainingConfig.model_validate({**shared, **one.model_dump(exclude_none=True)})
            for one in self.slate
        ]
