"""Versions that leave: as a PEFT adapter for whoever has the base, or merged into its weights.

What a form cannot hold is refused with its reason. An export is called one only after it was
loaded back by `flywheel.exports.answer`, which knows nothing of flywheel, and answered the holdout
as measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from flywheel.catalog.families import family_of
from flywheel.config import UseCase
from flywheel.config.method_specs import MethodName
from flywheel.errors import ExportRefused

Form = Literal["adapter", "merged"]
Dtype = Literal["float32", "bfloat16"]
FORMS: tuple[Form, ...] = get_args(Form)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
MIN_AGREEMENT, MIN_LIKENESS = 0.99, 0.8
"""Share of the holdout that an export must answer as measured; of written answers their mean
ROUGE-L, as `flywheel.tracking.measured_answers.LEAST_LIKENESS`."""
MAX_MEAN_DIFFERENCE = 0.03
"""Of probabilities, as `flywheel.tracking.measured_answers.MEAN_TOLERANCE`: what other labels and
other sums have not in common, a wrong calibration for one."""

_HEAD = (
    "it answers by a head on a vector that is scaled to a fixed length, and no class of "
    "transformers, vLLM or TGI has such a head. flywheel serve and mlflow models serve answer with "
    "it; head.safetensors beside its weights is the head"
)
_NOTHING_LEARNED = "nothing was learned: serve its base with the use case's prompt"
_NO_WEIGHTS = (
    "what it learned stands before each text, and is no weight of the base that it could be folded "
    "into. The form adapter holds it"
)
WHY_NOT: dict[MethodName, dict[Form, str]] = {
    "prefix": {"merged": _NO_WEIGHTS},
    "prompt": {"merged": _NO_WEIGHTS},
    **{
        name: {form: _HEAD for form in FORMS}
        for name in ("qlora_head", "frozen_head", "encoder_lora", "full", "setfit")
    },
    "tfidf": {
        form: "it has no base, its words and weights are no language model" for form in FORMS
    },
    "zero_shot": {form: _NOTHING_LEARNED for form in FORMS},
    "few_shot": {
        form: "it holds examples that customers wrote instead of weights, and they stay here"
        for form in FORMS
    },
}
"""Method → form → why a version cannot leave in it. Every method that is not here can."""


def require_form(use_case: UseCase, method: str, form: Form) -> None:
    """Refuse a form that cannot hold what a method learned.

    Raises:
        ExportRefused: with the reason.
    """
    why = WHY_NOT.get(method, {}).get(form)  # type: ignore[call-overload]
    if why is not None:
        raise ExportRefused(
            f"A version of {use_case.name} learned by {method} cannot be exported as {form}: "
            f"{why}. Nothing was written."
        )


def require_decoder(base: Path) -> None:
    """Refuse bases that answer in another way than by going on with a prompt.

    Raises:
        ExportRefused: it is an encoder-decoder.
    """
    if family_of(base).body == "encoder-decoder":
        raise ExportRefused(
            f"{base.name} is an encoder-decoder; its versions cannot be exported: answer.py, vLLM "
            "and TGI would answer by going on with the prompt. Nothing was written."
        )


def least_agreement(use_case: UseCase) -> float:
    """What an export must reach when nobody said another figure, in (0, 1]."""
    return MIN_LIKENESS if use_case.is_generation else MIN_AGREEMENT
