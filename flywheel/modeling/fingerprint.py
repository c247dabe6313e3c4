"""What decides an answer, as one digest and as named parts; the one place that compares them.

The digest says whether anything differs from what was measured, the parts say what. Neither names
the machine: a build of torch for a GPU is the version that the one for the CPU is, and the numeric
type, which rounds but decides nothing, is recorded beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel.catalog.base_models import PREPROCESSOR, base_sha256, decides_writing
from flywheel.catalog.families import score_cap
from flywheel.config import UseCase
from flywheel.config.method_specs import RECIPES
from flywheel.config.task_types import Kind
from flywheel.dataset.images import KEPT_SIDE
from flywheel.errors import DigestMismatch
from flywheel.files import hashing
from flywheel.libraries import DECISIVE_LIBRARIES, PICTURE_LIBRARIES, library_version
from flywheel.modeling import artifact, prompts

SHOWN = 12
HASHED = ("base", "adapter", "prompt", "labels", "label_tokens")
SOMETIMES = ("kind", "max_new_tokens", "generation_config", "label_scores", "prompts")
"""Parts that only some versions have."""
_framed: dict[tuple[str, str], bool] = {}
"""By base and prompt: whether prompts that answers are written to are encoded as one text."""
_spelled: dict[tuple[str, str, tuple[str, ...]], list[list[int]] | None] = {}
"""By base, prompt and labels: what `flywheel.modeling.prompts.spelling` says."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model")
NO_ADAPTER = NO_BASE = "none"
BUILDS = ("cpu", "cu118", "cu126", "cu128", "cu129", "cu130")
"""Tags of torch's builds that stand in digests made before they were left out."""


@dataclass(frozen=True)
class Fingerprint:
    """A digest and its parts, by name: short hashes, or the value itself where it is short.

    ``parts`` is empty for versions that were registered before parts were kept. ``earlier`` are
    the digests that the same had while builds of torch were told apart.
    """

    digest: str
    parts: Mapping[str, str] = field(default_factory=dict)
    earlier: frozenset[str] = frozenset()


def of(use_case: UseCase, base: Path | None, adapter: Path | None) -> Fingerprint:
    """The fingerprint of what lies here.

    ``adapter`` None is the base itself, zero-shot; ``base`` None a method that needs none.

    Raises:
        DataError: the base is not complete.
        DigestMismatch: the adapter's files are not there.
    """
    content = _content(use_case, base, adapter)
    return Fingerprint(_hash(content), _parts(content), _earlier(content))


def differences(measured: Fingerprint, found: Fingerprint) -> list[str]:
    """What differs, in words, most telling first; nothing when the digests are the same.

    A digest that was made while builds of torch were told apart is the same, too.
    """
    if measured.digest == found.digest or measured.digest in found.earlier:
        return []
    if not measured.parts:
        return [
            f"measured {measured.digest[:SHOWN]}, found {found.digest[:SHOWN]} (its parts were not "
            "recorded: base, adapter, prompt, labels or a decisive library)"
        ]
    named = [
        _difference(name, measured.parts.get(name), found.parts.get(name))
        for name in [*found.parts, *(name for name in measured.parts if name not in found.parts)]
        if measured.parts.get(name) != found.parts.get(name)
    ]
    return named or ["its recorded parts are as they were, so its digest was changed"]


def require_same(measured: Fingerprint, found: Fingerprint, *, what: str, so: str) -> None:
    """Refuse what is not what was measured. ``so`` says what that led to, and what to do next.

    Raises:
        DigestMismatch: with everything that differs.
    """
    differing = differences(measured, found)
    if differing:
        raise DigestMismatch(
            f"{what} is not what was measured: {'; '.join(differing)}. {so}",
            measured=measured.digest,
            found=found.digest,
        )


def _content(use_case: UseCase, base: Path | None, adapter: Path | None) -> dict[str, Any]:
    # its JSON is what every digest ever registered is the hash of: add nothing for labels
    return {
        **(_of_writing(use_case, base, adapter) if use_case.is_generation else {}),
        "base": NO_BASE if base is None else base_sha256(base),
        **_scored(use_case, base, adapter),
        "adapter": None if adapter is None else artifact.sha256(adapter),
        "prompt": _asked(use_case, base),
        "labels": list(use_case.label_names),
        "max_length_tokens": use_case.training.max_length_tokens,
        **_spelling(use_case, base, adapter),
        "libraries": libraries(use_case.kind),
    }


