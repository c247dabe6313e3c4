"""Label words of any number of tokens: constrained to the label set, read once, learned exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from flywheel.catalog.families import FAMILIES
from flywheel.config import TrainingConfig, UseCase
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.errors import ConfigError
from flywheel.modeling import artifact, methods, model_loading
from flywheel.modeling.artifact import Artifact
from flywheel.modeling.methods import Rows, Work
from flywheel.modeling.optim import training_loop
from flywheel.modeling.verbalizer import causal, trie_scores, verbalizer
from tests.architectures import make_architecture

pytestmark = pytest.mark.model

NAMES = ("card", "card arrival", "card not working", "card not arrived", "top up", "refund")
TEXTS = ["it works good", "the screen", "it broke bad the fine review it works", "good"]
CAUSAL = [name for name, family in FAMILIES.items() if family.body == "causal"]
WORDS: list[MethodName] = [name for name, recipe in RECIPES.items() if recipe.words]
PAIRS = [(name, m) for name in ("llama", "t5") for m in WORDS if m in FAMILIES[name].methods]
TARGETS = [[0], [2], [3], [4], [0, 1, 3, 4, 5], [1, 2], [0, 1, 2, 3, 4, 5]]


@pytest.fixture
def case(use_case: UseCase) -> UseCase:
    return use_case.model_copy(update={"labels": dict.fromkeys(NAMES, "any")})


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The base of a family, with weights large enough to be sure of something."""
    folder = tmp_path_factory.mktemp("models")
    words = tuple(dict.fromkeys(" ".join(NAMES).split()))

    def base(family: str, spread: float = 0.3) -> Path:
        path = folder / str(spread) / family
        if not path.is_dir():
            make_architecture(path, family, labels=words, spread=spread)
        return path

    return base


def exact(base: Path) -> Any:
    """The base in float32, in which two ways to compute something hardly differ."""
    return model_loading.load_plain(base).float().eval()


def spelled(reader: verbalizer.Reader) -> list[list[int]]:
    return [
        reader.tokenizer(f" {name}", add_special_tokens=False).input_ids
        for name in reader.label_names
    ]


def next_scores(reader: verbalizer.Reader, row: list[int], path: list[int]) -> torch.Tensor:
    """Scores of all tokens after a prompt and a path."""
    if not reader.model.config.is_encoder_decoder:
        return reader.model(input_ids=torch.tensor([[*row, *path]])).logits[0, -1]
    said = torch.tensor([[reader.model.config.decoder_start_token_id, *path]])
    return reader.model(input_ids=torch.tensor([row]), decoder_input_ids=said).logits[0, -1]


def by_hand(reader: verbalizer.Reader, row: list[int]) -> torch.Tensor:
    """Log-probabilities of the labels from the base's own scores of all tokens, step by step."""
    labels, found = spelled(reader), []
    for own in labels:
        total = torch.zeros(())
        for read in range(len(own) + 1):
            alike = [other for other in labels if other[:read] == own[:read]]
            going_on = sorted({other[read] for other in alike if len(other) > read})
            ends = own[:read] in labels
            if len(alike) == 1:
                break
            scores = next_scores(reader, row, own[:read])
            shares = scores.float().softmax(0)
            whole = shares.sum() if ends else shares[going_on].sum()
            stops = read == len(own)
            taken = 1 - shares[going_on].sum() if stops else shares[own[read]]
            total = total + (taken / whole).log()
            if stops:
                break
        found.append(total)
    return torch.stack(found)


@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_a_label_gets_the_product_of_its_tokens_shares(
    family: str, case: UseCase, bases: Callable[..., Path]
) -> None:
    reader = verbalizer.reader_for(case, exact(bases(family)), bases(family))
    assert [branch.ends for branch in reader.trie.branches].count(True) == 1
    rows = reader.encode(TEXTS)
    with torch.inference_mode():
        found = reader.logits(rows)
        expected = torch.stack([by_hand(reader, row) for row in rows])
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(rows)))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert found.exp().std(0).max() > 0.01, "every text got the same answer"


