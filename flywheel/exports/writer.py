"""The folder of an export: what is written into it, and how it is asked before it is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel import progress
from flywheel.catalog import numeric_types
from flywheel.catalog.base_config import model_type_of
from flywheel.catalog.numeric_types import Choice
from flywheel.config import UseCase
from flywheel.errors import ExportRefused, StoreBusy
from flywheel.exports import MAX_MEAN_DIFFERENCE, Dtype, Form, answer, metadata, readme, weights
from flywheel.exports.agreement import Asked, Score, of_labels, of_texts
from flywheel.files import locks
from flywheel.libraries import DECISIVE_LIBRARIES, library_version
from flywheel.modeling import artifact, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.tracking.versions import Version

PARTIAL = ".tmp-"


def write(
    case: UseCase,
    version: Version,
    read: Artifact,
    base: Path,
    folder: Path,
    *,
    form: Form,
    dtype: Dtype | None,
    at: datetime,
) -> dict[str, Any]:
    """Weights, tokenizer, ``answer.py`` and what it goes by; returns the last."""
    name, revision = metadata.base_name(str(read.base))
    weights.write_tokenizer(base, folder)
    if dtype is None:
        weights.write_adapter(version.adapter_dir, folder, base=name, revision=revision)
    else:
        weights.write_merged(case, base, version.adapter_dir, folder, dtype=dtype)
        model_loading.release()
    shutil.copyfile(answer.__file__, folder / metadata.ANSWER)
    content = metadata.about(
        case,
        version=version.version,
        digest=version.digest,
        snapshot_id=version.snapshot_id,
        form=form,
        method=read.method,
        dtype=dtype,
        base=metadata.about_base(str(read.base), base, method=read.method),
        how=metadata.answering(case, answer.tokenizer_in(folder), read, version.adapter_dir),
        at=at.isoformat(),
        libraries={one: library_version(one) for one in DECISIVE_LIBRARIES},
    )
    metadata.write(folder, content)
    for file in folder.iterdir():
        # safetensors writes what only its owner may read
        shutil.copymode(folder / answer.EXPORT, file)
    return content


def ask(
    case: UseCase,
    content: dict[str, Any],
    asked: Sequence[Asked],
    folder: Path,
    base: Path,
    *,
    least: float,
) -> dict[str, Any]:
    """Load it back, compare it with what was measured, and write down what came of it.

    Raises:
        ExportRefused: it answers otherwise.
    """
    merged, plainly = content["form"] == "merged", _type_of(base).name
    packed = content["base"]["in_4_bits"] and not merged
    said = (
        f"merged, in {content['dtype']}"
        if merged
        else f"on the base in {'4 bits' if packed else plainly}, as it was learned"
    )
    score = _score(case, asked, folder, base, in_4_bits=packed)
    if (fault := _fault(score, least)) is not None:
        raise ExportRefused(
            f"Loaded back, {said}, the export answers {len(asked)} holdout rows otherwise than "
            f"measured: {fault}. It was deleted; nothing is exported.",
            **metadata.scored(score),
        )
    scores = [{"loaded": said, **metadata.scored(score)}]
    if packed:
        plain = _score(case, asked, folder, base, in_4_bits=False)
        scores.append({"loaded": f"on the base in {plainly} instead", **metadata.scored(plain)})
    content = {**content, "scored": scores}
    peft = None if merged else artifact.peft_config(folder)
    (folder / metadata.README).write_text(readme.page(content, peft), encoding="utf-8")
    content = {**content, "files": metadata.file_hashes(folder)}
    metadata.write(folder, content)
    return content


def _type_of(base: Path) -> Choice:
    """The numeric type that the base computes in here."""
    return numeric_types.of_base(model_type_of(base))


def _fault(score: Score, least: float) -> str | None:
    """Why what was loaded is not what was measured; None: it is."""
    if not score.agreement >= least:
        of = "the share of the same answers" if score.mean_difference is not None else "ROUGE-L"
        return f"{of} is {score.agreement:.4f}, and {least} is wanted"
    far = score.mean_difference
    if far is not None and not far <= MAX_MEAN_DIFFERENCE:
        return f"probabilities are {far:.3f} apart on the mean, at most {MAX_MEAN_DIFFERENCE}"
    return None


def _score(
    case: UseCase, asked: Sequence[Asked], folder: Path, base: Path, *, in_4_bits: bool
) -> Score:
    with model_loading.quiet():
        exported = answer.load(folder, base=base, in_4_bits=in_4_bits, dtype=_type_of(base).dtype)
        with progress.bar(f"asking the export {len(asked)} holdout rows") as step:
            answers = exported.answer([row.text for row in asked], progress=step)
    del exported
    model_loading.release()
    return of_texts(asked, answers) if case.is_generation else of_labels(asked, answers)


@contextmanager
def becoming(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, for one process at a time; gone at the end, or renamed.

    Raises:
        StoreBusy: another process has it.
        ExportRefused: there can be no folder.
    """
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    busy = StoreBusy(f"Another process is exporting to {folder}; this one did nothing.")
    with ExitStack() as held:
        try:
            partial.mkdir(parents=True, exist_ok=True)
            held.enter_context(locks.held_folder(partial, busy=busy))
        except OSError as error:
            raise ExportRefused(f"{folder} cannot be written: {error}") from error
        for left in partial.iterdir():
            left.unlink() if left.is_file() else shutil.rmtree(left)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def put(partial: Path, folder: Path) -> None:
    """Give a whole export its name, where nothing or an empty folder is.

    Raises:
        ExportRefused: something else has come there meanwhile.
    """
    try:
        partial.rename(folder)
    except OSError as error:
        raise ExportRefused(f"{folder} could not be put in its place: {error}") from error
