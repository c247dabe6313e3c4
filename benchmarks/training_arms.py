"""The ways of training and scoring that are compared, each in a process of its own.

Every way gets the same base, rows, labels, epochs, batch size, learning rate and adapter, and is
scored by the same code on the same holdout rows.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.attacks import Data, load
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, UseCase
from flywheel.dataset import product_reviews
from flywheel.modeling import durations, methods
from flywheel.modeling.methods import qlora
from flywheel.modeling.verbalizer import verbalizer

NAMES_OF_IDEAS: dict[str, str] = {
    "ours": "all of the below",
    "plain_layers": "without a layer in one step, its parts fused only",
    "plain_products": "nor the fused low-rank product",
    "plain_norms": "nor the fused norm",
    "plain_attention": "nor kept attention scores (PyTorch's own kernel)",
    "no_shortcuts": "nor any of these three",
    "compiled": "each layer by torch.compile instead of all of these",
    "any_order": "batches in any order, not of similar length",
    "narrow_pools": "batches sorted by length among 4, not among 16",
    "no_rounding": "lengths of passes not rounded up to eights",
    "double_pass": "passes of twice as many tokens",
    "float32_adapter": "adapter in float32",
    "packed_weights": "weights kept in 4 bits, unpacked for each product",
    "half_threads": "half of the threads",
}


POOLS = {"any_order": 1, "narrow_pools": 4}
"""Batches that are sorted by length together."""
PROFILED = 96
"""Rows that are enough to see where the time goes."""
WORK: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "addmm", "addmm_", "bmm"),
    "one number at a time: scaling, adding, activations, norms": (
        *("add", "add_", "sub_", "mul", "mul_", "div", "div_", "neg", "pow", "rsqrt", "square"),
        *("mean", "sum", "silu", "silu_backward", "_softmax", "_softmax_backward_data"),
        *("addcmul", "addcmul_", "linalg_vector_norm", "rsqrt_", "square_"),
    ),
    "copies and casts": ("copy_", "cat", "clone", "fill_"),
}
REST = "the rest: views, dispatch, gradients' bookkeeping, the optimiser"


@dataclass(frozen=True)
class Rows:
    """Training texts with one person's label each; holdout texts with gold. Labels are numbers."""

    texts: list[str]
    labels: list[int]
    holdout: list[str]
    gold: list[int]


def draw(data: Data, *, rows: int, seed: int) -> Rows:
    """``rows`` sentences of the train side, each with the label of one randomly drawn rater."""
    rng = random.Random(seed)
    names = data.case.label_names
    chosen = rng.sample(data.train, rows)
    return Rows(
        [s.text for s in chosen],
        [names.index(product_reviews.rater_label(rng.choice(s.ratings))) for s in chosen],
        [s.text for s in data.holdout],
        [names.index(product_reviews.gold_label(s.mean)) for s in data.holdout],
    )


def run(arm: str, rows: int, seed: int) -> dict[str, float]:
    """Measure one arm: called in a fresh process."""
    home = Home()
    data = load(home)
    base = ensure_base(data.case.training.base, home)
    drawn = draw(data, rows=rows, seed=seed)
    case = data.case.model_copy(
        update={"training": data.case.training.model_copy(update={"seed": seed})}
    )
    return measured(arm, case, base, drawn)


def measured(arm: str, case: UseCase, base: Path, drawn: Rows) -> dict[str, float]:
    """One arm's figures, of the process that it is called in."""
    from flywheel.catalog import memory

    if arm == "stock":
        found = _stock(case, base, drawn)
    elif arm == "matrix_limit":
        return _matrix_limit(case, base)
    elif arm == "profile":
        return _profile(case, base, drawn)
    else:
        found = _ours(arm, case, base, drawn)
    return {
        **found,
        "peak_memory_mb": memory.peak_mb(),
        "holdout_rows": len(drawn.holdout),
    }


# ---- Ours, and ours without one idea


