"""Format and sides are read from an image's header, whatever surrounds it."""

import base64
import io
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kling_relay.core.image import ImageFacts, other_format, read_base64
from kling_relay.core.order import check
from tests.unit.orders import I2V, SEED, faults

SOI = b"\xff\xd8"


def png(width: int = 640, height: int = 480) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\x00\x00\x00" * 8


def encoded(kind: str, width: int, height: int, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind, **options)
    return file.getvalue()


def facts(picture: bytes) -> ImageFacts | None:
    image = read_base64(base64.b64encode(picture).decode())
    return image.facts if image else None


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\x00\x00" + b"x" * 60_000}])
def test_the_sides_of_usual_jpegs_are_read(options: dict[str, object]) -> None:
    assert facts(encoded("JPEG", 321, 123, **options)) == ImageFacts("jpg", 321, 123)


def test_the_sides_of_a_png_are_read() -> None:
    assert facts(encoded("PNG", 321, 123)) == ImageFacts("png", 321, 123)


def test_megabytes_of_segments_before_the_frame_are_skipped() -> None:
    plain = encoded("JPEG", 400, 300)
    heavy = SOI + segment(0xE2, b"p" * 65_000) * 60 + b"\xff\xff\xff" + plain[2:]
    assert facts(heavy) == ImageFacts("jpg", 400, 300)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xd8\xff",
        SOI + b"\xff\xe0\x00\x00" + b"x" * 40,  # a length below its own two bytes
        SOI + b"\xff\xe0\xff\xff" + b"x" * 40,  # a length beyond the end
        SOI + b"\xff\xff" * 4000,
        SOI + segment(0xDA, b"pixels before any frame"),
        SOI + segment(0xC0, b"\x08\x00\x00\x00\x00\x03"),  # without sides
        png(0, 480),
        png()[:20],
        b"GIF89a" + b"x" * 40,
    ],
)
def test_a_damaged_or_foreign_header_has_no_facts(damaged: bytes) -> None:
    assert facts(damaged) is None


@given(st.binary(max_size=400))
def test_no_bytes_raise_an_exception(noise: bytes) -> None:
    facts(noise)
    facts(b"\xff\xd8\xff" + noise)
    facts(b"\x89PNG\r\n\x1a\n" + noise)


@given(st.text(max_size=400))
@pytest.mark.long
def test_no_text_raises_an_exception(noise: str) -> None:
    read_base64(noise)
    read_base64("data:image/png;base64," + noise)


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 3000), st.integers(0, 100))
def test_reading_part_of_a_base64_text_gives_that_part_of_the_bytes(picture: bytes, offset: int, length: int) -> None:
    image = read_base64(base64.b64encode(picture).decode())
    assert image is not None
    assert image.size == len(picture)
    assert image.read(offset, length) == picture[offset : offset + length]


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_every_spelling_of_base64_is_read_as_the_same_image(extra: int) -> None:
    picture = png() + b"\xff\xfe\xfb" * 20 + b"x" * extra
    plain = base64.b64encode(picture).decode()
    for spelling in (
        plain,
        plain.rstrip("="),
        "data:image/png;base64," + plain,
        "DATA:image/png;charset=utf-8;base64," + plain,
        "data:;base64," + plain,
        base64.encodebytes(picture).decode(),
        plain.replace("A", "A\r\n"),
        base64.urlsafe_b64encode(picture).decode(),
    ):
        image = read_base64(spelling)
        assert image is not None, spelling[:40]
        assert (image.text, image.size) == (plain, len(picture))
        assert image.facts == ImageFacts("png", 640, 480)


@pytest.mark.parametrize("text", ["", "A", "====", "not base64!", "data:image/png,abc", "图片", "iVBOR===="])
def test_text_that_is_not_base64_is_not_an_image(text: str) -> None:
    assert read_base64(text) is None


def test_a_format_that_is_not_accepted_is_named() -> None:
    assert other_format(b"GIF89a") == "gif"
    assert other_format(b"RIFF....WEBP") == "webp"
    assert other_format(b"%PDF") is None


def test_ten_megabytes_take_a_few_milliseconds() -> None:
    text = "data:image/png;base64," + base64.b64encode(png() + bytes(10 * 2**20)).decode()

    def elapsed() -> float:
        start = time.process_time()
        assert read_base64(text)
        return time.process_time() - start

    assert min(elapsed() for _ in range(5)) < 0.05  # far above the usual time, far below decoding on a busy machine


FOREIGN = {
    "gif": b"GIF89a" + bytes(20),
    "bmp": b"BM" + bytes(30),
    "tiff": b"II*\x00" + bytes(30),
    "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(20),
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(20),
    "heic of another brand": b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00heixmsf1" + bytes(20),
    "avif": b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00avifmif1miafMA1B" + bytes(20),
    "avif behind mif1": b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf" + bytes(20),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "svg with a declaration": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<svg xmlns='x'></svg>",
    "svg with a doctype": b"\n <!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN'><svg/>",
    "jxl": b"\xff\x0a" + bytes(20),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_an_image_in_a_format_that_is_not_accepted_is_refused_by_name(name: str) -> None:
    (detail,) = faults(I2V, {"image": base64.b64encode(FOREIGN[name]).decode()}).values()
    assert f"must be jpg or png, but is {name.partition(' ')[0]}" in detail


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("data:image/svg+xml;utf8,<svg xmlns='x'/>", "svg"),
        ("data:image/heic,%00%00", "heic"),
        ("<svg viewBox='0 0 1 1'></svg>", "svg"),
    ],
)
def test_an_image_that_is_not_in_base64_is_refused_by_name(text: str, name: str) -> None:
    assert faults(I2V, {"image": text}) == {"image": f"must be jpg or png in Base64, but is {name}"}


def test_an_image_may_have_a_presigned_url() -> None:
    long = "https://bucket.s3.example/a.png?X-Amz-Security-Token=" + "x" * 8000
    assert check(I2V, {"image": long, "image_tail": long}, SEED).fields["image"] == long
    assert faults(I2V, {"image": "https://a.example/" + "x" * 8192}) == {"image": "is longer than 8192 characters"}
