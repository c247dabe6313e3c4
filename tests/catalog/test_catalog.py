"""The catalog: what an entry says is counted or was seen; nothing is called proven by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.catalog import Hub, model, models
from flywheel.catalog.families import FAMILIES
from flywheel.config import Home
from flywheel.config.method_specs import RECIPES
from flywheel.errors import ConfigError
from flywheel.reports import model_card, model_card_data
from tests.prove import claimed

NAMED = (
    "smollm2",
    "minilm",
    "bert-",
    "distilbert",
    "roberta",
    "modernbert",
    "falcon-7b",
    "llama-2-7b",
    "llama-2-13b",
    "llama-3",
    "redpajama",
    "mistral-7b",
    "zephyr",
    "flan-t5",
    "qwen",
    "gemma",
    "vit",
)
# as their owners state them, in millions
PARAMETERS = {
    "smollm2-135m-instruct": 135,
    "llama-2-7b": 6_738,
    "llama-2-13b": 13_016,
    "llama-3.1-8b": 8_030,
    "llama-3.2-1b": 1_236,
    "falcon-7b": 6_922,
    "mistral-7b": 7_242,
    "qwen2.5-0.5b-instruct": 494,
    "gemma-2-2b": 2_614,
    "minilm-l6": 22.7,
    "bert-base-uncased": 109.5,
    "distilbert-base-uncased": 66.4,
    "roberta-base": 124.6,
    "modernbert-base": 149,
    "vit-base-patch16-224": 86.4,
}


def call(*words: str) -> str:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_models_of_the_mission_are_there(home: Home) -> None:
    entries = json.loads(call("models", "--json"))
    names = [entry["name"] for entry in entries]
    for wanted in NAMED:
        assert any(name.startswith(wanted) for name in names), wanted
    for entry in entries:
        assert {"name", "family", "kinds", "methods", "licence", "proven"} <= set(entry)
        assert entry["licence"]
        assert set(entry["methods"]) <= set(RECIPES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_are_counted_from_shapes(name: str, home: Home) -> None:
    counted = model_card.facts(model(name), home)["parameters"] / 1e6
    # biases and norms are not counted
    assert counted == pytest.approx(PARAMETERS[name], rel=0.01)


@pytest.mark.parametrize("name", [n for n, m in models().items() if isinstance(m.source, Hub)])
def test_a_hub_s_model_is_pinned_to_a_commit_or_not_at_all(name: str) -> None:
    source = model(name).source
    assert isinstance(source, Hub)
    assert source.revision is None or re.fullmatch(r"[0-9a-f]{40}", source.revision)


def test_every_claim_was_proven_by_the_command() -> None:
    seen = model_card_data.read()
    assert set(seen.libraries) == {"torch", "transformers", "peft", "bitsandbytes"}
    for name, family in FAMILIES.items():
        missing = set(claimed(family)) - set(seen.proven(name))
        assert not missing, f"{name} with {missing}: run python -m tests.prove"
        assert set(seen.outcomes.get(name, {})) <= set(RECIPES)


def test_proven_is_read_and_not_typed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_card.facts(model("falcon-7b"), home)["proven"].startswith("architecture proven")
    outcomes = {"falcon": {m: None for m in FAMILIES["falcon"].methods} | {"ia3": "it broke"}}
    monkeypatch.setattr(model_card_data, "FILE", tmp_path / "proven.json")
    model_card_data.FILE.write_text(json.dumps({"libraries": {}, "outcomes": outcomes}))
    entry = model_card.facts(model("falcon-7b"), home)
    assert entry["proven"] == "architecture proven but for ia3, full size not run here"
    assert entry["failed_methods"] == {"ia3": "it broke"}
    assert model_card.facts(model("mistral-7b"), home)["proven"] == "not proven"


def test_memory_is_measured_where_a_training_ran(home: Home) -> None:
    for key, method, peak in (("a", "qlora", 1800.0), ("b", "qlora", 1900.0)):
        folder = home.adapters / "reviews" / key
        folder.mkdir(parents=True)
        (folder / "trained.json").write_text(json.dumps({"peak_memory_mb": peak}))
        said = {"method": method, "base": "smollm2-135m-instruct", "temperature": 1.0}
        (folder / "method.json").write_text(json.dumps(said))
    entry = model_card.facts(model("smollm2-135m-instruct"), home)
    assert entry["memory_mb"]["qlora"]["measured"] == 1900.0
    assert entry["memory_mb"]["lora"]["measured"] is None
    assert entry["proven"] == "full size trained here by qlora"
    other = model_card.facts(model("llama-2-7b"), home)
    assert other["memory_mb"]["qlora"]["measured"] is None


def test_four_bits_need_less_on_a_gpu_and_all_weights_most(home: Home) -> None:
    large = model_card.facts(model("llama-2-7b"), home)["memory_mb"]
    assert large["qlora"]["gpu"] < 0.6 * large["lora"]["gpu"]
    small = model_card.facts(model("bert-base-uncased"), home)["memory_mb"]
    assert small["full"]["cpu"] > small["encoder_lora"]["cpu"] > small["frozen_head"]["cpu"]


def test_a_card_says_how_to_get_the_model(home: Home) -> None:
    page = call("models", "falcon-7b")
    assert (
        "hf download tiiuae/falcon-7b --revision 898df1396f35e447d5fe44e0a3ccaaaa69f30d36" in page
    )
    assert "query_key_value" in page
    assert "by itself, on first use" in call("models", "smollm2-135m-instruct")
    assert "pin a revision first" in call("models", "redpajama-3b")


def test_an_unknown_model_is_named_beside_the_known() -> None:
    with pytest.raises(ConfigError, match=r"'nosuch'.*bert-base-uncased"):
        model("nosuch")
