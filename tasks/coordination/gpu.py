"""Whether a use case's models are in this machine's GPU, and its turn to fill it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from flywheel.config import Home, UseCase
from flywheel.store.waiting import who_waits
from tasks.coordination.locks import gpu_turn


def turn_of(use_case: UseCase, home: Home) -> AbstractContextManager[None]:
    """The turn at this machine's GPU, where the use case trains and scores on it; else nothing.

    A worker of the pool ``gpu`` takes one run at a time.
    """
    recipe = use_case.training
    if recipe.where == "pool" or not any(one.base for one in recipe.entries()):
        return nullcontext()
    from flywheel.modeling import model_loading

    if model_loading.device().type != "cuda":
        return nullcontext()
    return gpu_turn(home, who=who_waits())
