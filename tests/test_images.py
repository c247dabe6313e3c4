"""Pictures come in as pixels and nothing else, once each, and only where they can be used."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flywheel import images as limits
from flywheel import picture_duplicates
from flywheel.errors import DataError
from flywheel.images import Images, decoded, from_data_url, is_address
from tests.pictures import draw, encoded

PLACE = b"48.1371 N, 11.5754 E, Erika Mustermann"


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


def kept(images: Images) -> list[Path]:
    return sorted(path for path in images.folder.rglob("*") if path.is_file())


def test_the_same_pixels_are_kept_once_whatever_else_the_files_say(images: Images) -> None:
    drawn = draw("dots", 1)
    plain, bare = encoded(drawn), encoded(drawn, "WEBP", lossless=True)
    assert images.keep(plain) == images.keep(bare) == images.keep(plain)
    (path,) = kept(images)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    assert is_address(images.keep(plain))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_place_and_person_do_not_come_along(images: Images, form: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = PLACE.decode()
    photo = encoded(draw("dots", 2), form, exif=exif)
    assert PLACE in photo
    images.keep(photo + PLACE)
    (path,) = kept(images)
    assert PLACE not in path.read_bytes()
    assert not Image.open(path).getexif()
    assert Image.open(path).info == {}


def test_a_picture_taken_sideways_is_kept_upright(images: Images) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn = draw("stripes", 3).resize((40, 20))
    kept_as = Image.open(io.BytesIO(images.content(images.keep(encoded(drawn, exif=exif)))))
    assert kept_as.size == (20, 40)


def test_what_is_transparent_is_white() -> None:
    assert decoded(encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0)))).getpixel((4, 4)) == (255,) * 3


def test_a_large_picture_is_scaled_down() -> None:
    assert decoded(encoded(draw("dots", 4, side=1_000))).size == (limits.KEPT_SIDE,) * 2


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it is that large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no picture"),
        (b"just words", "no picture"),
        (encoded(draw("dots", 1), "GIF"), "no picture"),
        (encoded(draw("dots", 1), "TIFF"), "no picture"),
        (encoded(draw("dots", 1), "JPEG")[:300], "broken"),
        (encoded(draw("dots", 1))[:90], "broken|no picture"),
        (encoded(Image.new("RGB", (7, 99))), "fewer than 8 pixels"),
        (encoded(Image.new("RGB", (2_000, 8))), "fewer than 8 pixels"),
        (bomb(9_000, 9_000), "more than 50,000,000 pixels"),
        (bomb(40_000, 40_000), "more than 50,000,000 pixels"),
        (b"\0" * (limits.MAX_BYTES + 1), "more than 20,000,000 bytes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    images: Images, content: bytes, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        images.keep(content)
    assert kept(images) == []


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damage_is_an_error_of_ours_or_a_picture(noise: bytes, at: int) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        whole = encoded(draw("dots", 5, side=16), form)
        try:
            decoded(whole[:at] + noise + whole[at + len(noise) :])
        except DataError:
            continue


def test_a_changed_file_is_not_taken_for_the_picture(images: Images) -> None:
    address = images.keep(encoded(draw("dots", 1)))
    images.path(address).write_bytes(encoded(draw("dots", 2)))
    with pytest.raises(DataError, match="was changed"):
        images.content(address)


def test_a_path_cannot_leave_the_folder_of_its_file(images: Images, tmp_path: Path) -> None:
    beside = tmp_path / "inbox"
    (beside / "photos").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(encoded(draw("dots", 1)))
    (beside / "photos" / "a.png").write_bytes(encoded(draw("dots", 1)))
    (beside / "link.png").symlink_to(tmp_path / "secret.png")
    address, file = images.addressed("photos/a.png", beside)
    assert is_address(address)
    assert file == (beside / "photos" / "a.png").resolve()
    whole = str(tmp_path / "secret.png")
    for way_out in ("../secret.png", whole, "link.png", "photos/../../secret.png"):
        with pytest.raises(DataError, match="leads out"):
            images.addressed(way_out, beside)
    for nothing in ("photos/b.png", "photos", "a\0b", "x" * 2_000):
        with pytest.raises(DataError, match=r"not there|no path"):
            images.addressed(nothing, beside)


def test_an_address_is_taken_only_where_its_picture_is(images: Images, tmp_path: Path) -> None:
    address = images.keep(encoded(draw("dots", 1)))
    assert images.addressed(address, tmp_path) == (address, None)
    with pytest.raises(DataError, match="not kept here"):
        images.addressed(f"image:sha256:{'0' * 64}", tmp_path)
    with pytest.raises(DataError, match="no address"):
        images.addressed("image:sha256:../../x", tmp_path)


def test_a_data_url_holds_what_it_was_made_of() -> None:
    content = encoded(draw("dots", 1))
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    assert from_data_url(url) == content
    for wrong in (url[:-3] + "*", "data:text/plain;base64,AAAA", "data:image/png,AAAA"):
        with pytest.raises(DataError, match="base64"):
            from_data_url(wrong)


# ---- Near-duplicates


def test_rescaled_recompressed_and_brightened_pictures_are_found(images: Images) -> None:
    large = draw("dots", 1, side=200)
    alike = [
        encoded(large),
        encoded(large, "JPEG", quality=40),
        encoded(large.resize((90, 90))),
        encoded(large.point(lambda level: min(255, level + 12))),
    ]
    others = [encoded(draw(k, seed, side=200)) for k in ("dots", "stripes") for seed in (7, 8)]
    numbers = picture_duplicates.clusters([images.keep(c) for c in (*alike, *others)], images)
    assert numbers == [0, 0, 0, 0, 1, 2, 3, 4]
    first = images.keep(alike[0])
    near = picture_duplicates.alike([images.keep(c) for c in (*alike, *others)], [first], images)
    assert near == [True] * 4 + [False] * 4


def test_plain_pictures_of_other_colours_are_not_alike(images: Images) -> None:
    plain = [images.keep(encoded(Image.new("RGB", (32, 32), c))) for c in ("red", "blue", "black")]
    assert picture_duplicates.clusters(plain, images) == [0, 1, 2]
    assert picture_duplicates.clusters([], images) == []
