"""From a method's answerer to the same one on a compiled base, or the reason why torch answers.

What is converted is what torch computes with here: the base in its numeric type, the adapter merged
into it in float32. Before it may answer, and at every load after, it is asked texts of its own;
its scores must be those that torch gave when it was converted.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from flywheel.catalog import numeric_types
from flywheel.config import UseCase
from flywheel.dataset.images import probes
from flywheel.errors import DataError, ServedDiffers
from flywheel.files import hashing
from flywheel.libraries import library_version
from flywheel.modeling import base_cache, classifier, fingerprint, model_loading
from flywheel.modeling.answerer import Answerer
from flywheel.modeling.compiled import bodies, kept, openvino_api
from flywheel.modeling.compiled.runtime import PACKAGE, Choice
from flywheel.modeling.image_processor import ImageInput
from flywheel.modeling.optim import fused_ops
from flywheel.modeling.verbalizer import soft_prompts, verbalizer
from flywheel.modeling.verbalizer.causal import SHORTEST_OPENING, CausalReading

log = logging.getLogger(__name__)

FORMAT = 2
"""Another one makes all be converted anew."""
_CANNOT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a base raises that cannot be traced or converted; its architecture is foreign code."""


class _NotForIt(Exception):
    """A method whose answers are not made by a base that can be compiled."""


def on_compiled(
    use_case: UseCase,
    base: Path,
    adapter: Path | None,
    folder: Path,
    plain: Callable[[], Answerer],
    choice: Choice,
) -> Answerer:
    """The answerer of ``plain`` on a compiled base; torch's own where that cannot be.

    Args:
        use_case: By which it answers.
        base: The base's folder.
        adapter: What was learned, None for the base alone.
        folder: Where converted models of the use case lie (`flywheel.config.Home.compiled`).
        plain: Loads what torch answers with.
        choice: Whether torch may stand in where the compiled model does not give torch's scores.

    Raises:
        ServedDiffers: it does not, and torch may not.
    """
    place = folder / _key(use_case, base, adapter)
    try:
        record = _record(place, use_case, plain)
        if record.refused is None:
            return _opened(use_case, base, adapter, place, record)
        if record.differs:
            raise ServedDiffers(record.refused)
        why = record.refused
    except (ServedDiffers, OSError, MemoryError) as error:
        if choice.required:
            raise
        why = str(error)
    log.info("torch answers for %s: %s", use_case.name, why)
    return plain()


def _key(use_case: UseCase, base: Path, adapter: Path | None) -> str:
    """Of all that a converted model is made from."""
    content = {
        "digest": fingerprint.of(use_case, base, adapter).digest,
        "numeric_type": _type_of(base)[0],
        PACKAGE: library_version(PACKAGE),
        "format": FORMAT,
    }
    return hashing.of_json(content)[:32]


@functools.cache
def _type_of(base: Path) -> tuple[str, torch.dtype]:
    """The numeric type of torch's answers on a base."""
    config = json.loads((base / "config.json").read_text())
    names = config.get("architectures") or [""]
    causal = names[0].endswith(("ForCausalLM", "LMHeadModel"))
    if not causal:
        return "float32", torch.float32
    chosen = numeric_types.of_base(config["model_type"])
    return chosen.name, chosen.dtype


# ---- Convert


def _record(place: Path, use_case: UseCase, plain: Callable[[], Answerer]) -> kept.Record:
    try:
        record = kept.read(place)
    except DataError as error:
        log.warning("%s", error)
        kept.drop(place)
        record = None
    return record or kept.make(place, lambda partial: _convert(partial, use_case, plain))


def _convert(partial: Path, use_case: UseCase, plain: Callable[[], Answerer]) -> kept.Record:
    """Write a converted model into ``partial``; of one that cannot be, why."""
    begun = time.monotonic()
    log.info("converting a model of %s for OpenVINO, once", use_case.name)
    # apart from what others stand on: its weights are merged
    with base_cache.apart(), fused_ops.left_alone():
        answerer = plain()
    try:
        module, example, merged = _traceable(answerer)
        openvino_api.save(openvino_api.convert(module, example), partial / kept.BODY)
        texts = _texts(use_case)
        with torch.inference_mode():
            scores = merged.logits(merged.encode(texts))
        if isinstance(merged, verbalizer.Reader):
            weight = merged.model.get_output_embeddings().weight
            save_file({"words": weight.detach().contiguous()}, partial / kept.WORDS)
    except _NotForIt as error:
        return kept.Record({}, refused=str(error))
    except _CANNOT as error:
        if model_loading.is_out_of_memory(error):
            raise MemoryError("there was too little memory to convert it") from error
        # what a library says may quote anything; its kind is enough
        return kept.Record({}, refused=f"it could not be converted ({type(error).__name__})")
    files = kept.hashed(partial, kept.BODY, kept.WEIGHTS, kept.WORDS)
    megabytes = sum((partial / name).stat().st_size for name in files) / 1e6
    log.info(
        "converted a model of %s for OpenVINO: %.0f s, %.0f MB",
        use_case.name,
        time.monotonic() - begun,
        megabytes,
    )
    return kept.Record(files, texts, scores.double().tolist())