@pytest.mark.parametrize("family", CAUSAL)
def test_one_pass_reads_what_the_paths_say_alone(
    family: str, case: UseCase, bases: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = verbalizer.reader_for(case, exact(bases(family)), bases(family))
    rows = reader.encode(TEXTS)
    with torch.inference_mode():
        at_once = reader.logits(rows)
        assert reader.reading.packs
        reader.reading.packs = False
        torch.testing.assert_close(at_once, reader.logits(rows), atol=1e-4, rtol=1e-4)
        # a pass that holds one path, or one row
        monkeypatch.setattr(trie_scores, "TOKENS_PER_PASS", 1)
        torch.testing.assert_close(at_once, reader.logits(rows), atol=1e-4, rtol=1e-4)
        reader.reading.packs = True
        torch.testing.assert_close(at_once, reader.logits(rows), atol=1e-4, rtol=1e-4)


def test_an_encoder_decoder_reads_each_prompt_once_for_all_paths(
    case: UseCase, bases: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = verbalizer.reader_for(case, exact(bases("t5")), bases("t5"))
    rows, encoded = reader.encode(TEXTS), []
    reader.model.encoder.register_forward_hook(lambda *_: encoded.append(1))
    with torch.inference_mode():
        whole = reader.reading.at_branches(reader.trie, rows)
        assert len(encoded) == 1
        monkeypatch.setattr(trie_scores, "TOKENS_PER_PASS", 1)
        narrow = reader.reading.at_branches(reader.trie, rows)
        plainly = trie_scores.plainly(reader.trie, rows, reader.reading.after)
    for one, other, third in zip(whole, narrow, plainly, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one, third, atol=1e-4, rtol=1e-4)


def test_a_long_text_keeps_the_token_that_ends_texts(
    case: UseCase, bases: Callable[..., Path], tmp_path: Path
) -> None:
    base = bases("t5")
    reader = verbalizer.reader_for(case, exact(base), base)
    reader.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", reader.tokenizer.eos_token_id)]
    )
    (short,) = reader.encode(["good"])
    (long,) = reader.encode(["good " * 500])
    assert len(long) == case.training.max_length_tokens
    assert long[-3:] == short[-3:]
    assert long[-1] == reader.tokenizer.eos_token_id


def test_labels_that_differ_at_once_are_read_as_ever(use_case: UseCase, tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "llama", "llama", labels=use_case.label_names)
    reader = verbalizer.reader_for(use_case, model_loading.load_plain(base), base)
    assert reader.trie.is_flat
    rows = reader.encode(TEXTS)
    first = [own[0] for own in spelled(reader)]
    ids, mask = model_loading.padded(rows, pad=reader.tokenizer.pad_token_id)
    with torch.inference_mode():
        hidden = reader.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        chosen = hidden[torch.arange(len(rows)), mask.sum(1) - 1]
        words = reader.model.get_output_embeddings().weight[first]
        expected = torch.nn.functional.linear(chosen.float(), words.float())
        assert torch.equal(reader.logits(rows), expected)


def test_what_would_leave_a_sliding_window_is_read_path_by_path(
    case: UseCase, bases: Callable[..., Path]
) -> None:
    reader = verbalizer.reader_for(case, exact(bases("mistral")), bases("mistral"))
    assert reader.model.config.sliding_window == 64
    rows = reader.encode(["the screen works " * 22])
    assert len(rows[0]) + 3 > 64
    with torch.inference_mode():
        found, expected = reader.logits(rows)[0], by_hand(reader, rows[0])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert reader.reading.packs is None


def test_a_base_whose_one_pass_differs_is_read_path_by_path(
    case: UseCase, bases: Callable[..., Path]
) -> None:
    reader = verbalizer.reader_for(case, exact(bases("llama")), bases("llama"))
    body = reader.model.base_model
    whole = body.forward

    def deaf(*, position_ids: Any = None, **rest: Any) -> Any:
        return whole(**rest)

    body.forward = deaf
    with torch.inference_mode():
        rows = reader.encode(TEXTS)
        found = reader.logits(rows)
        assert reader.reading.packs is False
        expected = torch.stack([by_hand(reader, row) for row in rows])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["llama", "falcon", "t5"])
