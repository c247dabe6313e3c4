"""Texts and names are found in bytes however a file writes them, and not within longer words."""

from __future__ import annotations

import csv
import html
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.privacy import erase_files
from flywheel.privacy.byte_search import Sought, spelled

SAID = "the violet heron sings"
MANY = tuple(f"{SAID}, number {number} of them" for number in range(300))
letters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(letters.map(lambda text: f"<{text}>"), st.sampled_from([" ", "\n", "", "é", "x", "\\"]))
def test_a_text_is_found_however_it_is_written(text: str, around: str) -> None:
    said = f"{around}{text}{around}"
    out = io.StringIO()
    csv.writer(out).writerow([said])
    ways = [
        said, out.getvalue(), html.escape(said), json.dumps(said), json.dumps(json.dumps(said)),
        json.dumps(said, ensure_ascii=False), repr(said),
    ]  # fmt: skip
    for sought in (Sought((text,)), Sought((text, *MANY))):
        for way in ways:
            assert sought.is_in(way.encode()), way


def test_a_text_cut_out_of_longer_words_is_not_found() -> None:
    for sought in (Sought((SAID,)), Sought((SAID, *MANY))):
        assert not sought.is_in(f"as {SAID}too".encode())
        assert not sought.is_in(f'"é{SAID}"'.encode())
        assert not sought.is_in(json.dumps(f"{SAID}é").encode())
        assert sought.is_in(json.dumps(f"\n{SAID}\n").encode()), "the n of an escape is no letter"
        assert sought.is_in(f"as {SAID}!".encode())


def test_a_name_is_no_part_of_another_and_stands_before_a_script_without_spaces() -> None:
    sought = Sought(names=("customer-17",))
    assert not sought.is_in(b"customer-171 and my-customer-17 and customer-17-b")
    assert sought.is_in(json.dumps("hello\ncustomer-17").encode())
    assert sought.is_in("customer-17さん".encode())


@pytest.mark.parametrize(
    "written",
    [
        '{"customer_id": "7"}', '{"rater_id":7,"a":1}', r'"{\"user\": \"7\"}"', "user_id: 7",
        "customer=7", '{"customer_id": 7.0}', "&quot;customer_id&quot;: &quot;7&quot;",
    ],
)  # fmt: skip
def test_a_short_id_is_found_where_a_field_of_ids_holds_it(written: str) -> None:
    assert Sought(values=("7",)).is_in(written.encode())


@pytest.mark.parametrize(
    "written",
    ['{"customer_id": "71"}', '{"value": "7"}', "7 customers", '{"text": "7"}', '"group_id": 7.5'],
)
def test_a_short_id_is_not_found_where_it_means_something_else(written: str) -> None:
    assert not Sought(values=("7",)).is_in(written.encode())


def test_a_text_is_found_across_the_chunks_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_files, "_CHUNK_BYTES", 1000)
    file = tmp_path / "a.txt"
    for at in range(700, 1300, 7):
        file.write_bytes(b"." * at + MANY[7].encode() + b"." * 3000)
        assert erase_files.holds(file, MANY[7:8])
        assert erase_files.holds(file, MANY)
        file.write_bytes(b"." * at + MANY[7].encode() + b"x" * 3000)
        assert not erase_files.holds(file, MANY[7:8])


@given(letters)
def test_no_spelling_is_missing_that_json_makes(text: str) -> None:
    assert {json.dumps(text)[1:-1].encode(), text.encode()} <= spelled(text)
