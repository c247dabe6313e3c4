"""Train a LoRA adapter on an NF4 base: label words scored by the language-model head.

    python -m flywheel.training JOB.json

A training run is a child process that reads one job file and leaves one complete adapter folder
(``trained.json`` is written last), so its memory goes away with it. QLoRA: Dettmers et al. 2023.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flywheel import progress, snapshots
from flywheel.config import TrainingConfig, UseCase
from flywheel.errors import TrainingFailed
from flywheel.records import Trained

log = logging.getLogger(__name__)

COMPLETE = "trained.json"
CURVE = "curve.jsonl"
FAILURE = "failure.txt"
BATCHES_PER_POOL = 4


def train(
    use_case: UseCase, *, base: Path, snapshots_dir: Path, snapshot_id: str, folder: Path
) -> Trained:
    """Train in a child process into ``folder``; a complete folder is returned as it is.

    Raises:
        TrainingFailed: the child ended without a complete adapter; its last words are included.
    """
    if (folder / COMPLETE).is_file():
        return read_trained(folder)
    for stale in folder.parent.glob(f".tmp-{folder.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    partial.mkdir(parents=True)
    job = partial / "job.json"
    job.write_text(
        json.dumps(
            {
                "use_case": use_case.model_dump(mode="json"),
                "base": str(base),
                "snapshots_dir": str(snapshots_dir),
                "snapshot_id": snapshot_id,
                "folder": str(partial),
            }
        )
    )
    command = [sys.executable, "-m", "flywheel.training", str(job)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        code = child.wait()
    if code != 0 or not (partial / COMPLETE).is_file():
        why = partial / FAILURE
        raise TrainingFailed(
            f"Training on snapshot {snapshot_id} ended with exit code {code}; "
            f"nothing was registered and the champion is unchanged. Its last words: "
            f"{why.read_text()[-800:] if why.is_file() else 'none (killed, or out of memory)'}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return read_trained(folder)


def read_trained(folder: Path) -> Trained:
    """What the finished run in ``folder`` recorded."""
    facts = json.loads((folder / COMPLETE).read_text())
    return Trained(**{**facts, "adapter_dir": str(folder)})


def read_curve(folder: Path) -> list[dict[str, float]]:
    """One row per optimiser step: ``step``, ``loss`` (nats), ``learning_rate``."""
    return [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]


def learning_rate_at(step: int, steps: int, *, peak: float, warmup_share: float) -> float:
    """Linear warm-up over ``warmup_share`` of the steps, then linear decay to zero."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / max(1, steps - warmup)


def batches(lengths: Sequence[int], *, batch_size: int, rng: random.Random) -> list[list[int]]:
    """Row numbers in batches of similar length: shuffled, sorted within pools, shuffled again.

    Every row is in exactly one batch. Pools of four batches save most of the padding and still
    mix long and short texts over an epoch.
    """
    rows = list(range(len(lengths)))
    rng.shuffle(rows)
    size = batch_size * BATCHES_PER_POOL
    result = []
    for start in range(0, len(rows), size):
        pool = sorted(rows[start : start + size], key=lambda i: lengths[i])
        result += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    rng.shuffle(result)
    return result


