"""An export answers as was measured, loaded by anybody; what cannot leave is refused, traceless."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.catalog import numeric_types
from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch, DoesNotFit, ExportRefused, StoreBusy
from flywheel.exports import answer, export_tags, metadata, weights, writer
from flywheel.modeling import methods, model_loading
from flywheel.modeling.calibration import tempered
from flywheel.records import Curated, Example
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking.registry import Registry
from tasks.outputs.export import export
from tests import champions, nights, writers
from tests.champions import tags, tamper, version
from tests.nights import AS_OF, CASE
from tests.tasks.test_verify import TEXTS, measured, sit_holdout
from tests.test_architecture import imported

pytestmark = pytest.mark.model


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Versions 1, 2 and 3, of which only the second was scored on a holdout."""
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        sit_holdout(home, "2", measured(home, "2"))
        yield home


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "out" / "reviews"


def leave(home: Home, to: Path, **how: Any) -> dict[str, Any]:
    """Version 2, exported as an adapter unless said otherwise."""
    given = {"to": to, "form": "adapter", "at": AS_OF, "version": "2", **how}
    return export(home, CASE.name, **given)


def exported_tags(home: Home, number: str = "2") -> dict[str, str]:
    return {k: v for k, v in tags(home, number).items() if k.startswith(export_tags.PREFIX)}


def nothing_is_left(home: Home, to: Path) -> bool:
    return not exported_tags(home) and (not to.parent.exists() or not list(to.parent.iterdir()))


# ---- What leaves


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_an_adapter_answers_as_measured_by_peft_alone(home: Home, to: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    done = leave(home, to)
    assert done["scored"][0]["same"] == done["scored"][0]["rows"] == len(TEXTS)
    told = json.loads((to / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "tiny"
    # what a hub would do by that name
    told["base_model_name_or_path"] = str(home.models / "tiny")
    (to / "adapter_config.json").write_text(json.dumps(told))
    require_as_measured(home, to, AutoPeftModelForCausalLM.from_pretrained(to))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_merged_weights_answer_as_measured_by_transformers_alone(
    home: Home, to: Path, dtype: str
) -> None:
    from transformers import AutoModelForCausalLM

    leave(home, to, form="merged", dtype=dtype)
    config = json.loads((to / "config.json").read_text())
    assert (config["dtype"], config["use_cache"]) == (dtype, True)
    assert "quantization_config" not in config
    assert (to / "generation_config.json").is_file()
    model = AutoModelForCausalLM.from_pretrained(to)
    assert {str(one.dtype) for one in model.parameters()} == {f"torch.{dtype}"}
    require_as_measured(home, to, model)


def require_as_measured(home: Home, to: Path, model: Any) -> None:
    """By hand, as the page of the export says it, with nothing of ours."""
    import torch
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(to), model.eval()
    ids = [13, 14]
    assert tokenizer.convert_ids_to_tokens(ids) == ["negative", "positive"]
    expected, another = measured(home, "2"), measured(home, "3")
    assert min(abs(expected[one]["positive"] - another[one]["positive"]) for one in TEXTS) > 0.03
    for text, before in expected.items():
        asked = tokenizer(f"Review: {text}\nSentiment:", return_tensors="pt")
        with torch.no_grad():
            found = model(input_ids=asked.input_ids).logits[0, -1, ids].softmax(0)
        assert found[1].item() == pytest.approx(before["positive"], abs=0.003)


@pytest.mark.slow
def test_the_program_in_an_export_is_not_flywheels_and_answers_alone(home: Home, to: Path) -> None:
    leave(home, to, form="merged")
    assert imported(to / metadata.ANSWER) >= {"torch", "transformers", "peft"}
    assert not imported(to / metadata.ANSWER) & {"flywheel", "tasks", "flows"}
    asked = to.parent / "asked.jsonl"
    asked.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:3]))

    done = subprocess.run(
        [sys.executable, "-I", str(to / metadata.ANSWER), str(asked)],
        capture_output=True,
        text=True,
        check=True,
    )

    for line, text in zip(done.stdout.splitlines(), TEXTS[:3], strict=True):
        expected = measured(home, "2", [text])[text]
        assert json.loads(line)["probabilities"] == pytest.approx(expected, abs=0.003)


def test_an_export_says_what_it_is_and_how_it_is_asked(home: Home, to: Path) -> None:
    done = leave(home, to)
    told = json.loads((to / answer.EXPORT).read_text())
    assert told == {k: v for k, v in done.items() if k not in ("path", "already")}
    assert (told["version"], told["digest"]) == ("2", version(home, "2").digest)
    assert told["base"]["in_4_bits"]
    assert [one["loaded"] for one in told["scored"]] == [
        "on the base in 4 bits, as it was learned",
        f"on the base in {numeric_types.here().name} instead",
    ]
    page = (to / metadata.README).read_text()
    for said in ("--quantization bitsandbytes --enable-lora", "| positive |", "40 of 40"):
        assert said in page
    for text in TEXTS:
        assert text not in page + json.dumps(told)
    assert list(exported_tags(home).values()) == [
        export_tags.value(to, form="adapter", at=AS_OF.isoformat())
    ]