def _ours(arm: str, case: UseCase, base: Path, drawn: Rows) -> dict[str, float]:
    import torch

    from flywheel.modeling import model_loading
    from flywheel.modeling.optim import training_loop
    from flywheel.training import runner

    plan = runner.plan_memory(case, base)
    torch.manual_seed(case.training.seed)
    if arm == "half_threads":
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    with contextlib.ExitStack() as stack:
        _without(arm, stack)
        model = (
            _differentiable(base) if arm == "packed_weights" else model_loading.load_quantised(base)
        )
        model = verbalizer.attach(model, qlora.adapter(case.training))
        if arm == "float32_adapter":
            # PEFT casts what goes in and what comes out
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()
        reader = verbalizer.reader_for(case, model, base)
        if arm == "compiled":
            for layer in model.get_base_model().model.layers:
                layer.forward = torch.compile(layer.forward, dynamic=True)
        whole = plan.tokens_per_pass
        reached = training_loop.fit(
            reader,
            case.training,
            methods.Rows(
                drawn.texts, [[label] for label in drawn.labels], [1.0] * len(drawn.labels)
            ),
            on_step=lambda *_: None,
            max_tokens=2 * whole if arm == "double_pass" else whole,
            recompute=plan.recompute,
        )
        answers, milliseconds = reader.answer(drawn.holdout)
    epochs = durations.epochs(case.training, len(drawn.texts))
    found = {
        "rows_per_s": epochs * len(drawn.texts) / reached.seconds,
        "tokens_per_s": training_loop.tokens_read(reader, case.training, drawn.texts)
        / reached.seconds,
        "accuracy": _accuracy(case, answers, drawn.gold),
        "scored_per_s": 1_000 / milliseconds,
    }
    if plan.need is not None:
        found["planned_mb"] = plan.need.total
    if arm == "ours":
        found["pipeline_per_s"] = _pipeline_speed(case, base, model, drawn.holdout[:60])
    return found


def _profile(case: UseCase, base: Path, drawn: Rows) -> dict[str, float]:
    """Share of a training's time that goes into each kind of work, by PyTorch's profiler."""
    import torch

    from flywheel.modeling import model_loading
    from flywheel.modeling.optim import training_loop

    recipe = case.training.model_copy(update={"epochs": 1, "min_steps": 0})
    torch.manual_seed(recipe.seed)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(recipe))
    reader = verbalizer.reader_for(case, model, base)
    labels = [[label] for label in drawn.labels[:PROFILED]]
    rows = methods.Rows(drawn.texts[:PROFILED], labels, [1.0] * len(labels))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        training_loop.fit(reader, recipe, rows, on_step=lambda *_: None)
    spent = {one.key.removeprefix("aten::"): one.self_cpu_time_total for one in seen.key_averages()}
    whole = sum(spent.values())
    shares = {kind: sum(spent.get(name, 0) for name in of) / whole for kind, of in WORK.items()}
    return {**shares, REST: 1 - sum(shares.values())}


def _without(arm: str, stack: contextlib.ExitStack) -> None:
    """Switch off what ``arm`` does without, until ``stack`` ends."""
    from flywheel.modeling import model_loading
    from flywheel.modeling.optim import fused_decoder, fused_ops, schedule

    bare = arm in ("no_shortcuts", "compiled")
    if bare or arm.startswith("plain_"):
        stack.enter_context(_replaced(fused_decoder, "is_known", lambda module: False))
    if bare or arm in ("plain_products", "float32_adapter", "packed_weights"):
        stack.enter_context(_replaced(fused_ops, "_lora", lambda module: None))
    if bare or arm == "plain_norms":
        stack.enter_context(_replaced(fused_ops, "_norm", lambda module: None))
    if bare or arm == "plain_attention":
        stack.enter_context(_replaced(fused_ops, "_take_attention", lambda model: ""))
    if arm in POOLS:
        stack.enter_context(_replaced(schedule, "BATCHES_PER_POOL", POOLS[arm]))
    if arm == "no_rounding":
        stack.enter_context(_replaced(model_loading, "LENGTH_STEP", 1))


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _stock_type() -> Any:
    """bfloat16, but for GPUs that only emulate it: the Trainer refuses it there."""
    import torch

    from flywheel.catalog import numeric_types

    narrow = torch.cuda.is_available() and numeric_types.here().name == "float16"
    return torch.float16 if narrow else torch.bfloat16


