"""A home as one file: a tar whose last member says what belongs to it, each by its sha256.

Everything is read and written once, in order; nothing of a home is held in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO
from urllib.parse import quote

from flywheel.errors import DataError
from flywheel.files import private_files
from flywheel.files.permissions import umask

MANIFEST = "flywheel-backup.json"
FORMAT = 1
_CHUNK = 1 << 20
_LITE = b"SQLite format 3\0"
_COMPRESSED = {".gz": "w|gz", ".tgz": "w|gz", ".xz": "w|xz"}


@dataclass
class Packing:
    """An archive that is being written. ``files`` is place → sha256 and size in bytes."""

    tar: tarfile.TarFile
    files: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, place: str, file: BinaryIO, *, like: os.stat_result) -> None:
        """Put what ``file`` holds now under ``place``; what is appended meanwhile is left out.

        Mode and time are those of ``like``.

        Raises:
            DataError: it became shorter while it was read.
        """
        size = os.fstat(file.fileno()).st_size
        member = tarfile.TarInfo(place)
        member.size, member.mtime = size, int(like.st_mtime)
        member.mode = stat.S_IMODE(like.st_mode)
        reader = _Hashing(file, size)
        try:
            self.tar.addfile(member, reader)
        except OSError as error:
            if reader.whole:
                raise
            raise DataError(f"{place} became shorter while it was read; try again.") from error
        self.files[place] = (reader.sha.hexdigest(), size)

    def add_database(self, place: str, path: Path) -> None:
        """Put an SQLite database under ``place`` as its last transaction left it."""
        uri = f"file:{quote(str(path))}?mode=ro"
        with tempfile.NamedTemporaryFile(prefix="flywheel-", suffix=".db") as copy:
            with (
                closing(sqlite3.connect(uri, uri=True)) as source,
                closing(sqlite3.connect(copy.name)) as target,
            ):
                source.backup(target)
            with open(copy.name, "rb") as file:
                self.add(place, file, like=path.stat())


class _Hashing(io.RawIOBase):
    """Reads at most ``left`` bytes of a file, and hashes them on the way."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self.file, self.left, self.sha, self.whole = file, left, hashlib.sha256(), True

    def read(self, size: int = -1) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        content = self.file.read(wanted)
        self.whole = len(content) == wanted
        self.left -= len(content)
        self.sha.update(content)
        return content


@contextmanager
def packing(path: Path, *, facts: dict[str, str]) -> Iterator[Packing]:
    """Write an archive beside ``path``, and rename it when it is whole and on the disk.

    A name that ends in ``.gz`` or ``.xz`` is compressed. It can be read by its owner only.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    mode: Any = _COMPRESSED.get(path.suffix, "w|")
    with (
        private_files.replacing(path, partial=partial),
        open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "wb") as file,
        tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar,
    ):
        made = Packing(tar)
        yield made
        _finish(made, facts)


def _finish(made: Packing, facts: dict[str, str]) -> None:
    files = {place: {"sha256": sha, "size": size} for place, (sha, size) in made.files.items()}
    content = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1).encode()
    member = tarfile.TarInfo(MANIFEST)
    member.size, member.mode = len(content), 0o600
    made.tar.addfile(member, io.BytesIO(content))


def is_sqlite(path: Path) -> bool:
    """Whether a file is an SQLite database, by what it begins with."""
    with path.open("rb") as file:
        return file.read(len(_LITE)) == _LITE


def unpack(path: Path, folder: Path | None) -> dict[str, Any]:
    """Check every file of an archive, and write them under ``folder`` where one is given.

    Only what its manifest names is written, and never outside of ``folder``. Returns the manifest.

    Raises:
        DataError: it is no archive of ours, is cut off, or a file is not what its sha256 says.
    """
    found: dict[str, dict[str, object]] = {}
    manifest = None
    try:
        with tarfile.open(path, mode="r|*") as tar:
            for member in tar:
                if manifest is not None:
                    raise _broken(path, f"{member.name} stands behind its manifest")
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise _broken(path, f"{member.name} is no plain file")
                if member.name == MANIFEST:
                    manifest = json.load(file)
                    continue
                found[member.name] = _copied(file, member, folder, path)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise _broken(path, f"{member.name} stands in it twice") from error
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _broken(path, f"it cannot be read to its end ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _broken(path, "it is cut off, or was not made by flywheel backup")
    named = manifest["files"]
    differing = sorted(p for p in found.keys() | named if found.get(p) != named.get(p))
    if differing:
        raise _broken(path, f"{len(differing)} files are not what they were, first {differing[0]}")
    return manifest


def _broken(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be restored: {why}. Nothing was changed; take another backup.",
        path=str(path),
    )


def _copied(
    file: IO[bytes], member: tarfile.TarInfo, folder: Path | None, path: Path
) -> dict[str, object]:
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts or not place.parts or "\\" in member.name:
        raise _broken(path, f"{member.name!r} leads out of the home")
    sha, size = hashlib.sha256(), 0
    target = folder and folder.joinpath(*place.parts)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    # never through anything that is there: every folder is new, and so is every file
    with open(target, "xb") if target else open(os.devnull, "wb") as out:
        while content := file.read(_CHUNK):
            out.write(content)
            sha.update(content)
            size += len(content)
    if target is not None:
        target.chmod(member.mode & 0o777 & ~umask() | stat.S_IRUSR | stat.S_IWUSR)
        os.utime(target, (member.mtime, member.mtime))
    return {"sha256": sha.hexdigest(), "size": size}
