"""Files of our own that are damaged: which one, and what to do, in one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flywheel import bases, measured
from flywheel.config import Home
from flywheel.errors import DataError
from flywheel.forgetting import name_hash
from tasks import bench
from tasks import forget as forgetting
from tests.somebody import AT, JOB, WHO, drop, json_lines, other, theirs

SAID = "xylophone"
READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "a measured sample": (
        "case/d1.json",
        "or delete it: golden texts alone are asked then",
        lambda path: measured.read(path.parents[1], "case", "d1"),
    ),
    "a base's record": (
        f"tiny/{bases.MANIFEST}",
        "to fetch the base anew",
        lambda path: bases.base_sha256(path.parent),
    ),
    "a cell of a comparison": (
        "cell.json",
        "this cell is measured anew",
        lambda path: bench.read_result(path),
    ),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("content", [b"", b'[["xylophone"', b"\xff\xfe", b"\0" * 40])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, what: str, content: bytes) -> None:
    name, so, read = READERS[what]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path} is damaged (")
    assert so in str(refused.value)
    assert SAID not in str(refused.value)


@pytest.mark.parametrize(
    "content", ["null", "7", '["xylophone"]', '[["a", "b", "c"]]', '[["a", 1]]']
)
def test_json_that_is_no_measured_sample_is_a_damaged_one(tmp_path: Path, content: str) -> None:
    path = measured.path(tmp_path, "case", "d1")
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(DataError, match=r"is damaged .no list of texts and answers"):
        measured.read(tmp_path, "case", "d1")


def test_a_forgetting_whose_journal_is_damaged_goes_on_without_it(home: Home) -> None:
    drop(home, "a.jsonl", json_lines(theirs(1), other(1)))
    key = forgetting._key(home)
    journal = forgetting._journal_path(home, name_hash(key, "person", WHO))
    journal.write_text('{"search": ["xylophone')
    with pytest.raises(DataError, match=r"is damaged .line 1.*delete it and run") as refused:
        forgetting.forget(home, WHO, at=AT)
    assert SAID not in str(refused.value)
    journal.unlink()
    done = forgetting.forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert WHO not in (home.inbox(JOB.name) / "a.jsonl").read_text()


def test_without_a_sample_there_is_none(tmp_path: Path) -> None:
    assert measured.read(tmp_path, "case", "d1") == {}
