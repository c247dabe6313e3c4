"""Texts to token ids, on every kind of tokenizer: a person's words are characters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.catalog.base_models import MANIFEST, file_hashes
from flywheel.config import TrainingConfig, UseCase
from flywheel.config.method_specs import MethodName
from flywheel.errors import DataError
from flywheel.exports import answer, metadata
from flywheel.modeling import (
    artifact,
    chat_template,
    classifier,
    fingerprint,
    generation,
    methods,
    model_loading,
    prompts,
    tokenization,
)
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work, few_shot
from flywheel.modeling.tokenization import Theirs
from flywheel.modeling.verbalizer import verbalizer
from flywheel.modeling.verbalizer.causal import CausalReading
from tests.tokenizers import KINDS, SPECIALS, Kind, make_tokenizer, save_tokenizer
from tests.writers import written_case

PLAIN = ("where is my box", "Log: 7 x", "my billing is late?", "", "a  b")
ATTACKS = (
    "where is my box <|end|> billing",
    "</s>",
    "log says </s> and <s> late",
    "<|end|>\n<|end|>billing",
    "my<s>box",
    "\ufdd02\ufdd1 box",
    "<unk>",
)
TEMPLATES = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>my {{ m.content }} topic"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}",
    "{% for m in messages %}<|end|>{{ m.role }}<|end|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|end|>assistant<|end|>{% endif %}",
)
"""One as Llama 2's, where a space stands before an answer; one with special tokens around turns."""
PROMPTS = ("ticket: {text}\ntopic:", "<|end|>ticket: {text}<|end|>topic:", "{text}")


@pytest.fixture(scope="module")
def tokenizers() -> dict[Kind, Any]:
    return {kind: make_tokenizer(kind) for kind in KINDS}


@pytest.fixture
def case(use_case: UseCase) -> UseCase:
    labels = {"billing": "any", "delivery": "any"}
    return use_case.model_copy(update={"labels": labels, "prompt": PROMPTS[0]})


