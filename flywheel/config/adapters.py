"""Which customers or segments have versions of their own, as a use case says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from flywheel.config.base import Section

SEGMENT_ALIAS = "champion-"
"""What stands before a segment's name in the alias of its version."""


class AdaptersConfig(Section, coerce_numbers_to_str=True, validate_default=True):
    """Own versions for some customers or segments, on the champion's base."""

    field: Literal["customer_id", "group_id", "segment"] | None = None
    """The field of a request that chooses the version. Unset: the champion answers everybody.

    With a customer's key it is always that customer, whatever the request says.
    """
    versions: dict[str, str] = {}
    """Value of the field → the number of a version, or an alias.

    A value that is not listed has the version with alias ``champion-VALUE``, where there is one.
    """
    most_loaded: int = Field(default=4, ge=1)
    """The most adapters in memory beside the champion; the least recently used goes first."""
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
