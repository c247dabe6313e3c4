"""How a base learns to answer: one module per method, behind one small interface.

A method trains into a folder and loads from it what answers. Evaluation, batch prediction, the
service and the registered model all come in through `load`, so that what was trained, what is
measured and what is served are read by the same code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Required, TypedDict

from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.config.task_types import Kind
from flywheel.modeling import artifact
from flywheel.modeling.answerer import Answerer
from flywheel.modeling.calibration import Calibrated

OnStep = Callable[[int, int, float, float], None]
"""Called with step from 1, steps in all, loss in nats, learning rate."""
OnPass = Callable[[int], None]
"""Called with the tokens of a pass that is about to be made."""


class LoopOptions(TypedDict, total=False):
    """How the training loop runs, beside what it learns: see `training_loop.fit_loss`."""

    on_step: Required[OnStep]
    max_tokens: int | None
    checkpoint: Any
    recompute: bool
    moments_in_8_bits: bool
    on_pass: OnPass | None


@dataclass(frozen=True)
class Rows:
    """What is learned from. ``targets`` holds label numbers: one, or all but the rejected ones.

    ``weights`` are in (0, 1]. Where answers are written, ``references`` are the texts wanted, and
    there are no targets.
    """

    texts: Sequence[str]
    targets: Sequence[Sequence[int]]
    weights: Sequence[float]
    references: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Work:
    """One training: what to learn from, on which base, and where it goes.

    ``max_tokens`` bounds one pass of the model, and with it the memory; with ``recompute`` layers
    are computed again on the way back, where the method has layers that learn, and with
    ``moments_in_8_bits`` the optimiser's are rounded, where all weights learn. ``checkpoint`` is a
    `flywheel.modeling.optim.checkpoint.Checkpoint`, where the method can go on after a kill.
    ``images`` is where pictures lie. ``start`` is an adapter of the same method and shape whose
    weights are learned on from; only methods whose recipe `continues` know it. ``on_pass`` is told
    of each pass that is larger than all before it.
    """

    use_case: UseCase
    base: Path | None
    rows: Rows
    folder: Path
    max_tokens: int
    on_step: OnStep
    checkpoint: Any = None
    images: Path | None = None
    start: Path | None = None
    recompute: bool = False
    moments_in_8_bits: bool = False
    on_pass: OnPass | None = None

    @property
    def recipe(self) -> TrainingConfig:
        """How it learns. What goes on from weights has had its least number of steps."""
        recipe = self.use_case.training
        return recipe if self.start is None else recipe.model_copy(update={"min_steps": 0})

    @property
    def loop(self) -> LoopOptions:
        return LoopOptions(
            on_step=self.on_step,
            max_tokens=self.max_tokens,
            checkpoint=self.checkpoint,
            recompute=self.recompute,
            moments_in_8_bits=self.moments_in_8_bits,
            on_pass=self.on_pass,
        )


@dataclass(frozen=True)
class Fitted:
    """A finished training: what answers now, loss in nats per step, seconds, tokens read."""

    answerer: Answerer
    losses: Sequence[float] = field(default_factory=tuple)
    seconds: float = 0.0
    tokens: int = 0


class Method(Protocol):
    """Trains into a folder, and loads from one."""

    def train(self, work: Work) -> Fitted:
        """Learn, and write into ``work.folder`` what `load` needs; not ``method.json``."""

    def load(self, use_case: UseCase, base: Path | None, folder: Path | None) -> Answerer:
        """What answers as the training left it."""


def method(name: str, kind: Kind = "text-classification") -> Method:
    """The method of that name, for use cases of that kind; its libraries are imported now."""
    module = importlib.import_module(f"flywheel.modeling.methods.{name}")
    found: Method = module.WRITING if kind == "text-generation" else module.METHOD
    return found


def load(use_case: UseCase, home: Home, folder: Path | None) -> Answerer:
    """What a trained folder answers with; None is the use case's base as it is, zero-shot."""
    base = artifact.base_folder(use_case, home, folder)
    return load_on(
        use_case, base, folder, images=home.images, compiled=home.compiled(use_case.name)
    )


def load_on(
    use_case: UseCase,
    base: Path | None,
    folder: Path | None,
    *,
    images: Path | None = None,
    compiled: Path | None = None,
) -> Answerer:
    """As `load`, with the base's folder given, and where pictures lie that are named by address.

    ``compiled`` is where converted models lie; None: torch answers, whatever ``serving.runtime``.

    Raises:
        ConfigError: ``serving.runtime`` cannot be had on this machine.
        ServedDiffers: it can, and gives other scores than torch.
    """
    found = artifact.read(use_case, folder)

    def plain() -> Answerer:
        return method(found.method, use_case.kind).load(use_case, base, folder)

    answerer = _on_runtime(use_case, base, folder, plain, compiled)
    if use_case.is_image and images is not None:
        from flywheel.modeling import classifier

        classifier.look_in(answerer, images)
    return Calibrated(answerer, found.temperature) if found.temperature != 1 else answerer


def _on_runtime(
    use_case: UseCase,
    base: Path | None,
    folder: Path | None,
    plain: Callable[[], Answerer],
    compiled: Path | None,
) -> Answerer:
    """What answers by the runtime that is chosen here: the one place that decides it."""
    if base is None or compiled is None or use_case.is_generation:
        return plain()
    from flywheel.modeling.compiled import runtime

    chosen = runtime.choose(use_case.serving.runtime)
    if chosen.name == "torch":
        return plain()
    from flywheel.modeling.compiled.lane import on_compiled

    return on_compiled(use_case, base, folder, compiled, plain, chosen)
