"""How far a training has come, in one safetensors file: killed anywhere, it goes on from there.

The file holds the adapter, the optimiser's moments and steps, how losses are scaled, the state of
torch's random numbers, which dropout draws from, and the losses so far. Everything else of a
training follows from its key: same data, recipe, base and libraries.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from flywheel.files import private_files

log = logging.getLogger(__name__)

_MOMENTS = ("exp_avg", "exp_avg_sq")
_RANDOM = "random."
"""Prefix of the states of random numbers, by kind of device."""


@dataclass
class Reached:
    """Losses (nats) of the optimiser steps done, and the seconds that they took."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Checkpoint:
    """The checkpoint of the training named ``key``, written every ``every_seconds`` at most."""

    path: Path
    key: str
    every_seconds: float = 15.0
    _written: float = field(default_factory=time.monotonic)

    def restore(
        self,
        trainable: Mapping[str, torch.nn.Parameter],
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> Reached:
        """Put weights and moments back; where no whole file is of this key, nothing is reached."""
        if not self.path.is_file():
            return Reached()
        try:
            with safe_open(self.path, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("key") != self.key:
                    log.info("the checkpoint is of another training; starting anew")
                    return Reached()
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            log.warning("the checkpoint cannot be read; starting anew")
            return Reached()
        if not _put_random_back(found):
            log.info("the checkpoint says nothing of random numbers here; starting anew")
            return Reached()
        reached = Reached(json.loads(told["losses"]), float(told["seconds"]))
        if scaled := json.loads(told.get("scaler", "{}")):
            scaler.load_state_dict(scaled)
        # steps that were left out, as float16's gradients were too large, count as none
        steps = float(told.get("steps", len(reached.losses)))
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(found[f"weight.{name}"])
                if f"{_MOMENTS[0]}.{name}" not in found:
                    continue  # nothing that the loss depends on
                optimiser.state[parameter] = {
                    # the fused optimiser counts where the weights are
                    "step": torch.tensor(steps, device=parameter.device),
                    **{
                        moment: found[f"{moment}.{name}"].to(parameter.device)
                        for moment in _MOMENTS
                    },
                }
        log.info("going on after step %d", len(reached.losses))
        return reached

    def save(
        self,
        trainable: Mapping[str, torch.nn.Parameter],
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        reached: Reached,
    ) -> None:
        """Write it if the last one is old enough; whole or not at all."""
        if time.monotonic() - self._written < self.every_seconds:
            return
        tensors = {f"weight.{name}": p.detach() for name, p in trainable.items()}
        tensors |= {f"{_RANDOM}{kind}": state for kind, state in _random().items()}
        for moment in _MOMENTS:
            tensors |= {
                f"{moment}.{n}": optimiser.state[p][moment]
                for n, p in trainable.items()
                if moment in optimiser.state[p]
            }
        told = {
            "key": self.key,
            "losses": json.dumps(reached.losses),
            "seconds": str(reached.seconds),
            "scaler": json.dumps(scaler.state_dict()),
            "steps": str(_steps(optimiser)),
        }
        whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        with private_files.replacing(self.path, partial=self.path.with_suffix(".tmp")) as partial:
            save_file(whole, partial, told)
        self._written = time.monotonic()

    def drop(self) -> None:
        """The training is done: nothing to go on with."""
        self.path.unlink(missing_ok=True)


def _steps(optimiser: torch.optim.Optimizer) -> float:
    """How many it made."""
    made = (state["step"].item() for state in optimiser.state.values() if "step" in state)
    return max(made, default=0.0)


def _random() -> dict[str, torch.Tensor]:
    """The states of what draws random numbers here, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def _put_random_back(found: Mapping[str, torch.Tensor]) -> bool:
    """Go on drawing where the checkpoint was; False, and nothing changed, where it does not say."""
    if {f"{_RANDOM}{kind}" for kind in _random()} - set(found):
        return False
    torch.set_rng_state(found[f"{_RANDOM}cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(found[f"{_RANDOM}cuda"])
    if torch.backends.mps.is_available():
        torch.mps.set_rng_state(found[f"{_RANDOM}mps"])
    return True
