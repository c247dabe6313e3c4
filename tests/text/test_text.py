"""Whatever a label holds, it stays in its cell."""

from __future__ import annotations

import pytest

from flywheel.text.normalize import table_cell


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain", "plain"),
        ("line\nbreak", "line break"),
        ("a | b", r"a \| b"),
        ("<b>VIP</b>", "&lt;b&gt;VIP&lt;/b&gt;"),
        ('50% "off"', '50% "off"'),
    ],
)
def test_a_label_stays_in_its_cell(text: str, cell: str) -> None:
    assert table_cell(text) == cell
