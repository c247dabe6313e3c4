"""The matrix: every architecture, tiny, with every method that claims it, trained to served.

By default each architecture meets a method, and each method some architecture; all pairs are
slow, and the same as ``python -m tests.prove`` writes down.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from flywheel.catalog.families import FAMILIES, require_pair
from flywheel.catalog.shapes import Shape
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.errors import ConfigError
from flywheel.modeling import artifact, model_loading
from flywheel.modeling.methods import qlora, qlora_head
from flywheel.modeling.verbalizer import verbalizer
from flywheel.training import runner
from tests.architectures import TINY, make_architecture
from tests.prove import base_of, claimed, prove

pytestmark = pytest.mark.model

PAIRS = [(name, method) for name, family in FAMILIES.items() for method in claimed(family)]
LABELS = ("negative", "neutral", "positive")


def covering() -> list[tuple[str, str]]:
    """One method of each family, as few as can be twice; then those that did not occur."""
    chosen, seen = [], dict.fromkeys((method for _, method in PAIRS), 0)
    for name, family in FAMILIES.items():
        method = min(claimed(family), key=lambda m: seen[m])
        seen[method] += 1
        chosen.append((name, method))
    left = dict((method, name) for name, method in PAIRS if not seen[method])
    return [*chosen, *((name, method) for method, name in left.items())]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("architectures")
    return {name: make_architecture(folder / name, name, labels=LABELS) for name in TINY}


@pytest.mark.parametrize(("family", "method"), covering())
def test_a_pair_answers_the_same_as_trained_reloaded_and_served(
    family: str, method: str, home: Home, use_case: UseCase
) -> None:
    prove(family, method, home, use_case, served=True)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "method"), sorted(set(PAIRS) - set(covering())))
def test_every_other_pair_does_so_too(
    family: str, method: str, home: Home, use_case: UseCase
) -> None:
    prove(family, method, home, use_case, served=True)


def test_the_covering_pairs_leave_no_architecture_and_no_method_out() -> None:
    assert {name for name, _ in covering()} == {name for name, _ in PAIRS}
    assert {method for _, method in covering()} == {method for _, method in PAIRS}


def test_every_architecture_is_built() -> None:
    assert set(TINY) == set(FAMILIES)


@pytest.mark.parametrize("family", TINY)
def test_weights_are_counted_as_the_model_has_them(family: str, shared: dict[str, Path]) -> None:
    base = shared[family]
    body = FAMILIES[family].body
    for loaded in (body, "encoder") if body == "encoder-decoder" else (body,):
        model = model_loading.load_plain(base, loaded)
        # biases and norms have one dimension
        matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
        shape = Shape.of(base, decodes=loaded != "encoder")
        assert shape.weights == matrices


TEXT_BODIES = [(n, f.body) for n, f in FAMILIES.items() if f.body != "vision"]


@pytest.mark.parametrize(("family", "body"), [*TEXT_BODIES, ("t5", "encoder")])
def test_lora_adapts_the_layers_that_the_catalog_names(
    family: str, body: str, shared: dict[str, Path], use_case: UseCase
) -> None:
    model = model_loading.load_plain(shared[family], body)
    adapter = qlora_head.adapter if body == "encoder" else qlora.adapter
    model = verbalizer.attach(model, adapter(use_case.training))
    adapted = [n.removesuffix(".lora_A") for n, _ in model.named_modules() if n.endswith("lora_A")]
    named = FAMILIES[family].targets
    assert all(any(path.endswith(f".{name}") for path in adapted) for name in named)
    # the pooler stands after the blocks
    blocks = [path for path in adapted if not path.endswith("pooler.dense")]
    assert all(path.endswith(named) for path in blocks)
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rank = use_case.training.lora_rank
    shape = Shape.of(shared[family], decodes=body != "encoder")
    assert weights == shape.adapter_weights(rank)


@pytest.mark.parametrize("family", ["falcon", "qwen2", "modernbert", "t5"])
def test_every_adapter_learns(family: str, home: Home, use_case: UseCase) -> None:
    # a decoder that says one token has nothing before it to attend to, and learns nothing of that
    alike = dict.fromkeys(("good review", "good screen", "poor"), "any")
    use_case = use_case.model_copy(update={"labels": alike})
    method = "encoder_lora" if FAMILIES[family].body == "encoder" else "qlora"
    prove(family, method, home, use_case, served=False)
    weights = load_file(home.root / f"{family}-{method}" / artifact.WEIGHTS)
    ups = {name: tensor for name, tensor in weights.items() if "lora_B" in name}
    assert ups
    assert [name for name, tensor in ups.items() if not tensor.any()] == []


def test_falcon_is_put_in_4_bits(shared: dict[str, Path]) -> None:
    # what is not exactly torch's linear layer is passed over when layers are quantised
    plain, coarse = (
        load(shared["falcon"]).get_parameter("transformer.h.0.mlp.dense_h_to_4h.weight")
        for load in (model_loading.load_plain, model_loading.load_quantised)
    )
    assert coarse.shape == plain.shape
    # 64 weights in a row share a scale and have one of 16 values
    for block in coarse.flatten().view(-1, 64):
        assert len(block.unique()) <= 16
    assert (coarse - plain).abs().max() > 0


def test_a_pair_that_does_not_work_is_refused_with_the_reason(
    shared: dict[str, Path], use_case: UseCase, tmp_path: Path
) -> None:
    recipe = TrainingConfig(method="qlora", base="bert")
    case = use_case.model_copy(update={"training": recipe})
    with pytest.raises(ConfigError, match=r"qlora needs a base that is causal.*encoder_lora"):
        runner.train(
            case,
            base=shared["bert"],
            snapshots_dir=tmp_path,
            snapshot_id="any",
            folder=tmp_path / "adapters" / "key",
        )
    assert not list((tmp_path / "adapters").glob("*"))


def test_written_answers_are_refused_on_a_base_that_only_reads_labels(
    shared: dict[str, Path],
) -> None:
    require_pair("qlora", shared["t5"])
    with pytest.raises(ConfigError, match=r"to write answers it needs a base that is causal"):
        require_pair("qlora", shared["t5"], "text-generation")
    require_pair("qlora", shared["llama"], "text-generation")


def test_an_architecture_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ConfigError, match="'mamba', which is not in the catalog"):
        require_pair("lora", tmp_path)
    with pytest.raises(ConfigError, match="'mamba' are not known"):
        Shape.of(tmp_path)


def test_a_tiny_base_is_made_once(home: Home, use_case: UseCase) -> None:
    first = base_of("bert", home, use_case)
    assert base_of("bert", home, use_case) == first