def test_the_loss_and_its_gradient_are_those_of_all_labels_probabilities(
    family: str, case: UseCase, bases: Callable[..., Path]
) -> None:
    model = exact(bases(family)).requires_grad_(True)
    reader = verbalizer.reader_for(case, model, bases(family))
    rows = [row for row, _ in zip(reader.encode(TEXTS) * 2, TARGETS, strict=False)]
    losses = trie_scores.losses(reader.trie, rows, TARGETS, reader.reading.after, reader.head)
    plain = training_loop.losses(torch.stack([by_hand(reader, row) for row in rows]), TARGETS)
    torch.testing.assert_close(losses, plain, atol=1e-4, rtol=1e-3)
    weights = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses[:6].sum(), weights, allow_unused=True)
    expected = torch.autograd.grad(plain[:6].sum(), weights, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-2)


ASKED = "the fine screen it works good bad card up refund " * 3 + "review : {text} sentiment :"


@pytest.mark.parametrize("labels", [NAMES, ("good", "bad", "card arrival")])
@pytest.mark.parametrize("family", CAUSAL)
def test_what_prompts_begin_with_is_read_once_and_counts_as_before(
    family: str, labels: tuple[str, ...], case: UseCase, bases: Callable[..., Path]
) -> None:
    case = case.model_copy(update={"prompt": ASKED, "labels": dict.fromkeys(labels, "any")})
    reader = verbalizer.reader_for(case, exact(bases(family)), bases(family))
    assert len(reader.reading.opening) >= causal.SHORTEST_OPENING
    rows = reader.encode([*TEXTS, "the screen works " * 12])
    with torch.inference_mode():
        found = reader.logits(rows)
        assert reader.reading.opened is not None
        assert reader.reading.opened.tokens == len(reader.reading.opening)
        reader.reading.opens = False
        torch.testing.assert_close(found, reader.logits(rows), atol=1e-4, rtol=1e-4)
    assert found.std(0).max() > 0.01, "every text got the same answer"


def test_a_prompt_that_begins_otherwise_is_read_whole(
    case: UseCase, bases: Callable[..., Path]
) -> None:
    case = case.model_copy(update={"prompt": ASKED})
    reader = verbalizer.reader_for(case, exact(bases("llama")), bases("llama"))
    rows = reader.encode(TEXTS)
    rows[1] = rows[1][3:]
    with torch.inference_mode():
        found = reader.logits(rows)
        expected = torch.stack([by_hand(reader, row) for row in rows])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_what_was_kept_of_an_opening_is_forgotten_when_something_learns(
    case: UseCase, bases: Callable[..., Path]
) -> None:
    case = case.model_copy(update={"prompt": ASKED})
    reader = verbalizer.reader_for(case, exact(bases("llama")), bases("llama"))
    rows = reader.encode(TEXTS)
    with torch.inference_mode():
        before = reader.logits(rows)
    reader.reading.after(rows, [()] * len(rows))
    with torch.inference_mode():
        for weight in reader.model.parameters():
            weight.mul_(0.9)
        after = reader.logits(rows)
        reader.reading.opens = False
        torch.testing.assert_close(after, reader.logits(rows), atol=1e-3, rtol=1e-3)
    assert (after - before).abs().max() > 0.01


@pytest.mark.parametrize("method", ["prefix", "prompt", "few_shot"])
def test_an_opening_stands_behind_what_stands_before_every_text(
    method: MethodName, case: UseCase, bases: Callable[..., Path], tmp_path: Path
) -> None:
    case = case.model_copy(update={"prompt": ASKED})
    reader = trained(case, bases("llama", 0.1), tmp_path / "a", method=method).answerer
    assert isinstance(reader, verbalizer.Reader)
    rows = reader.encode(TEXTS)
    with torch.inference_mode():
        found = reader.logits(rows)
        assert reader.reading.opens
        reader.reading.opens = False
        torch.testing.assert_close(found, reader.logits(rows), atol=0.03, rtol=0.03)


