"""Retrains a company's own language model every night from what its customers say.

`flywheel.api` has the names that other programs may import; each comes at its first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flywheel.api import (
        Champion,
        Curated,
        Feedback,
        GateConfig,
        ReadFeedback,
        UseCase,
        Verdict,
        curate,
        load_champion,
        load_use_case,
        read_feedback,
        run_gate,
    )

__version__ = "0.2.0"
__all__ = [
    "Champion",
    "Curated",
    "Feedback",
    "GateConfig",
    "ReadFeedback",
    "UseCase",
    "Verdict",
    "curate",
    "load_champion",
    "load_use_case",
    "read_feedback",
    "run_gate",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'flywheel' has no attribute {name!r}")
    from flywheel import api

    return getattr(api, name)
