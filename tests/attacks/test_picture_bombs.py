"""A request full of small pictures costs no more than a request of a few photographs."""

from __future__ import annotations

import base64
import functools

from flywheel.config import Home
from flywheel.dataset import images
from tests.pictures import bomb
from tests.services import serving
from tests.serving.test_service_pictures import CASE, URL

ROOM = {"max_text_chars": 4_000_000, "max_body_bytes": 8_000_000}


@functools.cache
def sent(width: int, height: int) -> str:
    """A picture of one colour, as a request brings it."""
    return f"data:image/png;base64,{base64.b64encode(bomb(width, height)).decode()}"


def test_a_body_of_121_bombs_is_refused_before_one_is_unpacked(home: Home) -> None:
    with serving(home, CASE, **ROOM) as client:
        asked = {"inputs": [{"text": URL}, *({"text": sent(7_000, 7_000)} for _ in range(121))]}
        refused = client.post("/predict", json=asked)
    assert refused.status_code == 422
    together = 121 * 49_000_000 + images.pixels(URL)
    assert f"{together:,} pixels together, at most 200,000,000 are allowed" in refused.text
    assert not home.images.exists(), "not even the honest picture was unpacked"


def test_sixteen_photographs_may_come_in_one_request(home: Home) -> None:
    images.Images(home.images).refuse_too_much([sent(4_000, 3_000)] * 16)


def test_what_is_no_picture_is_left_to_be_refused_for_that() -> None:
    assert images.pixels("data:image/png;base64,AAAA") == images.pixels("data:no") == 0
