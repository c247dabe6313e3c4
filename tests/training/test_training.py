"""The training half on a tiny Llama: what moves, what must not, and what ends up measured."""

from __future__ import annotations

import fcntl
import json
import random
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flywheel.catalog import base_models, numeric_types
from flywheel.config import TrainingConfig, UseCase
from flywheel.config.method_specs import MethodName
from flywheel.dataset import snapshots
from flywheel.errors import DataError, TrainingFailed
from flywheel.modeling import fingerprint, methods, model_loading
from flywheel.modeling.methods import Rows, Work, qlora
from flywheel.modeling.optim import schedule, training_loop
from flywheel.modeling.optim.checkpoint import Checkpoint, Reached
from flywheel.modeling.verbalizer import verbalizer
from flywheel.records import Curated, Example, Trained
from flywheel.training import adapter_folder, child, runner
from tests.architectures import make_architecture
from tests.nights import training_here
from tests.tiny import NUMERIC_TYPES, make_tiny_base

pytestmark = pytest.mark.model

TEXTS = ["it works", "it broke", "the screen", "good good good it works fine", "bad", "fine screen"]


def fresh_reader(use_case: UseCase, base: Path) -> verbalizer.Reader:
    torch.manual_seed(0)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(use_case.training))
    return verbalizer.reader_for(use_case, model, base)


def fit(reader: verbalizer.Reader, use_case: UseCase) -> list[float]:
    losses: list[float] = []
    targets = [[2], [0], [1], [2], [0], [1]]
    training_loop.fit(
        reader,
        use_case.training,
        Rows(TEXTS, targets, [1.0] * len(TEXTS)),
        on_step=lambda step, steps, loss, rate: losses.append(loss),
    )
    return losses


def test_every_adapter_weight_moves_and_no_base_weight_does(
    use_case: UseCase, tiny_base: Path
) -> None:
    reader = fresh_reader(use_case, tiny_base)
    before = {n: p.detach().clone() for n, p in reader.model.named_parameters()}
    fit(reader, use_case)
    trainable = [n for n, p in reader.model.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    for name, parameter in reader.model.named_parameters():
        moved = not torch.equal(before[name], parameter)
        assert moved == (name in trainable), name


def test_all_linear_layers_but_the_head_have_an_adapter(use_case: UseCase, tiny_base: Path) -> None:
    reader = fresh_reader(use_case, tiny_base)
    adapted = {n for n, _ in reader.model.named_parameters() if "lora_A" in n}
    for layer in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        assert sum(layer in name for name in adapted) == 2, layer
    assert not any("lm_head" in name for name in adapted)


def test_the_loss_falls(use_case: UseCase, tiny_base: Path) -> None:
    recipe = use_case.training.model_copy(update={"epochs": 30, "learning_rate": 5e-3})
    losses = fit(
        fresh_reader(use_case, tiny_base), use_case.model_copy(update={"training": recipe})
    )
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seed_gives_the_same_losses(use_case: UseCase, tiny_base: Path) -> None:
    first = fit(fresh_reader(use_case, tiny_base), use_case)
    assert first == fit(fresh_reader(use_case, tiny_base), use_case)


def reader_on(use_case: UseCase, base: Path, folder: Path | None = None) -> verbalizer.Reader:
    reader = methods.load_on(use_case, base, folder)
    assert isinstance(reader, verbalizer.Reader)
    return reader


def test_nf4_unpacked_once_reads_as_nf4_does(use_case: UseCase, tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    stock = AutoModelForCausalLM.from_pretrained(
        tiny_base,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=numeric_types.here().dtype,
        ),
        dtype=numeric_types.here().dtype,
    )
    quantised = verbalizer.reader_for(use_case, stock, tiny_base)
    ours = reader_on(use_case, tiny_base)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=numeric_types.here().dtype)
    full = verbalizer.reader_for(use_case, plain, tiny_base)
    rows = ours.encode(TEXTS)
    with torch.inference_mode():
        expected, found = (
            quantised.logits(rows),
            ours.logits(rows),
        )
        unquantised = full.logits(rows)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
    assert not torch.equal(found, unquantised), "the base was not quantised at all"


