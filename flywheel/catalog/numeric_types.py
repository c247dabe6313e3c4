"""The numeric type that causal bases compute in here: the one that this machine is fast in.

Decided once, for training, scoring, the service, export checks and the registered model alike.
``FLYWHEEL_NUMERIC_TYPE`` overrides it. What learns is kept in float32 whatever the type, and bases
that are no decoders (encoders, T5, vision) compute in float32 everywhere: they are small, and some
leave float16's range.

    CUDA  bfloat16 where the GPU has it, else float16 with loss scaling: on a T4 or V100 bfloat16
          is emulated
    CPU   bfloat16 where the CPU has units for it (AMX, AVX512-BF16, ARM's), else float32
    MPS   bfloat16 where a product in it is measured to be faster, else float32

Where the flags do not tell, a product of each type is measured once, and the home keeps the answer.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from flywheel.config import Home
from flywheel.errors import ConfigError
from flywheel.files import private_files

log = logging.getLogger(__name__)

NumericType = Literal["float32", "bfloat16", "float16"]
NAMES: tuple[NumericType, ...] = get_args(NumericType)
SETTING = "FLYWHEEL_NUMERIC_TYPE"
KEPT = "numeric_type.json"
"""In the home: what was measured where the flags do not tell."""
BYTES: Mapping[NumericType, float] = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
"""Of a weight."""
BEYOND_FLOAT16 = frozenset({"gemma2", "t5"})
"""Architectures whose activations leave float16's range (65,504): they take float32 instead."""
LEAST_GAIN = 1.2
"""How many times float32's speed makes a measured bfloat16 worth its rounding."""
_PRODUCT = (384, 576, 1536)
"""Rows, inputs and outputs of the measured product: a pass of the default recipe through a layer of
the default base."""
_SECONDS, _TIMES = 0.2, 20
"""For measuring one type, and how often at least: the fastest counts, in case something else runs
beside it."""

Speeds = Mapping[NumericType, float]
"""GFLOP/s of matrix products."""


@dataclass(frozen=True)
class Choice:
    """A numeric type, and in words why it is the one."""

    name: NumericType
    why: str
    set_by_hand: bool = False

    @property
    def dtype(self) -> Any:
        """torch's own."""
        import torch

        return getattr(torch, self.name)

    @property
    def weight_bytes(self) -> float:
        return BYTES[self.name]


@dataclass(frozen=True)
class Machine:
    """Where models compute. ``native`` says whether it has units for bfloat16; None: it does not
    say. ``units`` names what was looked for."""

    device: Literal["cuda", "mps", "cpu"]
    name: str
    native: bool | None
    units: str = "bfloat16 units"


def here() -> Choice:
    """This machine's, by its flags, a measurement, or the setting.

    Raises:
        ConfigError: the setting names no type.
    """
    return _here(device_type(), setting(), Home().root)


def of_base(model_type: str) -> Choice:
    """The one for a base whose ``config.json`` says that ``model_type``.

    Raises:
        ConfigError: the setting names no type.
    """
    found = here()
    if found.name == "float16" and model_type in BEYOND_FLOAT16:
        return Choice("float32", f"{model_type} leaves float16's range")
    return found


def weight_bytes(model_type: str) -> float:
    """Of a causal base's weight in memory, as `of_base` has it.

    No CUDA context is opened to tell, unless the type depends on the GPU.

    Raises:
        ConfigError: the setting names no type.
    """
    if setting() is None and device_type() == "cuda" and model_type not in BEYOND_FLOAT16:
        return BYTES["bfloat16"]
    return of_base(model_type).weight_bytes


