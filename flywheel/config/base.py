"""What all sections of a use case are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

NAME_PATTERN = r"^[a-z][a-z0-9-]*$"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys by their names before 0.2.0, which files and registered versions may still have."""

    @model_validator(mode="before")
    @classmethod
    def _by_the_names_of_today(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if twice := [key for key, now in cls.renamed.items() if key in given and now in given]:
            raise ValueError(f"{twice[0]} is called {cls.renamed[twice[0]]} now; name it once")
        return {cls.renamed.get(key, key): value for key, value in given.items()}