def test_padding_does_not_change_an_answer(use_case: UseCase, tiny_base: Path) -> None:
    reader = methods.load_on(use_case, tiny_base, None)
    together, _ = reader.answer(TEXTS)
    for text, expected in zip(TEXTS, together, strict=True):
        (alone,), _ = reader.answer([text])
        assert alone == pytest.approx(expected, abs=5e-3)
        assert sum(alone.values()) == pytest.approx(1)


def test_a_long_text_loses_its_end_but_not_the_prompt(use_case: UseCase, tiny_base: Path) -> None:
    reader = reader_on(use_case, tiny_base)
    (long,) = reader.encode(["screen " * 500])
    (short,) = reader.encode(["screen"])
    assert len(long) == use_case.training.max_length_tokens
    assert long[-2:] == short[-2:]  # "sentiment", ":"


def test_a_changed_prompt_label_or_base_changes_the_digest(
    use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    other_base = make_tiny_base(tmp_path / "other", labels=tuple(use_case.label_names), seed=1)
    reversed_labels = dict(reversed(use_case.labels.items()))
    digests = [
        fingerprint.of(use_case, tiny_base, None).digest,
        fingerprint.of(use_case, other_base, None).digest,
        fingerprint.of(use_case.model_copy(update={"prompt": "{text}"}), tiny_base, None).digest,
        fingerprint.of(
            use_case.model_copy(update={"labels": reversed_labels}), tiny_base, None
        ).digest,
    ]
    assert len(set(digests)) == len(digests)


def test_a_changed_base_file_is_refused(use_case: UseCase, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "tiny", labels=tuple(use_case.label_names))
    base_models.verify_base(base)
    config = base / "config.json"
    config.write_text(config.read_text().replace("silu", "gelu"))
    with pytest.raises(DataError, match="differs"):
        base_models.verify_base(base)


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=200), seed=st.integers(0, 9))
def test_batches_hold_every_row_once(lengths: list[int], seed: int) -> None:
    found = schedule.batches(lengths, batch_size=16, rng=random.Random(seed))
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert max(map(len, found)) <= 16


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [
        schedule.learning_rate_at(step, 100, peak=1.0, warmup_share=0.06) for step in range(100)
    ]
    assert rates.index(max(rates)) == 6 - 1 or rates.index(max(rates)) == 6
    assert rates[0] == pytest.approx(1 / 6)
    assert 0 < rates[-1] < 0.02


def write_snapshot(folder: Path) -> str:
    examples = tuple(
        Example(f"{i:032}", text, label, 1.0, f"g{i}", "train", (f"f{i}",))
        for i, (text, label) in enumerate(
            zip(TEXTS, ["positive", "negative", "neutral"] * 2, strict=True)
        )
    )
    return snapshots.write(Curated(examples, ()), folder).snapshot_id


