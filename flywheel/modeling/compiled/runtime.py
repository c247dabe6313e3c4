"""What computes the answers here: torch, or OpenVINO on CPUs where it is installed.

Decided once, for scoring in a night, batch prediction, the service and the registered model alike.
Like the numeric type, it rounds and decides nothing: it is no part of a digest, and is recorded
beside it. ``FLYWHEEL_RUNTIME`` overrides the setting for all processes of a machine.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

from flywheel.catalog import numeric_types
from flywheel.config.serving import RuntimeSetting
from flywheel.errors import ConfigError

Runtime = Literal["torch", "openvino"]

SETTING = "FLYWHEEL_RUNTIME"
PACKAGE = "openvino"
INSTALL = "pip install -e '.[openvino]'"
_TYPES = ("float32", "bfloat16")
"""What OpenVINO computes in on CPUs."""


@dataclass(frozen=True)
class Choice:
    """A runtime, and in words why it is the one.

    ``required`` by a setting, and not merely the fastest here: torch does not stand in for it.
    """

    name: Runtime
    why: str
    required: bool = False


def choose(setting: RuntimeSetting) -> Choice:
    """By the use case's ``serving.runtime``, the environment, and what this machine has.

    Raises:
        ConfigError: the environment names none, or what is asked for cannot be had here.
    """
    asked = _environment() or setting
    if asked == "torch":
        return Choice("torch", "asked for")
    device = numeric_types.device_type()
    if device != "cpu":
        return Choice("torch", f"{device} answers here")
    lacking = _lacking()
    if lacking is None:
        return Choice("openvino", "it is installed", required=asked == "openvino")
    if asked == "openvino":
        raise ConfigError(
            f"serving.runtime is openvino, and {lacking}. Nothing was answered; "
            "serving.runtime: auto answers by torch instead."
        )
    return Choice("torch", lacking)


def runtime_of(answerer: Any) -> Runtime:
    """What computes the answers of a loaded model."""
    # beneath its temperature
    inner = getattr(answerer, "answerer", answerer)
    found: Runtime = getattr(getattr(inner, "model", None), "runtime", "torch")
    return found


def _lacking() -> str | None:
    """Why OpenVINO cannot answer on this CPU; None where it can."""
    if importlib.util.find_spec(PACKAGE) is None:
        return f"OpenVINO is not installed ({INSTALL})"
    chosen = numeric_types.here().name
    if chosen not in _TYPES:
        return f"OpenVINO does not compute in {chosen} on CPUs"
    return None


def _environment() -> RuntimeSetting | None:
    named = os.environ.get(SETTING) or None
    for name in get_args(RuntimeSetting):
        if named == name:
            return name  # type: ignore[no-any-return]
    if named is not None:
        raise ConfigError(
            f"The environment variable {SETTING} is {named!r}; it may be "
            f"{', '.join(get_args(RuntimeSetting))}, or unset to go by serving.runtime."
        )
    return None
