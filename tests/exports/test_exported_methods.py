"""What a method learned leaves in each form that can hold it, and answers there as it does here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.config.method_specs import MethodName
from flywheel.errors import ExportRefused
from flywheel.exports import FORMS, WHY_NOT, answer, metadata, readme, require_decoder, require_form
from flywheel.exports import writer as folder
from flywheel.exports.agreement import Asked, Score, of_labels, of_texts
from flywheel.modeling import artifact, fingerprint, methods, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work
from flywheel.modeling.verbalizer import verbalizer
from flywheel.tracking.versions import Version
from tests import nights, writers
from tests.architectures import make_architecture
from tests.nights import AS_OF
from tests.prove import TARGETS, TEXTS

METHODS: tuple[MethodName, ...] = get_args(MethodName)
PAIRS = [(name, form) for name in METHODS for form in FORMS if form not in WHY_NOT.get(name, {})]
OTHERS = ("mistral", "qwen2", "gemma2", "falcon", "gpt_neox")
HOT = 1.7


@pytest.fixture
def here(home: Home) -> Iterator[Home]:
    with nights.living_in(home):
        yield home


def learned(
    home: Home, use_case: UseCase, family: str, method: str, *, spread: float | None = None
) -> tuple[UseCase, Path, Path]:
    """A tiny training of a method on a family: use case, base, and the folder that it left."""
    base = make_architecture(
        home.models / family, family, labels=use_case.label_names, spread=spread
    )
    settings = {"method": method, "base": family, "batch_size": 3, "epochs": 1, "min_steps": 0}
    recipe = TrainingConfig.model_validate({**settings, "learning_rate": 0.05})
    case = use_case.model_copy(update={"training": recipe})
    left = home.root / "left"
    left.mkdir()
    methods.method(method).train(
        Work(case, base, Rows(TEXTS, TARGETS, [1.0] * 6), left, 64, lambda *_: None)
    )
    artifact.write(left, Artifact(method, family, HOT))
    return case, base, left


def written(case: UseCase, base: Path, left: Path, to: Path, form: str) -> dict[str, Any]:
    to.mkdir()
    version = Version(case.name, "1", "a-digest", "a-snapshot", left)
    read = artifact.read(case, left)
    dtype: Any = "float32" if form == "merged" else None
    given: Any = {"form": form, "dtype": dtype, "at": AS_OF}
    return folder.write(case, version, read, base, to, **given)


def require_alike(case: UseCase, base: Path, left: Path, to: Path, *, within: float) -> None:
    expected, _ = methods.load_on(case, base, left).answer(TEXTS)
    with model_loading.quiet():
        found = answer.load(to, base=base).answer(TEXTS)
    assert len({json.dumps(one) for one in expected}) > 1
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=within)


@pytest.mark.model
@pytest.mark.parametrize(("method", "form"), PAIRS)
def test_a_method_answers_there_as_it_does_here(
    here: Home, use_case: UseCase, tmp_path: Path, method: str, form: str
) -> None:
    case, base, left = learned(here, use_case, "llama", method)
    content = written(case, base, left, tmp_path / "out", form)
    assert content["answering"]["temperature"] == HOT
    require_alike(case, base, left, tmp_path / "out", within=0.01)


@pytest.mark.model
@pytest.mark.parametrize("form", FORMS)
def test_labels_of_several_tokens_have_their_probabilities_there(
    here: Home, use_case: UseCase, tmp_path: Path, form: str
) -> None:
    # two begin alike, and one ends where another goes on
    labels = {"good": "", "good fine": "", "bad it works": "", "bad it broke": ""}
    alike = use_case.model_copy(update={"labels": labels})
    case, base, left = learned(here, alike, "llama", "lora")
    content = written(case, base, left, tmp_path / "out", form)
    assert [len(one["token_ids"]) for one in content["answering"]["labels"]] == [1, 2, 3, 3]
    require_alike(case, base, left, tmp_path / "out", within=0.01)
    peft = None if form == "merged" else {"peft_type": "LORA", "use_dora": False, "r": 16}
    assert "`bad` (" in readme.page({**content, "scored": []}, peft)


@pytest.mark.model
@pytest.mark.parametrize("form", FORMS)
def test_scores_near_the_cap_of_a_base_are_the_same_there(
    here: Home, use_case: UseCase, tmp_path: Path, form: str
) -> None:
    """Gemma 2 squeezes what its head scores; flat labels were scored before that."""
    case, base, left = learned(here, use_case, "gemma2", "lora", spread=4.0)
    written(case, base, left, tmp_path / "out", form)
    require_alike(case, base, left, tmp_path / "out", within=0.03)


@pytest.mark.model
def test_labels_are_scored_as_the_base_gives_its_scores_out(
    use_case: UseCase, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base = make_architecture(tmp_path / "gemma2", "gemma2", labels=use_case.label_names, spread=4.0)
    case = use_case.model_copy(
        update={"training": TrainingConfig.model_validate({"method": "lora", "base": "gemma2"})}
    )
    reader: Any = verbalizer.reader_for(case, model_loading.load_plain(base), base)
    # in whichever type this machine computes
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=reader.model.dtype).eval()
    tokens = list(reader.trie.branches[0].tokens)
    moved = []
    for row in reader.encode(TEXTS):
        with torch.inference_mode():
            theirs = plain(input_ids=torch.tensor([row])).logits[0, -1, tokens].float()
            ours = reader.logits([row])[0]
        torch.testing.assert_close(ours, theirs, atol=0.15, rtol=0.02)
        moved.append((30 * torch.atanh(theirs / 30) - theirs).abs().max().item())
    assert max(moved) > 1, "near enough to the cap to feel it"


@pytest.mark.parametrize(("family", "parts"), [("gemma2", "capped"), ("llama", None)])
def test_versions_that_were_scored_before_the_cap_are_told_apart(
    use_case: UseCase, tmp_path: Path, family: str, parts: str | None
) -> None:
    base = make_architecture(tmp_path / family, family, labels=use_case.label_names)
    assert fingerprint.of(use_case, base, None).parts.get("label_scores") == parts


def test_an_encoder_decoder_stays(use_case: UseCase, tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "t5", "t5", labels=use_case.label_names)
    with pytest.raises(ExportRefused, match="is an encoder-decoder"):
        require_decoder(base)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["qlora", "lora"])
@pytest.mark.parametrize("family", OTHERS)
def test_so_it_does_on_every_architecture(
    here: Home, use_case: UseCase, tmp_path: Path, family: str, method: str, form: str
) -> None:
    case, base, left = learned(here, use_case, family, method)
    written(case, base, left, tmp_path / "out", form)
    require_alike(case, base, left, tmp_path / "out", within=0.02)


@pytest.mark.model
@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_what_writes_writes_the_same_there(
    here: Home, tmp_path: Path, form: str, chat: bool
) -> None:
    case = writers.written_case()
    base = writers.make_tiny_writer(here.models / "tiny", chat=chat)
    left = here.root / "left"
    nights.make_adapter(here, left, seed=3, case=case)
    artifact.write(left, Artifact("qlora", "tiny"))
    written(case, base, left, tmp_path / "out", form)
    long = " ".join(["ann says please"] * 20)
    texts = [*(writers.talk(number)[0] for number in range(6)), long, "ann  asks\n\nben"]

    # a random model is never sure: in bfloat16, rounding would choose its words
    writer: Any = methods.load_on(case, base, left)
    writer = replace(writer, model=writer.model.float())
    expected, _ = writer.answer(texts)
    with model_loading.quiet():
        exported = answer.load(tmp_path / "out", base=base, dtype=torch.float32)
        found = exported.answer(texts)

    assert len({json.dumps(one) for one in expected}) > 1
    rows = [Asked(text, "", one) for text, one in zip(texts, expected, strict=True)]
    assert of_texts(rows, found).same == len(texts)
    assert max(map(len, map(exported.encode, texts))) <= case.training.max_length_tokens


# ---- What is refused


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_or_says_why_not(use_case: UseCase, method: MethodName) -> None:
    for form in FORMS:
        if (method, form) in PAIRS:
            require_form(use_case, method, form)
            continue
        with pytest.raises(ExportRefused, match=f"learned by {method} cannot be exported as"):
            require_form(use_case, method, form)


def test_what_answers_by_words_it_learned_can_leave_and_no_head() -> None:
    leaving = {name for name, _ in PAIRS}
    assert leaving == {"qlora", "lora", "dora", "rslora", "prefix", "prompt", "ia3"}


# ---- How it is scored


def score(*pairs: tuple[float, float]) -> Score:
    """Of rows whose right answer is yes, by the probability of yes: measured, and now."""
    rows = [Asked(str(i), "yes", {"yes": m, "no": 1 - m}) for i, (m, _) in enumerate(pairs)]
    return of_labels(rows, [{"yes": now, "no": 1 - now} for _, now in pairs])


def test_a_score_counts_the_same_answers_and_the_largest_difference() -> None:
    found = score((0.9, 0.8), (0.6, 0.4), (0.2, 0.25), (0.7, 0.7))
    assert (found.rows, found.same, found.tied, found.agreement) == (4, 3, 0, 0.75)
    assert found.largest_difference == pytest.approx(0.2)
    assert found.mean_difference == pytest.approx(0.0875)
    assert (found.quality, found.measured_quality) == (0.5, 0.75)


def test_another_label_that_was_as_likely_is_a_tie() -> None:
    found = score((0.57, 0.4), (0.9, 0.9))
    assert (found.same, found.tied, found.agreement) == (1, 1, 1)


def test_what_is_no_number_or_names_other_labels_agrees_with_nothing() -> None:
    assert score((0.9, float("nan"))).same == 0
    rows = [Asked("a text", "yes", {"yes": 0.9, "no": 0.1})]
    other = of_labels(rows, [{"yes": 1.0}])
    assert (other.same, other.largest_difference) == (0, float("inf"))


# ---- What it says


def commands(base: str, labels: tuple[str, ...] = (), **peft: Any) -> dict[str, str]:
    name, revision = metadata.base_name(base)
    content = {
        "use_case": "support",
        "base": {"repository": name if revision else None, "revision": revision, "in_4_bits": True},
        "answering": {"labels": labels},
    }
    return readme.commands(content, {"peft_type": "LORA", "use_dora": False, "r": 16, **peft})


def test_a_base_of_the_hub_is_named_as_it_is_there() -> None:
    assert metadata.base_name("llama-3.2-1b") == (
        "meta-llama/Llama-3.2-1B",
        "4e20de362430cd3b72f300e6b0f18e50e7166e08",
    )
    assert metadata.base_name("smollm2-135m-instruct") == ("smollm2-135m-instruct", None)
    assert metadata.base_name("of a person") == ("of a person", None)
    found = commands("llama-3.2-1b")
    assert found["vLLM"] == (
        "vllm serve meta-llama/Llama-3.2-1B --revision 4e20de362430cd3b72f300e6b0f18e50e7166e08 "
        "--quantization bitsandbytes --enable-lora --lora-modules support=FOLDER"
    )
    assert "--quantize bitsandbytes-nf4" in found["TGI"]


def test_labels_are_for_a_server_that_can_be_kept_to_them() -> None:
    found = commands("llama-3.2-1b", labels=("good", "bad"))
    assert set(found) == {"vLLM"}
    assert found["vLLM"].endswith("--logprobs-mode processed_logprobs")


def test_a_wide_adapter_raises_the_limit_and_dora_is_not_offered() -> None:
    assert "--max-lora-rank 32 " in commands("smollm2-135m-instruct", r=24)["vLLM"]
    assert commands("smollm2-135m-instruct", use_dora=True) == {}
    assert commands("smollm2-135m-instruct", peft_type="IA3") == {}