def _packed(base: Path) -> Any:
    """The base as bitsandbytes keeps it: 4 bits, unpacked for every product."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = _stock_type()
    model = AutoModelForCausalLM.from_pretrained(
        base,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        dtype=dtype,
    )
    model.config.use_cache = False
    return model


def _differentiable(base: Path) -> Any:
    """The same, and it still learns after it was asked without gradients, as shortcuts are proven.

    Asked so on a CPU with AVX-512, bitsandbytes 0.50 lays weights out anew for a product that
    passes no gradient on, and keeps them so: layers below would learn by the residual stream alone.
    """
    from bitsandbytes.nn.modules import Linear4bit

    model = _packed(base)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model


def _accuracy(case: UseCase, answers: Sequence[dict[str, float]], gold: Sequence[int]) -> float:
    named = [case.label_names.index(max(a, key=a.__getitem__)) for a in answers]
    return sum(one == other for one, other in zip(named, gold, strict=True)) / len(gold)


# ---- What a user would write today


def _stock(case: UseCase, base: Path, drawn: Rows) -> dict[str, float]:
    """Transformers' Trainer with PEFT on a bitsandbytes base; completion-only loss."""
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import (
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from flywheel.modeling import prompts

    torch.manual_seed(case.training.seed)
    recipe = case.training
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    words = prompts.label_words(case)
    examples = []
    for text, label in zip(drawn.texts, drawn.labels, strict=True):
        prompt = tokenizer(prompts.render(case, text)).input_ids[: recipe.max_length_tokens]
        word = tokenizer(words[label], add_special_tokens=False).input_ids
        examples.append(
            {
                "input_ids": prompt + word,
                "attention_mask": [1] * (len(prompt) + len(word)),
                "labels": [-100] * len(prompt) + word,
            }
        )
    epochs = durations.epochs(recipe, len(examples))
    model = prepare_model_for_kbit_training(_packed(base), use_gradient_checkpointing=False)
    model = get_peft_model(
        model,
        LoraConfig(
            r=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=recipe.batch_size,
                num_train_epochs=epochs,
                learning_rate=recipe.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=recipe.warmup_share,
                bf16=_stock_type() == torch.bfloat16,
                fp16=_stock_type() == torch.float16,
                logging_strategy="no",
                save_strategy="no",
                report_to=[],
                seed=recipe.seed,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=examples,  # type: ignore[arg-type]
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        )
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    with torch.autocast(model.device.type, dtype=_stock_type()):
        reader = verbalizer.reader_for(case, model, base)
        answers, _ = reader.answer(drawn.holdout)
    return {
        "rows_per_s": epochs * len(examples) / seconds,
        "tokens_per_s": epochs * sum(len(e["input_ids"]) for e in examples) / seconds,
        "accuracy": _accuracy(case, answers, drawn.gold),
    }


def _pipeline_speed(case: UseCase, base: Path, model: Any, texts: Sequence[str]) -> float:
    """Rows per second of ``transformers.pipeline`` with its defaults, asked for the label word."""
    from transformers import AutoTokenizer, pipeline

    from flywheel.modeling import model_loading, prompts

    tokenizer = AutoTokenizer.from_pretrained(base)
    with model_loading.quiet():
        answer = pipeline("text-generation", model=model, tokenizer=tokenizer)
        asked = [prompts.render(case, text) for text in texts]
        answer(asked[0], max_new_tokens=1, return_full_text=False)
        begun = time.perf_counter()
        for prompt in asked:
            answer(prompt, max_new_tokens=1, return_full_text=False)
    return len(texts) / (time.perf_counter() - begun)


# ---- The physical limit


def _matrix_limit(case: UseCase, base: Path) -> dict[str, float]:
    """Tokens per second if a step were nothing but its matrix products, at this model's shapes.

    Forward and the gradient of the inputs for each frozen weight, and all six of the adapter's, in
    bf16, one pass of ``max_tokens_per_pass`` tokens, the fastest of five.
    """
    import torch

    from flywheel.catalog.shapes import Shape

    recipe, shape = case.training, Shape.of(base)
    tokens, rank = recipe.tokens_per_pass, recipe.lora_rank

    def random_bf16(*size: int) -> torch.Tensor:
        return torch.randn(*size).bfloat16()

    products: list[tuple[torch.Tensor, torch.Tensor]] = []
    # each layer has weights of its own, which come from memory as a model's do
    layers = [pair for *pair, times in shape.linear for _ in range(times)]
    for inputs, outputs in layers:
        x, dy, low = (random_bf16(tokens, size) for size in (inputs, outputs, rank))
        w, a, b = (
            random_bf16(outputs, inputs),
            random_bf16(rank, inputs),
            random_bf16(outputs, rank),
        )
        products += [(x, w.t()), (x, a.t()), (low, b.t())]
        products += [(dy, w), (dy, b), (low, a), (low.t(), x), (dy.t(), low)]
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for one, other in products:
            torch.mm(one, other)
        best = min(best, time.perf_counter() - begun)
    return {"tokens_per_s": tokens / best}