def test_the_same_again_is_there_already(home: Home, to: Path) -> None:
    done = leave(home, to)
    Registry(home).untag(CASE.name, "2", export_tags.key(to))
    assert leave(home, to) == {**done, "already": True}
    assert exported_tags(home)
    assert [path.name for path in to.parent.iterdir()] == [to.name]


def test_the_holdout_is_found_where_somebody_was_taken_out_of_it(home: Home, to: Path) -> None:
    old = version(home, "2").snapshot_id
    kept = snapshots.read(home.snapshots, old)[1:]
    new = snapshots.write(Curated(tuple(kept), ()), home.snapshots)
    with open_store(home.warehouse) as store:
        values = [CASE.name, old, new.snapshot_id, "a certificate"]
        store.con.execute(
            "INSERT INTO rewrites (use_case, snapshot_id, new_snapshot_id, certificate_id) "
            "VALUES (?, ?, ?, ?)",
            values,
        )
    (home.snapshots / old / "manifest.json").unlink()
    assert leave(home, to)["scored"][0]["rows"] == len(TEXTS) - 1


@pytest.mark.slow
def test_a_version_that_writes_leaves_by_how_alike_its_texts_are(tmp_path: Path, to: Path) -> None:
    case, home = writers.written_case(), Home(tmp_path / "written")
    home.root.mkdir()
    writers.make_tiny_writer(home.models / "tiny")
    with nights.living_in(home):
        digest = nights.make_adapter(home, home.adapters / "1", seed=3, case=case)
        nights.register(home, home.adapters / "1", digest, case=case)
        told = {talk: reference for talk, reference in map(writers.talk, range(8))}
        base = home.models / "tiny"
        answers, _ = methods.load_on(case, base, home.adapters / "1").answer(list(told))
        rows = tuple(
            Example(f"e{i}", text, right, 1.0, f"g{i}", "holdout", (f"f{i}",))
            for i, (text, right) in enumerate(told.items())
        )
        snapshot = snapshots.write(Curated(rows, ()), home.snapshots)
        Registry(home).tag(case.name, "1", {"snapshot_id": snapshot.snapshot_id})
        scores = {row.example_id: answer for row, answer in zip(rows, answers, strict=True)}
        with open_store(home.warehouse) as store:
            contender_scores.add(store, case.name, digest, scores, 1.0)

        done = export(home, case.name, to=to, form="adapter", at=AS_OF, version="1", rows=5)

    assert done["scored"][0]["measure"] == "rouge_l"
    assert done["scored"][0]["rows"] == 5
    assert done["scored"][0]["agreement"] >= 0.8
    assert done["answering"]["chat_template"]
    assert "as the user's turn of its chat template" in (to / metadata.README).read_text()


# ---- What does not


def test_a_tampered_version_does_not_leave(home: Home, to: Path) -> None:
    tamper(home, "2")
    with pytest.raises(DigestMismatch, match=r"adapter: measured .* Nothing was exported"):
        leave(home, to)
    assert nothing_is_left(home, to)


def test_a_base_that_changed_on_disk_does_not_leave(home: Home, to: Path) -> None:
    weights_file = home.models / "tiny" / "model.safetensors"
    content = bytearray(weights_file.read_bytes())
    content[-2] ^= 1
    weights_file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="differs from its base"):
        leave(home, to, form="merged")
    assert nothing_is_left(home, to)


def test_a_version_that_was_never_measured_does_not_leave(home: Home, to: Path) -> None:
    with pytest.raises(ExportRefused, match="no measured answers"):
        leave(home, to, version="3")
    with pytest.raises(DataError, match="not registered by a night"):
        leave(home, to, version=champions.STRANGER)
    with pytest.raises(ExportRefused, match="no version with alias challenger"):
        leave(home, to, version=None, alias="challenger")
    assert nothing_is_left(home, to)


def test_a_version_that_learned_from_somebody_forgotten_does_not_leave(
    home: Home, to: Path
) -> None:
    Registry(home).mark_forgotten(CASE.name, "2", "a-certificate")
    with pytest.raises(ExportRefused, match="certificate a-certificate"):
        leave(home, to)
    assert nothing_is_left(home, to)


