"""What Prefect is told of a flow's parameters."""

from __future__ import annotations

from typing import Any, TypeVar

from flywheel.config import UseCase

_Flow = TypeVar("_Flow")


def by_name(flow: _Flow) -> _Flow:
    """Let Prefect keep the name of a use case that a flow is called with, and nothing else of it.

    A use case holds golden texts, which are customers' words.
    """
    of_prefect: Any = flow
    whole = of_prefect.serialize_parameters

    def told(parameters: dict[str, Any]) -> dict[str, Any]:
        return dict(
            whole({k: v.name if isinstance(v, UseCase) else v for k, v in parameters.items()})
        )

    of_prefect.serialize_parameters = told
    return flow
