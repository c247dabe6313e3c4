"""What MLflow's tags of a version hold: the names that earlier homes have, read back as written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.tracking.version_tags import VersionTags

WRITTEN = {
    "digest": "d1",
    "snapshot_id": "s1",
    "verdict": "promote",
    "as_of": "2026-01-02T03:00:00+00:00",
    "champion_before": "none",
    "holdout_score": "0.812500",
    "method": "lora",
    "base": "smollm2-135m",
    "base_sha256": "b1",
    "numeric_type": "bfloat16",
    "runtime": "openvino",
    "parent": "d0",
    "parent_version": "1",
    "folder_sha256": "f1",
    "label_set": "l1",
    "awaiting_approval": "true",
    "judged_against": "1",
    "approval": "approved",
    "approved_by": "somebody",
    "approval_result": "carried out",
    "moving": "{}",
    "forgotten_data": "true",
    "certificate_id": "c1",
    "remeasured_from": "1",
    "part.labels": "l2",
    "part.libraries": "l3",
}
"""As the registry of a home of 0.2.0 holds them."""


def test_tags_are_written_as_earlier_versions_have_them() -> None:
    tags = VersionTags.read(WRITTEN)
    assert tags.written() == WRITTEN
    assert tags.parts == {"labels": "l2", "libraries": "l3"}
    assert tags.awaiting_approval
    assert tags.is_by_night


def test_what_is_missing_takes_no_tag_away() -> None:
    assert VersionTags(approval="approved").written() == {"approval": "approved"}
    assert VersionTags().written() == {}
    assert VersionTags.read({}) == VersionTags()


def test_what_is_not_ours_is_left_out() -> None:
    assert VersionTags.read({"export.1f": "{}", "team": "search", "partner": "x"}) == VersionTags()


@pytest.mark.parametrize("waiting", ["True", "1", "yes", "", "false"])
def test_only_what_flywheel_wrote_waits(waiting: str) -> None:
    assert not VersionTags.read({"awaiting_approval": waiting}).awaiting_approval


def test_a_figure_from_before_its_name_changed_is_read() -> None:
    assert VersionTags.read({"exam_score": "0.5"}).score == 0.5
    assert VersionTags.read({"exam_score": "0.5", "holdout_score": "0.75"}).score == 0.75


@pytest.mark.parametrize("written", ["", "nan", "inf", "about 0.8"])
def test_a_figure_that_is_none_is_none(written: str) -> None:
    assert VersionTags.read({"holdout_score": written}).score is None


def test_a_wish_is_read_however_it_was_typed() -> None:
    assert VersionTags.read({"approval": " Approved\n"}).wish == "approved"
    assert VersionTags().wish == ""


@given(st.dictionaries(st.text(), st.text()))
def test_whatever_people_write_is_read(tags: dict[str, str]) -> None:
    read = VersionTags.read(tags)
    assert read.written().items() <= tags.items()