def test_nor_one_that_is_forgotten_while_it_is_exported(
    home: Home, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = writer.ask

    def late(*args: Any, **how: Any) -> Any:
        Registry(home).mark_forgotten(CASE.name, "2", "a-certificate")
        return ask(*args, **how)

    monkeypatch.setattr(writer, "ask", late)
    with pytest.raises(ExportRefused, match="certificate a-certificate"):
        leave(home, to)
    assert nothing_is_left(home, to)


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_an_export_that_answers_otherwise_leaves_nothing(home: Home, to: Path, form: str) -> None:
    otherwise = {
        text: tempered({"negative": p["positive"], "positive": p["negative"]}, 0.1)
        for text, p in measured(home, "3").items()
    }
    sit_holdout(home, "3", otherwise)
    with pytest.raises(ExportRefused, match=r"is 0\.0000, and 0\.99 is wanted") as refused:
        leave(home, to, version="3", form=form)
    assert (refused.value.facts["same"], refused.value.facts["rows"]) == (0, len(TEXTS))
    assert not exported_tags(home, "3")
    assert nothing_is_left(home, to)


def test_an_export_of_another_calibration_leaves_nothing(home: Home, to: Path) -> None:
    """Every label is the same, and no probability is."""
    surer = {text: tempered(p, 0.1) for text, p in measured(home, "3").items()}
    sit_holdout(home, "3", surer)
    with pytest.raises(ExportRefused, match="apart on the mean") as refused:
        leave(home, to, version="3")
    assert refused.value.facts["agreement"] == 1
    assert nothing_is_left(home, to)


def test_what_lies_there_is_never_overwritten(home: Home, to: Path) -> None:
    leave(home, to)
    with pytest.raises(ExportRefused, match="something else"):
        leave(home, to, form="merged")
    with pytest.raises(ExportRefused, match="are asked for now"):
        leave_stricter(home, to)
    (to / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ExportRefused, match="not as it was written"):
        leave(home, to)
    assert (to / "adapter_model.safetensors").read_bytes() == b""
    note = to.parent / "note.txt"
    note.write_text("mine")
    with pytest.raises(ExportRefused, match="something else"):
        leave(home, note)


def leave_stricter(home: Home, to: Path) -> None:
    """The same export, said to have been asked less than is wanted now."""
    told = json.loads((to / answer.EXPORT).read_text())
    told["scored"][0]["agreement"] = 0.98
    (to / answer.EXPORT).write_text(json.dumps(told))
    leave(home, to)


def test_what_a_killed_export_left_is_cleared_and_another_one_is_waited_for(
    home: Home, to: Path
) -> None:
    left = to.with_name(writer.PARTIAL + to.name)
    (left / "deep").mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    with writer.becoming(to), pytest.raises(StoreBusy, match="Another process"):
        leave(home, to)
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    leave(home, to)
    assert [path.name for path in to.parent.iterdir()] == [to.name]
    assert not (to / "model.safetensors").exists()


def test_what_does_not_fit_is_said_before_anything_is_written(
    home: Home, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_loading, "available_memory_mb", lambda: 0.1)
    with pytest.raises(DoesNotFit, match="Nothing was written"):
        leave(home, to, form="merged")
    assert nothing_is_left(home, to)


def test_a_place_that_cannot_be_written_is_said(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportRefused, match="cannot be written"):
        leave(home, tmp_path / "file" / "deeper")
    assert not exported_tags(home)


def test_nothing_is_merged_into_4_bits(home: Home) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    packed = AutoModelForCausalLM.from_pretrained(
        home.models / "tiny",
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    )
    with pytest.raises(ExportRefused, match="Merging into it is refused"):
        weights.fold(packed, version(home, "2").adapter_dir)
    unpacked = model_loading.load_quantised(home.models / "tiny")
    assert weights.fold(unpacked, version(home, "2").adapter_dir) is not None


# ---- The command


def test_the_command_exports_says_so_and_fails_with_reason(
    home: Home, to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usecases").mkdir()
    (tmp_path / "usecases" / f"{CASE.name}.yaml").write_text(
        json.dumps(CASE.model_dump(mode="json"))
    )
    words = ["export", "-u", CASE.name, "--form", "adapter", "--to", str(to)]

    done = CliRunner().invoke(cli, [*words, "--version", "2"])
    assert done.exit_code == 0, done.output
    assert f"version 2 as adapter exported: {to}" in done.stdout
    assert "40 of 40 holdout rows answered as measured" in done.stdout
    again = CliRunner().invoke(cli, [*words, "--version", "2", "--json"])
    assert json.loads(again.stdout)["already"]
    refused = CliRunner().invoke(cli, [*words])
    assert isinstance(refused.exception, ExportRefused), (
        "the champion never was scored on a holdout here"
    )
    assert CliRunner().invoke(cli, [*words, "--version", "2", "--alias", "champion"]).exit_code == 2
    assert CliRunner().invoke(cli, [*words, "--dtype", "nf4"]).exit_code == 2
