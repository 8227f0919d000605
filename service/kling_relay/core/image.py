"""Reads the format and the size in pixels from an image's header.

Only the few bytes that hold them are read and every offset is checked, so false lengths and huge images cost nothing.
"""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_Read = Callable[[int, int], bytes]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MAX_SEGMENTS = 2048
"""Real JPEGs have a few dozen segments before the frame; a big ICC profile or MPF makes a few hundred."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers, from baseline to arithmetic. C4, C8 and CC are tables and extensions."""
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
"""Markers that have no length."""
HEAD = 1024
"""Bytes from which `other_format` recognises a format."""
_OTHERS = {
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",
    b"MM\x00+": "tiff",
    b"\xff\x0a": "jxl",
    b"\x00\x00\x00\x0cJXL ": "jxl",
    b"\x00\x00\x00\x0cjP  ": "jp2",
    b"8BPS": "psd",
    b"\x00\x00\x01\x00": "ico",
}
_BRANDS = dict.fromkeys((b"avif", b"avis"), "avif") | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"
)
"""Formats in an ISO base media file by their brand. AVIF comes first, because its files may name HEIF's brands too."""
_SVG = re.compile(rb"\s*(?:<\?xml|<!doctype\s+svg|<!--|<svg)", re.IGNORECASE)
_DATA_PREFIX = re.compile(r"data:[^,;]{0,80}(?:;[^,;]{1,80}){0,4}?;base64,", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"data:image/([A-Za-z0-9.]{1,20})", re.IGNORECASE)
_ACCEPTED = frozenset({"jpg", "jpeg", "png"})
_INVALID = re.compile(r"[^A-Za-z0-9+/]")
_CHECKED_END = 4096
"""How many characters at either end of a Base64 text are checked. The provider checks the middle."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts from an image's header. Sides are in pixels, as stored (before any EXIF rotation)."""

    format: Literal["jpg", "png"]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Base64Image:
    """An image sent as Base64: `text` in the standard alphabet without prefix or line breaks; `size` in bytes."""

    text: str
    size: int
    facts: ImageFacts | None
    """None if it is neither jpg nor png, or if its header is damaged."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` decoded bytes from `offset`. Nothing else is decoded."""
        return _slice_of(self.text)(offset, length)


def other_format(picture: bytes) -> str | None:
    """Return the name of a format that we recognise but do not accept, for the error message.

    `picture` is its first `HEAD` bytes.
    """
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "webp"
    if picture[4:8] == b"ftyp":
        box = picture[8 : max(16, int.from_bytes(picture[:4]))]
        brands = {box[start : start + 4] for start in range(0, len(box), 4)}
        return next((name for brand, name in _BRANDS.items() if brand in brands), "a video")
    text = picture.removeprefix(b"\xef\xbb\xbf")
    if _SVG.match(text) and b"<svg" in text.lower():
        return "svg"
    return next((name for magic, name in _OTHERS.items() if picture.startswith(magic)), None)


def format_of_text(text: str) -> str | None:
    """Return the name of a format that is not in Base64: that of a `data:` URL, or SVG as text."""
    if media := _MEDIA_TYPE.match(text):
        name = media[1].lower()
        return None if name in _ACCEPTED else name
    return other_format(text[:HEAD].encode("utf-8", "replace"))


def read_base64(text: str) -> Base64Image | None:
    """Return the image in a Base64 `text`: with or without a `data:` prefix, URL-safe or broken into lines.

    Returns None if the text is not Base64. Takes a few milliseconds for 10 MB.
    """
    if text[:5].lower() == "data:":
        prefix = _DATA_PREFIX.match(text)
        if prefix is None:
            return None
        text = text[prefix.end() :]
    if not text.isascii():
        return None
    for variant, standard in (("\r", ""), ("\n", ""), (" ", ""), ("\t", ""), ("-", "+"), ("_", "/")):
        if variant in text:
            text = text.replace(variant, standard)
    padding = text[-4:]
    length = len(text) - len(padding) + len(padding.rstrip("="))
    begin, end = text[: min(_CHECKED_END, length)], text[max(0, length - _CHECKED_END) : length]
    if not length or length % 4 == 1 or _INVALID.search(begin) or _INVALID.search(end):
        return None
    if len(text) != length + -length % 4:  # padding is missing, or there is too much
        text = text[:length] + "=" * (-length % 4)
    return Base64Image(text, length * 3 // 4, _facts(_slice_of(text)))


def _slice_of(text: str) -> _Read:
    def read(offset: int, length: int) -> bytes:
        first = offset // 3
        try:
            decoded = binascii.a2b_base64(text[first * 4 : ((offset + length + 2) // 3) * 4])
        except binascii.Error:
            return b""
        return decoded[offset - first * 3 :][:length]

    return read


def _facts(read: _Read) -> ImageFacts | None:
    head = read(0, 24)
    if head.startswith(_PNG):
        sides = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        is_valid = len(head) == 24 and head[12:16] == b"IHDR" and all(0 < side < 2**31 for side in sides)
        return ImageFacts("png", *sides) if is_valid else None
    return _jpeg(read) if head.startswith(_JPEG) else None


def _jpeg(read: _Read) -> ImageFacts | None:
    """Walk the segments (EXIF, ICC, thumbnails) up to the frame, progressive or not."""
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        segment = read(offset, 9)
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4])
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        elif marker in _FRAMES:
            height, width = int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9])
            return ImageFacts("jpg", width, height) if len(segment) == 9 and width and height else None
        elif length < 2 or marker in {0xD9, 0xDA}:  # the end, or pixels before any frame
            return None
        else:
            offset += 2 + length
    return None
