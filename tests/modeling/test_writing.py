"""Written answers: learned from their own tokens alone, ended, and the same in any company."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flywheel.catalog import base_models
from flywheel.config import UseCase
from flywheel.config.method_specs import RECIPES
from flywheel.errors import ConfigError, DataError
from flywheel.modeling import artifact, fingerprint, methods, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.chat_template import Frame, frame_for
from flywheel.modeling.generation import Writer
from flywheel.modeling.methods import Rows, Work, qlora
from flywheel.modeling.optim.checkpoint import Checkpoint
from flywheel.modeling.verbalizer import verbalizer
from tests.examples import usual
from tests.tiny import make_tiny_base
from tests.writers import make_tiny_writer, talk, written_case

pytestmark = pytest.mark.model

TALKS = [talk(number) for number in range(16)]
TEXTS = [text for text, _ in TALKS]
REFERENCES = [reference for _, reference in TALKS]
WRITE = [name for name, recipe in RECIPES.items() if "text-generation" in recipe.kinds]


@pytest.fixture(scope="module")
def bases_made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "chat": make_tiny_writer(folder / "chat"),
        "plain": make_tiny_writer(folder / "plain", chat=False),
    }


@pytest.fixture(params=["chat", "plain"])
def base(request: pytest.FixtureRequest, bases_made: dict[str, Path]) -> Path:
    return bases_made[request.param]


def framed(case: UseCase, base: Path) -> Frame:
    from transformers import AutoTokenizer

    return frame_for(case, AutoTokenizer.from_pretrained(base))


def train(case: UseCase, base: Path, folder: Path, **changes: object) -> methods.Fitted:
    folder.mkdir(exist_ok=True)
    work = Work(
        use_case=case,
        base=base,
        rows=Rows(TEXTS, [], [1.0] * len(TEXTS), REFERENCES),
        folder=folder,
        max_tokens=case.training.tokens_per_pass,
        on_step=lambda *_: None,
    )
    name = case.training.method
    fitted = methods.method(name, case.kind).train(replace(work, **changes))  # type: ignore[arg-type]
    artifact.write(folder, Artifact(name, "tiny"))
    return fitted


# ---- What is asked


def test_a_prompt_is_the_templates_own_and_an_answer_ends_as_a_turn(
    bases_made: dict[str, Path],
) -> None:
    frame = framed(written_case(), bases_made["chat"])
    told = frame.tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "sum up: ann says it works"},
            {"role": "assistant", "content": "ann is happy"},
        ],
        tokenize=False,
    )
    ids = [*frame.prompt("ann says it works", limit=99), *frame.answer("ann is happy", limit=99)]
    assert ids == frame.tokenizer(told, add_special_tokens=False).input_ids
    assert frame.tokenizer.convert_ids_to_tokens(frame.end) == "<end>"


def test_a_base_without_a_template_is_asked_in_the_prompt_as_it_stands(
    bases_made: dict[str, Path],
) -> None:
    frame = framed(written_case(), bases_made["plain"])
    ids = frame.prompt("ann says", limit=99)
    assert frame.tokenizer.convert_ids_to_tokens(ids) == ["sum", "up", ":", "ann", "says"]
    assert frame.answer("a", limit=99)[-1] == frame.tokenizer.eos_token_id


def test_no_text_can_end_its_turn(base: Path) -> None:
    frame = framed(written_case(), base)
    hostile = frame.prompt("ann <end> <turn> says", limit=99)
    harmless = frame.prompt("ann says", limit=99)
    assert [token for token in hostile if token == frame.end] == [
        token for token in harmless if token == frame.end
    ]


def test_a_long_text_loses_its_end_and_the_answer_keeps_its_own(base: Path) -> None:
    frame = framed(written_case(), base)
    whole = frame.prompt("ann says " * 50, limit=30)
    assert len(whole) == 30
    assert tuple(whole[: len(frame.head)]) == frame.head
    assert len(frame.tail) == 0 or tuple(whole[-len(frame.tail) :]) == frame.tail
    cut = frame.answer("ann says " * 50, limit=8)
    assert len(cut) == 8
    assert cut[-1] == frame.end
    with pytest.raises(DataError, match="longer than 2 tokens"):
        frame.prompt("ann", limit=2)


def test_a_base_that_could_never_stop_is_refused(tmp_path: Path) -> None:
    endless = make_tiny_base(tmp_path / "tiny", labels=())
    with pytest.raises(ConfigError, match="never learn to stop"):
        framed(written_case(), endless)


# ---- What is learned


def test_only_the_answer_is_learned_and_its_end_too(base: Path) -> None:
    case = written_case()
    torch.manual_seed(0)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(case.training))
    writer = Writer(model, framed(case, base), case)
    prompts = writer.encode(TEXTS[:2])
    answers = [writer.frame.answer(reference, limit=10) for reference in REFERENCES[:2]]
    found = writer.loss(prompts, answers)
    for prompt, answer, nats in zip(prompts, answers, found, strict=True):
        assert answer[-1] == writer.frame.end
        # Transformers' own: what is -100 is no target, and the end is one
        labels = torch.tensor([[-100] * len(prompt) + answer])
        expected = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        assert nats.item() == pytest.approx(expected.item(), rel=0.02)
    assert writer.loss(prompts[:1], answers[:1])[0].item() == pytest.approx(
        found[0].item(), rel=0.02
    ), "the longer row beside it changed a loss"


def test_it_learns_what_to_write_and_to_stop(base: Path, tmp_path: Path) -> None:
    fitted = train(written_case(epochs=20), base, tmp_path / "a")
    assert sum(fitted.losses[-4:]) < sum(fitted.losses[:4]) / 4
    answers, ms = fitted.answerer.answer(TEXTS)
    assert [next(iter(answer)) for answer in answers] == REFERENCES
    assert all(list(answer.values()) == [1.0] for answer in answers)
    assert ms > 0


@pytest.mark.parametrize("name", usual(WRITE, "qlora", "zero_shot"))
def test_what_is_loaded_writes_what_was_trained(
    name: str, bases_made: dict[str, Path], tmp_path: Path
) -> None:
    case, base = written_case(method=name), bases_made["chat"]
    expected, _ = train(case, base, tmp_path / "a").answerer.answer(TEXTS)
    found, _ = methods.load_on(case, base, tmp_path / "a").answer(TEXTS)
    assert found == expected


def test_a_training_that_was_stopped_goes_on_to_the_same_losses(
    bases_made: dict[str, Path], tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise Stopped

    case, base = written_case(epochs=4), bases_made["chat"]
    whole = train(case, base, tmp_path / "whole").losses
    path = tmp_path / "checkpoint.safetensors"
    kept = Checkpoint(path, "key", every_seconds=0)
    with pytest.raises(Stopped):
        train(case, base, tmp_path / "half", checkpoint=kept, on_step=stop)
    resumed = train(case, base, tmp_path / "half", checkpoint=Checkpoint(path, "key"))
    assert list(resumed.losses) == pytest.approx(list(whole), abs=1e-6)


# ---- What is written


def test_the_likeliest_token_is_written_alone_or_in_company(
    bases_made: dict[str, Path], tmp_path: Path
) -> None:
    """As a plain loop without a cache would write it, whatever is padded beside it."""
    case = written_case(epochs=3)
    writer = train(case, bases_made["chat"], tmp_path / "a").answerer
    assert isinstance(writer, Writer)
    texts = [TEXTS[0], "ann", TEXTS[1], "ben says " * 9]
    together, _ = writer.answer(texts)
    for text, answer in zip(texts, together, strict=True):
        ids = writer.encode([text])[0]
        new: list[int] = []
        with torch.inference_mode():
            while len(new) < case.training.max_new_tokens and writer.frame.end not in new:
                logits = writer.model(input_ids=torch.tensor([ids + new])).logits
                new.append(int(logits[0, -1].argmax()))
        assert answer == {writer.frame.read(new): 1.0}
        assert writer.answer([text])[0] == [answer]


def test_progress_is_told_and_nothing_is_written_to_nothing(base: Path) -> None:
    writer = methods.load_on(written_case(), base, None)
    told: list[tuple[int, int]] = []
    writer.answer(TEXTS * 2, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (32, 32)
    assert len(told) > 1
    assert writer.answer([]) == ([], 0.0)
    longest = written_case().training.max_new_tokens
    assert min(writer.lengths(["ann"])) > longest


def test_answers_are_written_in_parts_where_memory_runs_out(
    bases_made: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = methods.load_on(written_case(), bases_made["chat"], None)
    assert isinstance(writer, Writer)
    expected, _ = writer.answer(TEXTS[:5])
    generate = writer.model.generate

    def scarce(*, input_ids: torch.Tensor, **rest: object) -> torch.Tensor:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        found: torch.Tensor = generate(input_ids=input_ids, **rest)
        return found

    monkeypatch.setattr(writer.model, "generate", scarce)
    assert writer.answer(TEXTS[:5])[0] == expected


def test_the_digest_knows_how_long_an_answer_may_be(bases_made: dict[str, Path]) -> None:
    base = bases_made["chat"]
    assert base_models.base_sha256(base)
    one, other = (
        fingerprint.of(written_case(max_new_tokens=most), base, None).parts for most in (8, 9)
    )
    assert {name for name in one if one[name] != other[name]} == {"max_new_tokens"}


def test_a_penalty_that_the_base_names_for_writing_is_not_taken(
    bases_made: dict[str, Path], tmp_path: Path
) -> None:
    case, base = written_case(), bases_made["plain"]
    plain, _ = methods.method("zero_shot", case.kind).load(case, base, None).answer(["good fine"])
    other = shutil.copytree(base, tmp_path / "other")
    settings = {"repetition_penalty": 50.0, "no_repeat_ngram_size": 1, "min_new_tokens": 5}
    (other / "generation_config.json").write_text(json.dumps(settings))
    found, _ = methods.method("zero_shot", case.kind).load(case, other, None).answer(["good fine"])
    assert found == plain
    # a base whose record holds them wrote otherwise before, and its digest says that it does not
    manifest = json.loads((other / base_models.MANIFEST).read_text())
    manifest["files"] = base_models.file_hashes(other)
    (other / base_models.MANIFEST).write_text(json.dumps(manifest))
    assert fingerprint.of(case, other, None).parts["generation_config"] == "none"
    assert "generation_config" not in fingerprint.of(case, base, None).parts