def passes(batch: Sequence[int], lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Cut a batch, longest text first, into passes of at most ``max_tokens`` padded tokens.

    Gradients add up over the passes of a batch, so this bounds memory and changes nothing else. A
    single text that is longer than ``max_tokens`` has a pass of its own.
    """
    result: list[list[int]] = []
    for row in sorted(batch, key=lambda i: -lengths[i]):
        if result and (len(result[-1]) + 1) * lengths[result[-1][0]] <= max_tokens:
            result[-1].append(row)
        else:
            result.append([row])
    return result


def attach_adapter(model: Any, recipe: TrainingConfig) -> Any:
    """LoRA on all linear layers but the head (Hu et al. 2021); base weights frozen."""
    from peft import LoraConfig, get_peft_model

    from flywheel import inference, shortcuts

    lora = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with inference.quiet():
        model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    shortcuts.take(model)
    return model


def fit(
    reader: Any,
    use_case: UseCase,
    texts: Sequence[str],
    targets: Sequence[Sequence[int]],
    weights: Sequence[float],
    *,
    on_step: Any,
) -> int:
    """Update the adapter of ``reader`` over all epochs; returns the tokens read.

    The loss is the negative log of what the label words in a row's ``targets`` get together: one
    target is cross-entropy; all but the rejected ones is learning from a complementary label
    (Ishida et al. 2017; this form Yu et al. 2018). Rows count by ``weights`` in (0, 1].
    ``on_step`` gets (step from 1, steps in all, loss, learning rate).
    """
    import torch

    from flywheel import inference

    recipe = use_case.training
    rng = random.Random(recipe.seed)
    rows = inference.encode(reader, use_case, texts)
    lengths = [len(row) for row in rows]
    plan = [
        batch
        for _ in range(recipe.epochs)
        for batch in batches(lengths, batch_size=recipe.batch_size, rng=rng)
    ]
    typical = sum(weights) / len(weights)
    where = reader.model.device
    trainable = [p for p in reader.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=recipe.learning_rate, weight_decay=0.0)
    reader.model.train()
    for step, batch in enumerate(plan):
        rate = learning_rate_at(
            step, len(plan), peak=recipe.learning_rate, warmup_share=recipe.warmup_share
        )
        optimiser.param_groups[0]["lr"] = rate
        # by the mean of all, not of the batch: rows that weigh little may fill a batch of their own
        total = len(batch) * typical
        loss = 0.0
        for part in passes(batch, lengths, max_tokens=recipe.max_tokens_per_pass):
            logits = inference.label_logits(reader, [rows[i] for i in part])
            allowed = torch.zeros_like(logits, dtype=torch.bool)
            for row, i in enumerate(part):
                allowed[row, list(targets[i])] = True
            weight = torch.tensor([weights[i] for i in part], device=where)
            shares = logits.log_softmax(dim=1).masked_fill(~allowed, -torch.inf)
            each = -shares.logsumexp(dim=1)
            share = (each * weight).sum() / total
            share.backward()  # type: ignore[no-untyped-call]
            loss += share.item()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        on_step(step + 1, len(plan), loss, rate)
    return recipe.epochs * sum(lengths)


def _run(job: dict[str, Any]) -> None:
    import torch

    from flywheel import inference

    use_case = UseCase.model_validate(job["use_case"])
    base, folder = Path(job["base"]), Path(job["folder"])
    rows = snapshots.load_split(Path(job["snapshots_dir"]), job["snapshot_id"], "train")
    torch.manual_seed(use_case.training.seed)
    model = attach_adapter(inference.load_quantised(base), use_case.training)
    reader = inference.reader_for(use_case, model, base)
    targets = [
        [i for i, name in enumerate(use_case.label_names) if name == label]
        or [i for i, name in enumerate(use_case.label_names) if name not in excluded]
        for label, excluded in zip(rows["label"], rows["excluded"], strict=True)
    ]
    losses: list[float] = []
    title = f"training on {len(targets)} examples, steps"
    with (folder / CURVE).open("w") as curve, progress.bar(title) as advance:

        def on_step(step: int, steps: int, loss: float, rate: float) -> None:
            losses.append(loss)
            advance(step, steps)
            curve.write(json.dumps({"step": step, "loss": loss, "learning_rate": rate}) + "\n")

        begun = time.perf_counter()
        tokens = fit(reader, use_case, rows["text"], targets, rows["weight"], on_step=on_step)
        seconds = time.perf_counter() - begun
    model.save_pretrained(folder, safe_serialization=True)
    _settle(folder)
    trained = Trained(
        adapter_dir=str(folder),
        digest=inference.digest(use_case, base, folder),
        train_examples=len(targets),
        train_seconds=seconds,
        peak_memory_mb=inference.peak_memory_mb(),
        tokens_per_second=tokens / seconds,
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
    )
    temporary = folder / f"{COMPLETE}.tmp"
    temporary.write_text(json.dumps(asdict(trained)))
    os.replace(temporary, folder / COMPLETE)


def _settle(folder: Path) -> None:
    """Drop the base's path and order the sets: the same adapter has the same hash anywhere."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / "README.md").unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Leave when the parent is gone: its end of standard input closes, however it died."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _main() -> None:
    _end_with_parent()
    job = json.loads(Path(sys.argv[1]).read_text())
    try:
        _run(job)
    except BaseException:
        # the parent quotes this file when there is no complete adapter
        (Path(job["folder"]) / FAILURE).write_text(traceback.format_exc())
        raise


if __name__ == "__main__":
    _main()
