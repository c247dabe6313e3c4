"""The kinds of use cases, and which settings speak of which.

Plain facts, read by the configuration. `text-classification` names one of the use case's labels;
`image-classification` does so for pictures. `text-generation` writes a text of its own (a summary,
a reply), which people accept or edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

Kind = Literal["text-classification", "image-classification", "text-generation"]

_BELONGS: dict[Kind, dict[str, tuple[str, ...]]] = {
    "text-classification": {
        "curation": ("complementary", "suspect_weight"),
        "gate": (
            "min_accuracy",
            "min_macro_f1",
            "max_calibration_error",
            "abstain_below",
            "max_abstention",
            "max_disagreement",
        ),
    },
    "text-generation": {
        "training": ("max_new_tokens",),
        "gate": ("min_rouge_l", "tie_within", "golden_rouge_l"),
    },
}
"""Kind → section → settings that have a meaning for this kind only; pictures share those of texts
that are classified."""
FLOOR: dict[Kind, str] = {
    "text-classification": "min_accuracy",
    "image-classification": "min_accuracy",
    "text-generation": "min_rouge_l",
}
"""The setting of the gate that every use case of a kind must name."""
BY_LABEL = "label"
"""The kind of slice that only a classification has."""


def misplaced(kind: Kind, sections: Mapping[str, BaseModel]) -> Iterator[str]:
    """Settings that were changed from their defaults and belong to another kind, as sentences."""
    for other, belongs in _BELONGS.items():
        if (other == "text-generation") == (kind == "text-generation"):
            continue
        for name, settings in belongs.items():
            section = sections[name]
            fields = type(section).model_fields
            for setting in settings:
                if getattr(section, setting) != fields[setting].default:
                    yield f"{name}.{setting} is for {other}, and this is {kind}"