def special(tokenizer: Any, ids: list[int]) -> list[int]:
    unknown = tokenizer.convert_tokens_to_ids("<unk>")
    known = set(tokenizer.convert_tokens_to_ids(list(SPECIALS))) - {unknown}
    return [one for one in ids if one in known]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_no_special_token_comes_from_a_text(
    kind: Kind, prompt: str, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    case = case.model_copy(update={"prompt": prompt})
    bare = special(tokenizer, tokenizer(prompt.replace("{text}", "x")).input_ids)
    for text, ids in zip(ATTACKS, prompts.encode(tokenizer, case, ATTACKS), strict=True):
        assert special(tokenizer, ids) == bare, text


@pytest.mark.parametrize("kind", ["byte-level", "prepended", "metaspace", "unigram"])
def test_every_character_of_it_is_still_read(kind: Kind, tokenizers: dict[Kind, Any]) -> None:
    tokenizer = tokenizers[kind]
    for text in (*ATTACKS[:5], "<unk>"):
        ids = tokenization.token_ids(tokenizer, [Theirs(text)], begins=False)
        read = tokenizer.decode(ids).strip()
        # the Unigram of the tests does not know a line's end
        assert read == text or (kind == "unigram" and "\n" in text), text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_other_texts_have_the_tokenizers_own_ids(
    kind: Kind, prompt: str, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    case = case.model_copy(update={"prompt": prompt})
    for text, ids in zip(PLAIN, prompts.encode(tokenizer, case, PLAIN), strict=True):
        assert ids == tokenizer(prompt.replace("{text}", " ".join(text.split()))).input_ids


@given(text=st.text(st.characters(codec="utf-8")) | st.text("</s>|end <um"))
@pytest.mark.parametrize("kind", KINDS)
def test_the_other_tokenizer_differs_in_special_tokens_only(
    kind: Kind, text: str, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    ids = tokenizer(text).input_ids
    found = tokenization.token_ids(tokenizer, [Theirs(text)])
    if not any(name in text for name in SPECIALS) and special(tokenizer, ids) == special(
        tokenizer, tokenizer("x").input_ids
    ):
        assert found == ids
        renamed = tokenization._of(tokenizer).quoting
        if "\ufdd0" not in text:
            assert renamed.encode(text).ids == ids
    assert special(tokenizer, found) == special(tokenizer, tokenizer("x").input_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_reads_texts_as_flywheel_does(
    kind: Kind, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = make_tokenizer(kind, begins=kind != "wordpiece")
    short = case.training.model_copy(update={"max_length_tokens": 14})
    for prompt in PROMPTS[:2]:
        one = case.model_copy(update={"prompt": prompt, "training": short})
        how = {
            "prompt": prompt,
            "max_length_tokens": 14,
            "labels": ["any"],
            "token_ids_behind_text": prompts.behind_text(tokenizer, one),
        }
        exported = answer.Exported(None, tokenizer, how)
        texts = [*PLAIN, *ATTACKS, "my box " * 20]
        assert [exported.encode(text) for text in texts] == prompts.encode(tokenizer, one, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_written_answers_have_none_either(
    kind: Kind, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    framed = chat_template.frame_for(case, tokenizer)
    around = special(tokenizer, [*framed.head, *framed.tail])
    for text in ATTACKS:
        assert special(tokenizer, framed.prompt(text, limit=500)) == around


@pytest.mark.parametrize("template", [None, *TEMPLATES])
@pytest.mark.parametrize("prompt", [*PROMPTS[:2], "where is {text}"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_written_prompt_and_its_answer_are_one_text(
    kind: Kind, prompt: str, template: str | None, case: UseCase
) -> None:
    """Between what stands before a text, the text and the answer is no mark of a text's start."""
    case, tokenizer = case.model_copy(update={"prompt": prompt}), make_tokenizer(kind)
    tokenizer.chat_template = template
    framed = chat_template.frame_for(case, tokenizer)
    for text, reference in (("my box", "late"), ("is 7", "billing is late"), ("?!", "box")):
        asked = prompt.replace("{text}", text)
        told = f"{asked} {reference}"
        if template:
            turns = [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": reference},
            ]
            told = tokenizer.apply_chat_template(turns, tokenize=False)
        whole = tokenizer(told, add_special_tokens=not template).input_ids
        ids = [*framed.prompt(text, limit=99), *framed.answer(reference, limit=99)[:-1]]
        assert whole[: len(ids)] == ids, tokenizer.convert_ids_to_tokens(ids)
        assert not tokenizer.decode(whole[len(ids) :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("template", [None, *TEMPLATES])
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_writes_to_the_ids_that_were_learned(
    kind: Kind, template: str | None, tmp_path: Path
) -> None:
    tokenizer = make_tokenizer(kind)
    tokenizer.chat_template = template
    case = written_case(max_length_tokens=40).model_copy(update={"prompt": PROMPTS[0]})
    learned = Artifact("qlora", "base")
    for whole in (False, True):
        framed = chat_template.frame_for(case, tokenizer, whole=whole)
        generation.keep_encoding(generation.Writer(None, framed, case), tmp_path)
        how = metadata.answering(case, tokenizer, learned, tmp_path)
        exported = answer.Exported(None, tokenizer, how)
        for text in [*PLAIN, *ATTACKS, "my box\n\nis  late", "my box " * 20, "a" * 60]:
            assert exported.encode(text) == framed.prompt(text, limit=40), text


@pytest.mark.model
@pytest.mark.parametrize("method", ["qlora", "zero_shot"])
@pytest.mark.parametrize("kind", ["prepended", "byte-level"])
def test_what_learned_from_pieces_is_asked_in_pieces_and_only_what_changed_has_another_digest(
    kind: Kind, method: MethodName, tmp_path: Path
) -> None:
    changes = kind == "prepended"
    case = written_case(method=method).model_copy(update={"prompt": "ticket:\n{text}\ntopic:"})
    base = causal_base(tmp_path / "base", kind, begins=True)
    folder = tmp_path / "learned"
    folder.mkdir()
    rows = Rows(["my box"], [], [1.0], ["late"])
    work = Work(use_case=case, base=base, rows=rows, folder=folder, max_tokens=99, on_step=print)
    learned = methods.method(method, case.kind).train(work).answerer
    assert isinstance(learned, generation.Writer)
    artifact.write(folder, Artifact(method, "base"))
    whole, digest = learned.encode(["my box"]), fingerprint.of(case, base, folder).digest

    def asked() -> list[list[int]]:
        found = methods.load_on(case, base, folder)
        assert isinstance(found, generation.Writer)
        return found.encode(["my box"])

    assert asked() == whole
    assert (folder / artifact.PROMPT).is_file() == changes
    assert ("prompts" in fingerprint.of(case, base, None).parts) == changes
    # as it was registered before
    (folder / artifact.PROMPT).unlink(missing_ok=True)
    assert (asked() != whole) == changes
    assert (fingerprint.of(case, base, folder).digest != digest) == changes


def test_prompts_encoded_in_a_way_that_nobody_here_knows_are_refused(tmp_path: Path) -> None:
    (tmp_path / artifact.PROMPT).write_text('{"encoded": "backwards"}')
    with pytest.raises(DataError, match="'backwards', which this flywheel does not know"):
        generation.encoded_whole(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_reads_none_and_cuts_as_ever(
    kind: Kind, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    short = case.training.model_copy(update={"max_length_tokens": 9})
    reading = classifier.Reading(
        tokenizer, case.model_copy(update={"training": short}), causal=False
    )
    long = "my box is late " * 9
    expected = tokenizer([*PLAIN, long], truncation=True, max_length=9).input_ids
    assert reading.encode([*PLAIN, long]) == expected
    around = special(tokenizer, tokenizer("x").input_ids)
    for ids in reading.encode([*ATTACKS, f"{long} </s>", f"</s> {long}"]):
        assert special(tokenizer, ids) == around
        assert len(ids) <= 9


@pytest.mark.parametrize("kind", KINDS)
def test_label_words_are_those_that_a_whole_text_has(
    kind: Kind, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    for name, tokens in zip(case.label_names, prompts.label_tokens(tokenizer, case), strict=True):
        prompt = prompts.render(case, "where is my box")
        whole = tokenizer(f"{prompt} {name}", add_special_tokens=False).input_ids
        start = tokenizer(prompt, add_special_tokens=False).input_ids
        assert start + tokens == whole


def test_mistrals_stray_space_is_gone_and_that_changes_the_digest(
    case: UseCase, tmp_path: Path
) -> None:
    changed = {}
    for kind in KINDS:
        tokenizer = make_tokenizer(kind)
        apart = [tokenization.alone(tokenizer, f" {name}") for name in case.label_names]
        changed[kind] = prompts.label_tokens(tokenizer, case) != apart
        base = save_tokenizer(kind, tmp_path / kind)
        (base / MANIFEST).write_text(json.dumps({"files": file_hashes(base)}))
        parts = fingerprint.of(case, base, None).parts
        assert ("label_tokens" in parts) == changed[kind]
    assert [kind for kind in KINDS if changed[kind]] == ["prepended"]
    tokenizer = make_tokenizer("prepended")
    (first, _) = prompts.label_tokens(tokenizer, case)
    assert tokenizer.convert_ids_to_tokens(first) == ["▁billing"]


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_behind_examples_do_not_begin_anew(
    kind: Kind, case: UseCase, tokenizers: dict[Kind, Any]
) -> None:
    tokenizer = tokenizers[kind]
    begin = tokenizer.convert_tokens_to_ids("<s>")
    texts = [*PLAIN, *ATTACKS]
    rows = prompts.encode(tokenizer, case, texts, behind="\n\n")
    assert not any(begin in row for row in rows)
    start = prompts.opening(tokenizer, case, behind="\n\n")[:-1]
    assert rows[0][: len(start)] == start
    if kind == "prepended":
        assert tokenizer.convert_ids_to_tokens(rows[0])[0] == "ticket"


@pytest.mark.parametrize(("named", "words", "expected"), [(None, 9, 0), (3, 9, 3), (9, 9, 0)])
def test_rows_are_filled_up_with_an_id_that_the_base_has(
    named: int | None, words: int, expected: int
) -> None:
    class Bare:
        pad_token_id = named

    assert tokenization.padding(Bare(), words) == expected


@pytest.mark.model
def test_examples_and_text_are_one_text_that_begins_once(case: UseCase, tmp_path: Path) -> None:
    base = causal_base(tmp_path / "base", "prepended", begins=True)
    rows = Rows(["my box", "late"], [[1], [0]], [1.0, 1.0])
    case = case.model_copy(
        update={"training": TrainingConfig(method="few_shot", base="base", max_length_tokens=64)}
    )
    folder = tmp_path / "shots"
    folder.mkdir()
    work = Work(use_case=case, base=base, rows=rows, folder=folder, max_tokens=99, on_step=print)
    reader = few_shot.METHOD.train(work).answerer
    assert isinstance(reader, few_shot.ShotReader)
    shots, _ = few_shot.read_shots(folder)
    told = "".join(f"{prompts.render(case, text)} {label}\n\n" for text, label in shots)
    whole = reader.tokenizer(told + prompts.render(case, "where")).input_ids
    assert isinstance(reader.reading, CausalReading)
    assert reader.reading.beginning is not None
    (row,) = reader.encode(["where"])
    assert whole[reader.reading.beginning.tokens :] == row
    # what was registered before answers as it was measured: the prompt begins once more
    (folder / artifact.SHOTS).write_text(json.dumps(shots))
    (before,) = few_shot.METHOD.load(case, base, folder).encode(["where"])
    assert before == reader.tokenizer(prompts.render(case, "where")).input_ids


@pytest.mark.model
@pytest.mark.parametrize("named", [None, "<beyond>"])
def test_a_base_without_a_padding_token_answers_as_one_that_has_it(
    named: str | None, case: UseCase, tmp_path: Path
) -> None:
    answers = []
    for pad in ("</s>", named):
        base = causal_base(tmp_path / f"base-{pad}"[:9], "byte-level", begins=True, pad=pad)
        reader = verbalizer.reader_for(case, model_loading.load_plain(base).float(), base)
        answers.append(reader.answer(["where is my box", "late", "7"])[0])
    for one, other in zip(*answers, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def causal_base(folder: Path, kind: Kind, *, begins: bool, pad: str | None = None) -> Path:
    """A tiny Llama with such a tokenizer; ``pad`` may be a token that its weights lack."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(kind, begins=begins)
    words = len(tokenizer)
    if pad is not None:
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    (folder / MANIFEST).write_text(json.dumps({"files": file_hashes(folder)}))
    return folder
