"""Load a base, and ask a loaded model many texts.

Decided here once, for training, evaluation, batch prediction and the registered model alike: the
device, the quantisation, the batches. What a model reads and how its scores come about is its
method's, in `flywheel.modeling.methods`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from flywheel.catalog import memory, numeric_types

log = logging.getLogger(__name__)

ROWS_PER_BATCH = 32
LENGTH_STEP = 8
_Answer = TypeVar("_Answer")


class Scorer(Protocol):
    """A loaded model that gives each label a score; ``model`` is a torch module."""

    @property
    def model(self) -> Any: ...

    @property
    def label_names(self) -> tuple[str, ...]: ...

    def encode(self, texts: Sequence[str]) -> list[Any]:
        """Each text as the model reads it: token ids, or a picture; its length is in tokens."""

    def logits(self, rows: Sequence[Any]) -> torch.Tensor:
        """Scores of the labels for encoded texts: ``(rows, labels)``, float32."""


def device() -> torch.device:
    """Where tensors live: the first CUDA device if there is one, Apple's, or the CPU."""
    return torch.device(numeric_types.device_type())


def load_quantised(folder: Path) -> Any:
    """The base in NF4 with double quantisation, computing in `numeric_types.here`'s type.

    On CUDA the weights stay in 4 bits. Elsewhere, where bitsandbytes would unpack them for every
    product, they are quantised the same and unpacked once: the same numbers in the forward pass,
    at that type's memory.
    """
    from transformers import AutoConfig, BitsAndBytesConfig

    dtype = numeric_types.of_base(AutoConfig.from_pretrained(folder).model_type).dtype
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    with quiet(), _plain_linear_layers():
        model = _that_writes(folder).from_pretrained(
            folder,
            quantization_config=nf4,
            dtype=dtype,
            device_map={"": 0} if device().type == "cuda" else None,
            use_safetensors=True,
        )
        if device().type != "cuda":
            model = model.dequantize(dtype).to(device())
    model.config.use_cache = False
    model.requires_grad_(False)
    gc.collect()
    return model


def _that_writes(folder: Path) -> Any:
    """The class that loads a base with its LM head."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    decodes = AutoConfig.from_pretrained(folder).is_encoder_decoder
    return AutoModelForSeq2SeqLM if decodes else AutoModelForCausalLM


@contextlib.contextmanager
def _plain_linear_layers() -> Iterator[None]:
    """Build Falcon of torch's own linear layers.

    It has a name of its own for the same layer, and what is not exactly torch's is passed over,
    without an error, when layers are put in 4 bits.
    """
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own


def load_plain(folder: Path, family: str = "causal") -> Any:
    """A base as its files have it: a causal one in `numeric_types.here`'s type, others in float32.

    Of a base that encodes and decodes, as T5 does, an encoder is its encoder, and what writes the
    whole of it.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    if family == "vision":
        # makes Transformers know an architecture that it lacks
        from flywheel.catalog import efficientnet_lite  # noqa: F401

    config = None if family == "vision" else AutoConfig.from_pretrained(folder)
    encodes = config is not None and config.is_encoder_decoder
    dtype = torch.float32
    if config is not None and family == "causal" and not encodes:
        dtype = numeric_types.of_base(config.model_type).dtype
    if family in ("causal", "encoder-decoder"):
        kind = _that_writes(folder)
    else:
        kind = AutoModelForTextEncoding if encodes else AutoModel
    with quiet():
        model: Any = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    model.config.use_cache = False
    model.requires_grad_(False)
    return model.to(device())


def config_of(folder: Path) -> Any:
    """What a base says of itself, as Transformers reads it; no weights are loaded."""
    from transformers import AutoConfig

    # makes Transformers know an architecture that it lacks
    from flywheel.catalog import efficientnet_lite  # noqa: F401

    return AutoConfig.from_pretrained(folder)