def trained(case: UseCase, base: Path, folder: Path, **settings: object) -> methods.Fitted:
    recipe = {"base": base.name, "batch_size": 4, "min_steps": 0, **settings}
    case = case.model_copy(update={"training": TrainingConfig.model_validate(recipe)})
    folder.mkdir()
    rows = Rows([*TEXTS, "works"], [[0], [2], [3], [4], [0, 1, 2, 3, 5]], [1.0] * 5)
    work = Work(case, base, rows, folder, max_tokens=64, on_step=lambda *_: None)
    fitted = methods.method(case.training.method).train(work)
    artifact.write(folder, Artifact(case.training.method, base.name))
    return fitted


@pytest.mark.parametrize(
    ("family", "method"),
    [
        # every method by one family, and one by the other
        pytest.param(family, method, marks=[pytest.mark.slow] if slow else [])
        for family in ("llama", "t5")
        for method in WORDS
        if method in FAMILIES[family].methods
        for slow in [family == "t5" and method != "qlora"]
    ],
)
def test_a_method_answers_labels_that_begin_alike_as_trained_and_reloaded(
    family: str, method: MethodName, case: UseCase, bases: Callable[..., Path], tmp_path: Path
) -> None:
    # in bf16 weights as wide would round so much that no shortcut is sure to be taken both times
    base = bases(family, 0.1)
    fitted = trained(case, base, tmp_path / "a", method=method, epochs=2)
    expected, _ = fitted.answerer.answer(TEXTS)
    found, _ = methods.load_on(case, base, tmp_path / "a").answer(TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(NAMES)
        assert sum(one.values()) == pytest.approx(1)
        assert one == pytest.approx(other, abs=1e-6)
    assert len({json.dumps(each) for each in found}) > 1, "every text got the same answer"


@pytest.mark.parametrize("method", ["qlora", "prefix", "prompt", "few_shot"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "falcon"])
def test_what_stands_before_every_text_is_seen_in_one_pass(
    method: MethodName, family: str, case: UseCase, bases: Callable[..., Path], tmp_path: Path
) -> None:
    fitted = trained(case, bases(family), tmp_path / "a", method=method, epochs=1)
    reader = fitted.answerer
    assert isinstance(reader, verbalizer.Reader)
    reader.model.float()
    if reader.reading.beginning:
        for layer in reader.reading.beginning.cache.layers:
            layer.keys, layer.values = layer.keys.float(), layer.values.float()
    rows = reader.encode(TEXTS)
    with torch.inference_mode():
        at_once = reader.logits(rows)
        assert reader.reading.packs or family == "mistral"
        reader.reading.packs = False
        torch.testing.assert_close(at_once, reader.logits(rows), atol=1e-3, rtol=1e-3)


def test_labels_that_begin_alike_are_learned(
    case: UseCase, bases: Callable[..., Path], tmp_path: Path
) -> None:
    fitted = trained(
        case, bases("llama"), tmp_path / "a", method="qlora", epochs=60, learning_rate=1e-2
    )
    assert sum(fitted.losses[-4:]) < 0.2 * sum(fitted.losses[:4])
    answers, _ = fitted.answerer.answer(TEXTS)
    best = [max(answer, key=answer.__getitem__) for answer in answers]
    assert best == [NAMES[0], NAMES[2], NAMES[3], NAMES[4]]


def test_labels_of_the_same_tokens_are_refused_by_name(
    case: UseCase, bases: Callable[..., Path]
) -> None:
    labels = dict.fromkeys((*NAMES, "xyzzy", "plugh"), "any")
    with pytest.raises(ConfigError, match=r"xyzzy, plugh are the same tokens in llama"):
        methods.load_on(case.model_copy(update={"labels": labels}), bases("llama"), None)