def device_type() -> Literal["cuda", "mps", "cpu"]:
    """Where models compute: on a CUDA device if there is one, then on Apple's, else on the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def setting() -> NumericType | None:
    """The type that ``FLYWHEEL_NUMERIC_TYPE`` names; None: decide by the machine.

    Raises:
        ConfigError: it names no type.
    """
    named = os.environ.get(SETTING) or None
    for name in NAMES:
        if named == name:
            return name
    if named is not None:
        raise ConfigError(
            f"The environment variable {SETTING} is {named!r}; "
            f"it may be {', '.join(NAMES)}, or unset to decide by the machine."
        )
    return None


def choose(machine: Machine, measure: Callable[[], Speeds]) -> Choice:
    """By what the machine has units for; ``measure`` is called only where it does not say."""
    if machine.native:
        return Choice("bfloat16", f"{machine.name} has {machine.units}")
    if machine.native is False and machine.device == "cuda":
        return Choice("float16", f"{machine.name} has no {machine.units}; with loss scaling")
    if machine.native is False:
        return Choice("float32", f"{machine.name} has no {machine.units}")
    speeds = measure()
    faster = speeds["bfloat16"] >= LEAST_GAIN * speeds["float32"]
    return Choice(
        "bfloat16" if faster else "float32",
        f"measured on {machine.name}: {in_words(speeds)}",
    )


def in_words(speeds: Speeds) -> str:
    """Speeds as a list."""
    return ", ".join(f"{name} {speed:,.3g} GFLOP/s" for name, speed in speeds.items())


def machine() -> Machine:
    """This one, by what torch and the CPU say of it."""
    import torch

    where = device_type()
    if where == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine(where, torch.cuda.get_device_name(), native)
    if where == "mps":
        return Machine(where, "Apple's GPU", None)
    flags = dict(torch.cpu.get_capabilities())
    return cpu(flags, onednn_says=torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cpu(flags: Mapping[str, Any], *, onednn_says: bool) -> Machine:
    """A CPU by torch's flags of it, and by what oneDNN says of bfloat16.

    On x86 oneDNN says yes to any AVX-512, where it emulates bfloat16 at a third of float32's speed,
    so there the units count. On others it asks for the units itself.
    """
    named = flags.get("cpu_name") or flags.get("architecture") or "unknown"
    name = f"this CPU ({named})"
    if flags.get("architecture") not in ("x86_64", "x86"):
        native = True if onednn_says else None if flags.get("bf16") else False
        return Machine("cpu", name, native)
    units = "AMX or AVX512-BF16"
    if flags.get("amx_bf16") or flags.get("avx512_bf16"):
        return Machine("cpu", name, True, units)
    # it widens and narrows bfloat16, and multiplies float32
    return Machine("cpu", name, None if flags.get("avx_ne_convert") else False, units)


def speeds(names: tuple[NumericType, ...] = ("float32", "bfloat16")) -> Speeds:
    """GFLOP/s of this machine in a product as training makes them, measured once a process."""
    where = device_type()
    return {name: _speed(name, where) for name in names}


@functools.cache
def _speed(name: NumericType, where: str) -> float:
    import torch

    rows, inputs, outputs = _PRODUCT
    draw = torch.Generator().manual_seed(0)
    dtype = getattr(torch, name)
    x = torch.randn(rows, inputs, generator=draw).to(where, dtype)
    weight = torch.randn(outputs, inputs, generator=draw).to(where, dtype)
    torch.nn.functional.linear(x, weight).sum().item()
    taken: list[float] = []
    while len(taken) < _TIMES or sum(taken) < _SECONDS:
        start = time.perf_counter()
        # the sum waits for devices that compute by themselves
        torch.nn.functional.linear(x, weight).sum().item()
        taken.append(time.perf_counter() - start)
    return 2e-9 * rows * inputs * outputs / min(taken)


@functools.cache
def _here(where: str, named: NumericType | None, root: Path) -> Choice:
    if named is not None:
        return Choice(named, f"{SETTING} says so", set_by_hand=True)
    found = machine()
    chosen = choose(found, lambda: _kept(root / KEPT, found))
    log.debug("computing in %s: %s", chosen.name, chosen.why)
    return chosen


def _kept(path: Path, found: Machine) -> Speeds:
    """What was measured on this machine before, or now; the same answer every time after."""
    import torch

    of = {"machine": found.name, "device": found.device, "torch": torch.__version__}
    try:
        told = json.loads(path.read_text())
        if told["of"] == of:
            return {name: float(told["gflops"][name]) for name in ("float32", "bfloat16")}
    except (OSError, ValueError, KeyError, TypeError):
        log.debug("no measurement of this machine in %s", path)
    measured = speeds()
    try:
        private_files.replace(path, json.dumps({"of": of, "gflops": dict(measured)}).encode())
    except OSError as error:
        log.debug("the measurement could not be kept: %s", error)
    return measured