def test_a_child_process_trains_and_leaves_a_complete_adapter(
    use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    snapshot_id = write_snapshot(tmp_path / "snapshots")

    def train(name: str) -> Trained:
        return runner.train(
            use_case,
            base=tiny_base,
            snapshots_dir=tmp_path / "snapshots",
            snapshot_id=snapshot_id,
            folder=tmp_path / name,
        )

    first = train("first")
    assert first.train_examples == len(TEXTS)
    assert first.digest == fingerprint.of(use_case, tiny_base, Path(first.adapter_dir)).digest
    assert len(adapter_folder.read_curve(tmp_path / "first")) == use_case.training.epochs
    assert train("first") == first, "a complete adapter is not trained again"
    with training_here():
        assert train("second").digest == first.digest, "the same data and seed, the same adapter"


def test_what_would_answer_otherwise_than_it_was_trained_is_trained_anew(
    use_case: UseCase, tmp_path: Path
) -> None:
    """As after an upgrade of a decisive library, or with a prompt that was edited."""
    tfidf = TrainingConfig.model_validate({"method": "tfidf"})
    case = use_case.model_copy(update={"training": tfidf})
    snapshot_id = write_snapshot(tmp_path / "snapshots")
    folder = tmp_path / "adapters" / "key"

    def train() -> Trained:
        with training_here():
            return runner.train(
                case,
                base=None,
                snapshots_dir=tmp_path / "snapshots",
                snapshot_id=snapshot_id,
                folder=folder,
            )

    first, complete = train(), folder / adapter_folder.COMPLETE
    written = complete.stat().st_mtime_ns
    assert train() == first
    assert complete.stat().st_mtime_ns == written, "a complete adapter is not trained again"
    facts = json.loads(complete.read_text())
    complete.write_text(json.dumps({**facts, "digest": "0" * 64}))
    assert train().digest == first.digest
    (folder / "vocabulary.json").write_text("[]")
    assert train().digest == first.digest
    (folder / "adapter_model.safetensors").unlink()
    assert train().digest == first.digest


def test_a_training_clears_what_others_of_its_use_case_left(tmp_path: Path) -> None:
    def left(name: str, use_case: str | None) -> Path:
        folder = tmp_path / f"{adapter_folder.PARTIAL}{name}"
        folder.mkdir()
        (folder / "checkpoint.safetensors").write_bytes(b"as far as it came")
        if use_case:
            (folder / "job.json").write_text(json.dumps({"use_case": {"name": use_case}}))
        return folder

    old, own, elsewhere = left("old", "mine"), left("key", "mine"), left("key-12", "mine")
    others, held, unknown = left("other", "theirs"), left("held", "mine"), left("new", None)
    with (held / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runner.clear_leftovers(tmp_path, "mine", but="key") == [old.name]
    assert not old.exists()
    assert all(folder.exists() for folder in (own, elsewhere, others, held, unknown))


@pytest.mark.slow
def test_a_failed_child_says_why_and_leaves_nothing_complete(
    use_case: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed, match="the champion is unchanged"):
        runner.train(
            use_case,
            base=tiny_base,
            snapshots_dir=tmp_path,
            snapshot_id="absent",
            folder=tmp_path / "adapter",
        )
    assert not (tmp_path / "adapter").exists()


def fit_in(use_case: UseCase, base: Path, path: Path, *, stop_after: int | None = None) -> Reached:
    """A training that keeps a checkpoint at each step, and may be stopped as by a kill."""

    def on_step(step: int, steps: int, loss: float, rate: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    return training_loop.fit(
        fresh_reader(use_case, base),
        use_case.training,
        Rows(TEXTS, [[2], [0], [1], [2], [0], [1]], [1.0] * len(TEXTS)),
        on_step=on_step,
        checkpoint=Checkpoint(path, "one", every_seconds=0.0),
    )


@pytest.fixture
def longer(use_case: UseCase) -> UseCase:
    recipe = use_case.training.model_copy(update={"epochs": 5, "batch_size": 2})
    return use_case.model_copy(update={"training": recipe})


@pytest.mark.parametrize("numeric_type", NUMERIC_TYPES)
@pytest.mark.parametrize("stops", [(1,), (3, 9, 14)])
def test_a_stopped_training_goes_on_to_the_same_losses(
    longer: UseCase,
    tiny_base: Path,
    tmp_path: Path,
    stops: tuple[int, ...],
    numeric_type: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(numeric_types.SETTING, numeric_type)
    unbroken = fit_in(longer, tiny_base, tmp_path / "unbroken.safetensors")
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            fit_in(longer, tiny_base, tmp_path / "broken.safetensors", stop_after=stop)
    found = fit_in(longer, tiny_base, tmp_path / "broken.safetensors")
    assert len(found.losses) == 15
    assert found.losses == unbroken.losses, "exactly, not nearly"


@pytest.mark.parametrize(
    ("method", "family"), [("encoder_lora", "bert"), ("full", "bert"), ("lora", "t5")]
)
def test_a_stopped_training_with_dropout_goes_on_to_the_same_losses(
    use_case: UseCase, tmp_path: Path, method: MethodName, family: str
) -> None:
    base = make_architecture(tmp_path / family, family, labels=use_case.label_names)
    settings = {"method": method, "base": family, "batch_size": 2, "epochs": 3, "min_steps": 0}
    recipe = TrainingConfig.model_validate({**settings, "learning_rate": 0.01})
    case = use_case.model_copy(update={"training": recipe})

    def train(name: str, *, stop_after: int | None = None) -> list[float]:
        def on_step(step: int, steps: int, loss: float, rate: float) -> None:
            if step == stop_after:
                raise KeyboardInterrupt

        left = tmp_path / name
        left.mkdir(exist_ok=True)
        kept = Checkpoint(tmp_path / f"{name}.safetensors", "one", every_seconds=0.0)
        rows = Rows(TEXTS, [[2], [0], [1], [2], [0], [1]], [1.0] * len(TEXTS))
        work = Work(case, base, rows, left, 64, on_step, checkpoint=kept)
        return list(methods.method(method).train(work).losses)

    unbroken = train("unbroken")
    for stop in (2, 7):
        with pytest.raises(KeyboardInterrupt):
            train("broken", stop_after=stop)
    torch.manual_seed(12_345)
    assert train("broken") == unbroken, "exactly, not nearly"
    assert len(unbroken) == 9


def test_moments_in_8_bits_learn_the_same_and_leave_no_checkpoint(
    use_case: UseCase, tmp_path: Path
) -> None:
    recipe = use_case.training.model_copy(
        update={"epochs": 40, "batch_size": 1, "learning_rate": 0.05}
    )
    wanted = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    kept = tmp_path / "checkpoint.safetensors"

    def learn(*, in_8_bits: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.zeros(64, 128))
        training_loop.fit_loss(
            torch.nn.ParameterDict({"weight": weight}),
            recipe,
            lambda rows: (weight - wanted).square().mean().expand(len(rows)),
            lengths=[1],
            weights=[1.0],
            on_step=lambda *_: None,
            checkpoint=Checkpoint(kept, "one", every_seconds=0.0),
            moments_in_8_bits=in_8_bits,
        )
        return weight.detach()

    rounded = learn(in_8_bits=True)
    assert not kept.exists(), "it could not be gone on from"
    exact = learn(in_8_bits=False)
    assert kept.exists()
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_moments_of_large_parameters_take_a_byte_each() -> None:
    weight = torch.nn.Parameter(torch.zeros(64, 128))
    optimiser = training_loop.adamw_in_8_bits([weight], 0.1, weight_decay=0.0)
    weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert optimiser.state[weight]["state1"].dtype == torch.uint8
    assert optimiser.state[weight]["state2"].dtype == torch.uint8
    assert torch.allclose(weight, torch.full_like(weight, -0.1), atol=1e-3)


def test_steps_that_bf16_would_round_away_add_up(use_case: UseCase) -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    model = torch.nn.ParameterDict({"weight": weight})
    # below 1, bf16 knows every 0.004th
    recipe = use_case.training.model_copy(
        update={"epochs": 40, "learning_rate": 5e-4, "batch_size": 1}
    )
    training_loop.fit_loss(
        model,
        recipe,
        lambda rows: weight.float().expand(len(rows)),
        lengths=[1],
        weights=[1.0],
        on_step=lambda *_: None,
    )
    rates = [
        schedule.learning_rate_at(step, 40, peak=5e-4, warmup_share=recipe.warmup_share)
        for step in range(40)
    ]
    assert weight.item() == pytest.approx(1 - sum(rates), abs=2e-3)
    assert sum(rates) > 8e-3
    assert max(rates) < 2e-3, "each alone is lost"


def test_only_a_whole_checkpoint_of_the_same_training_is_gone_on_from(
    longer: UseCase, tiny_base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_in(longer, tiny_base, path, stop_after=4)
    reader = fresh_reader(longer, tiny_base)
    trainable = {n: p for n, p in reader.model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trainable.values())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert Checkpoint(path, "another").restore(trainable, optimiser, scaler).losses == []
    assert len(Checkpoint(path, "one").restore(trainable, optimiser, scaler).losses) == 4
    path.write_bytes(path.read_bytes()[:1_000])
    assert Checkpoint(path, "one").restore(trainable, optimiser, scaler).losses == []


def test_out_of_memory_is_caught_once_with_the_same_result(
    longer: UseCase, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = fit_in(longer, tiny_base, tmp_path / "unbroken.safetensors")
    whole = verbalizer.Reader.logits
    failed = []

    def scarce(reader: verbalizer.Reader, rows: list[list[int]]) -> torch.Tensor:
        if len(rows) > 1:
            failed.append(len(rows))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(reader, rows)

    monkeypatch.setattr(verbalizer.Reader, "logits", scarce)
    # two short rows fill a pass; half of it holds one
    narrow = longer.training.model_copy(update={"max_tokens_per_pass": 12})
    found = fit_in(
        longer.model_copy(update={"training": narrow}), tiny_base, tmp_path / "a.safetensors"
    )
    assert len(failed) == 1
    assert found.losses == pytest.approx(unbroken.losses, rel=0.02)

    def none_left(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(verbalizer.Reader, "logits", none_left)
    with pytest.raises(torch.OutOfMemoryError):
        fit_in(longer, tiny_base, tmp_path / "b.safetensors")


@pytest.mark.parametrize("filled", [None, 40])
def test_a_killed_child_is_started_once_more_with_smaller_passes(
    filled: int | None,
    use_case: UseCase,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def killed(path: Path, job: dict[str, int]) -> int:
        asked.append(job["max_tokens_per_pass"])
        if filled:
            child.tell_pass(path.parent, filled)
        return -signal.SIGKILL

    monkeypatch.setattr(runner, "_in_child", killed)
    with pytest.raises(TrainingFailed, match="the next start goes on"):
        runner.train(
            use_case,
            base=tiny_base,
            snapshots_dir=tmp_path,
            snapshot_id="s",
            folder=tmp_path / "adapters" / "key",
        )
    whole = use_case.training.tokens_per_pass
    assert asked == [whole, (filled or whole) // 2]


def test_each_pass_larger_than_all_before_is_told_of(longer: UseCase, tiny_base: Path) -> None:
    told: list[int] = []
    reader = fresh_reader(longer, tiny_base)
    rows = Rows(TEXTS, [[2], [0], [1], [2], [0], [1]], [1.0] * len(TEXTS))
    lengths = sorted(map(len, reader.encode(TEXTS)))
    recipe = longer.training.model_copy(update={"batch_size": 3, "epochs": 9})
    training_loop.fit(reader, recipe, rows, on_step=lambda *_: None, on_pass=told.append)
    assert told == sorted(set(told))
    assert told[-1] <= 3 * lengths[-1]
    assert told[-1] > lengths[-1]


def test_a_training_whose_process_hangs_is_gone_on_from_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    first = runner._partial(folder)
    (first / "checkpoint.safetensors").write_bytes(b"as far as it came")
    assert runner._partial(folder) == first
    with (first / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = runner._partial(folder)
    assert other != first
    assert (other / "checkpoint.safetensors").read_bytes() == b"as far as it came"
    assert other.name.startswith(adapter_folder.PARTIAL)