def load_to_adapt(folder: Path, *, quantised: bool) -> Any:
    """A causal base for an adapter to be put on: `load_quantised` or `load_plain`."""
    return without_habits(load_quantised(folder) if quantised else load_plain(folder))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a base."""
    from transformers import AutoTokenizer

    with quiet():
        return AutoTokenizer.from_pretrained(folder)


def without_habits(model: Any) -> Any:
    """The model without the settings that its ``generation_config.json`` has for writing.

    Transformers puts them where a caller names none: a ``repetition_penalty``, which nothing was
    learned with, and which one way to download a base brings and another does not.
    """
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()
    return model


def padded(rows: Sequence[Sequence[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, ``(rows, tokens)``, padded on the right.

    Few distinct shapes: the CPU's kernels are prepared, and kept in memory, once for each.
    """
    longest = -(-max(len(row) for row in rows) // LENGTH_STEP) * LENGTH_STEP
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def answer(
    scorer: Scorer,
    texts: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, float]], float]:
    """Probabilities per text, in the given order, and milliseconds per text.

    ``progress`` is called with (texts done, texts in all). A label outside the set cannot occur.
    """
    if not texts:
        return [], 0.0
    rows = scorer.encode(texts)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    answers: list[dict[str, float]] = [{} for _ in rows]
    scorer.model.eval()
    begun = time.perf_counter()
    done = 0
    with torch.inference_mode():
        for batch in batches(order, [len(row) for row in rows]):
            scores = halving(scorer.logits, [rows[i] for i in batch]).cpu().double().softmax(dim=1)
            for i, probabilities in zip(batch, scores.tolist(), strict=True):
                answers[i] = dict(zip(scorer.label_names, probabilities, strict=True))
            done += len(batch)
            if progress:
                progress(done, len(order))
    return answers, 1_000 * (time.perf_counter() - begun) / len(texts)


def batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers in ``order``, shortest first, in batches of bounded rows and padded tokens."""
    batch: list[int] = []
    for row in order:
        tokens = (len(batch) + 1) * lengths[row]
        if batch and (len(batch) == ROWS_PER_BATCH or tokens > memory.SCORED_TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def halving(ask: Callable[[Sequence[Any]], torch.Tensor], rows: Sequence[Any]) -> torch.Tensor:
    """What ``ask`` gives for all rows; where memory does not hold them, half of them at a time.

    Raises:
        torch.OutOfMemoryError: a single row does not fit.
    """
    return torch.cat(in_parts(ask, rows))


def in_parts(ask: Callable[[Sequence[Any]], _Answer], rows: Sequence[Any]) -> list[_Answer]:
    """What ``ask`` gives for as many rows at a time as memory holds: all, or halves, in order.

    Raises:
        torch.OutOfMemoryError: a single row does not fit.
    """
    try:
        return [ask(rows)]
    except RuntimeError as error:
        if len(rows) == 1 or not is_out_of_memory(error):
            raise
    log.warning("out of memory: %d rows are asked in two parts", len(rows))
    release()
    half = len(rows) // 2
    return in_parts(ask, rows[:half]) + in_parts(ask, rows[half:])


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a type for it; its libraries and the CPU's allocator only say so."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        said in str(error)
        for said in (
            "can't allocate memory",
            "CUDA out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "MPS backend out of memory",
        )
    )


def available_memory_mb() -> float:
    """Memory that is free where a model would be: on the GPU if there is one."""
    if torch.cuda.is_available():
        return _free_on_gpu_mb()
    import psutil

    return float(psutil.virtual_memory().available) / 1e6


def _free_on_gpu_mb() -> float:
    """As another process tells it: one that only waits for a training must not open a CUDA context,
    which takes hundreds of megabytes itself.

    The driver's own command is asked first; it is not in every container, and knows no MIG slices.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return float(torch.cuda.mem_get_info()[0]) / 1e6
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    smi = ["nvidia-smi", "-i", visible, "--query-gpu=memory.free"]
    try:
        # in MiB
        return _first_number([*smi, "--format=csv,noheader,nounits"]) * 1.048576
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        log.debug("nvidia-smi did not tell what is free: %s", error)
    asked = "import torch; print(torch.cuda.mem_get_info()[0])"
    return _first_number([sys.executable, "-c", asked]) / 1e6


def _first_number(command: Sequence[str]) -> float:
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return float(told.stdout.split()[0])


def release() -> None:
    """Give back the memory of models that nothing holds any more."""
    gc.collect()
    where = device().type
    if where == "cuda":
        torch.cuda.empty_cache()
    elif where == "mps":
        torch.mps.empty_cache()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the model libraries' advice out of a night's output; errors still raise."""
    chatty = [logging.getLogger(name) for name in ("transformers", "bitsandbytes", "peft")]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
