"""Segments: what was acknowledged is in a sealed file, once, whatever the process died of."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.ingestion.journal import FEEDBACK, OPEN, Journal, Segment, being_written, recover


def journal(folder: Path, **options: object) -> Journal:
    return Journal(folder, FEEDBACK, **{"max_bytes": 1_000, "max_age_s": 60, **options})  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl")))


def test_a_segment_is_under_another_name_until_it_is_sealed(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.write([b"a\n", b"b\n"])
    (name,) = names(tmp_path)
    assert name.endswith(f".{FEEDBACK}.jsonl{OPEN}")
    written.close()
    assert names(tmp_path) == [name.removesuffix(OPEN)]
    assert content(tmp_path) == b"a\nb\n"


def test_a_full_segment_is_sealed_and_the_next_begun(tmp_path: Path) -> None:
    written = journal(tmp_path, max_bytes=4)
    for block in (b"aa\n", b"bb\n", b"cc\n"):
        written.write([block])
    assert [name.endswith(OPEN) for name in names(tmp_path)] == [False, True]
    written.close()
    assert content(tmp_path) == b"aa\nbb\ncc\n"


def test_an_old_segment_is_sealed_though_nothing_is_written(tmp_path: Path) -> None:
    written = journal(tmp_path, max_age_s=0)
    written.write([b"a\n"])
    written.rotate()
    assert [name.endswith(OPEN) for name in names(tmp_path)] == [False]


def test_a_living_writer_s_segment_is_left_alone(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.write([b"a\n"])
    assert recover(tmp_path) == []
    written.write([b"b\n"])
    written.close()
    assert content(tmp_path) == b"a\nb\n"


def test_what_a_dead_writer_left_is_sealed_without_its_torn_line(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from flywheel.ingestion.journal import Segment\n"
        "segment = Segment.create(Path(sys.argv[1]), 'feedback')\n"
        "segment.append(b'a\\nb\\n')\n"
        "os.write(segment._fd, b'torn')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    (sealed,) = recover(tmp_path)
    assert sealed.read_bytes() == b"a\nb\n"
    assert recover(tmp_path) == []


def test_a_dead_writer_s_empty_segment_goes(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, FEEDBACK)
    os.close(segment._fd)
    assert recover(tmp_path) == []
    assert names(tmp_path) == []


class FullDisk:
    """Takes ``room`` bytes more, then none; `fsync` can fail by itself."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.syncs = True

    def write(self, fd: int, block: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(block), self.room)
        self.room -= taken
        return os.write(fd, block[:taken])

    def fsync(self, fd: int) -> None:
        if not self.syncs:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(fd)


def test_a_full_disk_keeps_what_was_acknowledged_and_nothing_of_the_rest(tmp_path: Path) -> None:
    disk = FullDisk(room=5)
    written = journal(tmp_path, write=disk.write, fsync=disk.fsync)
    written.write([b"aa\n"])
    with pytest.raises(OSError, match="No space left"):
        written.write([b"bbbbb\n"])
    with pytest.raises(OSError, match="No space left"):
        written.write([b"c\n"])
    disk.room = 100
    written.write([b"d\n"])
    written.close()
    assert content(tmp_path) == b"aa\nd\n"
    assert all(not name.endswith(OPEN) for name in names(tmp_path))


def test_a_disk_that_does_not_sync_acknowledges_nothing(tmp_path: Path) -> None:
    disk = FullDisk(room=100)
    written = journal(tmp_path, write=disk.write, fsync=disk.fsync)
    written.write([b"a\n"])
    disk.syncs = False
    with pytest.raises(OSError, match="Input/output"):
        written.write([b"b\n"])
    disk.syncs = True
    written.write([b"c\n"])
    written.close()
    assert content(tmp_path) == b"a\nc\n"


def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    written = journal(tmp_path, reserve_bytes=1_000, free=lambda folder: 999)
    with pytest.raises(OSError, match="kept free") as refused:
        written.write([b"a\n"])
    assert refused.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


# ---- A home that is put aside


@pytest.mark.parametrize("restored", [b"", b"a copy of before\n"])
def test_nothing_is_acknowledged_in_a_home_that_was_put_aside(
    tmp_path: Path, restored: bytes
) -> None:
    inbox = tmp_path / "home"
    journal = Journal(inbox, FEEDBACK, max_bytes=1_000, max_age_s=1_000)
    journal.write([b"before\n"])
    assert [path.name for path in being_written(inbox)] == [journal.wrote_to]
    aside = inbox.rename(tmp_path / "aside")
    inbox.mkdir()
    copy = inbox / journal.wrote_to
    if restored:
        copy.write_bytes(restored)
    with pytest.raises(OSError, match="not where it was begun"):
        journal.write([b"meanwhile\n"])
    journal.write([b"after\n"])
    journal.close()

    assert (aside / copy.name).read_bytes() == b"before\n", "what was not acknowledged is nowhere"
    (sealed,) = inbox.glob("*.jsonl")
    assert sealed.read_bytes() == b"after\n"
    left = [copy.name] if restored else []
    assert [path.name for path in inbox.glob(f"*{OPEN}")] == left
    assert not restored or copy.read_bytes() == restored, "another's file is as it was"
    assert being_written(inbox) == []
