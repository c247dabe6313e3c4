"""A request full of small pictures costs no more than a request of a few photographs."""

from __future__ import annotations

import base64

from flywheel import images
from flywheel.config import Home
from tests.pictures import bomb
from tests.services import serving
from tests.test_service_pictures import CASE, URL

BOMB = f"data:image/png;base64,{base64.b64encode(bomb(7_000, 7_000)).decode()}"
ROOM = {"max_text_chars": 4_000_000, "max_body_bytes": 8_000_000}


def test_a_body_of_121_bombs_is_refused_before_one_is_unpacked(home: Home) -> None:
    with serving(home, CASE, **ROOM) as client:
        asked = {"inputs": [{"text": URL}, *({"text": BOMB} for _ in range(121))]}
        refused = client.post("/predict", json=asked)
    assert refused.status_code == 422
    together = 121 * 49_000_000 + images.pixels(URL)
    assert f"{together:,} pixels together, at most 200,000,000 are allowed" in refused.text
    assert not home.images.exists(), "not even the honest picture was unpacked"


def test_sixteen_photographs_may_come_in_one_request(home: Home) -> None:
    photographs = [f"data:image/png;base64,{base64.b64encode(bomb(4_000, 3_000)).decode()}"] * 16
    images.Images(home.images).refuse_too_much(photographs)


def test_what_is_no_picture_is_left_to_be_refused_for_that() -> None:
    assert images.pixels("data:image/png;base64,AAAA") == images.pixels("data:no") == 0