def libraries(kind: Kind) -> dict[str, str]:
    """The libraries that decide answers to inputs of that kind, and their versions."""
    pictures = PICTURE_LIBRARIES if kind == "image-classification" else ()
    return {name: library_version(name) for name in (*DECISIVE_LIBRARIES, *pictures)}


def requirements(kind: Kind) -> list[str]:
    """What a registered version asks pip for, beside flywheel itself: what its digest names."""
    return [f"{name}=={version}" for name, version in libraries(kind).items()]


def _hash(content: Mapping[str, Any]) -> str:
    return hashing.of_json(content)


def _earlier(content: Mapping[str, Any]) -> frozenset[str]:
    libraries = content["libraries"]
    return frozenset(
        _hash({**content, "libraries": {**libraries, "torch": f"{libraries['torch']}+{build}"}})
        for build in BUILDS
    )


def _scored(use_case: UseCase, base: Path | None, adapter: Path | None) -> dict[str, str]:
    """How label words are scored, where it is not as it always was.

    Bases with a cap on their scores were read before the cap, and so were versions of then.
    """
    if base is None or not _reads_words(use_case, adapter) or score_cap(base) is None:
        return {}
    return {"label_scores": "capped"}


def _reads_words(use_case: UseCase, adapter: Path | None) -> bool:
    """Whether it answers by label words."""
    named = artifact.read(use_case, adapter).method
    words = {name for name, recipe in RECIPES.items() if recipe.words}
    return use_case.kind == "text-classification" and named in words


def _asked(use_case: UseCase, base: Path | None) -> str:
    """How an input is put before the model: the prompt, or what is made of a picture."""
    if not use_case.is_image or base is None:
        return use_case.prompt
    return f"{(base / PREPROCESSOR).read_text()}\nkept at {KEPT_SIDE}"


def _spelling(use_case: UseCase, base: Path | None, adapter: Path | None) -> dict[str, Any]:
    """How labels are put before the base, where that differs from how they were at first."""
    if base is None or not _reads_words(use_case, adapter):
        return {}
    if not any((base / name).is_file() for name in _TOKENIZERS):
        return {}
    key = base_sha256(base), use_case.prompt, use_case.label_names
    if key not in _spelled:
        from flywheel.modeling import model_loading

        _spelled[key] = prompts.spelling(model_loading.tokenizer_of(base), use_case)
    found = _spelled[key]
    return {} if found is None else {"label_tokens": found}


def _of_writing(use_case: UseCase, base: Path | None, adapter: Path | None) -> dict[str, Any]:
    """What decides a written answer, and where a base's own settings once did, that they do not.

    An adapter's files say how prompts are encoded; for a base alone it is said here, where that is
    not how it was at first.
    """
    found: dict[str, Any] = {
        "kind": use_case.kind,
        "max_new_tokens": use_case.training.max_new_tokens,
    }
    if base is not None and decides_writing(base):
        found["generation_config"] = "none"
    if base is not None and adapter is None and _is_framed_whole(use_case, base):
        found["prompts"] = "as one text"
    return found


def _is_framed_whole(use_case: UseCase, base: Path) -> bool:
    if not any((base / name).is_file() for name in _TOKENIZERS):
        return False
    key = base_sha256(base), use_case.prompt
    if key not in _framed:
        from flywheel.modeling import model_loading
        from flywheel.modeling.chat_template import frame_for

        _framed[key] = frame_for(use_case, model_loading.tokenizer_of(base)).whole
    return _framed[key]


def _parts(content: Mapping[str, Any]) -> dict[str, str]:
    return {
        "base": content["base"][:SHOWN],
        "adapter": NO_ADAPTER if content["adapter"] is None else content["adapter"][:SHOWN],
        "prompt": hashlib.sha256(content["prompt"].encode()).hexdigest()[:SHOWN],
        "labels": _short(content["labels"]),
        "max_length_tokens": str(content["max_length_tokens"]),
        **{name: str(content[name]) for name in SOMETIMES if name in content},
        **{name: _short(content[name]) for name in ("label_tokens",) if name in content},
        **content["libraries"],
    }


def label_set(use_case: UseCase) -> str:
    """A short hash of the labels, the same in whatever order they stand."""
    return _short(sorted(use_case.label_names))


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:SHOWN]


def _difference(name: str, measured: str | None, found: str | None) -> str:
    if name in HASHED:
        return f"{name}: measured {measured}, found {found}"
    return f"{name} {measured} → {found}"
