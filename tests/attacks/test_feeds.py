"""A feed cannot say of its rows whose they are."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from flywheel import sources
from flywheel.config import SourceConfig

ROW = {"kind": "label", "text": "it broke", "value": "positive", "rater_id": "mallory"}


def rows(path: Path, *given: dict[str, Any], **config: Any) -> list[dict[str, Any]]:
    """What reaches the inbox."""
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    feed = {"name": "tickets", "kind": "files", "location": str(path), **config}
    return [dict(row) for row in sources.read(SourceConfig.model_validate(feed), None).rows]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"fields": {"source": "source", "text": "text"}},
        {"fields": {"source": "kind", "text": "text"}, "values": {"source": {"label": "gold"}}},
    ],
)
def test_a_feed_cannot_call_itself_gold(
    tmp_path: Path, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = rows(tmp_path / "feed.jsonl", {**ROW, "source": "gold"}, ROW, **config)
    assert {row["source"] for row in found} == {"tickets"}
    assert "name another source; they count as 'tickets'" in caplog.text


def test_whose_rows_they_are_is_said_by_the_use_case(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        (named,) = rows(tmp_path / "a.jsonl", ROW)
        (constant,) = rows(tmp_path / "b.jsonl", ROW, constants={"source": "gold"})
    assert (named["source"], constant["source"]) == ("tickets", "gold")
    assert not caplog.text


def test_a_row_that_is_read_again_keeps_the_id_it_had_before(tmp_path: Path) -> None:
    # made by 0.2.0 of these rows
    given = ROW | {"given_at": "2026-01-01T00:00:00Z"}
    found = rows(tmp_path / "feed.jsonl", {**given, "source": "gold"}, given)
    before = ["affb4820aa126cbcdf22ce57432de261", "2812beefa9358d00a229d2a008ec7882"]
    assert [row["feedback_id"] for row in found] == before
