"""The digest says that something differs from what was measured, its parts say what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from flywheel import libraries
from flywheel.catalog.base_models import MANIFEST, file_hashes
from flywheel.config import UseCase
from flywheel.errors import DataError, DigestMismatch
from flywheel.modeling import fingerprint
from flywheel.modeling.fingerprint import Fingerprint

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base that is complete, though no model."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / MANIFEST).write_text(json.dumps({"files": file_hashes(folder)}))
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"lora")
    return folder


def test_the_digest_is_that_of_every_version_ever_registered(
    use_case: UseCase, base: Path, adapter: Path
) -> None:
    files = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}

    def digest(torch: str) -> str:
        content = {
            "base": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
            "adapter": hashlib.sha256(b"{}lora").hexdigest(),
            "prompt": use_case.prompt,
            "labels": list(use_case.labels),
            "max_length_tokens": use_case.training.max_length_tokens,
            "libraries": {**{name: version(name) for name in LIBRARIES}, "torch": torch},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    found = fingerprint.of(use_case, base, adapter)
    installed = version("torch").partition("+")[0]
    assert found.digest == digest(installed)
    # registered while builds of torch were told apart, on whichever machine
    for build in ("cpu", "cu126", "cu130"):
        before = Fingerprint(digest(f"{installed}+{build}"), {"torch": f"{installed}+{build}"})
        assert fingerprint.differences(before, found) == []
    for other in ("2.12.0+cpu", f"{installed}.1+cpu", f"{installed}+cpu+cpu"):
        before = Fingerprint(digest(other), {**found.parts, "torch": other})
        assert fingerprint.differences(before, found) == [f"torch {other} → {installed}"]


@pytest.mark.parametrize("build", ["+cu130", "+cpu", ""])
def test_builds_of_torch_are_one_version_and_other_patches_are_not(
    build: str, use_case: UseCase, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fingerprint.of(use_case, base, adapter)
    plain = version("torch").partition("+")[0]

    def elsewhere(name: str) -> str:
        return plain + build if name == "torch" else version(name)

    monkeypatch.setattr(libraries, "version", elsewhere)
    assert fingerprint.of(use_case, base, adapter) == here
    # a company's own build of another library may answer otherwise
    monkeypatch.setattr(libraries, "version", lambda name: elsewhere(name) + "+ours")
    assert fingerprint.of(use_case, base, adapter).digest != here.digest


def test_parts_are_short_hashes_and_the_versions(
    use_case: UseCase, base: Path, adapter: Path
) -> None:
    parts = fingerprint.of(use_case, base, adapter).parts
    assert set(parts) == {"base", "adapter", "prompt", "labels", "max_length_tokens", *LIBRARIES}
    assert parts["adapter"] == hashlib.sha256(b"{}lora").hexdigest()[:12]
    assert parts["torch"] == version("torch").partition("+")[0]
    assert fingerprint.of(use_case, base, None).parts["adapter"] == "none"
    assert use_case.prompt not in parts.values()


CHANGES: dict[str, Callable[[UseCase, Path, Path], UseCase | None]] = {
    "adapter": lambda case, base, adapter: _write(adapter / "adapter_model.safetensors"),
    "base": lambda case, base, adapter: _rewrite_base(base),
    "prompt": lambda case, base, adapter: case.model_copy(update={"prompt": "{text} is"}),
    "labels": lambda case, base, adapter: case.model_copy(
        update={"labels": dict(reversed(case.labels.items()))}
    ),
    "max_length_tokens": lambda case, base, adapter: case.model_copy(
        update={"training": case.training.model_copy(update={"max_length_tokens": 64})}
    ),
}


def _write(file: Path) -> None:
    file.write_bytes(b"arol")


def _rewrite_base(base: Path) -> None:
    _write(base / "model.safetensors")
    (base / MANIFEST).write_text(json.dumps({"files": file_hashes(base)}))


@pytest.mark.parametrize("part", CHANGES)
def test_what_changed_is_named_and_nothing_else(
    part: str, use_case: UseCase, base: Path, adapter: Path
) -> None:
    measured = fingerprint.of(use_case, base, adapter)
    changed = CHANGES[part](use_case, base, adapter) or use_case
    found = fingerprint.of(changed, base, adapter)
    (difference,) = fingerprint.differences(measured, found)
    assert difference.startswith(part)
    assert measured.parts[part] in difference
    assert found.parts[part] in difference


def prints(**found: str) -> tuple[Fingerprint, Fingerprint]:
    """What was measured, and what is found when these parts differ."""
    measured = {"base": "aaa", "adapter": "1a2b", "torch": "2.13.0"}
    return Fingerprint("one", measured), Fingerprint("another", {**measured, **found})


def test_differences_are_said_in_words() -> None:
    assert fingerprint.differences(*prints(torch="2.14.0")) == ["torch 2.13.0 → 2.14.0"]
    assert fingerprint.differences(*prints(adapter="3c4d", torch="2.14.0")) == [
        "adapter: measured 1a2b, found 3c4d",
        "torch 2.13.0 → 2.14.0",
    ]


def test_a_part_that_is_new_or_gone_differs() -> None:
    assert fingerprint.differences(*prints(mamba="1.0")) == ["mamba None → 1.0"]
    assert fingerprint.differences(*reversed(prints(mamba="1.0"))) == ["mamba 1.0 → None"]


def test_the_same_digest_is_no_difference_whatever_the_parts() -> None:
    assert fingerprint.differences(Fingerprint("one"), Fingerprint("one", {"base": "a"})) == []


def test_before_parts_were_recorded_the_digests_are_named() -> None:
    (difference,) = fingerprint.differences(Fingerprint("one"), prints()[1])
    assert "measured one, found another" in difference
    assert "not recorded" in difference


def test_another_digest_with_the_same_parts_still_differs() -> None:
    (difference,) = fingerprint.differences(*prints())
    assert "its digest was changed" in difference


def test_what_differs_is_refused_with_what_to_do_next() -> None:
    measured, found = prints(adapter="3c4d")
    with pytest.raises(DigestMismatch) as refused:
        fingerprint.require_same(measured, found, what="version 3", so="Nothing was answered.")
    assert str(refused.value) == (
        "version 3 is not what was measured: adapter: measured 1a2b, found 3c4d. "
        "Nothing was answered."
    )
    fingerprint.require_same(measured, measured, what="version 3", so="")


@pytest.mark.parametrize("lost", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_lost_a_file_is_no_adapter(
    lost: str, use_case: UseCase, base: Path, adapter: Path
) -> None:
    (adapter / lost).unlink()
    with pytest.raises(DigestMismatch, match=lost):
        fingerprint.of(use_case, base, adapter)


def test_an_incomplete_base_has_no_fingerprint(use_case: UseCase, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no complete base"):
        fingerprint.of(use_case, tmp_path, None)


def test_asking_for_a_fingerprint_loads_no_model_library() -> None:
    import subprocess
    import sys

    code = "import sys, flywheel.modeling.fingerprint; print({'torch', 'peft'} & set(sys.modules))"
    done: Any = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == "set()"
