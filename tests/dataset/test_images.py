"""Pictures come in as pixels and nothing else, once each, and only where they can be used."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from flywheel.dataset import image_duplicates
from flywheel.dataset import images as limits
from flywheel.dataset.images import Images, decoded, from_data_url, is_address
from flywheel.errors import DataError
from tests.pictures import bomb, draw, encoded

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


def grey_16(levels: list[int], side: int = 16) -> bytes:
    """A grey PNG of 16 bits, a column for each level in turn."""
    rows = [[levels[column % len(levels)] for column in range(side)] for _ in range(side)]
    image = Image.new("I;16", (side, side))
    image.putdata([level for row in rows for level in row])
    return encoded(image)


def test_grey_of_16_bits_keeps_its_levels(images: Images) -> None:
    first, second = grey_16([0, 128 * 257, 65_535]), grey_16([300, 20_000, 60_000])
    assert Image.open(io.BytesIO(first)).mode == "I;16"
    found = decoded(first)
    assert [found.getpixel((column, 0)) for column in range(3)] == [(v,) * 3 for v in (0, 128, 255)]
    assert [decoded(second).getpixel((n, 9)) for n in range(3)] == [(v,) * 3 for v in (1, 78, 234)]
    assert images.keep(first) != images.keep(second), "two pictures, two addresses"


def of_mode(mode: str) -> Image.Image:
    """Red on the left; on the right nothing, where the mode knows that, else white."""
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 10, 20))
    if mode == "RGBA":
        return image
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image).convert("RGB")
    return image.quantize(4) if mode == "PA" else flat.convert(mode)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGBA", "PNG"), ("RGBA", "WEBP"), ("P", "PNG"), ("PA", "PNG"), ("CMYK", "JPEG")],
)
def test_every_way_to_write_colours_down_is_read_rightly(mode: str, form: str) -> None:
    how = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    found = decoded(encoded(of_mode(mode), form, **how))
    for column, colour in ((4, (255, 0, 0)), (15, (255, 255, 255))):
        assert found.getpixel((column, 9)) == pytest.approx(colour, abs=6)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_a_moving_picture_the_first_frame_is_kept(form: str) -> None:
    first, *others = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    how = {"lossless": True} if form == "WEBP" else {}
    moving = encoded(first, form, save_all=True, append_images=others, duration=40, **how)
    assert decoded(moving).getpixel((9, 9)) == (255, 0, 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("said", range(1, 9))
def test_every_way_to_hold_a_camera_ends_upright(form: str, said: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = said
    drawn = draw("stripes", 3).resize((40, 24))
    lossless = {"lossless": True} if form == "WEBP" else {}
    file = encoded(drawn, form, exif=exif, **lossless)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    assert decoded(file).tobytes() == expected.tobytes()


def test_a_camera_s_words_that_break_off_leave_the_picture_as_it_is() -> None:
    drawn = draw("stripes", 3).resize((40, 24))
    found = decoded(encoded(drawn, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"))
    assert found.tobytes() == drawn.convert("RGB").tobytes()


PEAK = """
import re, sys
from pathlib import Path
from flywheel.errors import DataError
from flywheel.dataset.images import decoded, probes, from_data_url
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e3
decoded(from_data_url(probes()[0]))
before = peak()
for path in sys.argv[1:]:
    try:
        decoded(Path(path).read_bytes())
    except DataError as error:
        print(error.message)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_what_a_small_file_unpacks_to_stays_within_its_bound(tmp_path: Path) -> None:
    """Of 50 million pixels: in 6 kB of PNG, in JPEG at once and in passes; and in WebP."""
    side = 7_000
    files = {
        "bits.png": encoded(Image.new("1", (side, side))),
        "photo.jpg": encoded(Image.new("RGB", (side, side)), "JPEG", exif=sideways()),
        "passes.jpg": encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True),
        "drawn.webp": encoded(Image.new("RGB", (4_200, 4_200)), "WEBP", method=0),
        "clear.png": encoded(Image.new("RGBA", (6_000, 6_000))),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    told = subprocess.run(
        [sys.executable, "-c", PEAK, *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(files["bits.png"]) < 7_000
    assert [line.split(" to unpack, at most 256 ")[0] for line in told[:-1]] == [
        "takes 306 MB",
        "takes 282 MB",
        "takes 288 MB",
    ]
    assert float(told[-1]) < 1.1 * limits.MAX_UNPACKED / 1e6


def sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


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
        # named, or its name would hold its bytes
        pytest.param(b"\0" * (limits.MAX_BYTES + 1), "more than 20,000,000 bytes", id="too large"),
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
    numbers = image_duplicates.clusters([images.keep(c) for c in (*alike, *others)], images)
    assert numbers == [0, 0, 0, 0, 1, 2, 3, 4]
    first = images.keep(alike[0])
    near = image_duplicates.alike([images.keep(c) for c in (*alike, *others)], [first], images)
    assert near == [True] * 4 + [False] * 4


def test_plain_pictures_of_other_colours_are_not_alike(images: Images) -> None:
    plain = [images.keep(encoded(Image.new("RGB", (32, 32), c))) for c in ("red", "blue", "black")]
    assert image_duplicates.clusters(plain, images) == [0, 1, 2]
    assert image_duplicates.clusters([], images) == []
