"""Ids: the quick way to tell one agrees with the way that looks at each letter."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.privacy.person_ids import canonical_id, id_in, other_case
from flywheel.text.label_spelling import written
from tests.strategies import any_text


def slowly(value: str) -> str | None:
    try:
        name = written(value)
    except ValueError:
        return None
    return None if name is None else canonical_id(name)


def test_characters_that_nobody_sees_are_no_part_of_an_id() -> None:
    assert canonical_id("u\u200b7") == canonical_id("\u2060u7\u00ad") == "u7"
    assert canonical_id("\u3164")


def test_an_id_in_another_case_may_be_another_s() -> None:
    assert other_case("user-9", ["USER-9", "User-9 ", "user-9", "user-90"]) == ("USER-9", "User-9")


@given(any_text | st.text(st.characters(max_codepoint=127), max_size=12))
@example("")
@example(" ")
@example(" 48213")
@example("48213\n")
@example("\x01")
@example("a\0b")
@example("Ann@Example.org")
@example("\u00ad48213")
def test_an_id_is_the_same_whichever_way_it_is_read(value: str) -> None:
    assert id_in(value) == slowly(value)
