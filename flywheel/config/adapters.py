"""Which customers or segments have versions of their own, as a use case says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from flywheel.config.base import Section

SEGMENT_ALIAS = "champion-"
"""What stands before a segment's name in the alias of its version."""


class AdaptersConfig(Section, coerce_numbers_to_str=True, validate_default=True):
    """Versions of their own for some customers or segments, on the base that the champion is on."""

    field: Literal["customer_id", "group_id", "segment"] | None = None
    """The field of a request that chooses; None: the champion answers everybody.

    With a customer's key it is always that customer, whatever the request says.
    """
    versions: dict[str, str] = {}
    """The field's value → the number of a version, or an alias.

    A value that is not here has the version with alias ``champion-VALUE``, where there is one.
    """
    most_loaded: int = Field(default=4, ge=1)
    """Adapters in memory beside the champion; the one that was asked least recently goes first."""
    load_s: float = Field(default=10, gt=0)
    """How long a request waits for an adapter that is being loaded; then the champion answers."""

    @model_validator(mode="after")
    def _chooses_by_something(self) -> AdaptersConfig:
        if self.versions and self.field is None:
            raise ValueError("versions need a field: customer_id, group_id or segment")
        return self

    def name_of(self, value: str) -> str:
        """Number or alias of the version that a value of the field has, if there is one."""
        return self.versions.get(value, SEGMENT_ALIAS + value)
