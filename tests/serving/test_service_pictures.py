"""The service and pictures: what is sent is kept first, and recorded by its address."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images, decoded, from_data_url
from flywheel.serving.models.smoke_test import texts_of
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tests.pictures import KINDS, draw, encoded
from tests.services import AT, rows, serving

CASE = UseCase.model_validate(
    {
        "name": "shapes",
        "kind": "image-classification",
        "description": "Dots or stripes?",
        "labels": {kind: kind for kind in KINDS},
        "split": {"salt": "s"},
        "curation": {"gold_sources": ["gold"]},
        "training": {"base": "tiny", "method": "frozen_head"},
        "gate": {"min_accuracy": 0.5},
    }
)
PHOTO = encoded(draw("dots", 1), "JPEG")
URL = f"data:image/jpeg;base64,{base64.b64encode(PHOTO).decode()}"


@pytest.fixture
def client(home: Home) -> Iterator[TestClient]:
    # as `flywheel init` proposes for pictures
    room = {"max_text_chars": 4_000_000, "max_body_bytes": 8_000_000}
    with serving(home, CASE, segment_s=0.01, **room) as found:
        yield found


def test_a_sent_picture_is_answered_and_recorded_by_its_address(
    home: Home, client: TestClient
) -> None:
    address = Images(home.images).keep(PHOTO)
    sent, named = (
        client.post("/predict", json={"text": text, "customer_id": "c"}).json()
        for text in (URL, address)
    )
    assert sent["probabilities"] == named["probabilities"]
    said = {"kind": "label", "text": URL, "value": "dots", "rater_id": "eve"}
    assert client.post("/feedback", json=said).status_code < 300
    client.__exit__()
    recorded = [*rows(home, CASE, "predictions"), *rows(home, CASE, "feedback")]
    assert [row["text"] for row in recorded] == [address] * 3


def test_a_version_is_tried_on_pictures_before_anybody_asks_it() -> None:
    tried = texts_of(CASE)
    assert len({decoded(from_data_url(one)).tobytes() for one in tried}) == len(tried) > 1


BOMB = encoded(Image.new("RGBA", (6_000, 6_000)))
BOMB_URL = f"data:image/png;base64,{base64.b64encode(BOMB).decode()}"


def test_a_picture_that_unpacks_to_too_much_is_quarantined_with_the_reason(home: Home) -> None:
    inbox = home.inbox(CASE.name)
    inbox.mkdir(parents=True)
    (inbox / "bomb.png").write_bytes(BOMB)
    given = {"kind": "label", "value": "dots", "rater_id": "eve", "source": "desk"}
    lines = [
        {**given, "image": image, "given_at": "2026-01-01T00:00:00Z"}
        for image in ("bomb.png", BOMB_URL, URL)
    ]
    (inbox / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = ingest_inbox(CASE, home, at=AT)
    assert (counts.ingested, counts.quarantined) == (1, 2)
    with open_store(home.warehouse) as store:
        reasons = store.rows("SELECT reason, length(raw) < 200 FROM quarantine", [])
    why = "image takes 288 MB to unpack, at most 256 are allowed; send it smaller"
    assert reasons == [(why, True)] * 2
    assert (inbox / "bomb.png").is_file(), "what cannot be used stays where it is"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB_URL, "text takes 288 MB to unpack, at most 256 are allowed"),
        ("photos/a.png", "no address"),
        ("/etc/passwd", "no address"),
        (f"image:sha256:{'0' * 64}", "not kept here"),
        ("data:image/png;base64,AAAA", "no picture"),
    ],
)
def test_what_is_no_picture_is_refused(client: TestClient, text: str, why: str) -> None:
    for path, body in (
        ("/predict", {"text": text}),
        ("/feedback", {"kind": "label", "text": text, "value": "dots", "rater_id": "eve"}),
    ):
        refused = client.post(path, json=body)
        assert refused.status_code == 422
        assert why in refused.text
        assert "passwd" not in refused.text
