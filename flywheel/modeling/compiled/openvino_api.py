"""OpenVINO, as far as it is used: convert a traced module, compile it for this CPU.

The package reports each import and conversion to its maker unless its telemetry is missing: it is
kept from being found. The threads are torch's, which `flywheel.home.environment` sets; the numeric
type is named, for OpenVINO would choose bfloat16 by itself where the CPU has units for it.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

_TELEMETRY = "openvino_telemetry"
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
_DEVICE = "CPU"


@functools.cache
def api() -> Any:
    """The package, which reports nothing."""
    # None lets the import fail, for which the package has a stub
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


@functools.cache
def _core() -> Any:
    return api().Core()


def convert(module: torch.nn.Module, example: Sequence[torch.Tensor]) -> Any:
    """OpenVINO's model of a module, for inputs of any size; ``example`` has several rows."""
    with warnings.catch_warnings(), torch.no_grad():
        # of branches in Python that a trace keeps as they went; the answers are compared
        warnings.simplefilter("ignore")
        return api().convert_model(module, example_input=tuple(example))


def save(model: Any, path: Path) -> None:
    """Write ``path`` (XML), and the weights beside it in the type that they have."""
    api().save_model(model, path, compress_to_fp16=False)


class Compiled:
    """A compiled model; one thread at a time."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        threads = torch.get_num_threads()
        compiled = _core().compile_model(path, _DEVICE, _properties(dtype, threads))
        self._request = compiled.create_infer_request()

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Its one output, float32; the caller's own."""
        self._request.infer([one.numpy() for one in inputs], share_inputs=True)
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())


def _properties(dtype: torch.dtype, threads: int) -> Mapping[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[dtype],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # pinned, two processes would share the first cores and leave the others idle
        "ENABLE_CPU_PINNING": False,
    }