def _texts(use_case: UseCase) -> list[str]:
    """What the scores are compared on: what the use case says of itself, or drawn pictures."""
    if use_case.is_image:
        return list(probes())
    said = [use_case.description, *use_case.labels.values(), *use_case.label_names]
    return [*said, " ".join(said)]


def _traceable(answerer: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], Any]:
    """What is to be compiled, inputs to trace it with, and the answerer with merged weights."""
    if type(answerer) is verbalizer.Reader:
        return _of_words(answerer)
    if type(answerer) is classifier.HeadReader:
        return _of_head(answerer)
    raise _NotForIt(f"{type(answerer).__name__} answers without a base that can be compiled")


def _of_words(reader: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], Any]:
    reading = reader.reading
    if not isinstance(reading, CausalReading) or reading.beginning is not None:
        raise _NotForIt("its base decodes, or has read examples")
    if soft_prompts.learns(reader.model):
        raise _NotForIt("its adapter stands before the prompt")
    if len(reading.opening) >= SHORTEST_OPENING:
        raise _NotForIt(
            f"prompts begin with the same {len(reading.opening)} tokens, which torch reads once"
        )
    _require_whole(reader.model, reader.use_case.training.max_length_tokens + reader.trie.longest)
    model = _merged(reader.model)
    merged = replace(reader, model=model, reading=CausalReading(model, reading.pad))
    size = 9
    example = (
        torch.arange(3 * size).reshape(3, size) % model.config.vocab_size,
        torch.arange(size).repeat(3, 1),
        torch.ones(size, size, dtype=torch.bool).tril().repeat(3, 1, 1, 1),
        torch.tensor([[4, 5], [6, 7], [7, 8]]),
    )
    return bodies.WordsBody(model.base_model), example, merged


def _require_whole(model: Any, tokens: int) -> None:
    """Refuse a base that does not look back over so many tokens: compiled, it would."""
    window = getattr(model.config, "sliding_window", None)
    if window and tokens >= window:
        raise _NotForIt(f"its base looks back over {window} tokens, and texts may have {tokens}")


def _of_head(reader: classifier.HeadReader) -> tuple[torch.nn.Module, Any, Any]:
    if isinstance(reader.senses, classifier.Reading) and reader.senses.causal:
        _require_whole(reader.model, reader.use_case.training.max_length_tokens)
    model = _merged(reader.model)
    merged = replace(reader, model=model)
    if isinstance(reader.senses, classifier.Reading):
        wrap = bodies.CausalBody if reader.senses.causal else bodies.EncoderBody
        ids = torch.arange(27).reshape(3, 9) % model.config.vocab_size
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        return wrap(model), (ids, mask), merged
    assert isinstance(reader.senses, ImageInput)
    pixels = reader.senses.pixels(reader.encode(list(probes())[:2]))
    return bodies.VisionBody(model), (pixels,), merged


def _merged(model: Any) -> Any:
    """In float32, what was learned added to the weights that it stands beside."""
    model = model.float()
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return model.eval()


# ---- Load


def _opened(
    use_case: UseCase, base: Path, adapter: Path | None, place: Path, record: kept.Record
) -> Answerer:
    """The compiled model, which gives torch's scores.

    Raises:
        ServedDiffers: it does not.
    """
    _, dtype = _type_of(base)
    infer = openvino_api.Compiled(place / kept.BODY, dtype)
    body = bodies.Body(infer, model_loading.config_of(base))
    found: Any
    if kept.WORDS in record.files:
        body.words = load_file(place / kept.WORDS)["words"]
        found = verbalizer.reader_for(use_case, body, base)
        found.reading = bodies.PackedReading(infer, found.reading.pad)
    else:
        assert adapter is not None
        causal = not use_case.is_image and classifier.is_causal(base)
        found = classifier.head_reader(use_case, body, base, causal=causal)
        classifier.load_head(found.head, adapter)
    with torch.inference_mode():
        scores = found.logits(found.encode(list(record.texts)))
    expected = torch.tensor(record.scores)
    if not fused_ops.close(scores, expected.to(dtype)):
        worst = float((scores - expected).abs().max())
        why = (
            f"a model of {use_case.name}, compiled by OpenVINO for this CPU, gives scores that are "
            f"{worst:.3g} off torch's, and answers nothing; serving.runtime: torch can"
        )
        kept.refuse(place, why)
        raise ServedDiffers(why)
    return found  # type: ignore[no-any-return]
