"""What an export says about itself: ``export.json`` for machines, ``README.md`` for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flywheel import catalog
from flywheel.catalog import Hub, Model
from flywheel.catalog.base_models import base_sha256
from flywheel.catalog.memory import IN_4_BITS
from flywheel.config import UseCase
from flywheel.exports import Dtype, Form
from flywheel.exports.agreement import Score
from flywheel.exports.answer import EXPORT
from flywheel.files import hashing
from flywheel.modeling import prompts
from flywheel.modeling.artifact import Artifact

README, ANSWER = "README.md", "answer.py"


def known_base(name: str) -> Model | None:
    """The base's entry in the catalog; None where a person put it into the home."""
    return catalog.models().get(name)


def base_name(name: str) -> tuple[str, str | None]:
    """What an adapter calls its base, and the revision: those of the hub where it is from there."""
    known = known_base(name)
    if known is None or not isinstance(known.source, Hub):
        return name, None
    return known.source.repository, known.source.revision


def about_base(name: str, folder: Path, *, method: str) -> dict[str, Any]:
    """Name, origin, licence and content hash of a base, and how an adapter was learned on it."""
    known = known_base(name)
    repository, revision = base_name(name)
    return {
        "name": name,
        "repository": repository if revision else None,
        "revision": revision,
        "source": known and {"kind": type(known.source).__name__.lower(), **asdict(known.source)},
        "licence": known and known.licence,
        "pitfalls": list(known.pitfalls) if known else [],
        "content_sha256": base_sha256(folder),
        "in_4_bits": method in IN_4_BITS,
    }


def answering(use_case: UseCase, tokenizer: Any, found: Artifact, adapter: Path) -> dict[str, Any]:
    """How a text is put before the model, and an answer read: all that ``answer.py`` goes by.

    ``adapter`` is the folder that says ``found``.
    """
    recipe = use_case.training
    shared = {"prompt": use_case.prompt, "max_length_tokens": recipe.max_length_tokens}
    if use_case.is_generation:
        from flywheel.modeling import chat_template, generation

        whole = generation.encoded_whole(adapter)
        framed = chat_template.frame_for(use_case, tokenizer, whole=whole)
        return {
            **shared,
            "labels": [],
            "max_new_tokens": recipe.max_new_tokens,
            "chat_template": bool(tokenizer.chat_template),
            "date_string": chat_template.DATE,
            "encoded": generation.WHOLE if framed.whole else generation.PIECES,
            "token_ids_at_start": list(framed.begin),
            "token_ids_before_text": list(framed.head),
            "token_ids_behind_text": list(framed.tail),
            "stop_token_ids": list(framed.stops),
        }
    words = prompts.label_tokens(tokenizer, use_case)
    return {
        **shared,
        "temperature": found.temperature,
        "token_ids_behind_text": prompts.behind_text(tokenizer, use_case),
        "labels": [
            {
                "label": label,
                "meaning": meaning,
                "token_ids": tokens,
                "tokens": [tokenizer.decode([token]) for token in tokens],
            }
            for (label, meaning), tokens in zip(use_case.labels.items(), words, strict=True)
        ],
    }


def about(
    use_case: UseCase,
    *,
    version: str,
    digest: str,
    snapshot_id: str,
    form: Form,
    method: str,
    dtype: Dtype | None,
    base: Mapping[str, Any],
    how: Mapping[str, Any],
    at: str,
    libraries: Mapping[str, str],
) -> dict[str, Any]:
    """The beginning of ``export.json``; what was scored and the files' hashes are added later."""
    return {
        "use_case": use_case.name,
        "description": use_case.description,
        "kind": use_case.kind,
        "version": version,
        "digest": digest,
        "snapshot_id": snapshot_id,
        "exported_at": at,
        "form": form,
        "method": method,
        "dtype": dtype,
        "base": dict(base),
        "answering": dict(how),
        "libraries": dict(libraries),
    }


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Put ``export.json`` in place; with the files' hashes it makes the folder complete."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / EXPORT).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """What a complete export says of itself; None where there is none."""
    try:
        content = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) and "files" in content else None


def file_hashes(folder: Path) -> dict[str, str]:
    """File → sha256, of all but ``export.json``."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != EXPORT and path.is_file():
            found[path.name] = hashing.of_file(path)
    return found


def scored(score: Score) -> dict[str, Any]:
    """A score as ``export.json`` and the command show it."""
    return {"measure": score.measure, **asdict(score)}
